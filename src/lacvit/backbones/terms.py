"""The terms under which a backbone's weights may be used, as far as they are known."""

from __future__ import annotations

from lacvit.backbones import timm_models

PICO = (
    "The backbone, pico, was pretrained on Tiny ImageNet, a part of ImageNet, whose terms allow "
    "non-commercial research and education."
)
UNKNOWN = "The backbone's weights have the terms of whoever released them."


def terms_of(spec: str) -> str:
    """A sentence on the terms of the weights that ``spec`` names."""
    if spec == "pico":
        return PICO
    source, _, name = spec.partition(":")
    licence = timm_models.licence(name) if source == "timm" else None
    if licence is None:
        return UNKNOWN
    return f"The backbone's weights have the licence {licence}, as timm records it."
