"""A comparison of 100 classes and 10,000 test images in a real browser."""

import json
import re

import pytest
from accessible import faults, tree
from large_comparison import smooth_images, write_large_comparison

from lacvit.report import embedded, write_comparison_report

MOST_BYTES = 10_000_000
A4_WIDTH = 703  # CSS pixels between margins of 12 mm


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "TSNE_POINTS", 60)  # t-SNE is the dearest part of it
        folder = write_large_comparison(tmp_path_factory.mktemp("large"))
        yield write_comparison_report(folder, smooth_images)


@pytest.fixture(scope="module")
def data(page_path):
    text = page_path.read_text(encoding="utf-8")
    found = re.search(r'id="page-data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


@pytest.fixture
def opened(watched, page_path):
    """Opens the page, which makes its downloads itself."""

    def open_page(width=1280, scheme="light"):
        return watched(page_path.as_uri(), width, scheme, allowed=("file:", "data:", "blob:"))

    return open_page


def drawn(page, selector):
    """The plot at `selector` once plotly has drawn it."""
    place = page.locator(selector).first
    place.scroll_into_view_if_needed()
    place.locator(".main-svg").first.wait_for(timeout=60_000)
    return place


def test_it_is_small_enough_and_shows_the_same_images_for_all(page_path, data):
    assert page_path.stat().st_size < MOST_BYTES
    embedding = data["cells"]["0"]["embedding"]
    assert embedding["sample"] == 2_000
    assert [plane["title"] for plane in embedding["planes"]] == ["Pretrained, untouched", "lacvit"]
    assert all(len(plane["pca"]) == 4_000 for plane in embedding["planes"])
    assert 2_000 < len(data["pool"]["paths"]) <= 3_000
    assert data["sheet"]["columns"] * data["sheet"]["rows"] >= len(data["pool"]["paths"])


def test_counts_of_the_confusion_are_all_test_images(data):
    for flat in data["cells"]["0"]["confusion"]["cells"].values():
        assert sum(flat[2::3]) == 10_000


def test_it_opens_quickly_and_before_plotly_runs(opened):
    page = opened()
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert loaded < 20_000  # 0.2 s of work; a test machine may be busy


def test_pointing_at_an_image_shows_it_and_finds_it_elsewhere(opened):
    page = opened()
    place = drawn(page, "[data-plane='0']")
    drawn(page, "[data-plane='1']")
    place.focus()
    page.keyboard.press("ArrowRight")
    card = page.locator(".card")
    assert card.is_visible()
    assert "class " in card.inner_text()
    assert "url(" in card.locator(".tile").evaluate("e => getComputedStyle(e).backgroundImage")
    first = card.inner_text()
    page.keyboard.press("ArrowRight")
    assert card.inner_text() != first
    assert page.locator(".ring:visible").count() == 2
    page.keyboard.press("Escape")
    assert card.is_hidden()
    box = place.bounding_box()
    at = page.evaluate("(() => { const p = document.querySelector('[data-plane]');"
                       " return onScreen(p, 5) })()")  # fmt: skip
    page.mouse.move(box["x"] + at["left"], box["y"] + at["top"], steps=3)
    card.wait_for(state="visible")


def test_the_plane_and_the_class_can_be_switched(opened, data):
    page = opened()
    place = drawn(page, "[data-plane='0']")
    points = "p => p.data.reduce((all, trace) => all + trace.x.length, 0)"
    assert place.evaluate(points) == 2_000
    page.locator(".kinds label").nth(1).click()
    assert place.evaluate(points) == 60
    chosen = data["pool"]["labels"][0]
    page.locator(".classes").select_option(str(chosen))
    labels = "p => [...new Set(p.data.at(-1).customdata.map((i) => PAGE.pool.labels[i]))]"
    assert place.evaluate(labels) == [chosen]
    grey = next(label for label in data["pool"]["labels"][:60] if label not in data["key"])
    page.locator(".classes").select_option(str(grey))
    assert place.evaluate(labels) == [grey]
    inks = "p => [p.data.at(-1).marker.color, ...PAGE.key.map((_, i) => ink(`class-${i}`))]"
    own, *named = place.evaluate(inks)
    assert own not in named, "a class without a colour does not borrow another's"


def test_a_cell_of_the_confusion_opens_its_images(opened):
    page = opened()
    place = drawn(page, "[data-matrix='lacvit']")
    form = page.locator(".opener")
    form.locator("[name=arm]").select_option("lacvit")
    form.locator("[name=label]").select_option("4")
    form.locator("[name=said]").select_option("5")
    said = form.locator(".opened .lead")
    assert re.search(r"lacvit: \d+ images of class 4 said to be class 5\.", said.inner_text())
    assert form.locator(".tile").count() > 0
    matrix = place.locator(".nsewdrag").bounding_box()
    page.mouse.click(matrix["x"] + matrix["width"] * 0.505, matrix["y"] + matrix["height"] * 0.505)
    page.wait_for_function(
        "!document.querySelector('.opened .lead').textContent.includes('class 4 ')"
    )
    assert "named rightly" in said.inner_text()


def test_a_method_can_be_left_out_and_the_data_saved(opened):
    page = opened()
    place = drawn(page, "[data-chart='cell0-time']")
    shown = "p => p.data.filter((trace) => trace.visible).map((trace) => trace.name)"
    assert place.evaluate(shown) == ["linear-probe", "lacvit"]
    page.locator(".arms input").first.focus()
    page.keyboard.press("Space")
    assert place.evaluate(shown) == ["lacvit"]
    with page.expect_download() as saved:
        page.locator("[data-csv='chart:cell0-time']").click()
    lines = saved.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("series,")
    assert len(lines) == 3
    table = page.locator("[data-table='chart:cell0-time']")
    table.locator("summary").click()
    table.locator("tbody tr").first.wait_for()  # the page fills it once it is open
    assert table.locator("tbody tr").count() == 2


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark")])
def test_every_plot_is_drawn_on_a_phone_and_fits(opened, width, scheme):
    page = opened(width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    page.evaluate("document.querySelectorAll('.plot').forEach(draw)")
    assert page.locator(".plot").count() == page.locator(".plot .main-svg:first-child").count() > 8
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    unnamed = "[...document.querySelectorAll('.plot')].filter((p) => !p.getAttribute('aria-label'))"
    assert page.evaluate(f"{unnamed}.length") == 0


def test_the_methods_are_told_apart_on_paper_and_where_a_chart_stands_alone(opened):
    page = opened()
    place = drawn(page, "[data-chart='cell0-reliability']")
    assert place.locator(".legendtext").count() == 2
    spectra = drawn(page, "[data-chart='cell0-spectrum']")
    looks = spectra.evaluate("p => p.data.map(({ line }) => `${line.color} ${line.dash}`)")
    assert len(set(looks)) == len(looks) == 2
    assert "dashdot" in looks[0], "the untouched encoder is no method's line"
    page.emulate_media(media="print")
    assert [label.is_visible() for label in page.locator(".arms label").all()] == [True, True]
    assert page.locator(".csv:visible").count() == 0


def test_a_screen_reader_finds_a_name_for_everything(opened):
    page = opened()
    page.evaluate("document.querySelectorAll('.plot').forEach(draw)")
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    page.wait_for_function("document.querySelectorAll('details[data-table] tbody tr').length > 99")
    form = page.locator(".opener")
    form.locator("[name=said]").select_option("1")
    assert faults(page) == []
    bare = """all => all.filter((place) => {
      const about = place.closest(".matrices, .embedding") ?? place.closest("figure");
      return !about.querySelector("[data-table]");
    }).length"""
    assert page.locator(".plot").evaluate_all(bare) == 0, "a plot without its table"


def test_the_image_under_the_ring_is_read_out(opened):
    page = opened()
    place = drawn(page, "[data-plane='0']")
    region = [node for role, _, node in tree(page) if role == "status"]
    assert len(region) == 1, "it is there before it has anything to say"
    place.focus()
    page.keyboard.press("ArrowRight")
    said = page.locator(".spoken").text_content()
    assert re.search(r"class \d+.*lacvit: class \d+", said, re.DOTALL)
    page.keyboard.press("ArrowRight")
    assert page.locator(".spoken").text_content() != said


def test_on_paper_every_plot_is_drawn_in_light_colours_and_fits(opened):
    page = opened(scheme="dark")
    assert page.locator(".main-svg").count() == 0
    on_paper = """() => addEventListener("beforeprint", () => {
      window.printed = [...document.querySelectorAll(".plot")].map((place) => ({
        width: place.querySelector(".main-svg")?.getBoundingClientRect().width ?? 0,
        ink: place.layout.font.color === PAGE.inks.light.muted,
      }));
    })"""
    page.evaluate(on_paper)  # after the page's own
    assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")
    printed = page.evaluate("window.printed")
    assert len(printed) > 8
    assert all(0 < plot["width"] <= A4_WIDTH and plot["ink"] for plot in printed)
    ink = "document.querySelector('.plot').layout.font.color === PAGE.inks.dark.muted"
    assert page.evaluate(ink), "and as before afterwards"
    page.set_viewport_size({"width": 700, "height": 900})
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    columns = "g => getComputedStyle(g).gridTemplateColumns.split(' ').length"
    assert page.locator(".mistakes").first.evaluate(columns) == 6


def test_ticks_are_round_numbers_written_in_full(opened):
    page = opened()
    ticks = """([name, log, values]) => {
      const made = axis({ name, unit: "", log, names: [] }, values);
      return made.ticktext ?? made.dtick;
    }"""
    assert page.evaluate(ticks, ["time", True, [8.3, 134.8]]) == [
        "5",
        "10",
        "20",
        "50",
        "100",
        "200",
    ]
    assert page.evaluate(ticks, ["share", True, [0.001, 30]]) == 1  # one a power of ten
    assert [page.evaluate(ticks, ["epoch", False, [1, last]]) for last in (3, 40, 80)] == [
        1,
        10,
        20,
    ]
