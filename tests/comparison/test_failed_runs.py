"""Runs that diverge, and comparisons that stop: what is kept, and what the page says."""

import shutil
from pathlib import Path

import pytest

from digit_folders import write_split_folder
from lacvit import pipeline
from lacvit.comparison import Request, compare
from lacvit.errors import Diverged, InputError, RunStopped
from lacvit.lock import locked
from lacvit.run_folder import read_json
from lacvit.training.logs import Silence

METHODS = ("linear-probe", "lacvit", "cross-entropy")
# No clipping, and steps that no weight survives; the other two methods do not take them.
WILD = {
    "contrastive.epochs": 2, "precision": "fp32", "workers": 1, "contrastive.lr": 1e30,
    "contrastive.optimizer": "sgd", "contrastive.clip_norm": 0.0, "contrastive.warmup": 0.0,
}  # fmt: skip


class Messages(Silence):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    return write_split_folder(folder, {"train": 6, "val": 3, "test": 6})


@pytest.mark.parametrize("batch_size", [128, 8])  # one step an epoch, where it ends; three
def test_a_run_that_diverges_is_left_out_and_the_others_go_on(
    batch_size: int, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(output=tmp_path / "out", methods=METHODS, backbones=("pico",), seeds=1)
    given = {**WILD, "data.path": str(digits), "contrastive.batch_size": batch_size}
    progress = Messages()
    figures = compare(given, request, progress).figures
    assert [row["method"] for row in figures["cells"][0]["methods"]] == [
        "linear-probe", "cross-entropy",
    ]  # fmt: skip
    assert not figures["complete"]
    runs = request.output / "runs"
    assert (runs / "cross-entropy-pico-s0" / "model" / "model.safetensors").exists()
    assert list(runs.rglob("checkpoints")) == [], "nothing goes on from them"
    (failed,) = figures["failed"]
    assert (failed["folder"], failed["method"]) == ("runs/lacvit-pico-s0", "lacvit")
    assert "not finite" in failed["reason"]
    assert "--lr" not in failed["reason"], "compare has no such flag"
    said = "\n".join(progress.said)
    assert f"  runs/lacvit-pico-s0: {failed['reason']}" in said
    assert f"delete what is named here from {request.output} and give the same command" in said
    page = (request.output / "comparison.html").read_text(encoding="utf-8")
    assert "1 run diverged and is left out of every figure" in page
    assert failed["reason"] in page
    assert "has not finished" not in page

    begun, real = [], pipeline.train

    def watched(settings, asked, **more):
        begun.append(asked.output.name)
        return real(settings, asked, **more)

    monkeypatch.setattr(pipeline, "train", watched)
    assert compare(given, request).figures["failed"] == figures["failed"]
    assert begun == []
    shutil.rmtree(request.output / failed["folder"])
    compare(given, request)
    assert begun == ["lacvit-pico-s0"]


def test_equal_time_is_measured_of_a_method_that_diverges_too(digits: Path, tmp_path: Path) -> None:
    request = Request(
        output=tmp_path / "out", methods=METHODS, backbones=("pico",), seeds=1, budget="equal-time"
    )
    figures = compare({**WILD, "data.path": str(digits)}, request).figures
    assert [one["method"] for one in figures["failed"]] == ["lacvit"]
    assert figures["budget"]["cells"][0]["reference"] == "lacvit"


def test_a_pick_that_diverges_on_all_images_leaves_the_comparison_whole(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        output=tmp_path / "out", methods=("knn", "linear-probe"), backbones=("pico",), seeds=1,
        pick=True,
    )  # fmt: skip
    given = {"data.path": str(digits / "train"), "precision": "fp32", "workers": 1, "data.folds": 2}
    real = pipeline.train

    def fails_on_all(settings, asked, **more):
        if asked.output.name.endswith("-all"):
            raise Diverged("A feature is NaN. Use a lower --lr.")
        return real(settings, asked, **more)

    monkeypatch.setattr(pipeline, "train", fails_on_all)
    with pytest.raises(InputError, match=r"comparison is whole, but .*-all, which .*NaN\. Leave"):
        compare(given, request)
    assert read_json(request.output / "comparison.json")["complete"]
    assert not (request.output / "model").exists()


def test_a_stop_leaves_a_page_of_what_there_is_and_none_of_what_was(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(output=tmp_path / "out", methods=METHODS[:2], backbones=("pico",), seeds=2)
    given = {"contrastive.epochs": 1, "precision": "fp32", "workers": 1, "data.path": str(digits)}
    page, real, begun = request.output / "comparison.html", pipeline.train, []

    def stop_at_the_third(settings, asked, **more):
        begun.append(asked.output.name)
        if len(begun) == 3:
            raise RunStopped("stopped by hand")
        assert not page.exists(), "an old page beside newer figures"
        return real(settings, asked, **more)

    monkeypatch.setattr(pipeline, "train", stop_at_the_third)
    progress = Messages()
    with pytest.raises(RunStopped):
        compare(given, request, progress)
    assert progress.said[-1] == (
        f"What has ended so far is in {page}; lacvit report {request.output} makes it with "
        f"pictures."
    )
    brief = page.read_text(encoding="utf-8")
    assert "2 runs are missing" in brief
    assert "made in brief" in brief
    compare(given, request)
    whole = page.read_text(encoding="utf-8")
    assert "made in brief" not in whole
    assert "Which class is taken for which" in whole
    assert read_json(request.output / "comparison.json")["failed"] == []


def test_one_process_at_a_time_works_on_a_comparison(digits: Path, tmp_path: Path) -> None:
    request = Request(
        output=tmp_path / "out", methods=("knn", "linear-probe"), backbones=("pico",), seeds=1
    )
    with locked(request.output), pytest.raises(InputError, match="Another process is at work in"):
        compare({"data.path": str(digits), "precision": "fp32", "workers": 1}, request)
    assert not (request.output / "runs").exists()


def test_a_method_whose_trials_all_diverge_runs_as_it_is(digits: Path, tmp_path: Path) -> None:
    request = Request(
        output=tmp_path / "out", methods=("linear-probe", "lacvit"), backbones=("pico",), seeds=1,
        trials=2,
    )  # fmt: skip
    figures = compare({**WILD, "data.path": str(digits)}, request).figures
    (_, lacvit) = figures["trials"]["tried"]
    assert [one["validation_accuracy"] for one in lacvit["tried"]] == [None, None]
    assert "lacvit as it is, since all of its trials diverged" in figures["trials"]["words"]
    assert [one["folder"] for one in figures["failed"]] == ["runs/lacvit-pico-s0"]
    assert [row["method"] for row in figures["cells"][0]["methods"]] == ["linear-probe"]
