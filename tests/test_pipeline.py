"""Whole runs on small real images: every arm, resuming, and what must not leak."""

import csv
import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import lacvit
from digit_folders import write_digit_folder, write_split_folder
from lacvit import naming, pipeline, planning, settling, staging
from lacvit.arms import ARMS
from lacvit.backbones import load_backbone
from lacvit.config import RunSettings, flatten, make_settings
from lacvit.errors import InputError
from lacvit.run_folder import RunFolder
from lacvit.training.logs import Silence

SMALL = {
    "backbone.spec": "pico",
    "contrastive.epochs": 3,
    "contrastive.batch_size": 8,
    "cross_entropy.batch_size": 8,
    "head.strengths": [0.1, 1.0],
    "precision": "fp32",
}


pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("data") / "digits")


class Listener(Silence):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def small(data: Path, method: str = "lacvit", **changes: object) -> RunSettings:
    recipe = {**SMALL, "data.path": str(data), "method": method, **changes}
    return make_settings(recipe=recipe)


def run(settings: RunSettings, output: Path, **how: object) -> pipeline.TrainResult:
    return pipeline.train(settings, pipeline.Request(output=output, **how))


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model" / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)


class Killed(BaseException):
    """Stands for any end of the process."""


class KillAt(Silence):
    """Ends the process in the middle of an epoch, before its checkpoint."""

    def __init__(self, stage: str, epoch: int) -> None:
        self.place = (stage, epoch)
        self.stage = ""
        self.done = 0

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        self.stage, self.done = stage, done

    def step(self, share: float) -> None:
        if (self.stage, self.done) == self.place:
            raise Killed

    def epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self.done = epoch + 1


@pytest.mark.parametrize("method", list(ARMS))
def test_every_arm_gives_a_model_and_every_file(method: str, digits: Path, tmp_path: Path) -> None:
    result = run(small(digits, method), tmp_path / "run")
    folder = result.run_folder
    for name in (
        "settings.toml",
        "environment.json",
        "data.json",
        "status.json",
        "evaluation/metrics.json",
        "evaluation/per_class.csv",
        "evaluation/predictions.parquet",
        "evaluation/mistakes.csv",
        "evaluation/features/test.safetensors",
        "evaluation/geometry.json",
        "evaluation/calibration.json",
        "model/config.json",
        "model/README.md",
    ):
        assert (folder / name).exists(), name
    for stage in ARMS[method].stages:
        epochs = [json.loads(line)["epoch"] for line in _lines(folder / stage / "metrics.jsonl")]
        assert epochs == list(range(len(epochs)))
        assert epochs
    metrics = json.loads((folder / "evaluation/metrics.json").read_text())
    assert result.accuracy == metrics["test"]["accuracy"]
    predictions = pq.read_table(folder / "evaluation/predictions.parquet").to_pydict()
    right = np.mean(np.array(predictions["label"]) == np.array(predictions["prediction"]))
    assert right == pytest.approx(result.accuracy)
    probabilities = np.array(predictions["probabilities"])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    status = json.loads((folder / "status.json").read_text())
    assert status["finished"] is True
    geometry = json.loads((folder / "evaluation/geometry.json").read_text())
    encoders = dict.fromkeys(("untouched", ARMS[method].encoder))
    assert list(geometry["embeddings"]) == list(encoders)
    for figures in geometry["embeddings"].values():
        assert {"mean_cosine", "iso_score"} <= figures["geometry"].keys()
        assert {"knn_1", "nearest_class_mean"} <= figures["quality"].keys()
    assert len(geometry["verdict"]) == (4 if len(encoders) == 2 else 1)


def test_the_evaluated_model_is_the_saved_one(digits: Path, tmp_path: Path) -> None:
    folder = run(small(digits), tmp_path / "run").run_folder
    moved = tmp_path / "elsewhere"
    shutil.move(folder / "model", moved)
    predictions = pq.read_table(folder / "evaluation/predictions.parquet").to_pydict()
    files = [digits / path for path in predictions["path"]]
    again = lacvit.load(moved).predict(files)
    assert [p.label for p in again] == predictions["prediction"]
    most = [max(row) for row in predictions["probabilities"]]
    np.testing.assert_allclose([p.probability for p in again], most, rtol=1e-4)


def test_equal_image_passes(digits: Path, tmp_path: Path) -> None:
    resolved = {}
    for method in ("lacvit", "cross-entropy", "cross-entropy-paper"):
        folder = run(small(digits, method), tmp_path / method).run_folder
        resolved[method] = tomllib.loads((folder / "settings.toml").read_text())
    assert resolved["lacvit"]["contrastive"]["epochs"] == 3
    assert resolved["cross-entropy"]["cross_entropy"]["epochs"] == 6  # 2 views an epoch there
    assert resolved["cross-entropy-paper"]["cross_entropy"]["epochs"] == 1  # a tenth, rounded


@pytest.mark.parametrize("method", [*ARMS])
def test_what_an_arm_trains_on_adds_up_to_the_same_images(method: str) -> None:
    settings = small(Path("photos"), method, **{"contrastive.epochs": 10, "views.count": 3})
    resolved = planning.resolve(settings, load_backbone("pico"))
    views = {"contrastive": 3, "joint": 3, "cross_entropy": 1, "head": 0}
    seen = sum(views[stage] * getattr(resolved, stage).epochs for stage in ARMS[method].stages)
    assert seen == {"knn": 0, "linear-probe": 0, "cross-entropy-paper": 3}.get(method, 30)
    again = make_settings(recipe=flatten(resolved.model_dump()))
    assert planning.resolve(again, load_backbone("pico")) == resolved


def test_one_epoch_is_not_divided_between_two_stages() -> None:
    settings = small(Path("photos"), "lacvit-finetune", **{"contrastive.epochs": 1})
    with pytest.raises(InputError) as refused:
        planning.resolve(settings, load_backbone("pico"))
    assert str(refused.value) == (
        "lacvit-finetune would give 1 of 1 epochs to cross-entropy, which leaves none for the "
        "contrast before it. Use more --epochs, or a lower cross_entropy.share_of_passes (0.2)."
    )


@pytest.mark.parametrize(
    ("method", "stage"), [("lacvit", "contrastive"), ("lacvit-finetune", "cross_entropy")]
)
def test_a_killed_run_goes_on_to_the_same_weights(
    method: str, stage: str, digits: Path, tmp_path: Path
) -> None:
    settings = small(digits, method)
    run(settings, tmp_path / "whole")
    request = pipeline.Request(output=tmp_path / "killed")
    with pytest.raises(Killed):
        pipeline.train(settings, request, progress=KillAt(stage, 1))
    status = json.loads((tmp_path / "killed/status.json").read_text())
    assert (status["stage"], status["epoch"], status["finished"]) == (stage, 1, False)
    said: list[str] = []
    watcher = Silence()
    watcher.message = said.append  # type: ignore[method-assign]
    pipeline.train(settings, request, progress=watcher)
    assert any("Going on with the run" in text for text in said)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    whole, killed = (_lines(tmp_path / n / stage / "metrics.jsonl") for n in ("whole", "killed"))
    assert [json.loads(line)["epoch"] for line in killed] == list(range(len(whole)))


def test_a_run_does_not_go_on_with_other_images(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "digits")
    settings = small(data)
    request = pipeline.Request(output=tmp_path / "run")
    with pytest.raises(Killed):
        pipeline.train(settings, request, progress=KillAt("contrastive", 1))
    next((data / "digit 0").iterdir()).unlink()
    with pytest.raises(InputError, match=r"images have changed since the run in .* began"):
        pipeline.train(settings, request)


def test_a_finished_run_is_left_alone(digits: Path, tmp_path: Path) -> None:
    settings = small(digits, "linear-probe")
    first = run(settings, tmp_path / "run")
    before = (tmp_path / "run/model/model.safetensors").stat().st_mtime_ns
    again = run(settings, tmp_path / "run")
    assert again.accuracy == first.accuracy
    assert (tmp_path / "run/model/model.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_tells_of_images_that_changed(tmp_path: Path) -> None:
    digits = write_digit_folder(tmp_path / "digits")
    settings, told = small(digits, "linear-probe"), Listener()
    run(settings, tmp_path / "run")
    pipeline.train(settings, pipeline.Request(output=tmp_path / "run"), progress=told)
    assert len(told.said) == 1
    first = sorted((digits / "digit 0").iterdir())[0]
    shutil.copy(first, digits / "digit 0" / "new.png")
    (digits / "digit 0" / "no image.png").touch()
    pipeline.train(settings, pipeline.Request(output=tmp_path / "run"), progress=told)
    assert told.said[-1] == (
        "Since then others are there that it had not (digit 0/new.png). --overwrite trains anew "
        "on what there is."
    )
    first.unlink()
    pipeline.train(settings, pipeline.Request(output=tmp_path / "run"), progress=told)
    assert f"1 of its images are gone (digit 0/{first.name}) and others are" in told.said[-1]
    shutil.rmtree(digits)
    pipeline.train(settings, pipeline.Request(output=tmp_path / "run"), progress=told)
    assert "cannot be read any more: " in told.said[-1]


def test_a_run_goes_on_whatever_the_threads(digits: Path, tmp_path: Path) -> None:
    first = run(small(digits, "linear-probe"), tmp_path / "run")
    again = run(small(digits, "linear-probe", workers=1, device="cpu"), tmp_path / "run")
    assert again.accuracy == first.accuracy


def test_a_run_that_another_process_made_meanwhile_is_kept(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, real = small(digits, "linear-probe"), pipeline.load_chosen

    def made_meanwhile(*given: object) -> object:
        monkeypatch.setattr(pipeline, "load_chosen", real)
        run(settings, tmp_path)
        return real(*given)

    monkeypatch.setattr(pipeline, "load_chosen", made_meanwhile)
    with pytest.raises(InputError, match="Another process has begun this very run in"):
        run(settings, tmp_path)
    assert RunFolder(tmp_path).status()["finished"]
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_another_run_in_the_folder_is_refused_then_replaced(digits: Path, tmp_path: Path) -> None:
    run(small(digits, "linear-probe"), tmp_path / "run")
    other = small(digits, "linear-probe", seed=1)
    with pytest.raises(
        InputError, match=r"holds another run: seed is 0 there, 1 here.*--overwrite"
    ):
        run(other, tmp_path / "run")
    run(other, tmp_path / "run", overwrite=True)
    assert tomllib.loads((tmp_path / "run/settings.toml").read_text())["seed"] == 1


def test_the_recipe_of_a_run_repeats_it(digits: Path, tmp_path: Path) -> None:
    run(small(digits), tmp_path / "first")
    lacvit.train(settings=tmp_path / "first/settings.toml", output=tmp_path / "second")
    assert_same_weights(tmp_path / "first", tmp_path / "second")


def test_test_labels_change_no_weight(tmp_path: Path) -> None:
    """Two data sets that differ in their test labels alone train to the same weights."""
    sizes = {"train": 6, "val": 3, "test": 5}
    honest = write_split_folder(tmp_path / "honest", sizes)
    shuffled = shutil.copytree(honest, tmp_path / "shuffled")
    rename_in_a_ring(shuffled / "test")
    for method in ("lacvit", "cross-entropy", "linear-probe"):
        results = {}
        for data in (honest, shuffled):
            results[data.name] = run(small(data, method), tmp_path / f"{method}-{data.name}")
        assert_same_weights(tmp_path / f"{method}-honest", tmp_path / f"{method}-shuffled")
        assert results["honest"].accuracy > results["shuffled"].accuracy


def rename_in_a_ring(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        (folder / name).rename(folder / f"{name}.moved")
    for name, following in zip(names, names[1:] + names[:1], strict=True):
        (folder / f"{name}.moved").rename(folder / following)


def test_shots_are_drawn_by_the_seed(digits: Path, tmp_path: Path) -> None:
    drawn = {}
    for seed in (0, 1):
        settings = small(digits, "linear-probe", seed=seed, **{"data.shots": 2})
        folder = run(settings, tmp_path / f"s{seed}").run_folder
        drawn[seed] = json.loads((folder / "data.json").read_text())
    counts = drawn[0]["counts"]
    assert set(counts["train"].values()) == {2}
    assert set(counts["validation"].values()) == {2}
    assert drawn[0]["paths"]["test"] == drawn[1]["paths"]["test"]
    assert drawn[0]["paths"]["train"] != drawn[1]["paths"]["train"]


def test_a_live_head_trains_by_sgd(digits: Path, tmp_path: Path) -> None:
    changes = {"head.solver": "sgd", "head.features": "live", "head.epochs": 2}
    folder = run(small(digits, "linear-probe", **changes), tmp_path / "run").run_folder
    assert [json.loads(x)["epoch"] for x in _lines(folder / "head/metrics.jsonl")] == [0, 1]


def test_bad_data_leaves_nothing_behind(tmp_path: Path) -> None:
    lonely = write_digit_folder(tmp_path / "lonely", classes=1)
    with pytest.raises(InputError, match="class"):
        run(small(lonely), tmp_path / "run")
    assert not (tmp_path / "run").exists()


NAMED_WRONGLY = [
    ({"device": "gpu"}, "There is no device 'gpu' here"),
    ({"device": "cuda:99"}, "There is no device 'cuda:99' here"),
    ({"device": "cuda:99", "backbone.spec": "auto"}, "There is no device 'cuda:99' here"),
    ({"backbone.spec": "pica"}, "Did you mean 'pico'"),
    ({"backbone.spec": "timm:vit_tinny_patch16_224"}, "timm has no weights 'vit_tinny"),
    ({"backbone.spec": "timm:vit_huge_patch14_gap_224.in1k_ijepa"}, "is not on the hub"),
    ({"backbone.spec": "timm:EMPTY"}, "EMPTY is no model of timm"),
    ({"backbone.spec": "hf:dinov2-base"}, "There is no folder dinov2-base"),
    ({"backbone.spec": "file:mae.pth"}, "There is no checkpoint mae.pth"),
    ({"backbone.spec": "file:mae.pth?format=mea"}, "There is no checkpoint format 'mea'"),
    ({"backbone.spec": "file:mae.pth?head=6"}, "has no option 'head'"),
    ({"backbone.spec": "run:EMPTY"}, "EMPTY holds no model of lacvit"),
]


@pytest.mark.parametrize(("changes", "text"), NAMED_WRONGLY)
def test_what_is_not_there_is_refused_before_an_image_is_read(
    changes: dict[str, object],
    text: str,
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the images were read")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lacvit.shared.read_images", read)
    (tmp_path / "EMPTY").mkdir()
    settings = small(digits, **changes)
    with pytest.raises(InputError, match=re.escape(text)):
        pipeline.train(settings)
    with pytest.raises(InputError, match=re.escape(text)):
        pipeline.plan(settings, pipeline.Request(), Silence())
    assert [place.name for place in tmp_path.iterdir()] == ["EMPTY"]


def test_few_unreadable_images_are_skipped_and_named(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "data", classes=3, per_class=60)
    (data / "digit 0" / "broken.png").write_bytes(b"no image")
    said: list[str] = []
    watcher = Silence()
    watcher.message = said.append  # type: ignore[method-assign]
    request = pipeline.Request(output=tmp_path / "run")
    pipeline.train(small(data, "linear-probe"), request, progress=watcher)
    assert any("broken.png" in text for text in said)
    assert any("Skipped 1 unreadable of 181 images" in text for text in said)
    strict = small(data, "linear-probe", **{"data.strict": True})
    strict = small(data, "linear-probe", **{"data.strict": True})
    with pytest.raises(InputError, match=r"broken\.png"):
        run(strict, tmp_path / "strict")


def test_the_plan_writes_nothing(digits: Path, tmp_path: Path) -> None:
    request = pipeline.Request(output=tmp_path / "run")
    lines = "\n".join(pipeline.plan(small(digits), request, Silence()))
    assert not (tmp_path / "run").exists()
    for part in ("lacvit", "pico", "3 classes", "Parameters:", "Stage contrastive: 3 epochs"):
        assert part in lines, part


def test_max_time_shortens_the_schedule(digits: Path, tmp_path: Path) -> None:
    settings = small(digits, **{"contrastive.epochs": 100_000})
    result = run(settings, tmp_path / "run", max_seconds=20.0)
    resolved = tomllib.loads((result.run_folder / "settings.toml").read_text())
    assert 1 <= resolved["contrastive"]["epochs"] < 100_000
    with pytest.raises(InputError, match=r"--max-time leaves 1 s"):
        run(settings, tmp_path / "never", max_seconds=1.0)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"backbone.spec": "pico"}, "pets-default-pico-s0"),
        (
            {"backbone.spec": "pico", "method": "cross-entropy", "seed": 3},
            "pets-cross-entropy-pico-s3",
        ),
        ({"backbone.spec": "timm:vit_tiny.augreg"}, "pets-default-timm-vit_tiny.augreg-s0"),
        ({"backbone.spec": "file:/a/mae.pth?heads=3"}, "pets-default-mae-s0"),
        (
            {"backbone.spec": "hf:facebook/vit-mae-base"},
            "pets-default-hf-facebook-vit-mae-base-s0",
        ),
        ({"backbone.spec": "hf:/home/me/mine"}, "pets-default-mine-s0"),
    ],
)
def test_default_output(changes: dict[str, object], name: str) -> None:
    settings = make_settings(recipe={"data.path": "some/pets", **changes})
    assert naming.default_output(settings) == Path("runs") / name


def test_a_dot_in_a_folders_name_is_part_of_it(tmp_path: Path) -> None:
    """Runs from a tagged model of timm end in ``...augreg_in21k-s0``."""
    for name in ("photos.v1", "vit.augreg-s0", "vit.augreg-s1"):
        (tmp_path / name).mkdir()
    data = {"data.path": str(tmp_path / "photos.v1")}
    outputs = [
        naming.default_output(make_settings(recipe={**data, "backbone.spec": f"run:{folder}"}))
        for folder in (tmp_path / "vit.augreg-s0", tmp_path / "vit.augreg-s1")
    ]
    assert [path.name for path in outputs] == [
        f"photos.v1-default-vit.augreg-s{seed}-s0" for seed in (0, 1)
    ]


def test_an_earlier_run_is_found_whatever_its_data_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos [1]").mkdir()
    settings = make_settings(recipe={"data.path": "photos [1]", "data.shots": 10})
    request = naming.request_of(settings)
    folder = RunFolder(Path("runs") / "photos [1]-default-pico-s0")
    folder.path.mkdir(parents=True)
    for earlier, found in (({}, False), ({**request, "data.shots": 5}, False), (request, True)):
        folder.status_file.write_text(json.dumps({"request": earlier}))
        assert naming.earlier_output(settings, request) == (folder.path if found else None)


def test_an_earlier_run_is_found_from_home(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell expands the ``~`` of ``run:~/first``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    run(small(digits, "linear-probe"), tmp_path / "first")
    settings = small(digits, "linear-probe", **{"backbone.spec": "run:~/first"})
    run(settings, tmp_path / "second")
    kept = tomllib.loads((tmp_path / "second/settings.toml").read_text())
    assert kept["backbone"]["spec"] == f"run:{tmp_path / 'first'}"


def stopped(digits: Path, folder: Path) -> RunSettings:
    """A run that was killed in its second epoch."""
    settings = small(digits)
    with pytest.raises(Killed):
        pipeline.train(settings, pipeline.Request(output=folder), progress=KillAt("contrastive", 1))
    return settings


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_goes_on_where_its_device_is_not(digits: Path, tmp_path: Path) -> None:
    settings = stopped(digits, tmp_path / "run")
    kept = tmp_path / "run/settings.toml"
    kept.write_text(kept.read_text().replace('device = "cpu"', 'device = "cuda:7"'))
    result = run(settings, tmp_path / "run")
    assert result.images


def test_a_run_goes_on_from_a_folder_where_its_backbone_is_not(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(digits, "linear-probe"), tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    settings = small(digits, **{"backbone.spec": "run:first"})
    request = pipeline.Request(output=tmp_path / "second")
    with pytest.raises(Killed):
        pipeline.train(settings, request, progress=KillAt("contrastive", 1))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pipeline.train(settings, request).images


def test_a_run_of_an_earlier_version_goes_on(digits: Path, tmp_path: Path) -> None:
    """A setting that it had not yet was at its default."""
    settings = stopped(digits, tmp_path / "run")
    status = tmp_path / "run/status.json"
    request = json.loads(status.read_text())["request"]
    change(status, request={k: v for k, v in request.items() if k != "features.crops"})
    assert run(settings, tmp_path / "run").images
    other = small(digits, **{"features.crops": "corners"})
    change(status, request={k: v for k, v in request.items() if k != "features.crops"})
    with pytest.raises(InputError, match=r"features\.crops is 'auto' there, 'corners' here"):
        run(other, tmp_path / "run")


def test_the_seconds_of_all_starts_count(digits: Path, tmp_path: Path) -> None:
    settings = stopped(digits, tmp_path / "run")
    status = tmp_path / "run/status.json"
    assert json.loads(status.read_text())["seconds"] > 0
    change(status, seconds=1000.0)
    run(settings, tmp_path / "run")
    assert 1000 < json.loads(status.read_text())["seconds"] < 1100


@pytest.mark.parametrize("stage", ["contrastive", "head"])
def test_the_watcher_is_told_of_the_end_whatever_ends_it(
    stage: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live display hides the cursor until then."""
    ends: list[str] = []

    class Watcher(KillAt):
        def end(self) -> None:
            ends.append(self.stage)

    def kill(*_: object, **__: object) -> None:
        raise Killed

    if stage == "head":
        monkeypatch.setattr(staging, "fit_exact_head", kill)
    with pytest.raises(Killed):
        pipeline.train(
            small(digits),
            pipeline.Request(output=tmp_path / "run"),
            progress=Watcher("contrastive" if stage == "contrastive" else "none", 1),
        )
    assert ends[-1] == stage


def test_the_default_names_the_epochs_that_it_trains(digits: Path) -> None:
    backbone = load_backbone("pico")
    _, said = settling.settle_method(make_settings(recipe={}), backbone, 500)
    assert any("25 epochs" in text for text in said)
    _, said = settling.settle_method(make_settings(recipe={"joint.epochs": 7}), backbone, 500)
    assert not any("25 epochs" in text for text in said)


def test_a_shorter_time_is_for_new_runs(digits: Path, tmp_path: Path) -> None:
    settings, said = small(digits, "cross-entropy-paper"), []
    folder = run(settings, tmp_path / "run").run_folder
    RunFolder(folder).update_status(finished=False)
    progress = Silence()
    progress.message = said.append
    request = pipeline.Request(output=folder, max_seconds=60.0)
    pipeline.train(settings, request, progress=progress)
    going_on = f"Going on with the run in {folder}, by the schedule that it began with"
    assert any(text.startswith(going_on) for text in said)


def test_python_interface(digits: Path, tmp_path: Path) -> None:
    result = lacvit.train(
        digits, output=tmp_path / "run", method="linear-probe", settings=small(digits)
    )
    model = lacvit.load(result.run_folder)
    evaluation = lacvit.evaluate(model, digits)
    assert len(evaluation.labels_N) == 36  # no splits there: every image
    assert model.embed([digits / "digit 0" / "0000.png"]).shape == (1, model.backbone.dim)


def test_mistakes_come_most_confident_first(digits: Path, tmp_path: Path) -> None:
    folder = run(small(digits, "cross-entropy-paper"), tmp_path / "run").run_folder
    with (folder / "evaluation/mistakes.csv").open() as file:
        confidence = [float(row["confidence"]) for row in csv.DictReader(file)]
    assert confidence == sorted(confidence, reverse=True)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
