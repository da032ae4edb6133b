"""``lacvit check``, and sets by name in the commands that take DATA."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lacvit import downloads, pipeline
from lacvit.cli.main import main
from set_trees import write_cifar10, write_flowers102, write_oxford_pets

FAST = ["--backbone", "pico", "--method", "linear-probe", "--set", "precision=fp32"]


def exit_code(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(argv)
    return int(left.value.code or 0)


def test_json_is_alone_on_stdout_and_needs_no_torch(tmp_path: Path) -> None:
    folder = write_oxford_pets(tmp_path)
    (folder / "images" / "Abyssinian_2.jpg").write_bytes(b"")
    program = (
        "import sys\nfrom lacvit.cli.main import main\n"
        f"try: main(['check', 'oxford-pets', '--root', {str(tmp_path)!r}, '--format', 'json'])\n"
        "except SystemExit as left: code = left.code\n"
        "sys.exit(9 if {'torch', 'torchvision', 'timm'} & set(sys.modules) else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")  # training would refuse it
    found = json.loads(done.stdout)
    assert found["splits"] == {"train": 8, "val": 3, "test": 6}
    assert next(iter(found["classes"])) == "Abyssinian"
    (fault,) = found["faults"]
    assert fault["kind"] == "unreadable"
    assert fault["path"] == "images/Abyssinian_2.jpg"
    assert fault["action"] == "refused"


def test_text_says_what_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_flowers102(tmp_path)
    copy = (folder / "jpg" / "image_00001.jpg").read_bytes()
    (folder / "jpg" / "image_00013.jpg").write_bytes(copy)
    assert exit_code(["check", "flowers102", "--root", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "val:   6 images in 3 of 3 classes\n" in text
    assert "1            2        2        2\n" in text
    assert "Note: flowers102 is not the whole Oxford Flowers-102: it has 6 train images " in text
    assert (
        "duplicate-across-splits: 1\n"
        "  jpg/image_00013.jpg: kept; the same pixels as jpg/image_00001.jpg in train\n"
    ) in text


def test_bad_data_leaves_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["check", "cub200", "--root", str(tmp_path), "--format", "json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("lacvit: cub200 (CUB-200-2011) was not found: ")


def test_train_evaluate_and_report_know_a_set_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline, "write_report", lambda folder: folder / "report.html")
    write_cifar10(tmp_path / "sets")
    monkeypatch.chdir(tmp_path)
    assert exit_code(["train", "cifar10", "--root", "sets", *FAST]) == 0
    printed = capsys.readouterr()
    note = "cifar10 is not the whole CIFAR-10: it has 15 train images instead of 50,000"
    assert f"Note: {note}" in printed.out
    run = tmp_path / "runs" / "cifar10-linear-probe-pico-s0"
    kept = json.loads((run / "data.json").read_text())
    assert (kept["root"], kept["set_root"]) == ("cifar10", str(tmp_path / "sets"))
    assert note in json.loads((run / "status.json").read_text())["notices"][0]
    monkeypatch.chdir("/")  # the run repeats from anywhere
    assert exit_code(["evaluate", str(run), "cifar10", "--root", str(tmp_path / "sets")]) == 0
    printed = capsys.readouterr()
    assert " on 3 images" in printed.out
    assert f"Note: {note}" in printed.out
    from lacvit.report.thumbnails import from_data

    (picture,) = from_data(kept["root"], kept["set_root"])(["test_batch/00001"])
    assert picture.shape == (32, 32, 3)


def test_compare_knows_a_set_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar10(tmp_path / "sets")
    monkeypatch.chdir(tmp_path)
    argv = ["compare", "cifar10", "--root", "sets", "--backbones", "pico", "--seeds", "2"]
    assert exit_code([*argv, "--methods", "linear-probe,lacvit", "--dry-run"]) == 0
    assert "comparisons/cifar10" in capsys.readouterr().out


def test_download_fetches_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []

    def fake(root: Path) -> None:
        asked.append(root)
        write_flowers102(root)

    monkeypatch.setattr(downloads, "DOWNLOADS", {"flowers102": fake})
    argv = ["check", "flowers102", "--root", str(tmp_path / "new"), "--format", "json"]
    assert exit_code(argv) == 2
    assert asked == []  # never unless it is asked for
    for _ in range(2):
        assert exit_code([*argv, "--download"]) == 0
    assert asked == [tmp_path / "new"]
    assert json.loads(capsys.readouterr().out.split("}\n{")[0] + "}")["splits"]["train"] == 6
