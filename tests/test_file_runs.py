"""Whole runs from the authors' own files, each family through both stages."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import lacvit
import original_files as files
from digit_folders import write_digit_folder
from lacvit import naming, pipeline, planning
from lacvit.backbones import load_backbone
from lacvit.config import RunSettings, make_settings
from lacvit.staging import load_chosen
from lacvit.training.logs import Silence

FAMILIES = {
    "mae": (files.mae_tuned, "?heads=3", "decided by fc_norm.weight and pos_embed and"),
    "simmim": (files.simmim_pretrained, "", "decided by encoder.mask_token and"),
    "data2vec": (files.data2vec_tuned, "", "decided by rel_pos_bias.relative_position_bias"),
    "beit": (files.beit_tuned, "", "decided by blocks.0.attn.relative_position_bias_table"),
    "dino": (files.dino_released, "?heads=3&format=dino", "as asked for"),
    "dinov2": (files.dinov2_registers, "?heads=3", "decided by blocks.0.ls1.gamma and"),
    "deit": (files.deit_distilled, "?heads=3", "decided by dist_token"),
    "npz": (files.npz, "", "decided by Transformer/encoder_norm/scale and"),
}


pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("data") / "digits", classes=2, per_class=8)


def settings_for(data: Path, spec: str, epochs: int) -> RunSettings:
    return make_settings(
        recipe={
            "data.path": str(data),
            "backbone.spec": spec,
            "method": "lacvit",
            "contrastive.epochs": epochs,
            "contrastive.batch_size": 4,
            "head.strengths": [1.0],
            "precision": "fp32",
        }
    )


class Listener(Silence):
    """Keeps what is said, and may end the process in the second epoch of the first stage."""

    def __init__(self, end: Callable[[], None] = lambda: None) -> None:
        self.lines: list[str] = []
        self.end, self.epochs = end, 0

    def message(self, text: str) -> None:
        self.lines.append(text)

    def epoch(self, epoch: int, scalars: object) -> None:
        self.epochs += 1

    def step(self, share: float) -> None:
        if self.epochs == 1:
            self.end()


@pytest.mark.parametrize("format", FAMILIES)
def test_each_family_goes_through_both_stages(format: str, digits: Path, tmp_path: Path) -> None:
    write, options, evidence = FAMILIES[format]
    path = tmp_path / ("a.npz" if format == "npz" else "a.pth")
    write(path, files.Draw(0))
    spec, said = f"file:{path}{options}", Listener()
    settings = settings_for(digits, spec, epochs=1)
    request = pipeline.Request(output=tmp_path / "run")
    finished = pipeline.train(settings, request, progress=said).run_folder
    assert any(line.startswith(f"{spec} is read as {format} ({evidence}") for line in said.lines)
    path.unlink()  # the saved model stands alone
    model = lacvit.load(finished)
    assert model.backbone.origin.format == format
    images = sorted(digits.rglob("*.png"))[:3]
    assert len(model.predict(images)) == 3


class Killed(BaseException):
    """Stands for any end of the process."""


def test_a_run_from_a_file_with_relative_positions_resumes(digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    files.data2vec_tuned(path, files.Draw(0))
    settings = settings_for(digits, f"file:{path}", epochs=2)

    def end() -> None:
        raise Killed

    whole = pipeline.train(settings, pipeline.Request(output=tmp_path / "whole")).run_folder
    request = pipeline.Request(output=tmp_path / "killed")
    with pytest.raises(Killed):
        pipeline.train(settings, request, progress=Listener(end))
    resumed = pipeline.train(settings, request).run_folder
    first, second = (load_file(f / "model" / "model.safetensors") for f in (whole, resumed))
    assert first.keys() == second.keys()
    assert "backbone.rel_pos_bias.relative_position_bias_table" in first
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)


@pytest.mark.parametrize("options", ["?heads=3", "?format=mae&heads=3"])
def test_resolved_settings_find_the_file_from_any_folder(
    options: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    files.mae_tuned(tmp_path / "weights/mae.pth", files.Draw(0))
    monkeypatch.chdir(tmp_path)
    asked = settings_for(digits, f"file:weights/mae.pth{options}", epochs=1)
    resolved = planning.resolve(asked, load_chosen(asked))
    assert resolved.backbone.spec == f"file:{tmp_path / 'weights/mae.pth'}{options}"
    assert naming.default_output(resolved) == naming.default_output(asked)
    assert naming.default_output(asked).name == "digits-lacvit-mae-s0"
    monkeypatch.chdir("/")
    assert load_chosen(resolved).dim == 24


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("run:runs/first", "run:{}/runs/first"),
        ("run:/runs/first", "run:/runs/first"),
        ("pico", "pico"),
        ("timm:vit_small_patch16_224", "timm:vit_small_patch16_224"),
    ],
)
def test_only_places_are_made_absolute(
    spec: str, expected: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = planning.resolve(settings_for(digits, spec, epochs=1), load_backbone("pico"))
    assert resolved.backbone.spec == expected.format(tmp_path)
