"""Whole runs whose backbone is chosen, adapted or taken from another run."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

import lacvit
from digit_folders import write_digit_folder, write_split_folder
from lacvit import naming, pipeline, planning, settling
from lacvit.backbones import auto, load_backbone
from lacvit.config import RunSettings, make_settings
from lacvit.errors import InputError
from lacvit.forecast import time_backbone
from lacvit.reading import read_splits
from lacvit.report import write_report
from lacvit.run_folder import begin
from lacvit.staging import load_chosen
from lacvit.training.logs import Silence

SMALL = {
    "method": "lacvit",
    "backbone.spec": "pico",
    "contrastive.epochs": 2,
    "contrastive.batch_size": 8,
    "cross_entropy.batch_size": 8,
    "head.strengths": [0.1, 1.0],
    "precision": "fp32",
}


pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("data") / "digits")


def small(data: Path, **changes: object) -> RunSettings:
    return make_settings(recipe={**SMALL, "data.path": str(data), **changes})


def run(settings: RunSettings, output: Path) -> pipeline.TrainResult:
    return pipeline.train(settings, pipeline.Request(output=output))


class Killed(BaseException):
    """Stands for any end of the process."""


class KillIn(Silence):
    """Ends the process in the second epoch of a stage."""

    def __init__(self, stage: str) -> None:
        self.wanted, self.stage, self.epochs = stage, "", 0

    def begin(self, stage: str, *, epochs: int, done: int) -> None:
        self.stage, self.epochs = stage, done

    def epoch(self, epoch: int, scalars: object) -> None:
        self.epochs += 1

    def step(self, share: float) -> None:
        if (self.stage, self.epochs) == (self.wanted, 1):
            raise Killed


def test_a_run_with_adapters_resumes_and_leaves_an_ordinary_model(
    digits: Path, tmp_path: Path
) -> None:
    settings = small(digits, **{"backbone.trainable": "lora", "backbone.lora_rank": 2})
    whole = run(settings, tmp_path / "whole").run_folder
    with pytest.raises(Killed):
        pipeline.train(
            settings, pipeline.Request(output=tmp_path / "killed"), progress=KillIn("contrastive")
        )
    resumed = run(settings, tmp_path / "killed").run_folder
    first, second = (load_file(f / "model" / "model.safetensors") for f in (whole, resumed))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)
    untouched = load_backbone("pico").encoder.state_dict()
    own = {n.removeprefix("backbone."): t for n, t in first.items() if n.startswith("backbone.")}
    assert own.keys() == untouched.keys()
    moved = {n for n, t in own.items() if not np.array_equal(t, untouched[n].numpy())}
    assert {n.split(".")[-2] for n in moved} == {"qkv", "proj", "fc1", "fc2"}
    model = lacvit.load(resumed)
    stored = load_file(resumed / "evaluation" / "features" / "test.safetensors")["contrastive"]
    images = sorted(digits.rglob("*.png"))
    assert model.embed(images).shape == (len(images), stored.shape[1])
    again = load_backbone(f"run:{resumed}")
    assert set(again.encoder.state_dict()) == untouched.keys()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_adapters_get_their_own_automatic_rate(optimizer: str, digits: Path) -> None:
    stages = ("contrastive", "cross_entropy", "joint")
    asked = {f"{stage}.optimizer": optimizer for stage in stages}
    pico = load_backbone("pico")
    whole, lora = (
        planning.resolve(small(digits, **asked, **{"backbone.trainable": what}), pico)
        for what in ("all", "lora")
    )
    for stage in stages:
        times = 10 if optimizer == "adamw" else 1
        assert getattr(lora, stage).lr == pytest.approx(times * getattr(whole, stage).lr)


def test_the_head_alone_can_train_by_cross_entropy(digits: Path, tmp_path: Path) -> None:
    changes = {"method": "cross-entropy", "backbone.trainable": "head", "cross_entropy.epochs": 1}
    folder = run(small(digits, **changes), tmp_path / "head").run_folder
    weights = load_file(folder / "model" / "model.safetensors")
    for name, tensor in load_backbone("pico").encoder.state_dict().items():
        np.testing.assert_array_equal(weights[f"backbone.{name}"], tensor.numpy(), err_msg=name)


def test_the_head_alone_leaves_the_contrastive_stage_nothing(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leaves lacvit nothing to train that it would keep"):
        run(small(digits, **{"backbone.trainable": "head"}), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_auto_is_resolved_for_the_images_and_said(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []

    class Listener(Silence):
        def message(self, text: str) -> None:
            lines.append(text)

    settings = small(digits, **{"backbone.spec": "auto", "method": "linear-probe"})
    plan = pipeline.plan(settings, pipeline.Request(), Listener())
    assert any(line.startswith("Backbone: pico, chosen because the images have") for line in lines)
    assert f"Run folder: {Path('runs') / f'{digits.stem}-linear-probe-pico-s0'}" in plan


@pytest.mark.parametrize("network", [True, False])
def test_pico_for_large_images_is_noticed(network: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto.hub, "reachable", lambda: network)
    settings = make_settings(recipe={"data.path": "some/pets", "device": "cpu"})
    settled, said = settling.with_backbone(settings, 300)
    assert settled.backbone.spec == (auto.ROWS[-1].spec if network else "pico")
    assert said[0].startswith(f"Backbone: {settled.backbone.spec}, chosen because ")
    noticed = planning.notices(settled, 300, automatic=True)
    assert bool(noticed) is not network
    if not network:
        assert "--backbone timm:" in noticed[0]
        assert "there was no network to fetch one" in noticed[0]
        (asked_for,) = planning.notices(settled, 300)
        assert "network" not in asked_for


def test_a_run_without_network_says_to_its_end_why_pico_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large images, no network, and nothing cached."""
    monkeypatch.setattr(auto.hub, "reachable", lambda: False)
    monkeypatch.setattr(auto, "is_cached", lambda _row: False)
    for module in (pipeline, settling):
        monkeypatch.setattr(module, "shorter_side", lambda _records: 300)
    data = write_digit_folder(tmp_path / "large", classes=2, per_class=8)
    settings = small(data, **{"backbone.spec": "auto", "method": "linear-probe"})
    result = run(settings, tmp_path / "run")
    why = "there was no network to fetch one"
    assert any(why in notice for notice in result.notices)
    assert why in write_report(result.run_folder).read_text()
    again = run(settings, tmp_path / "run")  # finished: it says the same
    assert again.notices == result.notices


def test_a_run_is_found_again_though_the_choice_would_be_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = make_settings(recipe={"data.path": "some/pets"})
    asked = naming.request_of(settings)
    assert naming.earlier_output(settings, asked) is None
    begin(Path("runs/pets-default-pico-s0"), asked)
    begin(Path("runs/pets-default-other-s0"), asked | {"contrastive.epochs": 7})
    assert naming.earlier_output(settings, asked) == Path("runs/pets-default-pico-s0")
    named = make_settings(recipe={"data.path": "some/pets", "backbone.spec": "pico"})
    assert naming.earlier_output(named, asked) == Path("runs/pets-default-pico-s0")
    assert os.environ["HF_HUB_OFFLINE"] == "1", "tests must ask no network"


def test_what_is_timed_before_training_moves_no_statistics(digits: Path) -> None:
    """An encoder with batch normalisation would answer otherwise after eight blank images."""
    settings = planning.resolve(small(digits, method="linear-probe"), load_backbone("pico"))
    settings = settings.model_copy(update={"precision": "auto"})
    backbone = load_chosen(settings)
    network = backbone.encoder
    assert not any(module.training for module in backbone.modules())
    network.statistics = torch.nn.BatchNorm1d(backbone.dim).eval()
    network.register_forward_hook(lambda module, _, out: module.statistics(out))
    before = network.statistics.running_mean.clone()
    settling.settle_precision(settings, backbone, read_splits(settings, Silence()))
    time_backbone(settings, backbone)
    assert torch.equal(network.statistics.running_mean, before)


def test_a_model_answers_as_its_run_was_measured(digits: Path, tmp_path: Path) -> None:
    """Half precision is for training: a saved model computes in float32, and so do the figures."""
    data = write_split_folder(tmp_path / "data", {"train": 6, "val": 3, "test": 8})
    settings = small(data, method="linear-probe", precision="bf16")
    result = run(settings, tmp_path / "run")
    again = lacvit.evaluate(result.run_folder, data)
    kept = pq.read_table(tmp_path / "run/evaluation/predictions.parquet")
    assert kept["prediction"].to_pylist() == [
        again.class_names[k] for k in again.predictions_N.tolist()
    ]
    probabilities = np.array(kept["probabilities"].to_pylist())
    np.testing.assert_allclose(again.probabilities_NC, probabilities, atol=1e-5)


def test_evaluating_skips_what_training_skips(tmp_path: Path) -> None:
    data = write_digit_folder(tmp_path / "data", classes=2, per_class=110)
    result = run(small(data, method="linear-probe"), tmp_path / "run")
    broken = sorted((data / "digit 0").iterdir())[0]
    broken.write_bytes(b"")
    found = lacvit.evaluate(result.run_folder, data)
    assert len(found.paths) == 219
    assert broken.name in found.notices[0]
    for path in sorted((data / "digit 1").iterdir())[:3]:
        path.write_bytes(b"")
    with pytest.raises(InputError, match="4 of 220 images cannot be read"):
        lacvit.evaluate(result.run_folder, data)
