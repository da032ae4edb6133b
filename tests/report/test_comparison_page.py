"""The page of a comparison: what it says, and that a browser shows it without complaint."""

import base64
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from run_folders import make_thumbnails

from compared_runs import judged, made_up, write_run
from lacvit.arms import ARMS
from lacvit.comparison.answers import read_answers
from lacvit.comparison.judge import judge
from lacvit.comparison.plan import Cell, PlannedRun, Request
from lacvit.comparison.words import VERDICTS
from lacvit.errors import InputError
from lacvit.report import write_comparison_report
from lacvit.report.compared import Answers, changes, class_gains
from lacvit.report.comparison_payload import plotly_script
from lacvit.report.held_out import held_out_table
from lacvit.run_folder import read_json, write_json

SHARES = {"linear-probe": 0.5, "cross-entropy": 0.62, "lacvit": 0.6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("comparison")
    write_json(path / "comparison.json", judged(path, made_up(SHARES)))
    return path


def answers(said: list[list[str]], labels: list[str]) -> Answers:
    correct = np.array([[a == b for a, b in zip(row, labels, strict=True)] for row in said])
    paths = tuple(f"{i}.png" for i in range(len(labels)))
    return Answers(paths, tuple(labels), tuple(map(tuple, said)), correct)


LABELS = ["ant", "ant", "bee", "bee"]
OURS = answers([["ant", "ant", "bee", "ant"], ["ant", "ant", "ant", "ant"]], LABELS)
OTHER = answers([["bee", "ant", "bee", "bee"], ["wasp", "bee", "bee", "bee"]], LABELS)


def test_a_change_is_one_in_more_seeds_than_not() -> None:
    fixed = changes(OURS, OTHER)
    assert [(c.path, c.label, c.wrong, c.share) for c in fixed] == [("0.png", "ant", "bee", 1.0)]
    broken = changes(OTHER, OURS)
    assert [c.path for c in broken] == ["3.png"]


def test_among_equally_clear_changes_the_classes_take_turns() -> None:
    labels = ["ant", "ant", "ant", "bee"]
    fixed = changes(answers([labels], labels), answers([["wasp"] * 4], labels))
    assert [c.path for c in fixed] == ["0.png", "3.png", "1.png", "2.png"]


def test_gains_of_each_class_are_over_all_seeds() -> None:
    gains = {g.name: (g.ours, g.other, g.images) for g in class_gains(OURS, OTHER)}
    assert gains == {"ant": (1.0, 0.25, 2), "bee": (0.25, 1.0, 2)}
    assert [g.name for g in class_gains(OURS, OTHER)] == ["ant", "bee"], "largest gain first"


def test_the_page_says_the_answer_and_shows_what_changed(folder: Path) -> None:
    answers = made_up(SHARES)
    fixed = int(((answers["lacvit"] & ~answers["linear-probe"]).mean(axis=0) > 0.5).sum())
    page = write_comparison_report(folder, make_thumbnails()).read_text()
    assert "lacvit is worse than cross-entropy" in page
    said = (
        r"(\d+) images that lacvit gets right and linear-probe does not, in most seeds; the 16 cl"
    )
    counted = re.search(said, page)
    assert counted is not None
    assert int(counted[1]) == fixed > 16, "all that changed are counted, not only those shown"
    assert page.count('class="tile large') > 16
    assert page.count("data:image/webp") == 2
    assert "lacvit-s2" in page
    saved = csv_of(page, "only-lacvit-not-linear-probe-0")
    assert saved[0] == ["image", "label", "said instead", "share"]
    assert [row[3] for row in saved[1:]] == ["1.0"] * 16, "those that are shown, the clearest"
    assert len(csv_of(page, "only-cross-entropy-not-lacvit-0")) > 1
    differences = csv_of(page, "differences-0")
    assert differences[0][-4:] == ["smallest found", "p", "p (Holm)", "verdict"]
    assert differences[1][-1] in VERDICTS.values()
    intervals = page.split("The intervals one by one")[1].split("</table>")[0]
    assert "McNemar" in intervals
    assert re.search(
        r"<td class=\"text\">((&lt;)?[0-9.]+, ){2}(&lt;)?[0-9.]+</td></tr>", intervals
    ), "a p a seed"
    assert len(csv_of(page, "runs-0")) == 1 + 3 * len(SHARES)
    own = page.replace(plotly_script(), "").replace("http://www.w3.org", "")
    assert "http://" not in own, "nothing is fetched"
    assert "https://" not in own


def csv_of(page: str, name: str) -> list[list[str]]:
    """What a link of the page saves under the name."""
    link = re.search(rf'download="{name}\.csv" href="data:text/csv;base64,(.*?)"', page)
    assert link is not None, name
    return list(csv.reader(base64.b64decode(link[1]).decode().splitlines()))


def test_no_two_of_all_methods_look_alike_in_the_key(tmp_path: Path) -> None:
    shares = dict.fromkeys(ARMS, 0.5)
    write_json(tmp_path / "comparison.json", judged(tmp_path, made_up(shares, 1, 40)))
    page = write_comparison_report(tmp_path, make_thumbnails()).read_text()
    icons = re.findall(r'<svg class="line".*?</svg>', page, re.DOTALL)
    assert len(icons) == len(set(icons)) == len(ARMS) > 10
    said = re.search(r'"arm_symbols": ?(\[.*?\])', page)
    assert said is not None
    drawn = json.loads(said[1])
    assert [("circle" in icon) for icon in icons] == [marker == "o" for marker in drawn]
    dashes = [re.search('stroke-dasharray="(.*?)"', icon)[1] for icon in icons]
    assert dashes[0] == dashes[3] == "none" != dashes[10], "as charts.js draws them"


def held_out_file(run: Path, *encoders: str, knn: float, head: float) -> None:
    measures = {"knn_1": knn, "map_at_r": 0.5, "novelty_auroc": 0.75}
    figures = {"class_names": ["wasp", "fly"], "images": 12, "known_images": 400}
    figures |= {"neighbour": 1, "head_novelty_auroc": head}
    figures["embeddings"] = dict.fromkeys(("untouched", *encoders), measures)
    write_json(run / "evaluation" / "held_out.json", figures)


def test_classes_never_trained_on_are_told_method_by_method(tmp_path: Path) -> None:
    shares = {"linear-probe": 0.5, "lacvit": 0.6}
    write_json(tmp_path / "comparison.json", judged(tmp_path, made_up(shares)))
    assert "never trained on" not in write_comparison_report(tmp_path, brief=True).read_text()
    for seed in range(3):
        held_out_file(tmp_path / f"runs/linear-probe-s{seed}", knn=0.25, head=0.4)
        run = tmp_path / f"runs/lacvit-s{seed}"
        held_out_file(run, "contrastive", knn=[0.6, 0.7, 0.8][seed], head=0.9)
    page = write_comparison_report(tmp_path, brief=True).read_text()
    assert "12 images of wasp, fly were kept out of training" in page
    row = re.search(r"k-NN, k = 1: the other half.*?</tr>", page)
    assert row is not None
    assert re.findall(r"<td>(.*?)</td>", row[0]) == ["0.250", "0.700"]
    head = re.search(r"largest probability of its head.*?</tr>", page)
    assert head is not None
    assert re.findall(r"<td>(.*?)</td>", head[0]) == ["0.400", "0.900"]
    assert "R@1" not in page, "what no run measured has no row"
    (cell,) = read_json(tmp_path / "comparison.json")["cells"]
    table = held_out_table(tmp_path, cell)
    assert table is not None
    told = table.as_json()
    assert (told["class_names"], told["images"]) == (["wasp", "fly"], 12)
    measure = next(values for words, values in told["measures"].items() if words in row[0])
    assert measure == {"linear-probe": 0.25, "lacvit": pytest.approx(0.7)}


def test_without_its_data_the_page_says_why_there_are_no_pictures(folder: Path) -> None:
    page = write_comparison_report(folder).read_text()
    assert "The images themselves cannot be shown: " in page


@pytest.mark.parametrize("ended", [6, 5, 4, 3, 1])
def test_two_numbers_of_images_a_class_have_a_page_however_many_runs_ended(
    tmp_path: Path, ended: int
) -> None:
    runs = []
    for shots in (2, 5):
        for method, correct_sn in made_up(SHARES, seeds=1).items():
            place = tmp_path / "runs" / f"{method}-{shots}shots-s0"
            run = PlannedRun(Cell("pico", shots), method, 0, None, place)
            if len(runs) < ended:
                write_run(run.folder, correct_sn[0])
            runs.append((run, read_answers(run)))
    request = Request(output=tmp_path, methods=tuple(SHARES), shots=(2, 5), seeds=1)
    write_json(tmp_path / "comparison.json", judge(request, runs, "photos"))
    page = write_comparison_report(tmp_path, make_thumbnails()).read_text()
    assert ("Accuracy over labelled images a class" in page) == (ended > 3)
    assert ("All in one table" in page) == (ended > 3)
    if ended == 5:
        saved = csv_of(page, "accuracies")
        assert [row[:2] for row in saved[1:]] == [
            *(["pico, 2 a class", method] for method in SHARES),
            *(["pico, 5 a class", method] for method in list(SHARES)[:2]),
        ]
        table = page.split("All in one table</h2>")[1].split("</table>")[0]
        assert table.count("<td></td>") == 1, "what has not ended has no figure"
    assert ("has not finished" in page) == (ended < 6)


def test_a_folder_without_a_comparison_is_refused(tmp_path: Path) -> None:
    for content, said in (
        (None, "is missing"),
        ("[]", "is damaged: it holds no JSON object"),
        ("{}", "is none that lacvit compare wrote: it has no cells, data, margin, methods"),
    ):
        if content is not None:
            (tmp_path / "comparison.json").write_text(content)
        with pytest.raises(InputError, match=rf"comparison\.json {said}"):
            write_comparison_report(tmp_path)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_shows_it(folder: Path, browser, width: int, scheme: str) -> None:
    page_path = write_comparison_report(folder, make_thumbnails())
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else faults.append(r))
    page.goto(page_path.as_uri())
    for summary in page.query_selector_all("summary"):
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    context.close()
    assert faults == []
