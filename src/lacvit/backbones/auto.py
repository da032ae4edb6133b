"""``--backbone auto``: which pretrained encoder, by the size of the images and by the machine.

One literal table of open models, read from its top. A model in the cache beats a better one that
would have to be downloaded; where there is neither, pico serves.
"""

from __future__ import annotations

from dataclasses import dataclass

from lacvit.backbones import hub

LARGE_IMAGES = 64  # pixels of the shorter side: up to here pico's 32 lose little
PICO = "pico"
NOTHING_BETTER = (
    "pico serves because no better encoder that trains here is on this machine, and there was no "
    "network to fetch one."
)


@dataclass(frozen=True)
class Row:
    """One encoder that ``auto`` may come to."""

    name: str  # timm's
    megabytes: int  # of the download
    licence: str
    from_pixels: int  # shorter side of the images
    from_gigabytes: int  # memory of an accelerator; 0: trains on a processor in reasonable time
    reason: str

    @property
    def spec(self) -> str:
        """As a user would name it."""
        return f"timm:{self.name}"


# Steiner et al. 2022 released these under an open licence, and their small models gain most from
# ImageNet-21k. Memory: an estimate of 256 views (128 images) a step in bfloat16.
ROWS = (
    Row("vit_base_patch16_384.augreg_in21k_ft_in1k", 347, "apache-2.0", 512, 80,
        "sees 384 pixels, for large images with fine detail"),
    Row("vit_base_patch16_224.augreg2_in21k_ft_in1k", 346, "apache-2.0", LARGE_IMAGES + 1, 32,
        "the most accurate open ViT of 224 pixels that trains on one large accelerator"),
    Row("vit_small_patch16_224.augreg_in21k", 120, "apache-2.0", LARGE_IMAGES + 1, 12,
        "22 M parameters learnt from 21,000 classes, for an accelerator of usual size"),
    Row("vit_tiny_patch16_224.augreg_in21k", 39, "apache-2.0", LARGE_IMAGES + 1, 0,
        "5.5 M parameters: an epoch takes minutes even on a processor"),
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What ``auto`` came to, and why."""

    spec: str
    reason: str


def choose(shorter_side: int, accelerator_gigabytes: float) -> Choice:
    """The encoder for images of a size on a machine.

    Args:
        shorter_side: of the images, in pixels, as they are on the disk.
        accelerator_gigabytes: memory of the accelerator; 0 where only a processor trains.
    """
    if shorter_side <= LARGE_IMAGES:
        return Choice(PICO, f"the images have {shorter_side} pixels a side, and pico sees 32")
    fitting = [
        row
        for row in ROWS
        if shorter_side >= row.from_pixels and accelerator_gigabytes >= row.from_gigabytes
    ]
    for row in fitting:
        if is_cached(row):
            return Choice(row.spec, f"{row.reason}; it is on this machine already")
    if hub.reachable():
        row = fitting[0]
        return Choice(
            row.spec,
            f"{row.reason}; {row.megabytes} MB are downloaded if need be, licence {row.licence}",
        )
    refused = [
        f"{row.spec} is on this machine, but {_why_not(row, accelerator_gigabytes)}"
        for row in ROWS
        if row not in fitting and is_cached(row)
    ]
    return Choice(
        PICO,
        f"{'; '.join(refused) or 'nothing better is on this machine'}, and there is no network to "
        f"fetch {fitting[0].spec} ({fitting[0].megabytes} MB, {fitting[0].licence})",
    )


def _why_not(row: Row, accelerator_gigabytes: float) -> str:
    """Why a row that does not fit is not taken."""
    if accelerator_gigabytes < row.from_gigabytes:
        here = f"one of {accelerator_gigabytes:.3g}" if accelerator_gigabytes else "none"
        return f"trains on an accelerator of {row.from_gigabytes} GB, and here is {here}"
    return f"is for images of {row.from_pixels} pixels and more"


def is_cached(row: Row) -> bool:
    """Whether a row's weights are in the hub's cache."""
    return any(hub.cached_file(f"timm/{row.name}", name) is not None for name in hub.TIMM_FILES)
