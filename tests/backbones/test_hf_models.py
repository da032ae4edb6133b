"""Models of transformers: features against their own forward, poolers, keys, preprocessing.

One module, so that one process pays for the import. ``expected`` pools by itself.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_folders
from hf_folders import (
    COMMON,
    OTHER,
    SIZE,
    SWIN,
    WIDTH,
    Tiny,
    draw_all_anew,
    save,
    write_processor,
)
from lacvit.backbones import build_backbone, hf_models, load_backbone
from lacvit.backbones.drop_path import set_drop_path
from lacvit.errors import InputError

import transformers  # isort: skip  (hf_folders has applied the shim)

# Those of hf_folders train elsewhere too; these have nothing that those have not.
TINY = hf_folders.TINY | {
    "chinese_clip_vision_model": Tiny("chinese_clip_vision_model"),
    "mlcd_vision_model": Tiny("mlcd_vision_model"),
    "yolos": Tiny(
        "yolos", {"image_size": [SIZE, OTHER], "num_detection_tokens": 5}, cls=None, pool="mean",
        options={"add_pooling_layer": False},
    ),
}  # fmt: skip
# Of types without a row.
DISCOVERED = {
    "aimv2_vision_model": Tiny("aimv2_vision_model", prefix=0, cls=None, pool="mean"),
    "internvl_vision": Tiny("internvl_vision", pool="mean"),
    "internvl_vision-cls": Tiny(
        "internvl_vision", {"image_size": [SIZE, SIZE], "use_mean_pooling": False}
    ),
    "tipsv2_vision_model": Tiny("tipsv2_vision_model", prefix=2),
}
AS_CLIP = ("clip_vision_model", "chinese_clip_vision_model", "mlcd_vision_model")
# These fit their positions to the image unasked.
NEVER = (
    "dinov2", "dinov2_with_registers", "dinov3_vit", "mlcd_vision_model", "yolos",
    *(tiny.model_type for tiny in DISCOVERED.values()),
)  # fmt: skip
# Two ways through the same float32 operations; the largest error seen is 3e-6.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hf")
    return {name: save(tiny.make(), root / name) for name, tiny in (TINY | DISCOVERED).items()}


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(5))


def expected(tiny: Tiny, folder: Path, pixels: torch.Tensor, pool: str) -> torch.Tensor:
    """What AutoModel gives for the folder, pooled here."""
    options: dict[str, Any] = {}
    if tiny.model_type == "vit_mae":
        options["mask_ratio"] = 0.0
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, **options).eval()
    call = {} if tiny.model_type in NEVER else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        output = model(pixel_values=pixels, **call)
    if pool == "attention":
        return output.pooler_output
    tokens = output.last_hidden_state
    stop = tokens.shape[1] - tiny.config.get("num_detection_tokens", 0)
    chosen = slice(tiny.cls) if pool == "cls" else slice(tiny.prefix, stop)
    pooled = tokens[:, chosen].mean(1)
    with torch.no_grad():
        if tiny.model_type in AS_CLIP:
            return model.post_layernorm(pooled)
        if tiny.pool == "mean" and tiny.model_type in ("beit", "data2vec-vision"):
            weights = load_file(folder / "model.safetensors")
            norm = [weights[f"pooler.layernorm.{part}"] for part in ("weight", "bias")]
            return torch.nn.functional.layer_norm(
                pooled, (WIDTH,), *norm, model.config.layer_norm_eps
            )
    return pooled


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (name, size)
        for name in TINY | DISCOVERED
        for size in (SIZE, OTHER)
        if (name, size) != ("aimv2_vision_model", OTHER)  # refused, see below
    ],
)
def test_features_are_those_of_transformers(name: str, size: int, folders: dict[str, Path]) -> None:
    tiny, folder = (TINY | DISCOVERED)[name], folders[name]
    backbone = load_backbone(f"hf:{folder}", image_size=size).eval()
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    with torch.no_grad():
        features = backbone(images(size))
    assert features.shape == (2, backbone.dim)
    torch.testing.assert_close(features, expected(tiny, folder, images(size), tiny.pool), **CLOSE)
    assert features.std() > 0.01, "the tokens' differences must show"
    again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin).eval()
    again.encoder.load_state_dict(backbone.encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images(size)), features)


@pytest.mark.parametrize("name", AS_CLIP)
def test_features_are_pooled_as_the_model_itself_pools(name: str, folders: dict[str, Path]) -> None:
    model = transformers.AutoModel.from_pretrained(folders[name], dtype=torch.float32).eval()
    backbone = load_backbone(f"hf:{folders[name]}").eval()
    features = backbone(images(SIZE))
    with torch.no_grad():
        pooled = model(pixel_values=images(SIZE)).pooler_output
    torch.testing.assert_close(features, pooled, **CLOSE)
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def refusal(folder: Path, **how: Any) -> str:
    with pytest.raises(InputError) as refused:
        load_backbone(f"hf:{folder}", **how)
    return str(refused.value)


@pytest.mark.parametrize("name", TINY)
def test_blocks_stand_in_depth_order_and_the_rest_is_told_apart(
    name: str, folders: dict[str, Path]
) -> None:
    backbone = load_backbone(f"hf:{folders[name]}")
    assert len(backbone.blocks()) == TINY[name].depth
    names = {id(p): n for n, p in backbone.named_parameters()}
    orders = [
        {tuple(map(int, re.findall(r"(?<=\.)\d+(?=\.)", names[id(p)]))) for p in block.parameters()}
        for block in backbone.blocks()
    ]
    if "swin" not in name:
        assert orders == [{(i,)} for i in range(len(orders))]
    in_blocks = {id(p) for block in backbone.blocks() for p in block.parameters()}
    final = {id(p) for module in backbone.final() for p in module.parameters()}
    assert final
    assert not in_blocks & final
    rest = {n for i, n in names.items() if i not in in_blocks | final}
    allowed = (
        r"encoder\.tower\.(embeddings|pre_layrnorm|class_pos_emb|shared_position_bias|rope|"
        r"encoder\.(relative|interpolation))"
    )
    assert [n for n in rest if not re.match(allowed, n)] == []


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("vit", "mean"), ("deit", "mean"), ("beit", "cls"), ("dinov2_with_registers", "mean"),
        ("dinov3_vit", "mean"), ("clip_vision_model", "mean"), ("siglip_vision_model", "mean"),
        ("vit_mae", "cls"),
    ],
)  # fmt: skip
def test_another_pool_can_be_chosen(name: str, pool: Any, folders: dict[str, Path]) -> None:
    backbone = load_backbone(f"hf:{folders[name]}", pool=pool).eval()
    with torch.no_grad():
        features = backbone(images(SIZE))
    wanted = expected(TINY[name], folders[name], images(SIZE), pool)
    torch.testing.assert_close(features, wanted, **CLOSE)
    again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin).eval()
    again.encoder.load_state_dict(backbone.encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again(images(SIZE)), features)


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("swinv2", {"pool": "cls"}, "has no class token: use --set backbone.pool=mean."),
        ("vit", {"pool": "attention"}, "has no attention pool: use backbone.pool cls or mean."),
        ("vit", {"image_size": 44}, "8 pixels, of which 44 is no multiple. Use --image-size 48."),
        ("vit", {"image_size": 3}, "Use --image-size 8."),
        (
            "aimv2_vision_model",
            {"image_size": OTHER},
            "cannot take images of 48 pixels (The size of tensor a (36) must match the size of "
            "tensor b (16) at non-singleton dimension 1). Its own size is 32: use --image-size 32.",
        ),
    ],
)  # fmt: skip
def test_what_the_model_cannot_do_is_refused(
    name: str, how: dict[str, Any], said: str, folders: dict[str, Path]
) -> None:
    assert said in refusal(folders[name], **how)


def test_a_native_size_that_leaves_a_rest_is_taken(tmp_path: Path) -> None:
    """As SigLIP's 384 pixels by patches of 14: transformers leaves the rest out."""
    tiny = replace(TINY["siglip_vision_model"], shape={**COMMON, "image_size": 36})
    model = tiny.make()
    save(model, tmp_path, size={"height": 36, "width": 36})
    found = load_backbone(f"hf:{tmp_path}")
    assert found.input_spec.size == 36
    with torch.no_grad():
        torch.testing.assert_close(found(images(36)), model(images(36)).pooler_output)
    assert "36 is no multiple" not in refusal(tmp_path, image_size=44)


def test_windows_that_a_size_does_not_fill_are_refused(tmp_path: Path) -> None:
    shape = {**SWIN, "image_size": 56, "window_size": 7, "depths": [2, 2]}
    save(replace(TINY["swin"], shape=shape).make(), tmp_path, size={"height": 56, "width": 56})
    said = refusal(tmp_path, image_size=48)
    assert "cannot take images of 48 pixels" in said
    assert said.endswith("use --image-size 56.")
    assert load_backbone(f"hf:{tmp_path}", image_size=64).input_spec.size == 64


def test_masking_is_off_in_training_too(folders: dict[str, Path]) -> None:
    backbone = load_backbone(f"hf:{folders['vit_mae']}").train()
    with torch.no_grad():
        assert torch.equal(backbone(images(SIZE)), backbone(images(SIZE)))
    assert backbone.architecture.arguments["config"]["mask_ratio"] == 0


def test_a_half_precision_file_gives_float32_weights(tmp_path: Path) -> None:
    model = TINY["vit"].make()
    folder = save(model.half(), tmp_path / "half")
    backbone = load_backbone(f"hf:{folder}").eval()
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    with torch.no_grad():
        features = backbone(images(SIZE))
    torch.testing.assert_close(
        features, expected(TINY["vit"], folder, images(SIZE), "cls"), **CLOSE
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ViTForImageClassification", "vit"), ("ViTMAEForPreTraining", "vit_mae"),
     ("DeiTForImageClassificationWithTeacher", "deit"), ("BeitForImageClassification", "beit"),
     ("BeitForMaskedImageModeling", "beit"), ("Swinv2ForImageClassification", "swinv2"),
     ("Dinov2ForImageClassification", "dinov2"), ("YolosForObjectDetection", "yolos")],
)  # fmt: skip
def test_heads_are_left_and_all_else_is_taken(kind: str, name: str, tmp_path: Path) -> None:
    tiny = TINY[name]
    config = transformers.AutoConfig.for_model(tiny.model_type, **tiny.shape | tiny.config)
    config.vocab_size = 10
    model = getattr(transformers, kind)(config).eval()
    draw_all_anew(model)
    folder = save(model, tmp_path / "whole")
    backbone = load_backbone(f"hf:{folder}")
    held = {
        (tuple(t.shape), round(t.double().sum().item(), 4))
        for t in load_file(folder / "model.safetensors").values()
    }
    for key, parameter in backbone.named_parameters():
        if "pooler.layernorm" in key and "Masked" in kind:
            assert torch.equal(parameter, torch.full_like(parameter, key.endswith("weight")))
        else:
            assert (tuple(parameter.shape), round(parameter.double().sum().item(), 4)) in held, key


@pytest.mark.parametrize(("kind", "tower"), [("clip", "CLIPModel"), ("siglip", "SiglipModel")])
def test_the_image_tower_is_taken_from_a_model_of_image_and_text(
    kind: str, tower: str, tmp_path: Path
) -> None:
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "vocab_size": 20, "max_position_embeddings": 6}  # fmt: skip
    vision = TINY[f"{kind}_vision_model"]
    if kind == "siglip":
        text["projection_size"] = WIDTH
    config = transformers.AutoConfig.for_model(kind, text_config=text, vision_config=vision.shape)
    model = getattr(transformers, tower)(config).eval()
    draw_all_anew(model)
    folder = save(model, tmp_path / "whole")
    backbone = load_backbone(f"hf:{folder}", image_size=OTHER).eval()
    with torch.no_grad():
        wanted = model.vision_model(pixel_values=images(OTHER), interpolate_pos_encoding=True)
        torch.testing.assert_close(backbone(images(OTHER)), wanted.pooler_output, **CLOSE)
    assert backbone.architecture.name == vision.model_type


def test_a_type_without_a_row_tells_of_itself(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lacvit.backbones import hf_families

    for name in ("vit_msn", "dinov3_vit", "swin"):
        monkeypatch.delitem(hf_families.FAMILIES, name)
    for name in ("vit_msn", "dinov3_vit"):
        backbone = load_backbone(f"hf:{folders[name]}").eval()
        with torch.no_grad():
            features = backbone(images(SIZE))
        wanted = expected(TINY[name], folders[name], images(SIZE), "cls")
        torch.testing.assert_close(features, wanted, **CLOSE)
        assert [n for n, _ in backbone.final()[0].named_parameters()] == ["weight", "bias"]
    assert "which is not a token for each patch of 4." in refusal(folders["swin"])


@pytest.mark.parametrize(
    ("model_type", "said"),
    [
        (
            "videomae",
            "are no image encoders with patch tokens that lacvit can use: they do not take a blank "
            "image of 32 pixels (not enough values to unpack (expected 5, got 4)). Choose one of ",
        ),
        ("pixio", "give (2, 24, 16) for 2 blank images of 32 pixels, which is not a token for "),
        ("pixtral", "give (1, 32, 16) for 2 blank images of 32 pixels, which is not a token for "),
    ],
)
def test_a_type_without_a_row_that_gives_no_patch_tokens_is_refused(
    model_type: str, said: str, tmp_path: Path
) -> None:
    folder = save(Tiny(model_type).make(), tmp_path / model_type)
    assert f"Models of the type {model_type!r} {said}" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("layernorm.weight"), ["in the model only: layernorm.weight (16,)"]),
        (
            lambda t: t.update({"layers.0.extra": torch.ones(2, 3)}),
            ["in the file only: layers.0.extra (2, 3)"],
        ),
        (  # under the name that it has in the file, which transformers changes
            lambda t: t.update({"encoder.layer.0.attention.attention.key.gate": torch.ones(4)}),
            ["in the file only: encoder.layer.0.attention.attention.key.gate (4,)"],
        ),
        (
            lambda t: t.update({"layernorm.weight": torch.ones(7)}),
            ["layernorm.weight is (7,) in the file and (16,) in the model"],
        ),
    ],
    ids=["missing", "stray", "stray under an older name", "misshapen"],
)
def test_a_weight_without_a_place_or_a_place_without_a_weight_is_refused(
    change: Any, said: list[str], tmp_path: Path
) -> None:
    folder = save(TINY["vit"].make(add_pooling_layer=False), tmp_path / "vit")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert refusal(folder).split("\n  ") == [
        f"hf:{folder} does not fit its own config.json:",
        *said,
    ]


@pytest.mark.parametrize("name", ["vit", "swin", "clip_vision_model"])
def test_weights_of_another_size_than_the_configuration_are_said_to_be(
    name: str, tmp_path: Path
) -> None:
    folder = save(TINY[name].make(), tmp_path / name)
    config = json.loads((folder / "config.json").read_text())
    config |= {"depths": [1, 1], "embed_dim": 16} if name == "swin" else {"num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    width, patch = (8, 4) if name == "swin" else (16, 8)
    assert refusal(folder).splitlines()[-1] == (
        f"  The file is of a network {width} wide, 3 blocks deep, in patches of {patch} pixels; "
        f"its config.json of one 16 wide, 2 blocks deep, in patches of {patch} pixels."
    )


@pytest.mark.parametrize(
    ("held", "written", "types"),
    [
        ("dinov2", "vit", "dinov2"),
        ("swin", "swinv2", "swin"),
        ("vit_msn", "clip_vision_model", "vit or vit_mae or vit_msn"),
    ],
)
def test_weights_of_another_type_than_the_configuration_are_said_to_be(
    held: str, written: str, types: str, tmp_path: Path
) -> None:
    folder = save(TINY[held].make(), tmp_path / held)
    TINY[written].make().config.save_pretrained(folder)
    assert refusal(folder).splitlines()[-1] == (
        f"  The names in the file are those of the type {types}; its config.json says {written}. "
        f"Fetch the config.json that belongs to the file."
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "vit", "auto_map": {"AutoModel": "code.Model"}}, "and lacvit runs none"),
        ({"model_type": "nobody-knows"}, "of the type 'nobody-knows', which transformers"),
        ({"architecture": "vit_tiny_patch16_224"}, "for a model of timm."),
    ],
)
def test_models_that_transformers_cannot_build_are_refused(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert said in refusal(tmp_path)


def test_weights_in_parts_are_read_and_a_missing_part_is_named(tmp_path: Path) -> None:
    model = TINY["vit"].make(add_pooling_layer=False)
    model.save_pretrained(tmp_path, max_shard_size=4000)
    parts = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(parts) > 2
    loaded = load_backbone(f"hf:{tmp_path}").encoder.tower.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in model.state_dict().items())
    parts[1].write_text("<html>")
    assert refusal(tmp_path).startswith(f"{parts[1]} is no whole checkpoint of torch")
    parts[1].unlink()
    index = tmp_path / "model.safetensors.index.json"
    assert f"{index} names {parts[1].name}, which is not there (1 of" in refusal(tmp_path)
    index.write_text("{}")
    assert refusal(tmp_path) == f"{index} is no index of weights. Fetch it again."
    (tmp_path / "config.json").write_text("<html>")
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path / 'config.json'} is damaged: Expecting value: line 1")
    assert said.endswith(". Fetch the model again, or correct the file.")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("hidden_size", "wide", "field 'hidden_size'"), ("id2label", 3, "'int' object has no")],
)
def test_a_configuration_of_no_model_is_refused(
    key: str, value: object, said: str, tmp_path: Path
) -> None:
    path = save(TINY["vit"].make(), tmp_path / "vit") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    text = refusal(path.parent)
    assert text.startswith(f"{path} is damaged: ")
    assert said in text
    assert text.endswith(". Fetch the model again, or correct the file.")
    assert len(text.splitlines()) == 1


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} has no config.json: it is no model of transformers."
    assert "There is no folder" in refusal(tmp_path / "missing")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert f"{tmp_path} holds no weights: it needs one of model.safetensors, " in refusal(tmp_path)


@pytest.mark.parametrize(
    ("written", "size", "fraction", "fit", "interpolation"),
    [
        ({"size": {"height": 32, "width": 32}, "resample": 2}, 32, 1.0, "squash", "bilinear"),
        ({"size": 32, "resample": 3, "feature_extractor_type": "ViTFeatureExtractor"},
         32, 1.0, "squash", "bicubic"),
        ({"size": {"shortest_edge": 64}, "do_center_crop": True,
          "crop_size": {"height": 32, "width": 32}, "resample": 3}, 32, 0.5, "crop", "bicubic"),
        ({"size": 40, "crop_size": 32, "do_center_crop": True,
          "feature_extractor_type": "CLIPFeatureExtractor"}, 32, 0.8, "crop", "bicubic"),
        ({"size": {"height": 40, "width": 40}, "do_center_crop": True,
          "crop_size": {"height": 32, "width": 32}}, 32, 0.8, "squash", "bicubic"),
    ],
)  # fmt: skip
def test_preprocessing_is_the_processors(
    written: dict[str, Any], size: int, fraction: float, fit: str, interpolation: str,
    folders: dict[str, Path],
) -> None:  # fmt: skip
    folder = folders["vit"]
    write_processor(folder, **written, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    spec = load_backbone(f"hf:{folder}").input_spec
    assert (spec.size, spec.crop_fraction, spec.fit) == (size, fraction, fit)
    assert (spec.mean, spec.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert spec.interpolation == interpolation


@pytest.mark.parametrize("other", [False, True])
def test_the_image_processor_within_a_whole_processors_file_is_read(
    other: bool, tmp_path: Path
) -> None:
    """As transformers 5 saves it; where both files are there, it is the one that counts."""
    folder = save(TINY["clip_vision_model"].make(), tmp_path / "clip")
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 40}, crop_size=SIZE, image_mean=[0.1, 0.2, 0.3], resample=2
    )
    nested = {"image_processor": processor.to_dict(), "processor_class": "CLIPProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    if not other:
        (folder / "preprocessor_config.json").unlink()
    theirs = transformers.CLIPImageProcessor.from_pretrained(folder)
    assert list(theirs.image_mean) == [0.1, 0.2, 0.3]
    spec = load_backbone(f"hf:{folder}").input_spec
    assert (spec.size, spec.crop_fraction, spec.fit) == (SIZE, 0.8, "crop")
    assert (spec.mean, spec.interpolation) == ((0.1, 0.2, 0.3), "bilinear")


def test_a_whole_processors_file_without_an_image_processor_says_nothing(
    folders: dict[str, Path],
) -> None:
    folder = folders["vit_msn"]
    (folder / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    write_processor(folder, size=SIZE, image_mean=[0.3, 0.2, 0.1])
    assert load_backbone(f"hf:{folder}").input_spec.mean == (0.3, 0.2, 0.1)


@pytest.mark.parametrize("there", ["preprocessor_config.json", "processor_config.json"])
def test_of_a_repository_both_files_of_a_processor_are_asked_for(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(TINY["vit"].make(), tmp_path / "vit")
    (folder / "preprocessor_config.json").unlink()

    def fetch(repository: str, names: list[str], *, spec: str) -> None:
        assert (repository, spec) == ("me/mine", "hf:me/mine")
        assert set(names) == {"preprocessor_config.json", "processor_config.json"}
        content = {"size": SIZE, "image_mean": [0.3, 0.2, 0.1]}
        whole = content if there.startswith("pre") else {"image_processor": content}
        (folder / there).write_text(json.dumps(whole))

    monkeypatch.setattr(hf_models.hub, "find_file", lambda *_, **__: folder / "config.json")
    monkeypatch.setattr(hf_models.hub, "find_weights", lambda *_, **__: None)
    monkeypatch.setattr(hf_models.hub, "fetch_those_there", fetch)
    assert load_backbone("hf:me/mine").input_spec.mean == (0.3, 0.2, 0.1)


def test_a_processor_without_an_image_processor_leaves_it_to_the_other_file(
    tmp_path: Path,
) -> None:
    folder = save(TINY["vit"].make(), tmp_path / "vit")
    (folder / "processor_config.json").write_text('{"image_processor": null}')
    content = {"size": SIZE, "image_mean": [0.3, 0.2, 0.1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    assert load_backbone(f"hf:{folder}").input_spec.mean == (0.3, 0.2, 0.1)


def test_without_a_processor_the_usual_is_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    TINY["dinov2"].make().save_pretrained(tmp_path)
    spec = load_backbone(f"hf:{tmp_path}").input_spec
    assert (spec.size, spec.fit, spec.mean[0]) == (SIZE, "crop", 0.485)
    assert "has no preprocessor_config.json; images are prepared as usual." in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("preprocessor_config.json", '{"image_mean": [1]}', "mean.1: Field required (1 more)"),
        ("preprocessor_config.json", '{"size": {}}', "it has no 'height'"),
        ("preprocessor_config.json", "[]", "it holds no settings"),
        ("preprocessor_config.json", "null", "it holds no settings"),
        ("processor_config.json", '{"image_processor": 3}', "'int' object has no attribute 'get'"),
        ("processor_config.json", "<html>", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_a_damaged_processor_is_refused(name: str, text: str, said: str, tmp_path: Path) -> None:
    path = save(TINY["ijepa"].make(), tmp_path / "ijepa") / name
    path.write_text(text)
    assert refusal(path.parent) == (
        f"{path} is damaged: {said}. Fetch the model again, or correct the file."
    )


@pytest.mark.parametrize("family", ["yolos", "aimv2_vision_model"])
def test_drop_path_reaches_blocks_of_other_shapes(family: str, tmp_path: Path) -> None:
    """At nearly 1 the last block leaves both branches out, and its tokens pass unchanged."""
    kinds = TINY | DISCOVERED
    backbone = load_backbone(f"hf:{hf_folders.save(kinds[family].make(), tmp_path / 'm')}")
    last, seen = backbone.blocks()[-1], {}
    last.register_forward_pre_hook(lambda _, given: seen.update(before=given[0]))
    last.register_forward_hook(lambda _, __, out: seen.update(after=out))
    set_drop_path(backbone, 1 - 1e-7)
    size = backbone.input_spec.size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        backbone.train()(images)
        after = seen["after"][0] if isinstance(seen["after"], tuple) else seen["after"]
        torch.testing.assert_close(after, seen["before"])
        backbone.eval()(images)
    after = seen["after"][0] if isinstance(seen["after"], tuple) else seen["after"]
    assert not torch.allclose(after, seen["before"], atol=1e-3)
