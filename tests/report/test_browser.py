"""The page in a real browser: no error, no request, no sideways scrolling, both schemes."""

import pytest
from accessible import faults, tree
from run_folders import make_run_folder, make_thumbnails

from digit_folders import write_digit_folder
from lacvit import pipeline
from lacvit.config import make_settings
from lacvit.report import write_report

LONG = "Rhododendron_ferrugineum_var_atrovirens_without_a_single_space"
RUNS = {
    "ten": {"classes": 10, "images": 300, "notices": ["pico sees 32 pixels."]},
    "odd names": {"classes": ["<script>alert(1)</script>", LONG, "猫", "$5"], "images": 60},
    "hundred": {"classes": 100, "images": 1500},
    "unfinished": {"finished": False, "epochs": 1},
}


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    written = {}

    def page_of(name):
        if name not in written:
            run = make_run_folder(tmp_path_factory.mktemp("run"), **RUNS[name])
            written[name] = write_report(run, make_thumbnails())
        return written[name]

    return page_of


@pytest.fixture
def opened(watched, pages):
    """Opens a page by name."""

    def open_page(name, width=1280, scheme="light"):
        return watched(pages(name).as_uri(), width, scheme)

    return open_page


@pytest.fixture(scope="module")
def trained(browser, tmp_path_factory):
    """The page that a real run left behind."""
    place = tmp_path_factory.mktemp("trained")
    recipe = {
        "data.path": str(write_digit_folder(place / "digits")),
        "method": "lacvit",
        "backbone.spec": "pico",
        "contrastive.epochs": 2,
        "contrastive.batch_size": 8,
        "precision": "fp32",
    }
    request = pipeline.Request(output=place / "run")
    return pipeline.train(make_settings(recipe=recipe), request).run_folder / "report.html"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_of_a_real_run(trained, watched, width, scheme):
    page = watched(trained.as_uri(), width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert overflow(page) <= 0
    assert faults(page) == []
    assert page.locator("#classes").get_by_text("digit 0").count() > 0
    pictures = "[...document.images].filter(i => i.complete && i.naturalWidth).length"
    assert page.evaluate(pictures) > 0


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", RUNS)
def test_it_opens_without_fault_or_overflow(opened, name, width, scheme):
    page = opened(name, width, scheme)
    assert overflow(page) <= 0
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert overflow(page) <= 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) > 600) == (scheme == "light")
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0


def test_figures_follow_the_scheme(opened):
    colours = {
        scheme: opened("ten", scheme=scheme).evaluate(
            "getComputedStyle(document.querySelector('#confusion svg text')).fill"
        )
        for scheme in ("light", "dark")
    }
    assert colours["light"] != colours["dark"]


def test_a_heading_sorts_its_table(opened):
    page = opened("ten")
    table = page.locator("#classes table")
    recall = table.get_by_role("button", name="Recall")
    column = "rows => rows.map(row => Number(row.cells[2].dataset.value))"

    def values():
        return table.locator("tbody tr").evaluate_all(column)

    recall.click()
    assert values() == sorted(values())
    recall.press("Enter")
    assert values() == sorted(values(), reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_one_class_can_be_seen_alone(opened):
    page = opened("ten")
    opacity = "(name) => getComputedStyle(document.querySelector('.points-' + name)).opacity"
    assert page.evaluate(opacity, "0") == "1"
    page.get_by_role("radio", name="class 3").focus()
    page.keyboard.press("Space")
    assert float(page.evaluate(opacity, "0")) < 0.1
    assert page.evaluate(opacity, "3") == "1"


def test_folded_tables_are_printed(opened):
    page = opened("hundred")
    page.emulate_media(media="print")
    assert page.locator("#classes table").bounding_box()["height"] > 1000
    assert page.locator("nav").is_hidden()


@pytest.mark.parametrize("name", ["ten", "unfinished"])
def test_a_screen_reader_finds_a_name_for_everything(opened, name):
    page = opened(name)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert faults(page) == []


def test_what_is_drawn_is_also_said(opened):
    page = opened("ten")
    said = [name for role, name, _ in tree(page) if role == "image"]
    for words in ("from 30.0", "half of the variance lies in", "by t-SNE", "off by 11.0"):
        assert any(words in name for name in said), words
    heading = page.locator("#classes th").first.get_by_role("button")
    assert heading.evaluate("b => getComputedStyle(b, '::after').content").endswith('/ ""')


def test_ten_thousand_points_open_quickly(opened):
    page = opened("hundred")
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert loaded < 10_000  # 0.8 s at rest; a test machine may be busy
