"""Small images of two brightnesses, and how they are fed, for tests of the stages."""

import numpy as np
import torch

from lacvit.backbones import Architecture, Backbone, Origin, build_backbone
from lacvit.data.batches import ViewPlan, hold
from lacvit.data.records import records_from_arrays
from lacvit.data.views import Augmentation
from lacvit.input_spec import InputSpec
from lacvit.training.logs import Silence
from lacvit.training.material import Compute, LabelledImages

COMPUTE = Compute(torch.device("cpu"), "fp32", evaluation_batch=5, workers=1)
SPEC = InputSpec(size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def small_backbone(seed: int = 0, **arguments: object) -> Backbone:
    """A vision transformer of a few thousand weights."""
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    architecture = Architecture(
        source="timm", name="vit_tiny_patch16_224", arguments=shape | arguments
    )
    torch.manual_seed(seed)
    return build_backbone(architecture, SPEC, Origin(spec="small", format="none"))


def images(n: int = 10, seed: int = 0) -> LabelledImages:
    """Dark images of class 0 and bright ones of class 1, in turn."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    arrays = [draw.integers(0, 120, (16, 16, 3), dtype=np.uint8) + 130 * int(c) for c in labels]
    records = records_from_arrays([a.astype(np.uint8) for a in arrays], labels, "ab")
    return LabelledImages(hold(records), records.labels)


def plan(backbone: Backbone, *, views: int, batch_size: int = 4, seed: int = 0) -> ViewPlan:
    augmentation = Augmentation(
        crop_scale=(0.5, 1.0), brightness=0.1, contrast=0.1, saturation=0.1, hue=0.0,
        jitter_probability=0.5, grey_probability=0.0,
    )  # fmt: skip
    return ViewPlan(backbone.input_spec, augmentation, views, batch_size, seed)


class Killed(BaseException):
    """Stands for any end of the process."""


class KillAfter(Silence):
    """Ends the process when an epoch is done."""

    def __init__(self, epoch: int) -> None:
        self.last = epoch

    def epoch(self, epoch: int, scalars: object) -> None:
        if epoch == self.last:
            raise Killed
