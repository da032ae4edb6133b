"""What `lacvit train` does where nothing is said: the settings of `--method auto`, by regime.

Accuracy@1 on full test sets (of Flowers-102 a part), means over the seeds of docs/results.md, which
has every cell and arm with intervals and losses. The last two columns, `lacvit` and
`cross-entropy-refit`, have the default's head: its last fit is on validation images too, and it
reads corners. The first is cross-entropy as it is tuned by itself:

    pretrained as                 images               by itself   lacvit    refit
    pico, pretrained with labels  10 a class                43.2     52.6     51.7
    pico, pretrained with labels  50 a class                56.3     61.2     60.8
    pico, pretrained with labels  10 of 100 classes         26.9     33.6     34.1
    pico, pretrained with labels  Flowers-102 in part       48.4     54.1     54.5
    a masked autoencoder (MAE)    10 a class                37.1     41.7     43.3
    a masked autoencoder (MAE)    50 a class                50.8     51.9     55.0
    a masked autoencoder (MAE)    10 of 100 classes         20.6     23.9     26.2
    a masked autoencoder (MAE)    Flowers-102 in part       41.4     42.3     49.9
    masked images (SimMIM)        10 a class                30.3     30.1     34.5
    masked images (SimMIM)        50 a class                40.0     40.6     44.6
    masked images (SimMIM)        10 of 100 classes         14.4     16.9     19.3
    masked images (SimMIM)        Flowers-102 in part       35.4     39.4     44.7
    its own features (data2vec)   10 a class                29.0     29.7     32.5
    its own features (data2vec)   50 a class                39.7     39.4     43.7
    its own features (data2vec)   10 of 100 classes         13.7     17.0     18.5
    its own features (data2vec)   Flowers-102 in part       33.3     39.1     41.9

From encoders with labels these two and joint training are level on average; on cells and seeds that
had no part in the question lacvit was first, by less than five seeds can tell, and by less than
joint's rate there may be worth (docs/log.md). From those without, cross-entropy is ahead. No figure
stands behind encoders of an unknown pretraining: they are treated as those with labels, which is a
guess. Temperature and views are the same everywhere: no other value was ahead in any regime that
was tried (regimes.csv).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Pretraining = Literal["labels", "none", "unknown"]

# Who sets one stage alone by hand means the arm that trains by it; else the encoder decides.
ARMS: Mapping[Pretraining, str] = {
    "labels": "lacvit",
    "none": "cross-entropy-refit",
    "unknown": "lacvit",
}
# An encoder pretrained without labels has further to go, and takes twice the rate (search.csv).
RATES: Mapping[Pretraining, float] = {"labels": 1.0, "none": 2.0, "unknown": 1.0}
# Between 12 and 50 epochs of 500 images nothing moved beyond the noise of a run (docs/log.md); 60
# steps are what every arm had at 10 images a class.
LEAST_EPOCHS, LEAST_STEPS = 25, 60
# The images of the head's last fit: the fewer there are, the more validation images are worth in it
# (1 to 4 points at 10 and 50 a class), and nowhere did it lose.
FIT_ON = "all"
# Features averaged over an image and its corners, where the encoder sees no more pixels a side
# than those that were measured; what they are worth to larger ones is not known, and encoding an
# image takes six times as long.
CROPS_TO = 32

# How names and formats of encoders that were pretrained without labels are marked, and what a name
# says where labels came in later.
WITHOUT_LABELS = ("mae", "mim", "data2vec", "beit", "dino", "jepa")
WITH_LABELS = ("ft_in", "ft1k", "ft22k", "finetune")
# Captions, masks of objects, or several things at once: no table here has such an encoder.
OTHERWISE = ("clip", "siglip", "samvit", "aimv2", "vit_pe_")


@dataclass(frozen=True)
class Choice:
    """How the default arm trains, and what it reads of an image."""

    epochs: int
    rate: float  # times the automatic learning rate
    crops: Literal["whole", "corners"]


def choose(images: int, batch_size: int, pretraining: Pretraining, pixels: int) -> Choice:
    """How the default arm trains and reads its images.

    Args:
        images: to train on.
        batch_size: images a step.
        pretraining: of the encoder.
        pixels: a side of what the encoder sees.
    """
    steps = math.ceil(images / batch_size)
    epochs = max(LEAST_EPOCHS, math.ceil(LEAST_STEPS / steps))
    crops: Literal["whole", "corners"] = "corners" if pixels <= CROPS_TO else "whole"
    return Choice(epochs, RATES[pretraining], crops)


def pretraining_of(spec: str, file_format: str) -> Pretraining:
    """What an encoder was pretrained with, as far as its name or its file's format tells."""
    # The names of files and folders may say anything; the format says what was recognised in it.
    source, _, name = spec.partition(":")
    on_disk = source in ("file", "run") or bool(name and Path(name).expanduser().is_dir())
    text = (file_format if on_disk else spec).lower()
    if any(mark in text for mark in WITH_LABELS):
        return "labels"
    if any(mark in text for mark in WITHOUT_LABELS):
        return "none"
    if any(mark in text for mark in OTHERWISE):
        return "unknown"
    published = source == "timm" and not on_disk
    known = spec == "pico" or published or file_format in ("deit", "npz")
    return "labels" if known else "unknown"
