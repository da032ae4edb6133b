"""What a checkpoint is said to be, and that no network is built to say it."""

import hashlib
from pathlib import Path

import pytest
import torch

import original_files as files
from lacvit.backbones import load_backbone, timm_models
from lacvit.backbones.inspection import inspect_checkpoint
from lacvit.errors import InputError


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(timm_models.timm, "create_model", refuse)


@pytest.mark.usefixtures("no_networks")
def test_a_data2vec_file_is_described(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    files.data2vec_tuned(path, files.Draw(0))
    report = inspect_checkpoint(path)
    assert report.model_dump(exclude={"parameters"}) == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tensors": 39,
        "types": ("float16", "int64"),
        "under": "module",
        "beside": ("optimizer", "csr_tensor_module_names", "global_steps", "ds_version"),
        "format": "data2vec",
        "evidence": "decided by rel_pos_bias.relative_position_bias_table and fc_norm.weight",
        "width": files.WIDTH,
        "depth": files.DEPTH,
        "heads": files.HEADS,
        "patch": files.PATCH,
        "image_size": files.SIZE,
        "left_over": ("rel_pos_bias.relative_position_index", "head.weight", "head.bias"),
        "unknown": (),
    }


@pytest.mark.parametrize("name", ["mae_tuned", "simmim_tuned", "data2vec_tuned", "dinov2", "npz"])
def test_the_parameters_of_the_encoder_are_counted(name: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.npz" if name == "npz" else "a.pth")
    getattr(files, name)(path, files.Draw(0))
    heads = "" if name in ("simmim_tuned", "data2vec_tuned", "npz") else "?heads=3"
    backbone = load_backbone(f"file:{path}{heads}")
    report = inspect_checkpoint(path)
    assert report.parameters == sum(p.numel() for p in backbone.parameters())
    assert report.heads == (None if heads else files.HEADS)


@pytest.mark.usefixtures("no_networks")
def test_what_cannot_be_known_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    files.dino_released(path, files.Draw(0))
    open_report = inspect_checkpoint(path)
    assert (open_report.format, open_report.width) == (None, None)
    assert open_report.evidence == "might be mae or dino or deit"
    assert inspect_checkpoint(path, format="dino").depth == files.DEPTH
    torch.save({"first": torch.zeros(3)}, path)
    assert inspect_checkpoint(path).evidence == "unknown"
    torch.save({"layer1.0.conv1.weight": torch.zeros(3)}, path)
    assert inspect_checkpoint(path).evidence == "a residual network, not a vision transformer"
    with pytest.raises(InputError, match="There is no checkpoint format 'moco'"):
        inspect_checkpoint(path, format="moco")


@pytest.mark.usefixtures("no_networks")
def test_keys_that_a_load_would_refuse_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    model = files.mae_tuned(path, files.Draw(0)) | {"blocks.0.gate": torch.zeros(2)}
    torch.save({"model": model}, path)
    assert inspect_checkpoint(path).unknown == ("blocks.0.gate",)
    del model["pos_embed"]
    torch.save({"model": model}, path)
    report = inspect_checkpoint(path, format="mae")
    assert report.evidence.startswith(f"as asked for; but {path} has no positions of a square")


@pytest.mark.usefixtures("no_networks")
def test_what_speaks_against_the_format_asked_for_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    files.beit_pretrained(path, files.Draw(0))
    assert inspect_checkpoint(path, format="data2vec").evidence == (
        f"as asked for. Its rel_pos_bias.relative_position_bias_table and lm_head.weight would "
        f"fit beit: file:{path}?format=beit"
    )
