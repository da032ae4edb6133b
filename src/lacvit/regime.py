"""What `lacvit train` does where nothing is said: the settings of `--method auto`, by regime.

Accuracy@1 on full test sets (of Flowers-102 a part), mean of five seeds, three in the last two.
The last two columns have the default's head: its last fit is on validation images too, and it
reads corners (docs/results.md has every cell and encoder, intervals and losses):

    images a class, encoder              cross-entropy   lacvit   cross-entropy-refit
    10, pretrained with labels               43.2         52.6           51.7
    50, the same                             56.3         61.2           60.8
    10 of 100 classes, the same              26.9         33.6           34.1
    Flowers-102 in part, the same            48.4         54.1           54.5
    10, a masked autoencoder                 37.1         41.7           43.3
    50, the same                             50.8         51.9           55.0
    10 of 100 classes, the same              20.6         23.9           26.2
    Flowers-102 in part, the same            41.4         42.5           50.2

From encoders with labels these two and joint training are level on average; on cells and seeds that
had no part in the question lacvit was first, by less than five seeds can tell (docs/log.md). From
those without, cross-entropy is ahead.
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
    published = source == "timm" and not on_disk
    known = spec == "pico" or published or file_format in ("deit", "npz")
    return "labels" if known else "unknown"
