"""`--method auto`: what is chosen for so many images and such an encoder, what the user keeps."""

from pathlib import Path

import numpy as np
import pytest

from lacvit import naming, planning, regime, settling
from lacvit.arms import OF_STAGE
from lacvit.backbones import Backbone, load_backbone
from lacvit.config import RunSettings, flatten, make_settings
from lacvit.data.records import records_from_arrays
from lacvit.errors import InputError
from lacvit.regime import pretraining_of


@pytest.mark.parametrize(
    ("images", "epochs"), [(20, 60), (100, 60), (128, 60), (129, 30), (500, 25), (50_000, 25)]
)
def test_few_images_are_shown_more_often(images: int, epochs: int) -> None:
    assert regime.choose(images, 128, "labels", 32).epochs == epochs


def test_small_batches_need_no_more_epochs() -> None:
    assert regime.choose(100, 10, "labels", 32).epochs == 25
    assert regime.choose(3, 1, "labels", 32).epochs == 25


@pytest.mark.parametrize(
    ("spec", "file_format", "expected"),
    [
        ("pico", "safetensors", "labels"),
        ("timm:vit_small_patch16_224.augreg_in21k", "timm", "labels"),
        ("timm:vit_base_patch16_224.mae", "timm", "none"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "timm", "none"),
        ("timm:beit_base_patch16_224.in22k_ft_in22k_in1k", "timm", "labels"),
        ("timm:vit_base_patch16_224.mae_in1k_ft_in1k", "timm", "labels"),
        ("hf:facebook/vit-mae-base", "transformers vit_mae", "none"),
        ("hf:microsoft/beit-base-patch16-224-pt22k", "transformers beit", "none"),
        ("hf:microsoft/beit-base-patch16-224-pt22k-ft22k", "transformers beit", "labels"),
        ("hf:facebook/data2vec-vision-base-ft1k", "transformers data2vec-vision", "labels"),
        ("timm:vit_base_patch16_clip_224.openai", "timm", "unknown"),
        ("timm:vit_base_patch16_clip_224.openai_ft_in1k", "timm", "labels"),
        ("timm:vit_base_patch16_siglip_224.webli", "timm", "unknown"),
        ("timm:samvit_base_patch16.sa1b", "timm", "unknown"),
        ("timm:vit_base_patch16_224.sam_in1k", "timm", "labels"),
        ("hf:someone/encoder", "transformers vit", "unknown"),
        ("file:/dinosaurs/weights.pth", "deit", "labels"),
        ("file:/weights.pth", "simmim", "none"),
        ("run:/runs/one", "lacvit", "unknown"),
    ],
)
def test_the_kind_of_pretraining(spec: str, file_format: str, expected: str) -> None:
    assert regime.pretraining_of(spec, file_format) == expected


def test_an_encoder_without_labels_learns_twice_as_fast() -> None:
    assert (
        regime.choose(500, 128, "none", 32).rate == 2 * regime.choose(500, 128, "labels", 32).rate
    )


def of_kind(monkeypatch: pytest.MonkeyPatch, kind: str) -> Backbone:
    monkeypatch.setattr(regime, "pretraining_of", lambda *_: kind)
    return load_backbone("pico")


@pytest.mark.parametrize(
    ("kind", "arm", "stage"),
    [
        ("labels", "lacvit", "contrastive"),
        ("unknown", "lacvit", "contrastive"),
        ("none", "cross-entropy-refit", "cross_entropy"),
    ],
)
def test_the_arm_goes_by_the_pretraining(
    kind: str, arm: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = of_kind(monkeypatch, kind)
    settings, (said,) = settling.settle_method(make_settings(), backbone, 100)
    assert settings.method == arm
    assert said.startswith(f"Method: {arm}, for an encoder ")
    assert "; 60 epochs for 100 training images; the rate of such encoders; " in said
    assert settings.head.fit_on == "all"
    assert getattr(settings, stage).lr == pytest.approx(2e-3 if kind == "none" else 1e-3)
    resolved = planning.resolve(settings, backbone)
    passes = {"contrastive": 60, "cross_entropy": 120}  # of two views, and of one
    assert getattr(resolved, stage).epochs == passes[stage]


OF_ALL = {f"{stage}.lr": 0.1 for stage in OF_STAGE}  # as --lr sets them


@pytest.mark.parametrize(
    ("flags", "arm", "key"),
    [
        (OF_ALL, None, ""),
        ({"contrastive.epochs": 5}, None, ""),  # every arm's budget
        ({"contrastive.temperature": 0.2}, "lacvit", "contrastive.temperature"),
        ({"contrastive.temperature": 0.2, **OF_ALL}, "lacvit", "contrastive.temperature"),
        ({"contrastive.micro_batch": 8}, "lacvit", "contrastive.micro_batch"),
        ({"joint.lr": 0.1}, "joint-refit", "joint.lr"),
        ({"joint.temperature": 0.1}, "joint-refit", "joint.temperature"),  # what it is anyway
        ({"joint.temperature": 0.2, **OF_ALL}, "joint-refit", "joint.temperature"),
        ({"cross_entropy.label_smoothing": 0}, "cross-entropy-refit", "cross_entropy.label_smoot"),
        ({"cross_entropy.epochs": 3}, "cross-entropy-refit", "cross_entropy.epochs"),
    ],
)
@pytest.mark.parametrize("kind", ["labels", "none"])
def test_who_sets_a_stage_means_the_arm_that_has_it(
    kind: str,
    flags: dict[str, object],
    arm: str | None,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, (said,) = settling.settle_method(
        make_settings(flags=flags), of_kind(monkeypatch, kind), 100
    )
    assert (f"Method: {arm}, since {key}" in said) == (arm is not None)
    assert settings.method == (arm or regime.ARMS[kind])
    for name, value in flags.items():
        section, own = name.split(".")
        assert getattr(getattr(settings, section), own) == value


def test_a_whole_recipe_means_what_it_changes() -> None:
    """`lacvit settings` prints every stage's settings: as they are, they mean no method."""
    whole = flatten(RunSettings().model_dump(exclude_none=True))
    pico = load_backbone("pico")
    for changes, arm in (({}, "lacvit"), ({"joint.temperature": 0.2}, "joint-refit")):
        settings, _ = settling.settle_method(make_settings(recipe=whole | changes), pico, 100)
        assert settings.method == arm


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"joint.contrastive_weight": 0.1, "contrastive.temperature": 0.2}, "contrastive.tempera"),
        ({"joint.lr": 0.1, "cross_entropy.lr": 0.2}, "joint.lr is set, and so is cross_entropy.lr"),
        (
            {"contrastive.loss": "sincere", "cross_entropy.label_smoothing": 0},
            "contrastive.loss is",
        ),
    ],
)
def test_settings_of_two_stages_need_a_method(flags: dict[str, object], said: str) -> None:
    """Whatever the encoder chose, some would be read by nobody."""
    with pytest.raises(InputError, match=said) as refused:
        make_settings(flags=flags)
    assert "Leave one out, or name what is meant with --method." in str(refused.value)


def test_corners_are_read_only_where_it_was_measured() -> None:
    assert regime.choose(500, 128, "labels", 32).crops == "corners"
    assert regime.choose(500, 128, "labels", 224).crops == "whole"


def test_auto_is_settled_for_the_images_and_said() -> None:
    settings, said = settling.settle_method(make_settings(), load_backbone("pico"), 100)
    assert settings.method == "lacvit"
    assert settings.contrastive.epochs == 60
    assert settings.contrastive.lr == pytest.approx(1e-3)
    assert settings.head.fit_on == "all"
    assert settings.features.crops == "corners"
    assert len(said) == 1
    assert "60 epochs for 100 training images" in said[0]


def test_what_was_set_stays() -> None:
    given = make_settings(
        flags={"contrastive.epochs": 7, "joint.lr": 0.5},
        assignments=[("head.fit_on", "train"), ("features.crops", "whole")],
    )
    settings, said = settling.settle_method(given, load_backbone("pico"), 100)
    assert said == [
        "Method: joint-refit, since joint.lr is set (--method names any), for an encoder "
        "pretrained with labels."
    ], "nothing else was chosen"
    assert settings.contrastive.epochs == 7
    assert settings.joint.lr == 0.5
    assert settings.head.fit_on == "train"
    assert settings.features.crops == "whole"


def test_a_method_that_was_named_is_left_as_its_arm_has_it() -> None:
    given = make_settings(flags={"method": "lacvit"})
    assert settling.settle_method(given, load_backbone("pico"), 100) == (given, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [("contrastive.epochs", 100), ("head.fit_on", "train"), ("features.crops", "whole")],
)
def test_what_other_methods_do_anyway_is_a_request_of_its_own(key: str, value: object) -> None:
    """Otherwise the command that asks for it would be given the run of the one that does not."""
    plain, asked = (naming.request_of(make_settings(flags=flags)) for flags in ({}, {key: value}))
    assert plain != asked
    named = make_settings(flags={"method": "lacvit"})
    resolved = planning.resolve(named, load_backbone("pico"))
    assert getattr(getattr(resolved, key.split(".")[0]), key.split(".")[1]) == value


@pytest.mark.parametrize(
    ("spec", "file_format", "kind"),
    [
        ("run:/home/me/runs/dinosaurs-joint-refit-pico-s0", "lacvit", "unknown"),
        ("file:/data/left_in/x.pth", "mae", "none"),
        ("timm:vit_small_patch14_dinov2", "timm", "none"),
        ("timm:vit_small_patch16_224.augreg_in21k", "timm", "labels"),
        ("hf:facebook/data2vec-vision-base", "data2vec-vision", "none"),
    ],
)
def test_the_name_of_a_place_says_nothing_of_the_pretraining(
    spec: str, file_format: str, kind: str
) -> None:
    assert pretraining_of(spec, file_format) == kind


def test_a_folder_that_is_there_is_a_place_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dinosaurs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert pretraining_of("timm:dinosaurs", "timm") == "unknown"


def test_the_size_of_images_is_that_of_all_classes() -> None:
    """Classes lie one after the other: the first few images are all of one."""
    sides = [32] * 30 + [96] * 70
    images = [np.zeros((side, side + 8, 3), np.uint8) for side in sides]
    records = records_from_arrays(images, [0] * 30 + [1] * 70, ["a", "b"])
    assert settling.shorter_side(records) == 96
    assert settling.shorter_side(records.select(range(3))) == 32
