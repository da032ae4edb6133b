import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import make_run_folder, make_thumbnails, noise_image

from lacvit.errors import InputError
from lacvit.report import write_report

HOSTILE = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "$5 & $6", "猫", "a\nb"]
VOID = {"meta", "link", "img", "input", "br", "path", "circle", "use"}


class Page(HTMLParser):
    """What a test asks of a page: its elements, and the text that a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def without_figures(run: Path) -> Path:
    """The same run with nothing to draw but its mistakes: for tests of these."""
    for name in ("contrastive/metrics.jsonl", "head/metrics.jsonl"):
        (run / name).unlink()
    names = "features/test.safetensors", "predictions.parquet", "geometry.json", "calibration.json"
    for name in names:
        (run / "evaluation" / name).unlink()
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run = make_run_folder(folder, notices=["pico sees 32 pixels.\nlacvit train <DATA>"])
    write_report(run, make_thumbnails())
    return run


@pytest.fixture(scope="module")
def page(run):
    return Page(run / "report.html")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    run = make_run_folder(tmp_path_factory.mktemp("hostile"), classes=HOSTILE, images=60, epochs=1)
    return Page(write_report(run, make_thumbnails()))


def test_the_answer_comes_first_in_one_sentence(page, run):
    score = json.loads((run / "evaluation/metrics.json").read_text())["test"]
    accuracy, low, high = (
        f"{100 * value:.1f}\u202f%" for value in (score["accuracy"], *score["interval"])
    )
    sentence = (
        f"{accuracy} of 120 test images named rightly (Accuracy@1, 95 % interval {low} to {high})."
    )
    words = [" ".join(sentence.split()), "What the network saw", "LaCViT on photos with pico"]
    places = [page.text.index(text) for text in words]
    assert places[0] < places[1]


def test_sections_come_in_the_order_of_the_questions(page):
    headings = re.findall(r'<h2 id="(\w+)-title">', page.html)
    assert headings == [
        "views", "curves", "confusion", "classes", "mistakes", "embedding", "geometry",
        "calibration", "data", "settings", "reproduce",
    ]  # fmt: skip
    links = [link["href"] for link in page.all("a")]
    assert [f"#{name}" for name in headings] == links[1:]


def test_notices_are_shown_as_they_are(page):
    assert "pico sees 32 pixels.\nlacvit train &lt;DATA&gt;" in page.html


def test_it_tells_how_the_stages_went(page):
    assert "6 epochs, 1.9\u202f% of the step time spent waiting for data." in page.html
    assert re.search(
        r"The loss came to 3.4: 88\u202f% of the way from its value at start", page.html
    )
    assert "Solved exactly for 4 strengths of the penalty; C\u00a0=\u00a01 did best" in page.html


def test_it_says_how_to_repeat_the_run(page, run):
    assert "lacvit train photos --backbone pico" in page.text
    assert f"lacvit train --recipe {run}/settings.toml" in page.text


def test_settings_and_environment_are_complete(page):
    for words in ("crop_scale [0.35, 1.0]", "temperature 0.1", "torch 2.13.0", "device cpu"):
        assert words in page.text


def test_nothing_is_fetched(page):
    addresses = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("src", "href", "data", "action", "srcset", "poster")
        if name in attributes
    ]
    assert addresses
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|url\((?!#)", page.html)


def test_only_the_pages_own_script_may_run(page):
    script = re.search(r"<script>(.*?)</script>", page.html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_it_can_be_read_aloud_and_walked_through(page):
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.elements}
    assert page.all("html")[0]["lang"] == "en"
    assert all(image.get("alt") for image in page.all("img"))
    assert all(drawing.get("aria-label") or "aria-hidden" in drawing for drawing in page.all("svg"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all("scope" in head for head in page.all("th"))
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    labelled = {s["aria-labelledby"] for s in page.all("section")}
    assert labelled <= set(ids)


def test_the_figures_stand_beside_it_as_png(run):
    names = [
        "confusion", "curves-contrastive", "curves-head", "embedding", "geometry", "mistakes",
        "reliability", "views",
    ]  # fmt: skip
    assert sorted(path.stem for path in (run / "figures").iterdir()) == names
    for path in (run / "figures").iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 300
    assert list(run.rglob(".*")) == []


def test_it_gives_the_verdict_before_the_figures(page, run):
    geometry = json.loads((run / "evaluation/geometry.json").read_text())
    places = [page.text.index(sentence) for sentence in geometry["verdict"]]
    assert len(places) == 4
    assert places == sorted(places)
    assert places[-1] < page.text.index("All figures of 120 test images")
    before, after = (
        geometry["embeddings"][name]["geometry"] for name in ("untouched", "contrastive")
    )
    row = page.text[page.text.index("IsoScore The spectrum") :]
    assert f"1 all alike. {before['iso_score']:.3f} {after['iso_score']:.3f}" in row


def test_it_tells_what_the_temperature_did(page):
    assert "By the validation images the head was too sure of its answers" in page.text
    assert "A temperature of 1.80, fitted on them, divides its outputs" in page.text
    assert re.search(r"ECE How far [^.]+ are apart; 0 is best\. 0\.110 0\.035", page.text)


def test_writing_again_gives_the_same_page(run, page):
    assert write_report(run, make_thumbnails()).read_text(encoding="utf-8") == page.html


def test_hostile_class_names_are_only_text(hostile):
    assert len(hostile.all("script")) == 1
    assert "onerror" not in {name for _, attributes in hostile.elements for name in attributes}
    assert [image for image in hostile.all("img") if not image["src"].startswith("data:")] == []
    for name in HOSTILE:
        assert " ".join(name.split()) in hostile.text


def test_an_unfinished_run_says_so_at_the_top(tmp_path):
    run = make_run_folder(tmp_path, finished=False, epochs=3)
    page = Page(write_report(run, make_thumbnails()))
    notice = (
        "This run has not finished: it is at the stage contrastive. "
        "Done so far: 3 epochs of contrastive. The page shows what there is."
    )
    assert notice in page.text
    assert page.text.index(notice) < page.text.index("How it learned")
    assert "Accuracy@1" not in page.text
    assert 'id="confusion"' not in page.html


def test_a_run_with_only_its_scores_has_a_page(tmp_path):
    run = make_run_folder(tmp_path)
    for name in (
        "per_class.csv",
        "mistakes.csv",
        "predictions.parquet",
        "features/test.safetensors",
        "geometry.json",
        "calibration.json",
    ):
        (run / "evaluation" / name).unlink()
    for name in (
        "contrastive/metrics.jsonl",
        "head/metrics.jsonl",
        "data.json",
        "environment.json",
    ):
        (run / name).unlink()
    page = Page(write_report(run))
    assert "test images named rightly" in page.text
    assert re.findall(r'<h2 id="(\w+)-title">', page.html) == ["views", "settings", "reproduce"]


def test_nothing_is_written_where_there_is_nothing_to_report(tmp_path):
    with pytest.raises(InputError, match="is no run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_read_from_the_data(tmp_path):
    run = without_figures(make_run_folder(tmp_path, classes=2, images=40))
    generator = np.random.default_rng(0)
    for number in range(40):
        for split in ("train", "test"):
            path = tmp_path / "photos" / split / str(number % 2) / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise_image(generator, 200)).save(path)
    page = Page(write_report(run))
    mistakes = len((run / "evaluation/mistakes.csv").read_text().splitlines()) - 1
    assert mistakes > 0
    assert page.html.count('src="data:image/jpeg;base64,') == mistakes
    assert "cannot be shown" not in page.text


def test_mistakes_do_without_pictures_where_the_data_is_gone(tmp_path):
    run = without_figures(make_run_folder(tmp_path, images=40))
    page = Page(write_report(run))
    assert f"The images themselves cannot be shown: {tmp_path}/photos does not exist." in page.text
    assert "test/1/" in page.text
    assert not (run / "figures/mistakes.png").exists()


def test_a_run_without_mistakes_says_nothing_of_them(tmp_path):
    run = without_figures(make_run_folder(tmp_path, images=40))
    (run / "evaluation/mistakes.csv").write_text("path,label,prediction,confidence\n")
    page = Page(write_report(run))
    assert 'id="mistakes"' not in page.html


def test_a_hundred_classes_stay_small_and_folded(tmp_path):
    run = make_run_folder(tmp_path, classes=100, images=1000)
    path = write_report(run, make_thumbnails(300))
    assert path.stat().st_size < 2_000_000
    page = Page(path)
    assert "Coloured are the classes that are confused most; the 90 others are grey." in page.text
    assert [details for details in page.all("details") if "open" in details] == []
    assert len(page.all("table")) >= 3


def test_a_run_that_diverged_says_why_and_counts_no_strengths(tmp_path):
    run = make_run_folder(tmp_path, finished=False, epochs=3)
    status = json.loads((run / "status.json").read_text())
    reason = "The joint stage diverged in epoch 4. Use a lower --lr."
    (run / "status.json").write_text(json.dumps({**status, "diverged": reason}))
    (run / "head").mkdir(exist_ok=True)
    lines = [json.dumps({"epoch": i, "strength": s, "loss": 1.0}) for i, s in enumerate((0.1, 1))]
    (run / "head" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    page = Page(write_report(run, make_thumbnails()))
    assert (
        f"This run diverged and goes no further: {reason} "
        "Done so far: 3 epochs of contrastive, head. The page shows what there is."
    ) in page.text
