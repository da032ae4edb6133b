"""A whole comparison on digits, stopped and gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import lacvit
from digit_folders import write_split_folder
from lacvit import evaluate, load, pipeline, settling
from lacvit.comparison import Request, compare, keep, plan
from lacvit.comparison.identity import check_same_settings
from lacvit.comparison.plan import plan_runs
from lacvit.comparison.tables import as_markdown
from lacvit.errors import InputError, RunStopped
from lacvit.naming import request_of
from lacvit.neighbour_head import NeighbourHead
from lacvit.report import write_comparison_report, write_report
from lacvit.run_folder import RunFolder, begin
from lacvit.training.logs import Silence
from set_trees import write_oxford_pets

GIVEN = {"contrastive.epochs": 1, "precision": "fp32", "workers": 1}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    return write_split_folder(folder, {"train": 6, "val": 3, "test": 10})


def test_a_stopped_comparison_goes_on_and_repeats_nothing(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        output=tmp_path / "out", methods=("linear-probe", "lacvit"), backbones=("pico",), seeds=2
    )
    given = {**GIVEN, "data.path": str(digits)}
    real, begun = pipeline.train, []

    def stop_at_the_fourth(settings, asked, **more):
        begun.append(asked.output.name)
        if len(begun) == 4:
            raise RunStopped("stopped by hand")
        return real(settings, asked, **more)

    monkeypatch.setattr(pipeline, "train", stop_at_the_fourth)
    with pytest.raises(RunStopped):
        compare(given, request)
    figures = json.loads((request.output / "comparison.json").read_text())
    assert not figures["complete"]
    assert figures["missing"] == ["lacvit-pico-s1"]
    assert figures["cells"][0]["seeds"] == [0]

    comparison = compare(given, request)
    assert begun == [
        "linear-probe-pico-s0", "lacvit-pico-s0", "linear-probe-pico-s1", "lacvit-pico-s1",
        "lacvit-pico-s1",
    ]  # fmt: skip
    assert comparison.figures["complete"]
    assert comparison.figures["cells"][0]["images"] == 30
    assert len(comparison.figures["cells"][0]["pairs"][0]["mcnemar"]) == 2
    assert {path.name for path in request.output.iterdir()} - {".lock"} == {
        "runs", "comparison.json", "comparison.csv", "comparison.md", "comparison.tex",
        "comparison.html",
    }  # fmt: skip

    others = write_split_folder(tmp_path / "others", {"train": 6, "val": 3, "test": 9})
    with pytest.raises(InputError, match=r"holds a comparison on .* whose images are others"):
        compare({**given, "data.path": str(others)}, request)


def test_nearest_neighbours_are_compared_and_answer_for_files(digits: Path, tmp_path: Path) -> None:
    request = Request(
        output=tmp_path / "out", methods=("knn", "linear-probe"), backbones=("pico",), seeds=1
    )
    request = replace(request, trials=2, pick=True)
    figures = compare({**GIVEN, "data.path": str(digits)}, request).figures
    assert figures["complete"]
    assert [row["method"] for row in figures["cells"][0]["methods"]] == ["knn", "linear-probe"]
    folder = request.output / "runs" / "knn-pico-s0"
    model = load(folder, device="cpu")
    assert isinstance(model.head, NeighbourHead)
    assert len(model.head.gallery_TD) == 18  # the training images
    assert evaluate(model, digits).accuracy == figures["cells"][0]["methods"][0]["accuracy"]
    assert "votes for a head" in (folder / "model" / "README.md").read_text()
    assert "did best on validation" in write_report(folder).read_text()
    assert "features" not in figures
    told = figures["cells"][0]["embeddings"]
    assert set(told["geometry"]["Mean cosine"]) == {"untouched"}
    assert f"| Mean cosine | {told['geometry']['Mean cosine']['untouched']:.3f} |" in (
        request.output / "comparison.md"
    ).read_text(encoding="utf-8")
    assert "nothing was made more isotropic" in " ".join(told["verdicts"].values())

    picked = figures["picked"]
    later = replace(request, pick=False)
    assert compare({**GIVEN, "data.path": str(digits)}, later).figures["picked"] == picked
    figures = compare({**GIVEN, "data.path": str(digits)}, replace(later, seeds=2)).figures
    assert figures["picked"]["words"] == picked["words"] + keep.CHOSEN_BEFORE


def test_a_comparison_says_what_a_feature_is_of(digits: Path, tmp_path: Path) -> None:
    request = Request(
        output=tmp_path / "out", methods=("knn", "linear-probe"), backbones=("pico",), seeds=1
    )
    given = {**GIVEN, "data.path": str(digits), "features.crops": "corners"}
    figures = compare(given, request).figures
    said = figures["features"]
    assert "answers by the head of its training" not in figures["asked"], "both fit a head"
    assert "an image and its corners" in said
    asked = "Set for every method that has a use for it: contrastive.epochs=1, "
    assert asked in (request.output / "comparison.md").read_text(encoding="utf-8")
    assert asked in (request.output / "comparison.html").read_text(encoding="utf-8")
    own = Request(tmp_path / "own", ("linear-probe", "cross-entropy"), ("pico",), seeds=1)
    told = compare(given, own).figures["asked"]
    assert "cross-entropy: answers by the head of its training, without features.crops." in told
    with pytest.raises(InputError, match=r"contrastive.epochs is 1 there, 2 here"):
        plan({**given, "contrastive.epochs": 2}, request, Silence())
    for name in ("comparison.md", "comparison.html"):
        assert said in (request.output / name).read_text(encoding="utf-8"), name


def test_a_folder_of_something_else_is_refused(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match="holds files of something else"):
        compare({**GIVEN, "data.path": str(digits)}, Request(output=tmp_path))


def test_auto_is_one_backbone_for_every_method(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "Backbone: pico, chosen because the images are small."
    chosen = iter([{"spec": "pico", "words": words}, {"spec": "another", "words": "no"}])
    trained = []

    real = pipeline.train

    def stop_at_the_second(settings, asked, **more):
        trained.append(settings.backbone.spec)
        if len(trained) > 1:
            raise RunStopped("stopped by hand")
        return real(settings, asked, **more)

    monkeypatch.setattr(settling, "choose_backbone", lambda *_: next(chosen))
    monkeypatch.setattr(pipeline, "train", stop_at_the_second)
    request = Request(output=tmp_path / "out", seeds=1)
    for _ in range(2):
        with pytest.raises(RunStopped):
            compare({**GIVEN, "data.path": str(digits)}, request)
    assert trained == ["pico", "pico", "pico"], "the second time as the first"
    kept = json.loads((request.output / "comparison.json").read_text())
    assert kept["auto"] == {"spec": "pico", "words": words}
    assert words in as_markdown(kept)
    assert words in (request.output / "comparison.html").read_text()
    kept["auto"] = "pico"  # as an earlier version wrote it
    (request.output / "comparison.json").write_text(json.dumps(kept))
    write_comparison_report(request.output)
    with pytest.raises(RunStopped):
        compare({**GIVEN, "data.path": str(digits)}, request)
    assert trained[-1] == "pico"


def test_a_set_by_name_is_compared_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_oxford_pets(tmp_path)
    monkeypatch.chdir(tmp_path)  # the folder of a comparison is named after the set
    found = lacvit.compare(
        "oxford-pets", root=tmp_path, methods=["linear-probe", "knn"], backbones=["pico"], seeds=1
    )
    assert found.folder == Path("comparisons/oxford-pets")
    assert found.figures["cells"][0]["images"] == 6


def test_data_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    request = Request(output=tmp_path / "out", backbones=("pico",), seeds=1)
    with pytest.raises(InputError, match="does not exist"):
        compare({**GIVEN, "data.path": str(tmp_path / "nowhere")}, request)
    assert not request.output.exists()


def test_a_run_that_had_no_value_of_a_setting_is_not_one_that_has(tmp_path: Path) -> None:
    request = Request(output=tmp_path, methods=("linear-probe", "lacvit"), backbones=("pico",))
    given = {**GIVEN, "data.path": "photos"}
    for run in plan_runs(given, request):
        begin(run.folder, request_of(run.settings))
    check_same_settings(plan_runs(given, request))
    with pytest.raises(InputError, match=r"backbone\.pool is None there, 'cls' here"):
        check_same_settings(plan_runs({**given, "backbone.pool": "cls"}, request))


def test_the_precision_is_one_and_stays(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        output=tmp_path / "out", methods=("linear-probe", "knn"), backbones=("pico",), seeds=1
    )
    given = {"workers": 1, "data.path": str(digits)}
    measured = iter(["bf16", "fp32"])

    def faster(*_: object) -> tuple[str, dict[str, float]]:
        return next(measured), {}

    monkeypatch.setattr(settling, "faster_precision", faster)
    for seeds in (1, 2):  # the second goes on with what the first measured
        figures = compare(given, replace(request, seeds=seeds)).figures
        assert figures["precision"] == "bf16"
    for folder in sorted((request.output / "runs").iterdir()):
        assert RunFolder(folder).resolved_settings()["precision"] == "bf16"
    assert next(measured) == "fp32", "it was asked for once"


@pytest.mark.parametrize(
    ("backbones", "device", "said"),
    [
        (("pico", "pica"), "cpu", "Did you mean 'pico'"),
        (("pico",), "gpu", "There is no device 'gpu' here"),
    ],
)
def test_what_is_not_there_is_refused_before_an_image_is_read(
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backbones: tuple[str, ...],
    device: str,
    said: str,
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the images were read")

    monkeypatch.setattr("lacvit.shared.read_images", read)
    methods = ("linear-probe", "lacvit")
    request = Request(output=tmp_path / "out", methods=methods, backbones=backbones)
    with pytest.raises(InputError, match=said):
        compare({**GIVEN, "data.path": str(digits), "device": device}, request)
    assert not (tmp_path / "out").exists()
