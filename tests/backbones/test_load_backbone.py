"""Specs of backbones, timm's models, and pico, without network."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lacvit.backbones import (
    Architecture,
    Origin,
    build_backbone,
    load_backbone,
    terms_of,
    timm_models,
)
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec

SPEC = InputSpec(size=160, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
ORIGIN = Origin(spec="timm:x", format="timm")


def refusal(spec: str, image_size: int | None = None) -> str:
    with pytest.raises(InputError) as refused:
        load_backbone(spec, image_size=image_size)
    return str(refused.value)


def built(name: str, **arguments: Any) -> timm_models.Backbone:
    architecture = Architecture(source="timm", name=name, arguments=arguments)
    return build_backbone(architecture, SPEC, ORIGIN)


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm makes its models with fresh weights where pretrained ones are asked for."""
    create = timm_models.timm.create_model

    def fresh(name: str, *, pretrained: bool = False, **arguments: Any) -> nn.Module:
        torch.manual_seed(0)
        return create(name, pretrained=False, **arguments)  # type: ignore[no-any-return]

    monkeypatch.setattr(timm_models.timm, "create_model", fresh)


# --- specs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("pica", "There is no backbone 'pica'. Did you mean 'pico'?"),
        ("", "There is no backbone ''. Write pico, timm:NAME or file:PATH."),
        ("timm:", "There is no backbone 'timm:'."),
        ("vit_tiny_patch16_224", "Did you mean timm:vit_tiny_patch16_224."),
        ("hub:x", "Write pico, timm:NAME or file:PATH."),
        ("timm:vit_tiny_patch16_244", "timm has no weights 'vit_tiny_patch16_244'. The nearest"),
        ("timm:vit_tiny_patch16_244", "vit_tiny_patch16_224."),
        ("timm:vit_tiny_patch16_224.augreg_in22k", "vit_tiny_patch16_224.augreg_in21k"),
        ("timm:zzzzzzzzzz", "The nearest are: none."),
    ],
)
def test_an_unknown_spec_names_the_nearest(spec: str, said: str) -> None:
    assert said in refusal(spec)


def test_an_architecture_of_a_later_version_is_refused() -> None:
    with pytest.raises(InputError, match="cannot build backbones of source 'hf'; it knows timm"):
        build_backbone(Architecture(source="hf", name="x", arguments={}), SPEC, ORIGIN)


# --- timm --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3", "test_vit4"])
def test_timm_models_pool_as_timm_pools(name: str) -> None:
    torch.manual_seed(0)
    backbone = built(name).eval()
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        features = backbone(images)
        tokens = backbone.encoder.forward_features(images)
        pooled = backbone.encoder.forward_head(tokens, pre_logits=True)
    assert features.shape == (2, backbone.dim)
    assert torch.equal(features, pooled)


@pytest.mark.parametrize("name", ["test_vit", "test_vit3"])
def test_what_follows_the_blocks_is_final(name: str) -> None:
    backbone = built(name)
    final = {id(p) for module in backbone.final() for p in module.parameters()}
    blocks = {id(p) for block in backbone.blocks() for p in block.parameters()}
    names = {n.split(".")[0] for n, p in backbone.encoder.named_parameters() if id(p) in final}
    assert names == ({"norm"} if name == "test_vit" else {"norm", "attn_pool"})
    rest = {
        n.split(".")[0]
        for n, p in backbone.encoder.named_parameters()
        if id(p) not in final | blocks
    }
    assert rest <= {"cls_token", "reg_token", "pos_embed", "patch_embed", "norm_pre"}


def test_a_copy_keeps_its_blocks_as_its_own() -> None:
    backbone = copy.deepcopy(built("test_vit"))
    assert list(backbone.blocks()) == list(backbone.encoder.blocks)  # type: ignore[arg-type]


def test_a_convolutional_network_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        built("test_resnet")
    assert str(refused.value) == (
        "timm:x is no plain vision transformer: it has no patches and list of blocks. "
        "Choose a model of the vit, deit, beit or eva families."
    )


@pytest.mark.usefixtures("without_weights")
def test_a_loaded_model_can_be_built_again() -> None:
    backbone = load_backbone("timm:test_vit.r160_in1k", image_size=64).eval()
    assert backbone.input_spec.size == 64
    assert backbone.architecture.name == "test_vit.r160_in1k"
    again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin)
    again.encoder.load_state_dict(backbone.encoder.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.eval()(images), backbone(images))


@pytest.mark.usefixtures("without_weights")
def test_preprocessing_comes_from_timm() -> None:
    backbone = load_backbone("timm:test_vit")
    config = timm_models.timm.get_pretrained_cfg("test_vit")
    spec = backbone.input_spec
    assert (spec.size, spec.mean, spec.std) == (160, tuple(config.mean), tuple(config.std))
    assert (spec.interpolation, spec.crop_fraction) == (config.interpolation, config.crop_pct)


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("test_vit", 100, "patches of 16 pixels, of which 100 is no multiple. Use --image-size 96"),
        ("test_vit", 9, "Use --image-size 16."),
        ("test_resnet", 64, "takes no other input size: leave --image-size out."),
    ],
)
def test_an_input_size_that_does_not_fit_is_refused(name: str, size: int, said: str) -> None:
    text = refusal(f"timm:{name}", size)
    assert text.startswith(f"timm:{name} ")
    assert said in text


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError(), FileNotFoundError("a\nb")])
def test_without_network_the_way_out_is_told(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(timm_models.timm, "create_model", fails)
    said = (str(error).splitlines() or ["RuntimeError"])[0]
    text = refusal("timm:vit_tiny_patch16_224")
    assert text.startswith(f"timm:vit_tiny_patch16_224 could not be loaded: {said} If this machine")
    assert "or use --backbone pico." in text


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("pico", "Tiny ImageNet"),
        ("timm:vit_base_patch16_224.mae", "licence cc-by-nc-4.0, as timm records it"),
        ("timm:no_such_model", "the terms of whoever released them"),
        ("file:a.pth", "the terms of whoever released them"),
    ],
)
def test_the_terms_of_the_weights_are_said(spec: str, said: str) -> None:
    assert said in terms_of(spec)


# --- pico --------------------------------------------------------------------------------------


def test_pico_is_small_and_pools_as_timm_pools() -> None:
    backbone = load_backbone("pico").eval()
    parameters = list(backbone.parameters())
    assert 1e6 <= sum(p.numel() for p in parameters) <= 2.5e6
    assert {p.dtype for p in parameters} == {torch.float32}
    assert all(p.requires_grad for p in parameters)
    assert backbone.input_spec.size == 32
    assert backbone.origin.spec == "pico"
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = backbone(images)
        tokens = backbone.encoder.forward_features(images)
        pooled = backbone.encoder.forward_head(tokens, pre_logits=True)
    assert features.shape == (3, backbone.dim)
    assert torch.equal(features, pooled)
    assert features.isfinite().all()


def test_pico_is_built_again_from_its_architecture() -> None:
    backbone = load_backbone("pico").eval()
    again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin)
    again.encoder.load_state_dict(backbone.encoder.state_dict())
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.eval()(images), backbone(images))


def test_pico_sees_32_pixels_only() -> None:
    assert load_backbone("pico", image_size=32).input_spec.size == 32
    assert refusal("pico", 64) == (
        "pico sees 32 x 32 pixels, not 64. Leave --image-size out, or choose another --backbone."
    )


# --- torchvision -------------------------------------------------------------------------------

# A torchvision that fails as the environment says, until its operators are known or for ever.
FAKE = """
import os, torch
import torchvision.half  # what a failed import leaves behind
known = hasattr(torch.ops.torchvision, "nms")
if os.environ["UNTIL"] == "never" or not known:
    raise RuntimeError(os.environ["SAYS"])
"""

PROGRAM = """
import importlib.util, os, sys
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("shim", sys.argv[2])
shim = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shim)

def attempt(until, says):
    os.environ.update(UNTIL=until, SAYS=says)
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    try:
        shim.ensure_torchvision()
        print("imported", sys.modules["torchvision"].__file__)
    except RuntimeError as error:
        print("failed", error)

attempt("known", "other CUDA version")
attempt("known", "operator torchvision::nms does not exist")
attempt("known", "operator torchvision::nms does not exist")
attempt("never", "operator torchvision::nms does not exist")
"""


def test_operators_that_did_not_load_are_registered_and_other_failures_shown(
    tmp_path: Path,
) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE)
    (package / "half.py").write_text("")
    shim = Path(timm_models.__file__).with_name("torchvision_shim.py")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(shim)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "failed other CUDA version",
        f"imported {package / '__init__.py'}",
        f"imported {package / '__init__.py'}",
        "failed operator torchvision::nms does not exist",
    ], done.stderr
