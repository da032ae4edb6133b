"""Backbones from transformers: ``hf:ORG/NAME`` of the hub, or ``hf:FOLDER``.

Loaded only for such a backbone, because transformers is an extra and takes seconds to import.
Shape letters: B images, T tokens, D feature dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from lacvit.backbones import hub
from lacvit.backbones.backbone import Architecture, Backbone, Origin, Pool, refuse_rest
from lacvit.backbones.checkpoint_files import read_checkpoint
from lacvit.backbones.hf_families import (
    TOWERS,
    Family,
    check_takes,
    family_of,
    side_of,
)
from lacvit.backbones.hf_preparation import FETCH, PREPROCESSOR, PROCESSOR, input_spec_of
from lacvit.backbones.hf_weights import check_complete, construction, quiet, with_weights
from lacvit.errors import InputError, in_one_line
from lacvit.input_spec import InputSpec
from lacvit.run_folder import read_object

AutoModel: Any = transformers.AutoModel

# What a configuration says of the head, of where it came from, and of how it was stored.
NOT_OF_THE_ENCODER = {
    "id2label", "label2id", "architectures", "transformers_version", "_name_or_path", "dtype",
    "torch_dtype", "problem_type",
}  # fmt: skip

# What transformers raises of a configuration with values of wrong kinds, or that do not agree.
NO_CONFIG = (ValueError, TypeError, KeyError, AttributeError, StrictDataclassError)


class PooledTower(nn.Module):
    """An encoder of transformers that gives pooled features (B, D)."""

    tower: Any  # one of transformers' classes, which say nothing to a type checker

    def __init__(self, tower: Any, family: Family, pool: Pool, model_type: str) -> None:
        super().__init__()
        self.tower = tower
        self._pool = pool
        self._special = family.special
        registers = getattr(tower.config, "num_register_tokens", 0)
        detections = getattr(tower.config, "num_detection_tokens", 0)  # YOLOS's, the last ones
        self._patches = slice(family.special + int(registers), -int(detections) or None)
        normed = model_type in ("beit", "data2vec-vision") and not tower.config.use_mean_pooling
        self._norm = None if normed else family.norm
        self._options = {"interpolate_pos_encoding": True} if family.resizes else {}
        self._masks = model_type == "vit_mae"
        for name, parameter in tower.named_parameters():
            if name.endswith("mask_token"):  # of pretraining; no image uses it
                parameter.requires_grad_(False)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Pooled features (B, D) of normalised float images (B, 3, H, W)."""
        options: dict[str, Any] = dict(self._options)
        if self._masks:  # it shuffles the patches even where it hides none, unless told their order
            patch = self.tower.config.patch_size
            count = (images_B3HW.shape[2] // patch) * (images_B3HW.shape[3] // patch)
            order = torch.arange(count, device=images_B3HW.device, dtype=torch.float32)
            options["noise"] = order.expand(len(images_B3HW), -1)
        output = self.tower(pixel_values=images_B3HW, **options)
        if self._pool == "attention":
            attended_BD: Tensor = output.pooler_output
            return attended_BD
        tokens_BTD: Tensor = output.last_hidden_state
        chosen = slice(self._special) if self._pool == "cls" else self._patches
        pooled_BD = tokens_BTD[:, chosen].mean(1)
        if self._norm is None:
            return pooled_BD
        normed_BD: Tensor = self.tower.get_submodule(self._norm)(pooled_BD)
        return normed_BD

    def set_grad_checkpointing(self, enable: bool) -> None:
        """As timm's models have it; it is never switched off again."""
        assert enable
        tower = self.tower
        if hasattr(tower, "activation_checkpointing_enable"):  # its name in later versions of 5
            tower.activation_checkpointing_enable({"use_reentrant": False})
        else:
            tower.gradient_checkpointing_enable({"use_reentrant": False})


def build(architecture: Architecture, input_spec: InputSpec, origin: Origin) -> Backbone:
    """The network of ``architecture`` with fresh weights; needs no network."""
    arguments = architecture.arguments
    config = transformers.AutoConfig.for_model(architecture.name, **arguments["config"])
    with quiet():
        tower = AutoModel.from_config(
            config, dtype=torch.float32, **construction(architecture.name)
        )
    family = family_of(architecture.name, tower, config)
    return _wrap(tower, family, architecture, input_spec, origin)


def load(name: str, *, image_size: int | None, pool: Pool | None) -> Backbone:
    """The encoder of a model of the hub (``ORG/NAME``, ``ORG/NAME@REVISION``) or of a folder.

    Raises:
        InputError: no such model, not cached and no network, no whole file of weights (what was
            found is said) or one that would run code, no patch tokens, a tensor without a
            place or a place without a tensor, a pool that the model does not have, a size that
            its patches do not divide or that it cannot take, or code of its own that would have
            to run.
    """
    spec = f"hf:{name}"
    folder = _folder(name, spec)
    config = _read_config(folder, spec)
    model_type = config.model_type
    arguments = {k: v for k, v in config.to_diff_dict().items() if k not in NOT_OF_THE_ENCODER}
    arguments.pop("model_type", None)
    if model_type == "vit_mae":
        arguments["mask_ratio"] = config.mask_ratio = 0.0
    if model_type == "siglip_vision_model" and pool not in (None, "attention"):
        arguments["vision_use_head"] = config.vision_use_head = False
    # As a file: is read, so that what is no whole file of weights is named, and nothing in it runs.
    files = [read_checkpoint(path) for path in hub.weight_files(folder)]
    tensors = {key: tensor for file in files for key, tensor in file.tensors.items()}
    tower, found = with_weights(config, tensors, spec)
    family = family_of(model_type, tower, config)
    check_complete(found, family, tower, tensors, spec)
    patch, native = side_of(config.patch_size), side_of(config.image_size)
    input_spec = input_spec_of(folder, family, native, image_size)
    if input_spec.size != native:  # its own may leave a rest
        refuse_rest(spec, patch, input_spec.size)
    architecture = Architecture(
        source="hf", name=model_type, arguments={"config": arguments, "pool": pool}
    )
    sha256 = files[0].sha256 if len(files) == 1 else None
    origin = Origin(spec=spec, format=f"transformers {model_type}", sha256=sha256)
    backbone = _wrap(tower, family, architecture, input_spec, origin)
    if input_spec.size != native:
        check_takes(backbone.encoder, input_spec.size, native, spec)
    return backbone


def _wrap(
    tower: Any, family: Family, architecture: Architecture, spec: InputSpec, origin: Origin
) -> Backbone:
    pool: Pool = architecture.arguments["pool"] or family.pool
    if architecture.arguments["pool"] is None and not getattr(
        tower.config, "use_mean_pooling", True
    ):
        pool = "cls"  # BEiT and data2vec can be trained with either
    if pool == "cls" and family.special == 0:
        raise InputError(f"{origin.spec} has no class token: use --set backbone.pool=mean.")
    if pool == "attention" and family.pool != "attention":
        raise InputError(f"{origin.spec} has no attention pool: use backbone.pool cls or mean.")
    encoder = PooledTower(tower, family, pool, architecture.name)
    modules = dict(tower.named_modules())
    final = {name: modules[name] for name in (*family.final, family.norm) if name in modules}
    return Backbone(
        encoder,
        dim=int(tower.config.hidden_size),
        input_spec=spec,
        architecture=architecture,
        origin=origin,
        blocks=_blocks(modules[family.blocks]),
        final=final.values(),
    )


def _blocks(layers: nn.Module) -> list[nn.Module]:
    """Blocks in depth order; a stage's merging of patches belongs to the block that follows it."""
    blocks: list[nn.Module] = []
    merging: nn.Module | None = None
    for layer in layers.children():
        parts = dict(layer.named_children())
        for block in parts["blocks"].children() if "blocks" in parts else [layer]:
            blocks.append(block if merging is None else nn.ModuleList([merging, block]))
            merging = None
        merging = parts.get("downsample")
    return blocks


def _folder(name: str, spec: str) -> Path:
    """The folder of a model, complete, from the disk, the hub's cache or a download."""
    local = hub.local_folder(name)
    if local is not None:
        return local
    config = hub.find_file(name, ["config.json"], spec=spec)
    # Before the weights, which take longest: stopped then, all but they is there.
    hub.fetch_those_there(name, [PROCESSOR, PREPROCESSOR], spec=spec)
    hub.find_weights(name, spec=spec)
    return config.parent


def _read_config(folder: Path, spec: str) -> Any:
    path = folder / "config.json"
    if not path.exists():
        raise InputError(f"{folder} has no config.json: it is no model of transformers.")
    written = read_object(path, FETCH)
    if written.get("auto_map"):
        raise InputError(
            f"{spec} needs Python code that comes with the model ({path}: auto_map), and lacvit "
            f"runs none. Choose a model that transformers itself can build."
        )
    model_type = written.get("model_type")
    if model_type not in transformers.CONFIG_MAPPING:
        raise InputError(
            f"{spec} is of the type {model_type!r}, which transformers {transformers.__version__} "
            f"does not know. Upgrade transformers, or write timm:{folder} for a model of timm."
        )
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except NO_CONFIG as error:
        raise InputError(f"{path} is damaged: {in_one_line(error)}. {FETCH}") from error
    return config.vision_config if model_type in TOWERS else config
