"""The commands, called in this process: what they print where, and how they exit."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from digit_folders import write_digit_folder, write_split_folder
from lacvit.cli.files import expand
from lacvit.cli.main import main
from lacvit.data.decoding import encode_png
from lacvit.errors import InputError
from lacvit.model import load

FAST = ["--backbone", "pico", "--method", "linear-probe", "--set", "precision=fp32"]


pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert exit_code(["train", str(digits), "--output", str(folder), "--quiet", *FAST]) == 0
    return folder


def exit_code(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(argv)
    return int(left.value.code or 0)


def assert_refused(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one clear message on stderr, no traceback, nothing on stdout."""
    assert exit_code(argv) == 2
    printed = capsys.readouterr()
    said = " ".join(printed.err.split())
    assert text in said, printed.err
    assert "Traceback" not in said
    assert printed.out == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lacvit 0.")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["train", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())  # lines may break at any hyphen
    for part in ("cross-entropy-paper", "--temperature", "--shots", "--dry-run", "--set"):
        assert part in text, part


def test_train_prints_the_result_and_what_comes_next(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "run")
    assert exit_code(["train", str(digits), "--output", output, *FAST]) == 0
    printed = capsys.readouterr()
    assert "Accuracy@1" in printed.out
    assert f"lacvit predict {output}" in printed.out
    assert "36 images in 3 classes" in printed.err
    assert exit_code(["train", str(digits), "--output", output, *FAST]) == 0
    assert "finished already" in capsys.readouterr().err


def test_json_logs_are_json_on_stderr(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", str(digits), "--output", str(tmp_path / "run"), "--json-logs", *FAST]
    assert exit_code(argv) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events[0] == "message"
    assert events[-3:] == ["begin", "epoch", "end"]


def test_dry_run_writes_nothing(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    argv = ["train", str(digits), "--output", str(output), "--dry-run", "--quiet"]
    assert exit_code([*argv, "--set", "precision=fp32"]) == 0
    assert "Stage contrastive: 60 epochs" in capsys.readouterr().out
    assert not output.exists()


def test_predict_csv(trained: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["predict", str(trained), str(digits / "digit 1"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 12
    assert rows[0].keys() >= {"path", "label", "probability"}
    assert sum(row["label"] == "digit 1" for row in rows) >= 6


def test_predict_jsonl_and_globs(
    trained: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = str(digits / "*" / "*.png")
    argv = ["predict", str(trained), pattern, "--format", "jsonl", "--top", "2"]
    assert exit_code(argv) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 36
    assert rows[0]["top"][0]["label"] == rows[0]["label"]


def test_a_bracket_may_be_a_pattern_or_part_of_a_name(digits: Path, tmp_path: Path) -> None:
    place = tmp_path / "photos [v2]"
    place.mkdir()
    for name in ("1.png", "2.png", ".3.png"):
        shutil.copy(next((digits / "digit 2").iterdir()), place / name)
    both, first = [str(place / name) for name in ("1.png", "2.png")], [str(place / "1.png")]
    assert list(expand([str(place / "*.png")])) == both
    assert list(expand([f"{tmp_path}/photos*/[1].png"])) == first
    assert list(expand([f"{place}/[3].png"])) == [f"{place}/[3].png"]  # told as unreadable
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="There is no image at"):
        list(expand([str(tmp_path / "empty")]))


def test_the_folders_that_a_glob_finds_are_searched_through(
    trained: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shutil.copytree(digits, tmp_path / "photos")
    (photos / "empty").mkdir()
    shutil.copy(next((digits / "digit 1").iterdir()), photos / "one.png")
    by_name = list(expand([str(photos)]))
    assert len(by_name) == 37
    assert sorted(expand([f"{photos}/*"])) == sorted(by_name)
    assert sorted(expand([f"{photos}/**"])) == sorted(by_name), "each of them once"
    assert exit_code(["predict", str(trained), f"{photos}/*", "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert len(list(csv.DictReader(io.StringIO(printed.out)))) == 37
    assert "cannot be read" not in printed.err
    with pytest.raises(InputError, match=r"There is no image at .*empt\*"):
        list(expand([f"{photos}/empt*"]))


def test_a_report_without_its_images_says_so(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    assert exit_code(["report", str(run)]) == 0
    assert capsys.readouterr().err == ""
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "root": str(tmp_path / "gone")}))
    assert exit_code(["report", str(run)]) == 0
    assert f"Note: {tmp_path / 'gone'} is not there any more" in capsys.readouterr().err


def test_predict_table_is_readable(
    trained: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next((digits / "digit 2").iterdir())
    assert exit_code(["predict", str(trained), str(file), "--format", "table"]) == 0
    assert "probability" in capsys.readouterr().out


def test_predict_leaves_out_what_it_cannot_read(
    trained: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(next((digits / "digit 2").iterdir()))
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    lost = tmp_path / "lost.jpg"
    lost.symlink_to(tmp_path / "nowhere.jpg")
    argv = ["predict", str(trained), good, str(tmp_path), good, "typo.png", "--format", "csv"]
    assert exit_code(argv) == 2
    printed = capsys.readouterr()
    assert [row["path"] for row in csv.DictReader(io.StringIO(printed.out))] == [good, good]
    assert f"lacvit: {bad} cannot be read" in printed.err
    assert f"lacvit: {lost} cannot be read: No such file" in printed.err
    assert "lacvit: typo.png cannot be read: No such file" in printed.err
    assert "3 of 5 files have no answer" in printed.err


def test_evaluate_uses_every_image_of_a_folder_without_splits(
    trained: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["evaluate", str(trained), str(digits)]) == 0
    printed = capsys.readouterr().out
    assert " on 36 images" in printed
    paths = json.loads((trained / "data.json").read_text())["paths"]
    seen = len(paths["train"]) + len(paths["validation"])
    assert 0 < seen < 36
    assert "digit 2" in printed, "a line for each class"
    assert exit_code(["evaluate", str(trained), str(digits), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], len(found["per_class"])) == (36, 3)
    assert found["per_class"][1]["class"] == "digit 1"
    assert sum(one["support"] for one in found["per_class"]) == 36
    assert f"Note: {seen} of these 36 images trained this model or chose its settings" in printed
    shutil.copytree(digits, tmp_path / "others")
    assert exit_code(["evaluate", str(trained), str(tmp_path / "others")]) == 0
    assert "Note:" not in capsys.readouterr().out


def test_evaluate_tells_known_images_from_unknown_ones(
    trained: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        (strange / f"{number}.png").write_bytes(
            encode_png(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        )
    (strange / "torn.png").write_bytes(b"no image")
    argv = ["evaluate", str(trained), str(digits), "--unknown", str(strange)]
    assert exit_code([*argv, "--format", "json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)["unknown"]
    assert (found["images"], found["unreadable"]) == (8, 1)
    assert "torn.png cannot be read" in printed.err
    model = load(trained)
    unknown = [p.probability for p in model.predict(sorted(strange.glob("[0-9].png")))]
    known = [p.probability for p in model.predict(sorted(digits.glob("*/*.png")))]
    higher = [(a > b) + (a == b) / 2 for a in known for b in unknown]
    assert found["auroc"] == pytest.approx(np.mean(higher), abs=0.01)
    assert exit_code(argv) == 0
    printed = capsys.readouterr()
    assert "Told from 8 images of no known class by the largest probability: AUROC" in printed.out
    (strange.with_name("torn.png")).write_bytes(b"no image")
    assert exit_code([*argv[:-1], str(tmp_path / "torn.png")]) == 2
    assert "No image of --unknown can be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["train"], "No images are named. Give a folder of class folders or a Parquet file"),
        (["train", "nowhere"], "nowhere does not exist"),
        (["train", "DIGITS", "--method", "magic"], "There is no method 'magic'. Choose one of:"),
        (["train", "DIGITS", "--backbone", "pica"], "Did you mean 'pico'?"),
        (
            ["train", "DIGITS", "--backbone", "timm:vit_tinny_patch16_224"],
            "vit_tiny_patch16_224.augreg_in21k",
        ),
        (["train", "DIGITS", "--device", "cuda:9"], "There is no device 'cuda:9' here"),
        (["train", "DIGITS", "--set", "contrastive.epoch=3"], "'contrastive.epochs'"),
        (["train", "DIGITS", "--set", "nonsense"], "--set takes section.key=value"),
        (["train", "DIGITS", "--recipe", "none.toml"], "There is no recipe none.toml"),
        (["train", "DIGITS", "--max-time", "soon"], "--max-time is 'soon'"),
        (["train", "DIGITS", "--lr", "-1"], "lacvit: --lr = -1.0: Input"),
        (["train", "DIGITS", "--image-size", "64"], "pico sees 32 x 32 pixels, not 64"),
        (["train", "DIGITS", "--trainable", "last-99"], "more blocks than the"),
        (
            ["train", "DIGITS", "--method", "cross-entropy", "--temperature", "0.2"],
            "--temperature has no effect with --method cross-entropy",
        ),
        (
            ["train", "DIGITS", "--method", "joint", "--temperature", "0"],
            "--temperature = 0.0",
        ),
        (["train", "DIGITS", "--method", "joint", "--loss", "triplet"], "--loss = 'triplet'"),
        (
            ["train", "DIGITS", "--method", "cross-entropy", "--loss", "simclr"],
            "--loss has no effect with --method cross-entropy",
        ),
        (
            ["train", "DIGITS", "--epochs", "3", "--set", "contrastive.epochs=4"],
            "--epochs is 3 by its flag and 4 by --set",
        ),
        (
            ["train", "DIGITS", "--set", "seed=1", "--set", "seed=2"],
            "seed is 1 by one --set and 2 by another; give one of them.",
        ),
        (
            ["train", "DIGITS", "--quiet", "--json-logs"],
            "lacvit: --quiet asks for no progress, and --json-logs for progress as JSON lines; "
            "give one of them.",
        ),
        (["predict", "DIGITS", "x.png"], "There is no image at x.png"),
        (["predict", "DIGITS", "DIGITS"], "holds no model"),
        (
            ["predict", "TRAINED", "DIGITS", "--top", "4"],
            "--top is 4, and the model knows 3 classes. Give 3 or less.",
        ),
        (["evaluate", "TRAINED", "nowhere"], "nowhere does not exist"),
        (["report", "DIGITS"], "no run folder"),
    ],
)
def test_bad_input_is_told_clearly(
    argv: list[str],
    text: str,
    digits: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"DIGITS": str(digits), "TRAINED": str(trained)}
    assert_refused([places.get(word, word) for word in argv], text, capsys)
    assert list(tmp_path.iterdir()) == []


def test_unknown_classes_are_refused_by_name(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_digit_folder(tmp_path / "other", classes=4)
    assert_refused(
        ["evaluate", str(trained), str(other)],
        "unknown class digit 3; known are digit 0, digit 1, digit 2",
        capsys,
    )


def test_foreign_files_are_left_alone(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("do not lose me")
    argv = ["train", str(digits), "--output", str(tmp_path), "--overwrite", *FAST]
    assert_refused(argv, "holds files of something else (thesis.txt)", capsys)
    assert precious.read_text() == "do not lose me"


def test_compare_lists_its_runs(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", str(digits), "--methods", "linear-probe,lacvit", "--backbones", "pico"]
    argv += ["--shots", "2,4", "--seeds", "3", "--dry-run"]
    assert exit_code([*argv, "--set", "data.folds=1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("12 runs: 0 done, 12 to do; about ")
    assert printed[0].endswith("from timed steps.")
    assert printed[1].startswith("  pico, 2 a class: 0 of 6 done, about ")
    assert printed[3].endswith("runs/linear-probe-pico-2shots-s0")
    assert exit_code([*argv, "--quiet"]) == 0
    in_folds = capsys.readouterr().out.splitlines()
    assert in_folds[0].startswith("60 runs: 0 done, 60 to do; about "), (
        "of a folder as small as this"
    )
    assert in_folds[3].endswith("runs/linear-probe-pico-2shots-s0-f0")
    assert not Path("comparisons").exists()


def test_compare_ends_in_an_answer_and_a_page(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compare", str(digits), "--methods", "knn,linear-probe", "--backbones", "pico"]
    argv += ["--seeds", "2", "--set", "data.folds=1", "--quiet", "--output", str(tmp_path / "c")]
    assert exit_code(argv) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert figures["complete"]
    assert figures["answer"] in printed
    assert (tmp_path / "c" / "comparison.html").exists()
    ended = {place: place.stat().st_mtime_ns for place in tmp_path.glob("c/runs/*/status.json")}
    assert len(ended) == 4
    assert exit_code([*argv, "--fail-below", "100"]) == 1
    assert "Below --fail-below 100: " in capsys.readouterr().out
    assert exit_code([*argv, "--fail-below", "nan"]) == 2, "no difference is below it"
    assert all(place.stat().st_mtime_ns == then for place, then in ended.items())


def test_several_settings_end_in_one_table_and_hold_classes_out(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compare", str(digits), "--methods", "knn,linear-probe", "--backbones", "pico"]
    argv += ["--shots", "2,4", "--seeds", "1", "--set", "data.folds=1", "--quiet"]
    argv += ["--hold-out-classes", "digit 2", "--output", str(tmp_path / "c")]
    assert exit_code(argv) == 0
    figures = json.loads((tmp_path / "c" / "comparison.json").read_text())
    for cell in figures["cells"]:
        assert cell["held_out"]["class_names"] == ["digit 2"]
    shares = [
        [f"{100 * method['accuracy']:.1f}" for method in cell["methods"]]
        for cell in figures["cells"]
    ]
    assert "| mean |" not in (tmp_path / "c" / "comparison.md").read_text(), "of no use over shots"
    row = f"| {digits.name} | pico, 2 a class | {figures['cells'][0]['images']} | "
    assert f"{row}{' | '.join(shares[0])} |" in (tmp_path / "c" / "comparison.md").read_text()
    assert "Accuracy@1 in per cent, mean of seeds or repeats" in capsys.readouterr().out
    page = (tmp_path / "c" / "comparison.html").read_text(encoding="utf-8")
    assert "All in one table" in page
    assert page.count('<th scope="row">pico, 4 a class</th>') == 1


def test_compare_on_several_sets_ends_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [
        str(write_split_folder(tmp_path / name, {"train": 4, "val": 2, "test": 20}))
        for name in ("ones", "twos")
    ]
    argv = ["compare", *sets, "--methods", "knn,linear-probe", "--backbones", "pico", "--quiet"]
    argv += ["--seeds", "1", "--output", str(tmp_path / "c")]
    assert exit_code([*argv, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("2 runs: 0 done, 2 to do") == 2
    assert str(tmp_path / "c" / "twos" / "runs") in printed
    assert exit_code([*argv, "--fail-below", "100"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("Below --fail-below 100 (") == 2
    assert "Accuracy@1 in per cent, mean of seeds or repeats" in printed
    assert f"Below --fail-below 100 ({sets[1]}): " in printed
    assert "| ones | pico | 60 |" in (tmp_path / "c" / "ones+twos.md").read_text()
    assert (tmp_path / "c" / "twos" / "comparison.html").exists()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (
            ["--methods", "linear-probe,cross-entropy", "--set", "joint.temperature=0.5"],
            "joint.temperature has no effect with any of --methods linear-probe,cross-entropy",
        ),
        (["--shots", "ten"], "--shots is 'ten'; give whole numbers, such as 10,50."),
        (["--methods", "lacvit"], "--methods names lacvit; give two or more different ones"),
        (["--set", "seed=3"], "seed differs from run to run here: give it by --seeds."),
        (
            ["--set", "views.flip=0", "--set", "views.flip=1"],
            "views.flip is 0 by one --set and 1 by another; give one of them.",
        ),
        (["--quiet", "--json-logs"], "--quiet asks for no progress, and --json-logs for progress"),
    ],
)
def test_compare_refuses(
    argv: list[str], text: str, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(["compare", str(digits), *argv], text, capsys)


def test_the_settings_of_a_run_are_a_recipe_of_compare(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name a method, a seed and a backbone, which the comparison decides itself."""
    recipe = tmp_path / "settings.toml"
    recipe.write_text('method = "lacvit"\nseed = 7\n[backbone]\nspec = "pico"\n[data]\nshots = 3\n')
    argv = ["compare", str(digits), "--recipe", str(recipe), "--dry-run", "--seeds", "1"]
    argv += ["--methods", "knn,linear-probe", "--backbones", "pico", "--set", "data.folds=1"]
    assert exit_code(argv) == 0
    shown = capsys.readouterr()
    assert "2 runs: 0 done, 2 to do" in shown.out
    assert "by flags here: method (--methods), seed (--seeds), backbone.spec (--b" in shown.err
    recipe.write_text("[joint]\nepochs = 25\n")  # as the settings of a run that trained
    assert exit_code(argv) == 0
    assert "and said by flags here: joint.epochs (--epochs)." in capsys.readouterr().err
    assert exit_code([*argv, "--set", "joint.epochs=25", "--methods", "knn,joint"]) == 2
    assert "joint.epochs is set, and --budget equal-images decides" in capsys.readouterr().err
    assert exit_code([*argv, "--set", "seed=3"]) == 2
    assert "seed differs from run to run here" in capsys.readouterr().err
    assert exit_code([*argv, "--epochs", "5", "--set", "contrastive.epochs=10"]) == 2
    assert "contrastive.epochs is 5 by its flag and 10 by --set" in capsys.readouterr().err
