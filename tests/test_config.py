"""Settings: every source, every fault at once, and a file that repeats the run."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from lacvit.arms import ARMS
from lacvit.config import (
    RunSettings,
    all_keys,
    describe,
    flatten,
    make_settings,
    parse_assignment,
    read_recipe,
)
from lacvit.errors import InputError
from lacvit.run_folder import write_toml


def refusal(**sources: object) -> str:
    with pytest.raises(InputError) as refused:
        make_settings(**sources)  # type: ignore[arg-type]
    return str(refused.value)


def models(model: type[BaseModel] = RunSettings) -> list[type[BaseModel]]:
    below = [
        info.annotation
        for info in model.model_fields.values()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    ]
    return [model, *(deeper for section in below for deeper in models(section))]


def test_every_setting_has_one_line_of_description() -> None:
    keys = all_keys()
    assert len(keys) > 50
    for key, text in keys.items():
        assert text, key
        assert len(text.splitlines()) == 1, key
        assert len(text) <= 100, key
    assert describe("contrastive.temperature") == keys["contrastive.temperature"]


def test_every_section_is_frozen_closed_and_finite() -> None:
    assert len(models()) == 10
    for model in models():
        assert model.model_config["frozen"], model
        assert model.model_config["extra"] == "forbid", model
        assert model.model_config["allow_inf_nan"] is False, model


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({}, 0.1),
        ({"recipe": {"contrastive.temperature": 0.2}}, 0.2),
        (
            {
                "recipe": {"contrastive.temperature": 0.2},
                "assignments": [("contrastive.temperature", 0.3)],
            },
            0.3,
        ),
        (
            {
                "recipe": {"contrastive.temperature": 0.2},
                "flags": {"contrastive.temperature": 0.4},
            },
            0.4,
        ),
        (
            {
                "recipe": {"contrastive.temperature": 0.2},
                "flags": {"contrastive.temperature": None},
            },
            0.2,
        ),
        (
            {
                "assignments": [("contrastive.temperature", 0.4)],
                "flags": {"contrastive.temperature": 0.4},
            },
            0.4,
        ),
    ],
)
def test_each_source_beats_the_one_before(sources: dict[str, object], expected: float) -> None:
    assert make_settings(**sources).contrastive.temperature == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["recipe", "assignments", "flags"])
def test_an_arms_overrides_beat_defaults_and_nothing_else(source: str) -> None:
    plain = make_settings(flags={"method": "cross-entropy-paper"})
    assert plain.cross_entropy.optimizer == "sgd"
    assert plain.cross_entropy.decay_all
    assert plain.views.crop_scale == (0.2, 1.0)
    given: dict[str, object] = {"method": "cross-entropy-paper", "cross_entropy.optimizer": "adamw"}
    asked = list(given.items()) if source == "assignments" else given
    chosen = make_settings(**{source: asked})  # type: ignore[arg-type]
    assert chosen.cross_entropy.optimizer == "adamw"
    assert chosen.cross_entropy.decay_all


@pytest.mark.parametrize("name", list(ARMS))
def test_every_override_of_every_arm_is_a_setting(name: str) -> None:
    own = {**ARMS[name].overrides, **ARMS[name].fixed}
    assert own.keys() <= all_keys().keys()
    settings = make_settings(flags={"method": name})
    for key, value in own.items():
        assert flatten(settings.model_dump())[key] == value, key


@pytest.mark.parametrize(
    ("method", "key", "other", "value"),
    [
        ("cross-entropy-paper", "views.jitter_probability", 0.8, 0.0),
        ("cross-entropy-paper", "views.grey_probability", 0.2, 0.0),
        ("knn", "head.solver", "sgd", "knn"),
    ],
)
def test_what_an_arm_fixes_is_changed_by_nothing(
    method: str, key: str, other: object, value: object
) -> None:
    assert flatten(make_settings(recipe={"method": method, key: other}).model_dump())[key] == value
    make_settings(flags={"method": method}, assignments=[(key, value)])
    text = (
        f"{key} has no effect with --method {method}, where it is always {value}; "
        "leave it out or choose another method."
    )
    assert refusal(flags={"method": method}, assignments=[(key, other)]) == text
    assert refusal(flags={"method": method, key: other}) == text


def test_two_assignments_of_one_setting_agree() -> None:
    same = [("contrastive.lr", 0.1), ("seed", 1), ("contrastive.lr", 0.1)]
    assert make_settings(assignments=same).contrastive.lr == 0.1
    assert refusal(assignments=[*same, ("contrastive.lr", "auto"), ("sed", 1)]) == (
        "contrastive.lr is 0.1 by one --set and 'auto' by another; give one of them.\n"
        "There is no setting 'sed'. The nearest is 'seed'."
    )


def test_a_name_without_its_section_is_looked_for_in_all() -> None:
    said = refusal(assignments=[("temprature", 0.2)])
    assert said == (
        "There is no setting 'temprature'. The nearest are contrastive.temperature, "
        "joint.temperature."
    )


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("contrastive.temprature", "contrastive.temperature"),
        ("contrasive.epochs", "contrastive.epochs"),
        ("crossentropy.lr", "cross_entropy.lr"),
        ("sed", "seed"),
        ("head.epoch", "head.epochs"),
    ],
)
@pytest.mark.parametrize("source", ["recipe", "assignments"])
def test_an_unknown_key_names_the_nearest(key: str, nearest: str, source: str) -> None:
    given = {key: 1} if source == "recipe" else [(key, 1)]
    assert refusal(**{source: given}) == (
        f"There is no setting {key!r}. The nearest is {nearest!r}."
    )


def test_a_key_like_no_other_is_refused_without_a_guess() -> None:
    assert refusal(recipe={"zzz": 1}) == (
        "There is no setting 'zzz'. Every one is listed by: lacvit settings"
    )


@pytest.mark.parametrize(
    ("section", "first"),
    [("contrastive", "contrastive.batch_size"), ("head", "head.solver"), ("data", "data.path")],
)
def test_a_section_is_no_setting(section: str, first: str) -> None:
    assert refusal(recipe={section: 3}) == (
        f"There is no setting {section!r}. It is a section; give a setting of it, such as {first}."
    )


def test_all_faults_are_told_at_once() -> None:
    text = refusal(
        recipe={"contrastive.temprature": 1, "seed": -1, "method": "lacvitt"},
        assignments=[("contrastive.batch_size", 1), ("device", "cpu"), ("head.epochs", 0)],
        flags={"device": "mps"},
    )
    for part in (
        "device is 'mps' by its flag and 'cpu' by --set; give one of them.",
        "There is no setting 'contrastive.temprature'.",
        "There is no method 'lacvitt'. Choose one of:",
        "seed = -1: Input should be greater than or equal to 0 (draws",
        "contrastive.batch_size = 1: Input should be greater than or equal to 2 (images",
        "head.epochs = 0: Input should be greater than or equal to 1, or 'auto' (iterations",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("contrastive.temperature", 0.0, "greater than 0"),
        ("contrastive.temperature", float("nan"), "finite number"),
        ("contrastive.temperature", float("inf"), "finite number"),
        ("contrastive.weight_decay", float("nan"), "finite number"),
        ("contrastive.clip_norm", float("inf"), "finite number"),
        ("contrastive.lr", float("nan"), "finite number, or 'auto'"),
        ("contrastive.lr", 0, "greater than 0, or 'auto'"),
        ("contrastive.lr", "fast", "valid number, unable to parse"),
        ("contrastive.optimizer", "adam", "'adamw' or 'sgd'"),
        ("contrastive.loss", "triplet", "'supcon', 'simclr', 'npair' or 'sincere'"),
        ("contrastive.negative_weighting", -1, "greater than or equal to 0"),
        ("contrastive.epochs", 0, "greater than or equal to 1"),
        ("contrastive.epochs", 1.5, "valid integer"),
        ("contrastive.projection_hidden", 0, "greater than or equal to 1, or 'auto'"),
        ("contrastive.warmup", 1.0, "less than 1"),
        ("contrastive.layer_decay", 0.0, "greater than 0"),
        ("cross_entropy.epochs", -3, "greater than or equal to 1, or 'auto'"),
        ("cross_entropy.label_smoothing", 1.0, "less than 1"),
        ("joint.contrastive_weight", 1.0, "less than 1"),
        ("joint.contrastive_weight", -0.1, "greater than or equal to 0"),
        ("joint.epochs", 0, "greater than or equal to 1, or 'auto'"),
        ("joint.head_init", "zeros", "'probe' or 'random'"),
        ("head.strengths", [], "at least 1 item"),
        ("head.strengths", [1.0, 0.0], "greater than 0"),
        ("head.strengths", 0.1, "needs a list, such as '[0.2, 1]'"),
        ("views.crop_scale", [0.5, 0.2], "needs two numbers, 0 < least <= most <= 1"),
        ("views.crop_scale", [0.5], "Field required"),
        ("views.crop_scale", [float("nan"), 1.0], "finite number"),
        ("views.hue", 0.6, "less than or equal to 0.5"),
        ("data.path", "", "at least 1 character"),
        ("data.validation_fraction", 1.0, "less than 1"),
        ("backbone.trainable", "last-0", "all, last-N blocks and the norm, lora (adapters)"),
        ("backbone.trainable", "half", "all, last-N blocks and the norm, lora (adapters)"),
        ("workers", 0, "greater than or equal to 1, or 'auto'"),
        ("precision", "fp16", "'auto', 'fp32' or 'bf16'"),
    ],
)
def test_a_value_out_of_range_is_refused(key: str, value: object, said: str) -> None:
    text = refusal(recipe={key: value})
    assert text.startswith(f"{key} = {value!r}: ")
    assert said in text
    assert text.endswith(f"({describe(key)}).")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("method", "key", "value", "why"),
    [
        ("cross-entropy", "contrastive.temperature", 0.2, "whose stages are cross_entropy"),
        ("cross-entropy", "head.lr", 0.1, "whose stages are cross_entropy"),
        ("linear-probe", "contrastive.epochs", 5, "whose stages are head"),
        ("cross-entropy", "contrastive.loss", "simclr", "whose stages are cross_entropy"),
        ("linear-probe", "contrastive.loss", "simclr", "whose stages are head"),
        ("lacvit", "cross_entropy.lr", 0.1, "whose stages are contrastive, head"),
        ("lacvit", "joint.lr", 0.1, "whose stages are contrastive, head"),
        ("joint", "contrastive.temperature", 0.2, "whose stages are joint"),
        ("joint", "cross_entropy.label_smoothing", 0.0, "whose stages are joint"),
        ("joint-refit", "contrastive.lr", 0.1, "whose stages are joint, head"),
        ("lacvit-finetune", "head.lr", 0.1, "whose stages are contrastive, cross_entropy"),
        ("cross-entropy-paper", "views.hue", 0.1, "whose views keep their colours"),
        ("linear-probe", "views.flip", 0.0, "which leaves the backbone as it is"),
        ("linear-probe", "backbone.trainable", "last-1", "which leaves the backbone as it is"),
        ("linear-probe", "backbone.drop_path", 0.1, "which leaves the backbone as it is"),
        ("lacvit", "backbone.lora_rank", 4, "has no effect with --trainable all"),
        ("lacvit", "head.lr", 0.1, "head.solver=exact; set head.solver=sgd."),
        ("cross-entropy-paper", "head.epochs", 50, "cross_entropy.head_init=random; leave it out,"),
        ("cross-entropy-paper", "head.strengths", [5.0], "or set cross_entropy.head_init=probe."),
    ],
)
@pytest.mark.parametrize("by_flag", [True, False])
def test_what_the_arm_cannot_use_is_refused(
    method: str, key: str, value: object, why: str, by_flag: bool
) -> None:
    if by_flag:
        text = refusal(flags={"method": method, key: value})
    else:
        text = refusal(flags={"method": method}, assignments=[(key, value)])
    assert text.startswith(f"{key} has no effect with ")
    assert why in text
    # A recipe may hold the settings of every arm: settings.toml does.
    make_settings(recipe={key: value}, flags={"method": method})


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("cross-entropy", "contrastive.epochs", 5),
        ("cross-entropy", "head.strengths", [1.0]),
        ("cross-entropy", "views.flip", 0.0),
        ("joint", "contrastive.epochs", 5),
        ("joint", "head.strengths", [1.0]),
        ("joint-refit", "contrastive.epochs", 5),
        ("lacvit-finetune", "contrastive.epochs", 5),
        ("lacvit-finetune", "cross_entropy.share_of_passes", 0.5),
        ("lacvit-finetune", "head.strengths", [1.0]),
        ("lacvit", "backbone.trainable", "last-2"),
        ("cross-entropy", "head.epochs", 5),
        ("joint", "head.epochs", 5),
    ],
)
def test_what_an_arm_uses_in_passing_is_allowed(method: str, key: str, value: object) -> None:
    make_settings(flags={"method": method}, assignments=[(key, value)])


@pytest.mark.parametrize("key", ["head.epochs", "head.strengths"])
def test_a_probe_is_fitted_only_where_a_stage_starts_from_one(key: str) -> None:
    asked = [(key, [5] if key == "head.strengths" else 5)]
    for method, section in (("cross-entropy", "cross_entropy"), ("joint", "joint")):
        init = f"{section}.head_init"
        for recipe in ({init: "random"}, {}):
            text = refusal(
                recipe=recipe,
                flags={"method": method},
                assignments=[*asked, *([] if recipe else [(init, "random")])],
            )
            assert text == (
                f"{key} has no effect with {init}=random; leave it out, or set {init}=probe."
            )
        # Its last head is solved too.
        make_settings(
            recipe={init: "random"}, flags={"method": f"{method}-refit"}, assignments=asked
        )
    probe = [*asked, ("cross_entropy.head_init", "probe")]
    make_settings(flags={"method": "cross-entropy-paper"}, assignments=probe)


@pytest.mark.parametrize(
    ("method", "solver", "key", "value"),
    [
        ("cross-entropy-refit", "knn", "head.epochs", 5),
        ("lacvit", "knn", "head.strengths", [5]),
        ("lacvit", "sgd", "head.strengths", [5]),
    ],
)
def test_what_the_solver_of_the_head_leaves_unread_is_refused(
    method: str, solver: str, key: str, value: object
) -> None:
    given = {"method": method, "head.solver": solver}
    text = f"{key} has no effect with head.solver={solver}; set head.solver=exact."
    assert refusal(recipe=given, assignments=[(key, value)]) == text


@pytest.mark.parametrize(
    ("solver", "key", "value"),
    [("knn", "head.strengths", [5]), ("sgd", "head.strengths", [5]), ("sgd", "head.epochs", 5)],
)
def test_the_probe_is_exact_whatever_solves_the_last_head(
    solver: str, key: str, value: object
) -> None:
    given = {"method": "cross-entropy-refit", "head.solver": solver}
    make_settings(recipe=given, assignments=[(key, value)])


def test_live_views_of_the_head_may_be_set_without_an_encoder_stage() -> None:
    live = [("head.solver", "sgd"), ("head.features", "live"), ("views.flip", 0.0)]
    settings = make_settings(flags={"method": "linear-probe"}, assignments=[*live, ("head.lr", 1)])
    assert settings.views.flip == 0.0


def test_live_features_need_the_sgd_solver() -> None:
    text = refusal(recipe={"head.features": "live"})
    assert text.startswith("head.features=live needs head.solver=sgd")


def test_a_head_by_sgd_has_no_strength_to_fit_again_with() -> None:
    text = refusal(recipe={"head.solver": "sgd", "head.fit_on": "all"})
    assert text.startswith("head.fit_on=all needs head.solver=exact")


@pytest.mark.parametrize("method", ["simclr", "npair"])
def test_an_arm_that_is_named_for_its_loss_trains_no_other(method: str) -> None:
    assert make_settings(flags={"method": method}).contrastive.loss == method
    make_settings(flags={"method": method, "contrastive.loss": method})
    text = (
        f"contrastive.loss is 'supcon', and --method {method} is the method with {method!r}; "
        "leave contrastive.loss out, or use --method lacvit, which takes any loss."
    )
    assert refusal(flags={"method": method, "contrastive.loss": "supcon"}) == text
    assert refusal(recipe={"contrastive.loss": "supcon"}, flags={"method": method}) == text


@pytest.mark.parametrize("loss", ["supcon", "simclr", "npair", "sincere"])
def test_lacvit_takes_any_loss(loss: str) -> None:
    assert make_settings(flags={"contrastive.loss": loss}).contrastive.loss == loss


@pytest.mark.parametrize(("section", "method"), [("contrastive", "lacvit"), ("joint", "joint")])
def test_only_supcon_weights_its_negatives(section: str, method: str) -> None:
    weighted = {f"{section}.negative_weighting": 1.0, "method": method}
    assert getattr(make_settings(recipe=weighted), section).negative_weighting == 1
    assert refusal(recipe=weighted, flags={f"{section}.loss": "sincere"}) == (
        f"{section}.negative_weighting=1.0 weights the negatives of supcon, and {section}.loss "
        f"is 'sincere'. Set {section}.loss=supcon, or leave the weighting at 0."
    )


@pytest.mark.parametrize(("section", "method"), [("contrastive", "simclr"), ("joint", "joint")])
def test_simclr_needs_two_views(section: str, method: str) -> None:
    text = refusal(recipe={"views.count": 1, f"{section}.loss": "simclr"}, flags={"method": method})
    assert text.startswith(f"{section}.loss=simclr needs views.count=2 or more")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("contrastive.epochs=5", "contrastive.epochs", 5),
        ("contrastive.lr = 1e-3", "contrastive.lr", 1e-3),
        ("views.crop_scale=[0.2, 1.0]", "views.crop_scale", [0.2, 1.0]),
        ("contrastive.lr=auto", "contrastive.lr", "auto"),
        ('data.path="a=b"', "data.path", "a=b"),
        ("data.path=C:\\photos", "data.path", "C:\\photos"),
        ("data.strict=true", "data.strict", True),
    ],
)
def test_an_assignment_is_toml_or_a_bare_string(text: str, key: str, value: object) -> None:
    assert parse_assignment(text) == (key, value)


@pytest.mark.parametrize("text", ["contrastive.epochs", "=5", ""])
def test_an_assignment_needs_a_key_and_a_value(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_assignment(text)
    assert str(refused.value) == f"--set takes section.key=value, got {text!r}."


@pytest.mark.parametrize("name", list(ARMS))
def test_the_settings_file_repeats_the_run(name: str, tmp_path: Path) -> None:
    settings = make_settings(
        recipe={"data.path": 'photos "2024" \\ é', "data.shots": 10, "head.strengths": [0.1, 3]},
        flags={"method": name, "seed": 7, "backbone.spec": "file:a.pth?heads=6"},
    )
    write_toml(tmp_path / "settings.toml", settings.model_dump(mode="json"))
    assert make_settings(recipe=read_recipe(tmp_path / "settings.toml")) == settings


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, broken, binary = (tmp_path / name for name in ("no.toml", "broken.toml", "b.toml"))
    broken.write_text("a = [1")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError) as refused:
        read_recipe(missing)
    assert str(refused.value) == f"There is no recipe {missing}. Give a TOML file of settings."
    for path in (broken, binary, tmp_path):
        with pytest.raises(InputError) as refused:
            read_recipe(path)
        said = str(refused.value)
        assert said.startswith(f"The recipe {path} cannot be read: ")
        assert said.endswith(
            ". Give a TOML file of settings; one to start from is printed by: lacvit settings"
        )
    assert "cannot be read: Is a directory. Give" in said


def test_a_flip_matters_to_an_arm_that_reads_corners() -> None:
    """Corners are mirrored where views are."""
    asked = [("views.flip", 0.0)]
    assert refusal(flags={"method": "linear-probe"}, assignments=asked).startswith(
        "views.flip has no effect with --method linear-probe"
    )
    corners = [*asked, ("features.crops", "corners")]
    settings = make_settings(flags={"method": "linear-probe"}, assignments=corners)
    assert settings.views.flip == 0
