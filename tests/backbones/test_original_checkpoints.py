"""Original checkpoints: features equal to their authors' forward, every key accounted for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from by_hand import Original
from safetensors.torch import save_file
from torch import Tensor, nn

import original_files as files
from lacvit.backbones import Backbone, build_backbone, load_backbone
from lacvit.backbones.formats import FORMATS
from lacvit.config import BackboneSettings, CrossEntropySettings
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec
from lacvit.model import Classifier
from lacvit.training.optim import group_parameters
from lacvit.training.trainable import set_trainable

HEADS, SIZE, PATCH, WIDTH = files.HEADS, files.SIZE, files.PATCH, files.WIDTH
FRESH = {"fc_norm.weight": torch.ones(WIDTH), "fc_norm.bias": torch.zeros(WIDTH)}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MEAN = "mean then fc_norm"


@dataclass(frozen=True)
class Case:
    """A kind of file, and what must come of it."""

    write: Callable[[Path, files.Draw], files.Tensors]
    format: str
    how: Original
    normalisation: Any = IMAGENET
    forced: bool = False
    asks_heads: bool = True

    @property
    def suffix(self) -> str:
        return ".npz" if self.format == "npz" else ".pth"

    @property
    def options(self) -> str:
        given = [f"format={self.format}"] if self.forced else []
        given += [f"heads={HEADS}"] if self.asks_heads else []
        return "?" + "&".join(given) if given else ""


def relative(write: Callable[[Path, files.Draw], files.Tensors], format: str, **how: Any) -> Case:
    half = HALF if format == "beit" else IMAGENET
    return Case(write, format, Original(MEAN, **how), normalisation=half, asks_heads=False)


CASES = {
    "mae pretrained": Case(
        files.mae_pretrained, "mae", Original(MEAN, by_hand.bicubic, fresh=FRESH)
    ),
    "mae tuned": Case(files.mae_tuned, "mae", Original(MEAN, by_hand.bicubic)),
    "mae tuned on its token": Case(
        files.mae_tuned_on_token, "mae", Original("cls", by_hand.bicubic), forced=True
    ),
    "simmim pretrained": relative(files.simmim_pretrained, "simmim", shared=True, fresh=FRESH),
    "simmim tuned": relative(files.simmim_tuned, "simmim"),
    "data2vec pretrained": relative(
        files.data2vec_pretrained, "data2vec", shared=True, fresh=FRESH
    ),
    "data2vec tuned": relative(files.data2vec_tuned, "data2vec", shared=True),
    "beit pretrained": relative(files.beit_pretrained, "beit", shared=True, fresh=FRESH),
    "beit tuned": relative(files.beit_tuned, "beit"),
    "dino training": Case(files.dino_training, "dino", Original("cls", by_hand.bicubic_by_factor)),
    "dino released": Case(
        files.dino_released, "dino", Original("cls", by_hand.bicubic_by_factor), forced=True
    ),
    "dinov2": Case(files.dinov2, "dinov2", Original("cls", by_hand.bicubic_by_factor)),
    "dinov2 with registers": Case(
        files.dinov2_registers,
        "dinov2",
        Original("cls", by_hand.bicubic_antialiased, late_tokens=("register_tokens",)),
    ),
    "dinov2 gated": Case(files.dinov2_gated, "dinov2", Original("cls", by_hand.bicubic_by_factor)),
    "deit": Case(files.deit, "deit", Original("cls", by_hand.bicubic), forced=True),
    "deit distilled": Case(
        files.deit_distilled,
        "deit",
        Original("two tokens", by_hand.bicubic, tokens=("cls_token", "dist_token")),
    ),
    "deit third": Case(files.deit_third, "deit", Original("cls", by_hand.bicubic, placed=False)),
    "npz": Case(
        files.npz, "npz", Original("cls", by_hand.bilinear), normalisation=HALF, asks_heads=False
    ),
}
EVERY_CASE = pytest.mark.parametrize("name", CASES)
# One of each network, and of each place for the norm.
ONE_OF_EACH = pytest.mark.parametrize(
    "name",
    [
        "mae tuned",
        "mae tuned on its token",
        "simmim pretrained",
        "data2vec tuned",
        "dinov2 with registers",
        "dinov2 gated",
        "deit distilled",
        "npz",
    ],
)


def written(name: str, folder: Path) -> tuple[str, files.Tensors]:
    """The spec of a file of that kind, and the tensors for the forward by hand."""
    case = CASES[name]
    path = folder / f"weights{case.suffix}"
    tensors = case.write(path, files.Draw(0))
    return f"file:{path}{case.options}", tensors


def pictures(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def features(backbone: Backbone, size: int = SIZE) -> Tensor:
    with torch.no_grad():
        return backbone.eval()(pictures(size))  # type: ignore[no-any-return]


def refusal(spec: str, **asked: Any) -> str:
    with pytest.raises(InputError) as refused:
        load_backbone(spec, **asked)
    return str(refused.value)


def assert_equal_to_hand(given: Tensor, tensors: files.Tensors, size: int, how: Original) -> None:
    expected = by_hand.features(tensors, pictures(size), HEADS, how)
    # Measured: 6e-7 at most. Another epsilon (1e-5) makes 3e-2, another resizing 4e-3 or more.
    torch.testing.assert_close(given, expected.float(), rtol=0, atol=5e-6)


# --- features ----------------------------------------------------------------------------------


@EVERY_CASE
@pytest.mark.parametrize("size", [SIZE, SIZE + PATCH])
def test_features_equal_the_authors_forward(name: str, size: int, tmp_path: Path) -> None:
    spec, tensors = written(name, tmp_path)
    asked = None if size == SIZE else size
    backbone = load_backbone(spec, image_size=asked)
    given = features(backbone, size)
    assert given.shape == (2, backbone.dim) == (2, WIDTH)
    assert given.dtype == torch.float32
    assert_equal_to_hand(given, tensors, size, CASES[name].how)
    assert (backbone.input_spec.mean, backbone.input_spec.std) == CASES[name].normalisation
    assert backbone.input_spec.size == size
    assert backbone.origin.format == CASES[name].format
    assert backbone.origin.spec == spec


@ONE_OF_EACH
def test_the_other_way_to_pool_keeps_the_files_own_norm(name: str, tmp_path: Path) -> None:
    spec, tensors = written(name, tmp_path)
    case = CASES[name]
    other = "mean" if case.how.pool in ("cls", "two tokens") else "cls"
    if case.how.pool == "two tokens":
        assert "cannot pool by 'mean'. Use cls." in refusal(spec, pool="mean")
    elif case.how.pool == MEAN and "norm.weight" not in tensors:
        assert f"in the model only: norm.weight ({WIDTH},)" in refusal(spec, pool="cls")
    else:
        authors = case.format in ("mae", "simmim", "data2vec", "beit") and other == "mean"
        how = replace(case.how, pool=MEAN if authors else other, fresh=FRESH)
        given = features(load_backbone(spec, pool=other))  # type: ignore[arg-type]
        assert_equal_to_hand(given, tensors, SIZE, how)
    assert "cannot pool by 'attention'" in refusal(spec, pool="attention")


@pytest.mark.parametrize("how", ["bare", "float16", "bfloat16", "safetensors", "legacy", "ddp"])
def test_every_way_of_storing_gives_the_same_features(how: str, tmp_path: Path) -> None:
    spec, tensors = written("mae pretrained", tmp_path)
    expected = features(load_backbone(spec))
    path, atol = tmp_path / "other.pth", 0.0
    if how == "bare":
        torch.save(tensors, path)
    elif how in ("float16", "bfloat16"):  # what 11 and 8 bits keep of it
        kind, atol = (torch.float16, 0.05) if how == "float16" else (torch.bfloat16, 0.4)
        torch.save({"model": {key: t.to(kind) for key, t in tensors.items()}}, path)
    elif how == "safetensors":
        path = tmp_path / "other.safetensors"
        save_file(tensors, path)
    elif how == "legacy":
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({"model": {f"module.{key}": t for key, t in tensors.items()}}, path)
    backbone = load_backbone(f"file:{path}?heads={HEADS}")
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    torch.testing.assert_close(features(backbone), expected, rtol=0, atol=atol)


# --- the format --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("mae pretrained", "decided by decoder_embed.weight and pos_embed"),
        ("mae tuned on its token", "as asked for"),
        ("simmim tuned", "decided by blocks.0.attn.relative_position_bias_table and config"),
        ("dino training", "decided by backbone.cls_token and backbone.pos_embed"),
    ],
)
def test_what_decided_the_format_is_kept(name: str, evidence: str, tmp_path: Path) -> None:
    assert load_backbone(written(name, tmp_path)[0]).origin.evidence == evidence


@pytest.mark.parametrize(
    ("write", "alike", "first"),
    [
        (files.dino_released, "mae and dino and deit", "mae"),
        (files.deit, "mae and deit", "mae"),
    ],
)
def test_a_file_that_fits_several_formats_is_asked_about(
    write: Callable[[Path, files.Draw], files.Tensors], alike: str, first: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    write(path, files.Draw(0))
    text = refusal(f"file:{path}?heads=3")
    assert f"its keys are those of {alike} alike, which differ in pooling" in text
    assert text.endswith(f"Say which it is, such as file:{path}?format={first}")


def test_tables_without_their_container_are_asked_about(tmp_path: Path) -> None:
    tensors = files.beit_tuned(tmp_path / "a.pth", files.Draw(0))
    save_file({k: t.clone() for k, t in tensors.items()}, tmp_path / "a.safetensors")
    text = refusal(f"file:{tmp_path / 'a.safetensors'}")
    assert "its keys are those of simmim and beit alike" in text


@pytest.mark.parametrize(("told", "expected"), [(True, IMAGENET), (False, HALF)])
def test_beits_normalisation_is_read_from_its_arguments(
    told: bool, expected: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    model = files.beit_tuned(path, files.Draw(0))
    arguments = files.argparse.Namespace(imagenet_default_mean_and_std=told)
    torch.save({"model": model, "args": arguments}, path)
    spec = load_backbone(f"file:{path}").input_spec
    assert (spec.mean, spec.std) == expected


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("layers.0.blocks.0.norm1.weight", "is a Swin transformer: use timm:swin_base"),
        ("embeddings.cls_token", "is a model of transformers: use hf: with its folder"),
        ("layer1.0.conv1.weight", "is a residual network, not a vision transformer."),
        ("first", "has none of the formats known here (mae, simmim, data2vec, beit, dino, "),
        ("first", "its first keys are first. A model of timm"),
    ],
)
def test_another_architecture_is_named(key: str, said: str, tmp_path: Path) -> None:
    torch.save({key: torch.zeros(3)}, tmp_path / "a.pth")
    assert said in refusal(f"file:{tmp_path / 'a.pth'}")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mae tuned", "", f"is {WIDTH} wide, which no released model of its format is"),
        ("mae tuned", "", "Give it: file:"),
        ("mae tuned", "?heads=5", "heads=5 of weights.pth is no whole number that divides its "),
        ("mae tuned", "?heads=0", "heads=0 of weights.pth is no whole number"),
        ("mae tuned", "?heads=-3", "heads=-3 of weights.pth is no whole number"),
        ("mae tuned", "?heads=few", "heads=few of weights.pth is no whole number"),
        ("mae tuned", "?heads=", "heads= of weights.pth is no whole number"),
        ("beit tuned", "?heads=6", "weights.pth has 3 attention heads, not 6."),
        ("npz", "?heads=6", "weights.npz has 3 attention heads, not 6."),
        ("mae tuned", "?format=moco", "no checkpoint format 'moco'. Known: mae, simmim, data2vec"),
        ("mae tuned", "?head=3", "has no option 'head': use format and heads."),
    ],
)
def test_options_are_checked(name: str, options: str, said: str, tmp_path: Path) -> None:
    spec = written(name, tmp_path)[0].partition("?")[0]
    assert said in refusal(f"{spec}{options}")


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "nearest"), [(18, 16), (19, 20), (1, 4)])
@pytest.mark.parametrize("name", ["mae tuned", "beit tuned", "npz"])
def test_a_size_that_the_patches_do_not_divide_is_refused(
    name: str, size: int, nearest: int, tmp_path: Path
) -> None:
    spec, _ = written(name, tmp_path)
    text = refusal(spec, image_size=size)
    assert f"cuts images into patches of {PATCH} pixels, of which {size} is no multiple" in text
    assert text.endswith(f"Use --image-size {nearest}.")


def test_the_released_sizes_are_cropped_as_their_authors_do(tmp_path: Path) -> None:
    def crop(name: str, size: int) -> float:
        spec, _ = written(name, tmp_path)
        return load_backbone(spec, image_size=size).input_spec.crop_fraction

    assert crop("mae tuned", SIZE) == 224 / 256
    assert crop("npz", SIZE) == 0.9
    assert crop("mae tuned", 384) == 1.0


# --- every key ---------------------------------------------------------------------------------


@EVERY_CASE
def test_a_key_too_many_and_one_too_few_are_listed(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if case.format == "npz":
        arrays = files.jax_arrays(files.Draw(0))
        del arrays["Transformer/encoderblock_1/MlpBlock_3/Dense_1/bias"]
        path = tmp_path / "a.npz"
        files.np.savez(path, **arrays, gate=files.np.zeros((4, 5), "f4"))
        gate = "gate"
    else:
        path = tmp_path / "a.pth"
        case.write(path, files.Draw(0))
        contents = torch.load(path, weights_only=False) if case.format != "simmim" else None
        if contents is None:  # its configuration's class is known to lacvit's reader alone
            contents = {"model": dict(written_tensors(path)), "config": {}}
        inner = next((contents[k] for k in ("model", "module", "teacher") if k in contents), None)
        model = contents if inner is None else inner
        gate = next(k for k in model if k.endswith("blocks.1.norm1.weight"))
        gate = gate.replace("norm1.weight", "gate")
        model[gate] = torch.zeros(4, 5)
        del model[gate.replace("gate", "norm2.bias")]
        torch.save(contents, path)
    text = refusal(f"file:{path}{case.options}")
    assert text.splitlines() == [
        f"{path} does not fit its format, {case.format}:",
        f"  in the file only: {gate} (4, 5)",
        "  in the model only: blocks.1."
        + ("mlp.fc2.bias" if case.format == "npz" else "norm2.bias")
        + f" ({WIDTH},)",
    ]


def written_tensors(path: Path) -> dict[str, Tensor]:
    from lacvit.backbones.checkpoint_files import read_checkpoint

    return dict(read_checkpoint(path).tensors)


@pytest.mark.parametrize(
    ("key", "shape", "said"),
    [
        ("cls_token", None, "cls_token"),
        ("cls_token", (), "cls_token"),
        ("cls_token", (1, 1, 1), "cls_token"),
        ("cls_token", (1, WIDTH), "cls_token"),
        ("register_tokens", (4, WIDTH), "reg_token"),
        ("register_tokens", (), "reg_token"),
        ("pos_embed", (), "no positions of a square of patches (found: of shape ())"),
    ],
)
def test_nothing_is_stretched_to_fit_beside_registers(
    key: str, shape: tuple[int, ...] | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    model = files.dinov2_registers(path, files.Draw(0))
    del model[key]
    if shape is not None:
        model[key] = torch.zeros(shape)
    torch.save(model, path)
    assert said in refusal(f"file:{path}?format=dinov2&heads={HEADS}")


@pytest.mark.parametrize("wrong", [{"norm.bias": None}, {"norm.weight": torch.zeros(7)}])
def test_a_norm_that_is_none_is_not_left_over(wrong: dict[str, Any], tmp_path: Path) -> None:
    """Where the features' own norm is another, a whole one of the tokens may stand beside it."""
    path = tmp_path / "a.pth"
    model = files.mae_pretrained(tmp_path / "b.pth", files.Draw(0))
    for key, value in wrong.items():
        assert key in model
        if value is None:
            del model[key]
        else:
            model[key] = value
    torch.save({"model": model}, path)
    assert "norm." in refusal(f"file:{path}?format=mae&heads={HEADS}")


def test_wrong_shapes_and_whole_numbers_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    model = files.mae_tuned(path, files.Draw(0))
    model["blocks.0.norm1.weight"] = torch.zeros(7)
    model["cls_token"] = torch.zeros(1, 1, WIDTH, dtype=torch.int8)
    torch.save({"model": model}, path)
    assert refusal(f"file:{path}?heads=3").splitlines()[1:] == [
        f"  blocks.0.norm1.weight is (7,) in the file and ({WIDTH},) in the model",
        "  cls_token is of torch.int8, which is no floating point",
    ]


# What else than its own format a kind of file loads as, when it is asked for: its keys are those
# of both, and nothing in it tells.
ALSO = {
    "mae tuned on its token": {"deit"},
    "dino released": {"mae", "deit"},
    "deit": {"mae"},
    "beit tuned": {"simmim"},
}


@EVERY_CASE
@pytest.mark.parametrize("asked", FORMATS)
def test_a_file_loads_as_what_it_may_be_and_else_what_it_is_is_said(
    asked: str, name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    path = Path(written(name, tmp_path)[0].removeprefix("file:").partition("?")[0])
    may_be = {case.format} | ALSO.get(name, set())
    spec = f"file:{path}?format={asked}&heads={HEADS}"
    if asked in may_be:
        assert load_backbone(spec).origin.format == asked
    else:
        fitting = [f for f in FORMATS if f in may_be] if case.forced else [case.format]
        advice = f" would fit {' or '.join(fitting)}: file:{path}?format={fitting[0]}"
        assert refusal(spec).endswith(advice)


def test_what_a_format_always_has_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    files.dino_released(path, files.Draw(0))
    assert refusal(f"file:{path}?format=dinov2&heads=3").splitlines() == [
        f"{path} does not fit its format, dinov2:",
        *(
            f"  in the model only: blocks.{i}.ls{n}.gamma ({WIDTH},)"
            for i in (0, 1)
            for n in (1, 2)
        ),
        f"  Its keys would fit mae or dino or deit: file:{path}?format=mae",
    ]


@pytest.mark.parametrize(
    ("write", "argument", "format_", "wrong"),
    [
        (files.mae_tuned_on_token, "global_pool", "mae", "deit"),
        (files.beit_tuned, "imagenet_default_mean_and_std", "beit", "simmim"),
    ],
    ids=["mae", "beit"],
)
def test_the_arguments_of_its_training_program_tell_a_file_from_its_like(
    write: Callable[[Path, files.Draw], files.Tensors], argument: str, format_: str, wrong: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "a.pth"
    model = write(path, files.Draw(0))
    arguments = files.argparse.Namespace(**{argument: False})
    torch.save({"model": model, "args": arguments}, path)
    origin = load_backbone(f"file:{path}?heads=3").origin
    assert origin.format == format_
    assert origin.evidence is not None
    assert origin.evidence.endswith(f" and args.{argument}")
    text = refusal(f"file:{path}?format={wrong}&heads=3")
    assert text.startswith(f"{path} does not fit its format, {wrong}:\n  Its ")
    assert text.endswith(f"and args.{argument} would fit {format_}: file:{path}?format={format_}")


@pytest.mark.parametrize(
    ("write", "format_", "double"),
    [
        (files.mae_tuned, "dino", "backbone.cls_token"),
        (files.simmim_pretrained, "simmim", "cls_token"),
    ],
    ids=["prefix second", "prefix first"],
)
def test_two_tensors_for_one_place_are_refused(
    write: Callable[[Path, files.Draw], files.Tensors], format_: str, double: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    write(path, files.Draw(0))
    model = dict(written_tensors(path)) | {double: torch.zeros(1, 1, WIDTH)}
    torch.save({"model": model}, path)
    assert f"  in the file only: {double} (1, 1, {WIDTH})" in refusal(
        f"file:{path}?format={format_}&heads=3"
    )


@pytest.mark.parametrize(
    ("name", "missing", "said"),
    [
        ("mae tuned", "pos_embed", "has no positions of a square of patches (found: none)"),
        ("beit pretrained", "rel_pos_bias.relative_position_bias_table", "would see a bag of"),
        ("mae tuned", "patch_embed.proj.weight", "patch embedding none, 2 blocks."),
    ],
)
def test_a_file_without_positions_or_patches_is_refused(
    name: str, missing: str, said: str, tmp_path: Path
) -> None:
    spec, tensors = written(name, tmp_path)
    del tensors[missing]
    path = spec.removeprefix("file:").partition("?")[0]
    torch.save({"model": tensors}, path)
    assert said in refusal(f"file:{path}?format={CASES[name].format}&heads=3")


@pytest.mark.parametrize(
    ("key", "shape", "said"),
    [
        ("pos_embed", (1, 12, WIDTH), "positions of a square of patches (found: of shape (1, 12,"),
        ("pos_embed", (4,), "positions of a square of patches (found: of shape (4,))"),
        ("patch_embed.proj.weight", (WIDTH, 3, 4, 8), "patch embedding of shape (24, 3, 4, 8)"),
    ],
)
def test_what_is_no_square_is_refused(
    key: str, shape: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    model = files.mae_tuned(path, files.Draw(0))
    torch.save({"model": model | {key: torch.zeros(shape)}}, path)
    assert said in refusal(f"file:{path}?heads=3")


def test_a_table_of_no_square_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    model = files.beit_pretrained(path, files.Draw(0))
    model["rel_pos_bias.relative_position_bias_table"] = torch.zeros(40, HEADS)
    torch.save({"model": model}, path)
    assert "has a table of relative positions of shape (40, 3), which is" in refusal(f"file:{path}")


# --- training and keeping ----------------------------------------------------------------------


def shares(backbone: Backbone) -> dict[str, tuple[float, bool]]:
    """Each parameter's share of the learning rate, and whether weight decay acts on it."""
    settings = CrossEntropySettings(layer_decay=0.5, weight_decay=0.1)
    groups = group_parameters(backbone, {}, settings)
    return {
        name.removeprefix("backbone.encoder."): (group.lr_scale, group.weight_decay > 0)
        for group in groups
        for name in group.names
    }


@EVERY_CASE
def test_layer_decay_and_weight_decay_reach_each_parameter_as_they_should(
    name: str, tmp_path: Path
) -> None:
    given = shares(load_backbone(written(name, tmp_path)[0]))
    rate_of = {"blocks.0": 0.25, "blocks.1": 0.5, "norm": 1.0, "fc_norm": 1.0}
    matrices = ("qkv.weight", "attn.proj.weight", "fc1.weight", "fc2.weight", "embed.proj.weight")
    for parameter, (rate, decays) in given.items():
        place = parameter if parameter.count(".") < 2 else ".".join(parameter.split(".")[:2])
        place = place.removesuffix(".weight").removesuffix(".bias")
        assert rate == rate_of.get(place, 0.125), parameter
        assert decays == parameter.endswith(matrices), parameter
    tables = [p for p in given if p.endswith("relative_position_bias_table")]
    wanted = {
        "simmim": [f"blocks.{i}.attn.relative_position_bias_table" for i in range(2)],
        "beit": [f"blocks.{i}.attn.relative_position_bias_table" for i in range(2)],
        "data2vec": ["rel_pos_bias.relative_position_bias_table"],
    }
    assert sorted(tables) == wanted.get(CASES[name].format, [])


@pytest.mark.parametrize("name", ["simmim tuned", "data2vec tuned", "dinov2 with registers"])
def test_the_last_block_trains_alone(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(written(name, tmp_path)[0])
    set_trainable(backbone, BackboneSettings(trainable="last-1"), seed=0)
    moving = {n.split(".")[1] for n, p in backbone.named_parameters() if p.requires_grad}
    assert moving == {"blocks", "norm" if "dinov2" in name else "fc_norm"}
    frozen = [p for p in backbone.blocks()[0].parameters() if p.requires_grad]
    assert frozen == []


@pytest.mark.parametrize("name", ["simmim pretrained", "data2vec tuned", "dinov2 gated"])
def test_gradient_checkpointing_changes_no_gradient(name: str, tmp_path: Path) -> None:
    gradients = []
    for checkpointed in (False, True):
        backbone = load_backbone(written(name, tmp_path)[0]).train()
        if checkpointed:
            backbone.checkpoint_gradients()
        backbone(pictures(SIZE)).square().sum().backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
    assert all(g is not None and g.abs().sum() > 0 for g in gradients[0].values())
    torch.testing.assert_close(gradients[1], gradients[0])


@ONE_OF_EACH
def test_a_saved_model_is_built_again_without_the_file(name: str, tmp_path: Path) -> None:
    spec, _ = written(name, tmp_path)
    backbone = load_backbone(spec, image_size=SIZE + PATCH)
    Path(spec.removeprefix("file:").partition("?")[0]).unlink()
    folder = tmp_path / "model"
    folder.mkdir()
    Classifier(backbone, nn.Linear(WIDTH, 2), ["a", "b"]).save(folder, card="")
    again = Classifier.load(folder)
    assert again.backbone.origin == backbone.origin
    expected = features(backbone, SIZE + PATCH)
    assert torch.equal(features(again.backbone, SIZE + PATCH), expected)
    built = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin)
    assert isinstance(built.input_spec, InputSpec)
    assert built.encoder.state_dict().keys() == backbone.encoder.state_dict().keys()
