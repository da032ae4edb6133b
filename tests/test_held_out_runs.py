"""Runs that hold classes out: what they write, and that held-out images move no weight."""

import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from digit_folders import write_digit_folder
from lacvit import pipeline
from lacvit.cli.main import main
from lacvit.config import make_settings
from lacvit.data.decoding import decode_image, encode_png
from lacvit.evaluation.held_out import TITLES
from lacvit.report import write_report
from lacvit.run_folder import RunFolder, read_json


def train(data: Path, output: Path, **more: object) -> RunFolder:
    given = {
        "data.path": str(data),
        "backbone.spec": "pico",
        "method": "lacvit",
        "contrastive.epochs": 1,
        "precision": "fp32",
        "workers": 1,
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    pipeline.train(make_settings(recipe=given), pipeline.Request(output=output, report=False))
    return RunFolder(output)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("data") / "digits", classes=5, per_class=10)


@pytest.fixture(scope="module")
def held(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs") / "held"
    return train(digits, folder, data__hold_out_classes="digit 3, digit 1")


def test_held_out_images_are_in_no_split(held: RunFolder) -> None:
    data = read_json(held.data)
    assert data["class_names"] == ["digit 0", "digit 2", "digit 4"]
    assert data["held_out"]["class_names"] == ["digit 1", "digit 3"]
    assert len(data["held_out"]["paths"]) == 20
    for paths in data["paths"].values():
        assert not set(paths) & set(data["held_out"]["paths"])
        assert not any(path.startswith(("digit 1/", "digit 3/")) for path in paths)


def test_both_encoders_are_measured_on_them(held: RunFolder) -> None:
    figures = read_json(held.evaluation / "held_out.json")
    assert (figures["images"], figures["class_names"]) == (20, ["digit 1", "digit 3"])
    assert list(figures["embeddings"]) == ["untouched", "contrastive"]
    for measures in figures["embeddings"].values():
        assert set(TITLES) <= set(measures)
        assert all(0 <= measures[name] <= 1 for name in TITLES)
    before, after = figures["embeddings"].values()
    assert before != after, "an epoch of training moves the features"
    assert 0 <= figures["head_novelty_auroc"] <= 1


def test_the_report_shows_them(held: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(held.path, copy)
    figures = read_json(held.evaluation / "held_out.json")
    page = write_report(copy).read_text(encoding="utf-8")
    section = page.partition('<section id="held-out"')[2].partition("</section>")[0]
    assert "20 images of digit 1, digit 3 were kept out" in section
    for measures in figures["embeddings"].values():
        assert f"<td>{measures['map_at_r']:.3f}</td>" in section
    assert 'href="#held-out"' in page
    (copy / "evaluation" / "held_out.json").unlink()
    assert "held-out" not in write_report(copy).read_text(encoding="utf-8")


def test_other_held_out_images_leave_every_weight(
    held: RunFolder, digits: Path, tmp_path: Path
) -> None:
    """The pixels of the held-out classes are turned round; the model must be the same."""
    other = tmp_path / "other"
    shutil.copytree(digits, other)
    for place in (other / "digit 1", other / "digit 3"):
        for path in place.iterdir():
            path.write_bytes(encode_png(255 - decode_image(path.read_bytes())))
    again = train(other, tmp_path / "run", data__hold_out_classes=["digit 1", "digit 3"])
    first, second = (load_file(run.model / "model.safetensors") for run in (held, again))
    assert all((first[name] == second[name]).all() for name in first)
    one, two = (read_json(run.evaluation / "held_out.json") for run in (held, again))
    assert one["embeddings"] != two["embeddings"], "they are measured all the same"


def test_the_command_line_tells_what_was_found(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(pipeline, "write_report", lambda folder: folder / "report.html")
    argv = ["train", str(digits), "--backbone", "pico", "--method", "linear-probe", "--quiet"]
    argv += ["--set", "precision=fp32", "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as left:
        main([*argv, "--hold-out-classes", "2"])
    assert not left.value.code
    printed = capsys.readouterr().out
    assert "Never trained on: digit " in printed
    assert ", 20 images: k-NN, k = 1 " in printed
    assert "by the head's probability" in printed
    assert "untouched" not in printed, "a linear probe has one encoder"


def test_without_test_images_every_image_may_train(digits: Path, tmp_path: Path) -> None:
    run = train(digits, tmp_path / "run", method="linear-probe", data__test_fraction=0.0)
    data = read_json(run.data)
    assert data["paths"]["test"] == []
    assert len(data["paths"]["train"]) + len(data["paths"]["validation"]) == 50
    assert set(read_json(run.evaluation / "metrics.json")) == {"validation"}
    card = (run.model / "README.md").read_text(encoding="utf-8")
    assert "on 10 validation images" in card


def test_a_run_without_test_images_says_that_it_measures_no_held_out_class(
    digits: Path, tmp_path: Path
) -> None:
    run = train(digits, tmp_path / "run", data__hold_out_classes=1, data__test_fraction=0.0)
    assert not (run.evaluation / "held_out.json").exists()
    (said,) = run.status()["notices"]
    assert said.startswith("The held-out classes are not measured, since no image tests.")
