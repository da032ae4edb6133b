"""Tiny models of transformers with fully random weights, saved as their authors would."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lacvit.backbones.torchvision_shim import ensure_torchvision

ensure_torchvision()

import transformers  # noqa: E402  (must follow the shim)

WIDTH, DEPTH, PATCH, SIZE, OTHER = 16, 3, 8, 32, 48
COMMON = {
    "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 2,
    "intermediate_size": 24, "image_size": SIZE, "patch_size": PATCH,
}  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """A model type in its smallest form, and which of its tokens are pooled."""

    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    shape: dict[str, Any] = field(default_factory=lambda: dict(COMMON))
    prefix: int = 1  # tokens before the patches
    cls: int | None = 1  # class tokens; None: there is none
    pool: str = "cls"
    depth: int = DEPTH
    options: dict[str, Any] = field(default_factory=dict)  # of the model's construction

    def make(self, **options: Any) -> Any:
        """The model with every weight drawn anew: norms, scales and positions included."""
        config = transformers.AutoConfig.for_model(self.model_type, **self.shape | self.config)
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(
            config, dtype=torch.float32, **self.options | options
        )
        draw_all_anew(model)
        return model.eval()


def draw_all_anew(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if name.endswith(("norm.weight", "layernorm.weight")) else 0.0
            parameter.normal_(centre, 0.2, generator=generator)


SWIN = {
    "image_size": SIZE, "patch_size": 4, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2],
    "window_size": 4,
}  # fmt: skip
TINY = {
    "vit": Tiny("vit"),
    "deit": Tiny("deit", prefix=2, cls=2),
    "beit": Tiny(
        "beit", {"use_relative_position_bias": True, "layer_scale_init_value": 0.1}, pool="mean"
    ),
    "beit-absolute-cls": Tiny(
        "beit", {"use_mean_pooling": False, "use_absolute_position_embeddings": False}
    ),
    "data2vec-vision": Tiny(
        "data2vec-vision", {"use_shared_relative_position_bias": True}, pool="mean",
        options={"add_pooling_layer": True},
    ),
    "dinov2": Tiny("dinov2", {"mlp_ratio": 2}),
    "dinov2-swiglu": Tiny("dinov2", {"use_swiglu_ffn": True}),
    "dinov2_with_registers": Tiny(
        "dinov2_with_registers", {"mlp_ratio": 2, "num_register_tokens": 4}, prefix=5
    ),
    "dinov3_vit": Tiny("dinov3_vit", {"num_register_tokens": 4}, prefix=5),
    "clip_vision_model": Tiny("clip_vision_model"),
    "siglip_vision_model": Tiny("siglip_vision_model", prefix=0, cls=None, pool="attention"),
    "swinv2": Tiny("swinv2", shape=SWIN, prefix=0, cls=None, pool="mean"),
    "swin": Tiny("swin", shape=SWIN, prefix=0, cls=None, pool="mean"),
    "vit_mae": Tiny(
        "vit_mae",
        {"decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
         "decoder_intermediate_size": 8},
        pool="mean",
    ),
    "vit_msn": Tiny("vit_msn"),
    "ijepa": Tiny("ijepa", prefix=0, cls=None, pool="mean"),
}  # fmt: skip


def write_processor(folder: Path, **entries: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(entries))


def save(model: Any, folder: Path, **processor: Any) -> Path:
    """A folder as ``save_pretrained`` leaves it, with a processor's file."""
    model.save_pretrained(folder)
    write_processor(folder, **{"size": {"height": SIZE, "width": SIZE}, "resample": 2} | processor)
    return folder
