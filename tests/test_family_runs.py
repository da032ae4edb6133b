"""Whole runs from each family of transformers and of timm. Those of file: are in test_file_runs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

import lacvit
from digit_folders import write_digit_folder
from hf_folders import TINY, save
from lacvit import pipeline
from lacvit.backbones import load_backbone, timm_models
from lacvit.config import make_settings

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
SWIN = {"img_size": 32, "patch_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2),
        "window_size": 4}  # fmt: skip
# Family of timm -> a model of it, made small.
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "deit": ("deit_tiny_distilled_patch16_224", VIT),
    "beit": ("beit_base_patch16_224", VIT),
    "eva": ("eva_giant_patch14_224", VIT),
    "eva02": ("eva02_tiny_patch14_224", VIT),
    "clip": ("vit_base_patch16_clip_224", VIT),
    "dinov2": ("vit_small_patch14_reg4_dinov2", VIT),
    "dinov3": ("vit_small_patch16_dinov3", VIT),
    "siglip": ("vit_base_patch16_siglip_224", VIT),
    "pe": ("vit_pe_core_tiny_patch16_384", VIT),
    "relpos": ("vit_relpos_small_patch16_224", VIT),
    "swin": ("swin_tiny_patch4_window7_224", SWIN),
    "swinv2": ("swinv2_tiny_window8_256", SWIN),
    "swinv2_cr": ("swinv2_cr_tiny_224", SWIN),
}
HF = ("vit", "deit", "beit", "data2vec-vision", "dinov2", "dinov2_with_registers", "dinov3_vit",
      "clip_vision_model", "siglip_vision_model", "swinv2", "swin", "vit_mae", "vit_msn",
      "ijepa")  # fmt: skip


pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digit_folder(tmp_path_factory.mktemp("data") / "digits", classes=2, per_class=8)


def save_timm(family: str, folder: Path) -> Path:
    name, arguments = TIMM[family]
    torch.manual_seed(0)
    model = timm_models.timm.create_model(name, num_classes=0, **arguments)
    timm_models.timm.models.save_for_hf(model, folder, model_args=arguments)
    return folder


@pytest.mark.parametrize(
    ("source", "family"), [("hf", name) for name in HF] + [("timm", name) for name in TIMM]
)
def test_each_family_goes_through_both_stages(
    source: str, family: str, digits: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    folder = save(TINY[family].make(), weights) if source == "hf" else save_timm(family, weights)
    spec = f"{source}:{folder}"
    before = load_backbone(spec)
    settings = make_settings(
        recipe={
            "data.path": str(digits),
            "method": "lacvit",
            "backbone.spec": spec,
            "contrastive.epochs": 1,
            "contrastive.batch_size": 4,
            "head.strengths": [1.0],
            "precision": "fp32",
        }
    )
    run = pipeline.train(settings, pipeline.Request(output=tmp_path / "run")).run_folder
    shutil.rmtree(folder)  # the saved model stands alone
    model = lacvit.load(run)
    stored = load_file(run / "model" / "model.safetensors")
    for name, tensor in model.backbone.encoder.state_dict().items():
        assert torch.equal(tensor, torch.from_numpy(stored[f"backbone.{name}"])), name
    # The contrast reached the first block, and with it all that is above.
    untouched, trained = (b.blocks()[0].parameters() for b in (before, model.backbone))
    assert not all(torch.equal(old, new) for old, new in zip(untouched, trained, strict=True))
    images = sorted(digits.rglob("*.png"))[:3]
    assert {answer.label for answer in model.predict(images)} <= {"digit 0", "digit 1"}
    for stage in ("contrastive", "head"):
        assert (run / stage / "metrics.jsonl").is_file()
