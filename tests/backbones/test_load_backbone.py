"""Specs of backbones, timm's models, and pico, without network."""

import ast
import copy
import io
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lacvit import backbones
from lacvit.backbones import (
    Architecture,
    Origin,
    build_backbone,
    hub,
    load_backbone,
    terms_of,
    timm_models,
)
from lacvit.backbones.checkpoint_files import read_checkpoint
from lacvit.backbones.key_differences import shapes_of, sizes_of
from lacvit.errors import InputError
from lacvit.input_spec import InputSpec
from lacvit.model import Classifier
from test_layers import FILES, imports

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
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "reachable", lambda: False)
    return tmp_path / "hub"


@pytest.fixture
def cached(hub_cache: Path) -> dict[str, Tensor]:
    """Random weights of three small models in that cache, where timm looks for them."""
    for name in ("test_vit.r160_in1k", "test_vit2.r160_in1k", "test_resnet.r160_in1k"):
        torch.manual_seed(0)
        network = timm_models.timm.create_model(name)
        for parameter in network.parameters():
            parameter.data.normal_(0.5, 0.1)
        put(hub_cache, f"timm/{name}", {"model.safetensors": network})
    return network.state_dict()  # type: ignore[no-any-return]


def put(cache: Path, repository: str, files: dict[str, Any]) -> Path:
    """Files of a repository as the hub's client leaves them: texts, bytes or models."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text("0123abc")
    for name, content in files.items():
        if isinstance(content, nn.Module):
            save_file(content.state_dict(), snapshot / name)
        else:
            (snapshot / name).write_text(content)
    return snapshot


# --- specs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("pica", "There is no backbone 'pica'. Did you mean 'pico'?"),
        ("", "There is no backbone ''. Write pico, timm:NAME, hf:ORG/NAME, file:PATH or run:DIR."),
        ("timm:", "There is no backbone 'timm:'."),
        ("vit_tiny_patch16_224", "Did you mean timm:vit_tiny_patch16_224."),
        ("hub:x", "Write pico, timm:NAME, hf:ORG/NAME, file:PATH or run:DIR."),
        ("timm:vit_tiny_patch16_244", "timm has no weights 'vit_tiny_patch16_244'. The nearest"),
        ("timm:vit_tiny_patch16_244", "vit_tiny_patch16_224."),
        ("timm:vit_tiny_patch16_224.augreg_in22k", "vit_tiny_patch16_224.augreg_in21k"),
        ("timm:zzzzzzzzzz", "The nearest are: none."),
    ],
)
def test_an_unknown_spec_names_the_nearest(spec: str, said: str) -> None:
    assert said in refusal(spec)


def test_an_architecture_of_a_later_version_is_refused() -> None:
    with pytest.raises(InputError, match="build backbones of source 'new'; it knows timm, hf"):
        build_backbone(Architecture(source="new", name="x", arguments={}), SPEC, ORIGIN)


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
        "timm:x is no vision transformer: it has no patches and list of blocks. "
        "Choose a model of the vit, deit, beit, eva or swin families."
    )


@pytest.mark.usefixtures("cached")
def test_a_loaded_model_can_be_built_again() -> None:
    backbone = load_backbone("timm:test_vit.r160_in1k", image_size=64).eval()
    assert backbone.input_spec.size == 64
    assert backbone.architecture.name == "test_vit.r160_in1k"
    again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin)
    again.encoder.load_state_dict(backbone.encoder.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.eval()(images), backbone(images))


@pytest.mark.usefixtures("cached")
def test_preprocessing_comes_from_timm() -> None:
    backbone = load_backbone("timm:test_vit")
    config = timm_models.timm.get_pretrained_cfg("test_vit")
    spec = backbone.input_spec
    assert (spec.size, spec.mean, spec.std) == (160, tuple(config.mean), tuple(config.std))
    assert (spec.interpolation, spec.crop_fraction) == (config.interpolation, config.crop_pct)


@pytest.mark.usefixtures("cached")
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


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize(
    ("pool", "pooled"), [("mean", lambda t: t[:, 1:].mean(1)), ("cls", lambda t: t[:, 0])]
)
def test_timm_models_pool_as_asked_with_their_own_norm(pool: Any, pooled: Any) -> None:
    backbone = load_backbone("timm:test_vit", pool=pool).eval()
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = backbone(images)
        torch.testing.assert_close(features, pooled(backbone.encoder.forward_features(images)))
    again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin).eval()
    again.encoder.load_state_dict(backbone.encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images), features)


@pytest.mark.usefixtures("cached")
def test_a_pool_that_a_timm_model_lacks_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        load_backbone("timm:test_vit", pool="attention")
    assert str(refused.value) == (
        "timm:test_vit cannot pool by 'attention'. Use backbone.pool mean or cls."
    )


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("vit_tiny_patch16_224", (32, 48)),
        ("vit_base_patch16_siglip_224", (32, 48)),
        ("deit_tiny_distilled_patch16_224", (32, 48)),
        ("beit_base_patch16_224", (32, 48)),
        ("eva02_tiny_patch14_224", (32, 48)),
        ("vit_small_patch16_dinov3", (32, 48)),
        ("vit_small_patch14_reg4_dinov2", (32, 48)),
        ("vit_relpos_small_patch16_224", (32, 48)),
        ("swin_tiny_patch4_window7_224", (32, 64)),
        ("swinv2_tiny_window8_256", (32, 64)),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # timm's own, as it resizes BEiT's table
def test_a_saved_timm_folder_gives_timms_own_features(
    name: str, sizes: tuple[int, int], tmp_path: Path
) -> None:
    swin = {"patch_size": 4, "embed_dim": 8, "depths": (1, 2), "num_heads": (2, 2),
            "window_size": 4}  # fmt: skip
    plain = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    shape = swin if "swin" in name else plain
    torch.manual_seed(0)
    network = timm_models.timm.create_model(name, num_classes=7, img_size=32, **shape).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    timm_models.timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    for size in sizes:
        asked = None if size == 32 else size  # 32 is what the folder was saved with
        backbone = load_backbone(f"timm:{tmp_path}", image_size=asked).eval()
        assert backbone.input_spec.size == size
        origin = timm_models.timm.create_model(
            f"local-dir:{tmp_path}", pretrained=True, img_size=size
        ).eval()
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            tokens = origin.forward_features(images)
            wanted = origin.forward_head(tokens, pre_logits=True)
            features = backbone(images)
        torch.testing.assert_close(features, wanted)
        assert features.std() > 0.01
        again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin).eval()
        again.encoder.load_state_dict(backbone.encoder.state_dict())
        with torch.no_grad():
            assert torch.equal(again(images), features)


def test_a_timm_repository_of_the_hub_is_found_in_the_cache(hub_cache: Path) -> None:
    network = timm_models.timm.create_model("test_vit", num_classes=3, img_size=32)
    described = {"input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1],
                 "num_classes": 3, "classifier": "head"}  # fmt: skip
    config = {"architecture": "test_vit", "num_classes": 3, "model_args": {"img_size": 32},
              "pretrained_cfg": described}  # fmt: skip
    put(hub_cache, "me/mine", {"config.json": json.dumps(config), "model.safetensors": network})
    backbone = load_backbone("timm:hf-hub:me/mine")
    assert (backbone.input_spec.size, backbone.input_spec.mean) == (32, (0.1, 0.2, 0.3))
    torch.testing.assert_close(
        backbone.encoder.state_dict()["pos_embed"], network.state_dict()["pos_embed"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("norm.weight"), ["in the model only: norm.weight (64,)"]),
        (lambda t: t.update({"extra": torch.ones(2, 3)}), ["in the file only: extra (2, 3)"]),
        (
            lambda t: t.update({"norm.bias": torch.ones(3), "a.b": torch.tensor(1)}),
            ["in the file only: a.b ()", "norm.bias is (3,) in the file and (64,) in the model"],
        ),
    ],
    ids=["missing", "stray", "stray and misshapen"],
)
def test_timm_weights_must_all_find_their_place(
    change: Any, said: list[str], hub_cache: Path
) -> None:
    tensors = timm_models.timm.create_model("test_vit").state_dict()  # with its classifier
    change(tensors)
    snapshot = put(hub_cache, "timm/test_vit.r160_in1k", {})
    save_file(tensors, snapshot / "model.safetensors")
    assert refusal("timm:test_vit").split("\n  ") == [
        "timm:test_vit does not fit its architecture, test_vit:",
        *said,
    ]


PLAIN = {"embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
SWIN = {"embed_dim": 8, "depths": (1, 2), "num_heads": (2, 2), "img_size": 32, "patch_size": 4,
        "window_size": 4}  # fmt: skip


def timm_folder(folder: Path, name: str, described: dict[str, Any] | str, **held: Any) -> Path:
    """A model of timm's with arguments ``held``, in a folder that says it had others."""
    network = timm_models.timm.create_model(name, num_classes=3, **held)
    timm_models.timm.models.save_for_hf(network.half(), folder, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text())
    if isinstance(described, str):
        config["architecture"] = described
    else:
        config["model_args"] = described
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("name", "own", "other", "sizes"),
    [
        ("vit_tiny_patch16_224", PLAIN, {"depth": 3}, "16 wide, 3 blocks deep, in patches of 8"),
        ("vit_tiny_patch16_224", PLAIN, {"embed_dim": 24}, "24 wide, 2 blocks deep, in patches"),
        ("vit_tiny_patch16_224", PLAIN, {"patch_size": 4}, "16 wide, 2 blocks deep, in patches"),
        ("beit_base_patch16_224", PLAIN, {"embed_dim": 24}, "24 wide, 2 blocks deep, in patches"),
        ("swin_tiny_patch4_window7_224", SWIN, {"embed_dim": 16}, "16 wide, 3 blocks deep, in"),
        ("swin_tiny_patch4_window7_224", SWIN, {"depths": (1, 3)}, "8 wide, 4 blocks deep, in"),
    ],
    ids=["depth", "width", "patch", "beit", "swin width", "swin depth"],
)  # fmt: skip
def test_timm_weights_of_another_size_than_described_are_refused(
    name: str, own: dict[str, Any], other: dict[str, Any], sizes: str, tmp_path: Path
) -> None:
    folder = timm_folder(tmp_path, name, own, **own | other)
    text = refusal(f"timm:{folder}")
    assert f"The file is of a network {sizes}" in text
    depth = sum(own["depths"]) if "depths" in own else own["depth"]
    assert text.endswith(
        f"this architecture is {own['embed_dim']} wide, {depth} blocks deep, in patches of "
        f"{own['patch_size']} pixels."
    )
    if "depths" in other:  # one of timm's filters stumbles before anything can be compared
        assert text.startswith(f"timm:{folder} could not be loaded: ")
        return
    assert text.startswith(f"timm:{folder} does not fit its architecture, {name}:\n  ")
    differences = text.splitlines()[1:-1]
    assert not [line for line in differences if "head" in line or "index" in line]
    where = r" (in the (file|model) only: \S+ \([\d, ]*\)|\S+ is \([\d, ]*\) in the file and .*)$"
    assert [line for line in differences if not re.match(f" {where}", line)] == []
    if "patch_size" in other:
        assert differences == [
            "  patch_embed.proj.weight is (16, 3, 4, 4) in the file and (16, 3, 8, 8) in the model"
        ]


def test_the_model_of_timm_that_weights_are_of_is_named(tmp_path: Path) -> None:
    text = refusal(f"timm:{timm_folder(tmp_path, 'vit_tiny_patch16_224', 'vit_small_patch32_224')}")
    assert text.splitlines()[-1] == (
        "  The file is of a network 192 wide, 12 blocks deep, in patches of 16 pixels; this "
        "architecture is 384 wide, 12 blocks deep, in patches of 32 pixels. vit_tiny_patch16_224 "
        "would fit."
    )


def test_loading_leaves_torch_and_the_log_as_they_were(hub_cache: Path) -> None:
    put(hub_cache, "timm/test_vit.r160_in1k", {"model.safetensors": nn.Linear(2, 2)})
    load, logger = nn.Module.load_state_dict, logging.getLogger("timm.models._builder")
    assert "in the file only: bias (2,)" in refusal("timm:test_vit")
    assert nn.Module.load_state_dict is load
    assert not logger.disabled


def test_two_threads_hear_nothing_of_one_another(tmp_path: Path) -> None:
    """One loads a whole folder, one a faulty one: each gets its own answer, every time."""
    network = timm_models.timm.create_model("test_vit", num_classes=0)
    for name in ("whole", "faulty"):
        timm_models.timm.models.save_for_hf(network, tmp_path / name, safe_serialization=True)
    weights = tmp_path / "faulty" / "model.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if k != "norm.weight"}, weights)
    load = nn.Module.load_state_dict

    def answer(name: str) -> str:
        try:
            load_backbone(f"timm:{tmp_path / name}")
        except InputError as error:
            return str(error).splitlines()[-1].strip()
        return "loaded"

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(answer, ["whole", "faulty"] * 6))
    assert answers == ["loaded", "in the model only: norm.weight (64,)"] * 6
    assert nn.Module.load_state_dict is load


def test_weights_of_another_family_are_listed(tmp_path: Path) -> None:
    """timm's own conversion for BEiT stumbles over a plain ViT before it compares anything."""
    small = {"img_size": 32, "embed_dim": 32, "depth": 1, "num_heads": 2}
    for name, folder in ("beit_base_patch16_224", "beit"), ("vit_base_patch16_224", "vit"):
        network = timm_models.timm.create_model(name, num_classes=0, **small)
        timm_models.timm.models.save_for_hf(
            network, tmp_path / folder, model_args=small, safe_serialization=True
        )
    (tmp_path / "vit" / "model.safetensors").replace(tmp_path / "beit" / "model.safetensors")
    text = refusal(f"timm:{tmp_path / 'beit'}")
    assert "could not be loaded: " in text
    assert "in the file only: pos_embed (1, 5, 32)" in text
    assert "in the model only: blocks.0.attn.q_bias (32,)" in text


def test_a_model_that_is_not_on_the_hub_is_refused_with_another_way() -> None:
    assert "is not on the hub" in refusal("timm:vit_huge_patch14_gap_224.in1k_ijepa")


def test_the_sizes_of_a_hybrid_are_those_of_its_transformer() -> None:
    with torch.device("meta"):
        network = timm_models.timm.create_model("vit_small_r26_s32_224")
    sizes = sizes_of(shapes_of(network.state_dict()))
    assert str(sizes) == "384 wide, 12 blocks deep, in patches of 1 pixels"


@pytest.mark.parametrize(("content", "found"), [("<html>", "a web page"), ("", "an empty file")])
def test_damaged_timm_weights_are_refused(content: str, found: str, hub_cache: Path) -> None:
    snapshot = put(hub_cache, "timm/test_vit.r160_in1k", {"model.safetensors": content})
    assert refusal("timm:test_vit").startswith(
        f"{snapshot / 'model.safetensors'} is no whole checkpoint of torch, safetensors or NumPy: "
        f"found {found}."
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "is no model of timm: it needs config.json and one of model.safetensors"),
        ({"config.json": "{}", "model.safetensors": ""}, "is no description of a model of timm"),
        ({"config.json": '{"architecture": "no_such_net"}', "model.safetensors": ""},
         "is of the architecture 'no_such_net', which timm"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_timm_model_is_refused(
    files: dict[str, str], said: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert said in refusal(f"timm:{tmp_path}")


# --- without network ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "repository", "file"),
    [
        ("timm:vit_tiny_patch16_224", "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
         "model.safetensors"),
        ("timm:hf-hub:me/mine", "me/mine", "config.json"),
        ("hf:me/mine", "me/mine", "config.json"),
    ],
)  # fmt: skip
def test_without_network_the_message_says_what_to_bring_and_where(
    spec: str, repository: str, file: str, hub_cache: Path
) -> None:
    folder = f"models--{repository.replace('/', '--')}"
    assert refusal(spec) == (
        f"{spec} is not on this machine, and https://huggingface.co cannot be reached. It needs "
        f"{file} of {repository}. Where there is a network, run `hf download {repository}`, then "
        f"copy the folder {folder} from that machine's cache to {hub_cache / folder} here. Or use "
        f"--backbone pico, which needs no download."
    )


@pytest.mark.parametrize("how", ["offline", "nobody listens", "silence"])
def test_no_network_is_known_at_once(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the call and never answers is given up after PROBE_SECONDS."""
    asked = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "offline")
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(hub, "_silent", {})
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if how == "silence":
            server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(threading.Thread, "join", lambda _, timeout: asked.append(timeout))
        assert not hub.reachable()
        assert not hub.reachable()
    assert asked == ([] if how == "offline" else [0.2]), "one model asks for several files"


def test_any_answer_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def refuses(request: urllib.request.Request, timeout: float) -> None:
        raise urllib.error.HTTPError(request.full_url, 403, "no", HTTPMessage(), io.BytesIO())

    monkeypatch.setattr(urllib.request, "urlopen", refuses)
    monkeypatch.setattr(hub, "_silent", {})
    assert hub.reachable()


def test_a_download_says_its_size_first(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def download(repository: str, name: str, **_: object) -> str:
        network = timm_models.timm.create_model("test_vit")
        return str(put(hub_cache, repository, {name: network}) / name)

    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(
        hub.huggingface_hub,
        "get_hf_file_metadata",
        lambda url: SimpleNamespace(size=12_300_000, etag="of git"),
    )
    assert load_backbone("timm:test_vit").dim == 64
    assert caplog.messages == ["Downloading model.safetensors of timm/test_vit.r160_in1k: 12 MB."]


@pytest.mark.parametrize("error", [OSError("no space"), TimeoutError("slow\nvery")])
def test_a_failed_download_says_how_to_go_on(
    error: OSError, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(url: str) -> None:
        raise error

    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(hub.huggingface_hub, "get_hf_file_metadata", fails)
    text = refusal("timm:test_vit")
    said = f"/timm/test_vit.r160_in1k: {str(error).splitlines()[0]}. Give the same command again"
    assert said in text


def test_without_transformers_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr(backbones.importlib, "import_module", missing)
    assert refusal("hf:me/mine") == (
        "Models of Hugging Face (hf:) need transformers, which is not installed. Install it with: "
        "pip install 'transformers>=5'"
    )


def test_without_transformers_its_models_are_refused_by_their_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="need transformers, which is not installed"):
        backbones.check_spec("hf:me/mine")


@pytest.mark.parametrize(
    "spec",
    ["pico", "timm:vit_tiny_patch16_224.augreg_in21k", "timm:hf-hub:me/mine", "hf:me/mine"],
)
def test_a_name_that_may_have_a_model_passes_without_one(spec: str) -> None:
    backbones.check_spec(spec)


def test_nobody_pays_for_transformers_or_peft_unasked() -> None:
    """They are imported by name where they are used; two modules speak to transformers."""
    speak = {"lacvit.backbones.hf_models", "lacvit.backbones.hf_weights"}
    for path in FILES:
        named = set(imports(ast.parse(path.read_text(encoding="utf-8"))))
        assert not {name for name in named if name.split(".")[0] == "peft"}, path
        if path.name not in ("hf_models.py", "hf_weights.py"):
            assert "transformers" not in {name.split(".")[0] for name in named}, path
        if path.name != "hf_models.py":
            assert not {name for name in named if name.rpartition(".")[0] in speak or name in speak}


def test_a_safetensors_file_is_known_whatever_its_first_byte(tmp_path: Path) -> None:
    """It begins with a length, whose lowest byte may be that of a pickle."""
    path = tmp_path / "model.safetensors"
    for padding in range(0, 256, 8):
        save_file({"a": torch.ones(1)}, path, metadata={"x": "y" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert list(read_checkpoint(path).tensors) == ["a"]


def test_a_hybrid_that_would_fetch_its_first_half_fails_at_once(tmp_path: Path) -> None:
    network = timm_models.timm.create_model(
        "vit_small_resnet26d_224", num_classes=2, img_size=64, embed_dim=16, depth=1, num_heads=2
    )
    timm_models.timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    assert refusal(f"timm:{tmp_path}").startswith(f"timm:{tmp_path} could not be loaded: ")


# --- run: --------------------------------------------------------------------------------------


def test_the_backbone_of_a_run_starts_another(tmp_path: Path) -> None:
    trained = load_backbone("pico")
    trained.encoder.fc_norm.weight.data.add_(1)  # type: ignore[union-attr, operator]
    head = nn.Linear(trained.dim, 2)
    Classifier(trained, head, ["a", "b"]).save(tmp_path / "run" / "model", card="")
    for place in (tmp_path / "run", tmp_path / "run" / "model"):
        backbone = load_backbone(f"run:{place}").eval()
        assert (backbone.origin.spec, backbone.origin.format) == (f"run:{place}", "lacvit")
        images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.equal(backbone(images), trained(images))
    text = refusal(f"run:{tmp_path / 'run'}", 64)
    assert text.startswith(f"run:{tmp_path / 'run'} was trained on 32 x 32 pixels, not 64.")
    (tmp_path / "run" / "model" / "model.safetensors").write_text("")
    assert "is missing or damaged" in refusal(f"run:{tmp_path / 'run'}")
    (tmp_path / "run" / "model" / "config.json").write_text("{}")
    assert "has format None; this version of lacvit reads 1." in refusal(f"run:{tmp_path / 'run'}")
    (tmp_path / "run" / "model" / "config.json").write_text('{"format": 1}')
    assert refusal(f"run:{tmp_path / 'run'}").endswith(
        "config.json is damaged or not lacvit's: it has no 'architecture'. "
        "Copy the whole folder again."
    )
    assert "holds no model of lacvit" in refusal(f"run:{tmp_path / 'nothing'}")


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


@pytest.mark.parametrize("spec", ["pico", "timm:test_vit", "hf:folder", "file:weights.pth"])
def test_a_way_to_pool_that_there_is_not_is_refused_before_anything_is_read(spec):
    with pytest.raises(InputError, match="pool is 'max'; choose one of: cls, mean, attention"):
        load_backbone(spec, pool="max")


@pytest.mark.parametrize(
    "spec", ["pico", "timm:test_vit", "hf:folder", "file:weights.pth", "run:r"]
)
@pytest.mark.parametrize("size", [0, -16])
def test_a_size_below_1_is_refused_before_anything_is_read(spec, size):
    assert refusal(spec, image_size=size) == (
        f"image_size is {size}; it must be at least 1. Leave it out for the backbone's own size."
    )
