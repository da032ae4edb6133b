"""The table of arms: its names, its stages, and the refusal of any other name."""

import pytest

from lacvit import regime
from lacvit.arms import ARMS, AUTOMATIC, COMPARED, OF_STAGE, find_arm
from lacvit.config import make_settings
from lacvit.errors import InputError

STAGES = {
    "knn": ("head",),
    "linear-probe": ("head",),
    "cross-entropy": ("cross_entropy",),
    "cross-entropy-paper": ("cross_entropy",),
    "cross-entropy-refit": ("cross_entropy", "head"),
    "lacvit": ("contrastive", "head"),
    "lacvit-finetune": ("contrastive", "cross_entropy"),
    "joint": ("joint",),
    "joint-refit": ("joint", "head"),
    "simclr": ("contrastive", "head"),
    "npair": ("contrastive", "head"),
}


def test_the_arms_are_the_documented_ones() -> None:
    assert {name: arm.stages for name, arm in ARMS.items()} == STAGES


def test_every_default_is_among_what_is_compared() -> None:
    """Else a comparison could not say how `lacvit train` would have done."""
    assert set(regime.ARMS.values()) <= set(COMPARED)


@pytest.mark.parametrize("name", list(STAGES))
def test_an_arm_trains_the_encoder_unless_it_is_a_probe(name: str) -> None:
    assert find_arm(name).trains_encoder is (name not in ("knn", "linear-probe"))


@pytest.mark.parametrize("name", ["simclr", "npair"])
def test_an_ablation_is_lacvit_with_its_loss_and_nothing_else(name: str) -> None:
    assert find_arm(name).overrides == {"contrastive.loss": name}


def test_an_arm_cannot_be_changed() -> None:
    overrides = find_arm("lacvit").overrides
    with pytest.raises(TypeError, match="does not support item assignment"):
        overrides["seed"] = 1  # type: ignore[index]


def test_another_name_is_refused_with_all_names() -> None:
    with pytest.raises(InputError) as refused:
        find_arm("lacvitt")
    lines = str(refused.value).splitlines()
    assert lines[0] == "There is no method 'lacvitt'. Choose one of:"
    assert [line.split()[0] for line in lines[1:]] == list(STAGES)


def test_every_stage_of_the_encoder_has_an_arm_that_trains_by_it_alone() -> None:
    assert {stage: find_arm(name).stages for stage, name in OF_STAGE.items()} == {
        stage: (stage, "head") for stage in AUTOMATIC.encoder_stages
    }


def test_knn_reads_each_image_once_whatever_a_recipe_says() -> None:
    """The paper's recipes have a head that reads live images, which is not followed."""
    recipe = {"head.solver": "sgd", "head.features": "live", "method": "knn"}
    head = make_settings(recipe=recipe).head
    assert (head.solver, head.features) == ("knn", "cached")
