"""``lacvit demo``, with one epoch and one seed."""

from pathlib import Path

import pytest

from lacvit.cli import demo
from lacvit.cli.main import main


def exit_code(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    return int(stopped.value.code or 0)


def test_a_demo_that_cannot_be_written_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert exit_code(["demo", "--output", str(tmp_path / "file" / "demo")]) == 2
    assert "demo cannot be written: Not a directory. Choose another" in capsys.readouterr().err


def test_the_demo_compares_three_methods_and_what_it_names_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SETTINGS", {**demo.SETTINGS, "contrastive.epochs": 1})
    monkeypatch.chdir(tmp_path)
    assert exit_code(["demo", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    title = "Accuracy@1 on 1,597 digits, 10 labelled a class, 1 seed "
    assert title in " ".join(printed.split()), "wrapped to the terminal's width"
    for method in demo.METHODS:
        folder = tmp_path / "lacvit-demo" / "runs" / f"{method}-s0"
        assert (folder / "report.html").exists()
        assert method in printed

    (told,) = (line for line in printed.splitlines() if line.startswith("Label an image: "))
    command = told.removeprefix("Label an image: lacvit ").split()
    assert exit_code(command) == 0
    answers = capsys.readouterr().out.splitlines()
    assert answers[0].startswith("path,")
    assert len(answers) > 100, "one line for each test image of that digit"

    ended = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("status.json")}
    assert len(ended) == len(demo.METHODS)
    assert exit_code(["demo", "--seeds", "1"]) == 0
    assert all(path.stat().st_mtime_ns == then for path, then in ended.items()), "none runs twice"
