"""The arms: what can be trained and compared, one name each.

An arm is a list of stages and what it changes in the settings; there is no other code to it.
``--method``, ``settings.toml`` and the reports use these names and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lacvit.errors import InputError

PUBLISHED_ARM = "lacvit"  # what the others are set against, where it is among them
UNTOUCHED = "untouched"  # the pretrained encoder, where encoders go by their last stage
# What `lacvit compare` compares where nothing else is asked for: among them both arms that
# `regime` may choose.
COMPARED = ("linear-probe", "cross-entropy", "cross-entropy-refit", PUBLISHED_ARM)


@dataclass(frozen=True)
class Arm:
    """One way from a pretrained backbone to a classifier.

    ``stages`` run in order, each from the weights that the one before it left. ``overrides``
    replace defaults (dotted keys of :class:`lacvit.config.RunSettings`); a recipe, ``--set`` and
    flags still beat them. ``fixed`` are settings without which it would be another arm: where a
    recipe differs it was written for one, and is not followed; ``--set`` and flags are refused.
    """

    summary: str
    stages: tuple[str, ...]
    overrides: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    fixed: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def encoder_stages(self) -> tuple[str, ...]:
        """The stages that train the encoder, in order."""
        return tuple(stage for stage in self.stages if stage != "head")

    @property
    def trains_encoder(self) -> bool:
        """Whether any stage changes the backbone."""
        return bool(self.encoder_stages)

    @property
    def encoder(self) -> str:
        """What the final encoder is called by: the last stage that changed it, or `untouched`."""
        return (UNTOUCHED, *self.encoder_stages)[-1]


ARMS: dict[str, Arm] = {
    "knn": Arm(
        "the nearest training images vote, on the untouched backbone",
        ("head",),
        fixed=MappingProxyType({"head.solver": "knn", "head.features": "cached"}),
    ),
    "linear-probe": Arm(
        "a linear head on the untouched backbone",
        ("head",),
    ),
    "cross-entropy": Arm(
        "tuned cross-entropy fine-tuning of the whole network, from a probe-initialised head",
        ("cross_entropy",),
    ),
    # What the released code trains as its baseline (docs/paper-vs-here.md): SGD, one
    # view, crop and flip, a tenth of the image passes, a fresh head, no layer decay.
    "cross-entropy-paper": Arm(
        "the weak cross-entropy baseline that the paper's gain is measured against",
        ("cross_entropy",),
        MappingProxyType(
            {
                "cross_entropy.optimizer": "sgd",
                "cross_entropy.lr": 0.01,
                "cross_entropy.weight_decay": 1e-4,
                "cross_entropy.decay_all": True,
                "cross_entropy.layer_decay": 1.0,
                "cross_entropy.warmup": 0.0,
                "cross_entropy.clip_norm": 0.0,
                "cross_entropy.label_smoothing": 0.0,
                "cross_entropy.head_init": "random",
                "cross_entropy.share_of_passes": 0.1,
                "views.crop_scale": (0.2, 1.0),
            }
        ),
        # The recipes of recipes/paper/ colour the views, for the contrast alone.
        fixed=MappingProxyType({"views.jitter_probability": 0.0, "views.grey_probability": 0.0}),
    ),
    "cross-entropy-refit": Arm(
        "cross-entropy fine-tuning, then the exact head refitted on the frozen encoder",
        ("cross_entropy", "head"),
    ),
    "lacvit": Arm(
        "the paper's two stages: label-aware contrast, then a head on the frozen encoder",
        ("contrastive", "head"),
    ),
    # The budget of image passes is the arm's: what the fine-tuning takes, the contrast has not.
    "lacvit-finetune": Arm(
        "label-aware contrast, then a probe-initialised head and a short full fine-tuning",
        ("contrastive", "cross_entropy"),
        MappingProxyType({"cross_entropy.share_of_passes": 0.2}),
    ),
    "joint": Arm(
        "cross-entropy and label-aware contrast at once, each on its own head",
        ("joint",),
    ),
    "joint-refit": Arm(
        "joint training, then the exact head refitted on the frozen encoder",
        ("joint", "head"),
    ),
    # The paper's ablations: lacvit with another loss, and nothing else changed.
    "simclr": Arm(
        "lacvit without labels in its first stage: only views of one image attract (NT-Xent)",
        ("contrastive", "head"),
        MappingProxyType({"contrastive.loss": "simclr"}),
    ),
    "npair": Arm(
        "lacvit with the N-pair loss: one positive an anchor, the other classes' as negatives",
        ("contrastive", "head"),
        MappingProxyType({"contrastive.loss": "npair"}),
    ),
}


# What `--method auto` may come to, by the stage that trains the encoder: who sets one of them by
# hand means the arm that has it, and else the encoder decides (`regime`).
OF_STAGE: Mapping[str, str] = MappingProxyType(
    {
        "contrastive": PUBLISHED_ARM,
        "joint": "joint-refit",
        "cross_entropy": "cross-entropy-refit",
    }
)
AUTOMATIC = Arm("what the figures favour for such an encoder", (*OF_STAGE, "head"))


def find_arm(name: str) -> Arm:
    """The arm called ``name``.

    Raises:
        InputError: there is none; all names are listed.
    """
    if name not in ARMS:
        known = "\n".join(f"  {key:20} {arm.summary}" for key, arm in ARMS.items())
        raise InputError(f"There is no method {name!r}. Choose one of:\n{known}")
    return ARMS[name]
