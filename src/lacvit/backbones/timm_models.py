"""Backbones from timm: ``timm:NAME``, ``timm:hf-hub:ORG/NAME``, ``timm:FOLDER``.

Normalisation, interpolation and crop come from the model's own description in timm.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import nn

from lacvit.backbones import hub
from lacvit.backbones.backbone import Architecture, Backbone, Origin, Pool, refuse_rest
from lacvit.backbones.checkpoint_files import CheckpointFile, read_checkpoint
from lacvit.backbones.key_differences import Shapes, differences, misfit, shapes_of, sizes_of
from lacvit.backbones.timm_sources import TimmSource, find, fitting, nearest
from lacvit.errors import InputError, first_line
from lacvit.input_spec import InputSpec

__all__ = ["build", "licence", "load", "nearest", "shapes"]

PATCHES = "patch_embed.proj.weight"
# What timm raises where weights do not fit the network, or cannot be had.
FAILURES = (OSError, RuntimeError, AttributeError, KeyError, ValueError, AssertionError)
# One model at a time: `_listening` changes what all threads share.
LOADING = threading.Lock()
# Our names of the ways to pool -> timm's.
POOLS: dict[Pool, str] = {"cls": "token", "mean": "avg", "attention": "map"}


def build(architecture: Architecture, input_spec: InputSpec, origin: Origin) -> Backbone:
    """The network of ``architecture`` with fresh weights."""
    arguments = {k: v for k, v in architecture.arguments.items() if k != "pool"}
    network = timm.create_model(architecture.name, num_classes=0, **arguments)
    return _wrap(network, architecture, input_spec, origin)


def load(name: str, *, image_size: int | None, pool: Pool | None) -> Backbone:
    """The pretrained timm model called ``name``, from the cache, a folder or a download.

    Raises:
        InputError: timm has no such weights (the nearest are named), the model is no vision
            transformer, its input size is fixed or no multiple of its patches, it cannot pool so,
            some weights found no place, or they are neither cached nor to be downloaded.
    """
    source = find(name)
    arguments = dict(source.arguments)
    if image_size is not None:
        arguments["img_size"] = image_size
        _check_multiple(source, image_size)
    file = read_checkpoint(source.weights)
    network = _create(source, arguments, file)
    stored = arguments.get("img_size")  # as the folder was saved, where no other is asked for
    size = stored[0] if isinstance(stored, list | tuple) else stored
    described = resolve_model_data_config(network, args={"img_size": size} if size else {})
    if described["input_size"][0] != 3:
        raise InputError(
            f"{source.spec} takes images of {described['input_size'][0]} channels, not of 3."
        )
    spec = InputSpec(
        size=described["input_size"][-1],
        mean=described["mean"],
        std=described["std"],
        interpolation="bilinear" if described["interpolation"] == "bilinear" else "bicubic",
        crop_fraction=described["crop_pct"],
        fit="squash" if described.get("crop_mode") == "squash" else "crop",
    )
    if source.described:  # rebuilding must not depend on what timm says of the same architecture
        arguments.setdefault("img_size", spec.size)
    if pool is not None:
        arguments["pool"] = pool
    # With its tag: some tags of one model differ in input size or pooling.
    architecture = Architecture(source="timm", name=source.name, arguments=arguments)
    origin = Origin(spec=source.spec, format="timm", sha256=file.sha256)
    return _wrap(network.float(), architecture, spec, origin)


def _create(source: TimmSource, arguments: dict[str, Any], file: CheckpointFile) -> nn.Module:
    """The network with its weights, each of which found its place."""
    overlay = source.described | {"state_dict": dict(file.tensors), "source": "timm"}
    with LOADING, _listening() as misfits:
        try:
            # Some hybrids would fetch the weights of their first half by themselves, and hang.
            with hub.without_network():
                network: nn.Module = timm.create_model(
                    source.name,
                    pretrained=True,
                    num_classes=0,
                    pretrained_cfg_overlay=overlay,
                    **arguments,
                )
        except TypeError as error:
            if "img_size" not in arguments or "img_size" not in str(error):
                raise
            if arguments["img_size"] == source.arguments.get("img_size"):
                raise InputError(f"{source.spec} could not be loaded: {error}") from None
            raise InputError(
                f"{source.spec} takes no other input size: leave --image-size out."
            ) from None
        except FAILURES as error:
            if misfits:
                raise _refusal(source, file, *misfits[-1]) from None
            raise _failure(source, arguments, file, error) from error
    if source.described:  # timm would resample patches of another size
        wanted = shapes_of(network.state_dict())
        patches = shapes_of(file.tensors).get(PATCHES, ())
        if len(patches) == 4 and patches != wanted.get(PATCHES, patches):
            misfits.append((wanted | {PATCHES: patches}, wanted))
    if misfits:
        raise _refusal(source, file, *misfits[-1])
    described: Any = network.pretrained_cfg
    described["state_dict"] = None  # it would keep a second copy of the weights
    return network


def _failure(
    source: TimmSource, arguments: dict[str, Any], file: CheckpointFile, error: Exception
) -> InputError:
    """What timm said; and, where its own conversion met another architecture, what differs."""
    said = first_line(error)
    text = f"{source.spec} could not be loaded: {said}."
    try:
        wanted = _shapes(source.name, arguments)
    except FAILURES:
        return InputError(text)
    head = f"{timm.get_pretrained_cfg_value(source.name, 'classifier')}."
    given = {k: v for k, v in shapes_of(file.tensors).items() if not k.startswith(head)}
    advice = _other_sizes(source, file, wanted)
    return misfit(f"{text} What differs", differences(given, wanted), advice)


def _refusal(source: TimmSource, file: CheckpointFile, given: Shapes, wanted: Shapes) -> InputError:
    return misfit(
        f"{source.spec} does not fit its architecture, {source.name}",
        differences(given, wanted),
        _other_sizes(source, file, wanted),
    )


def _other_sizes(source: TimmSource, file: CheckpointFile, wanted: Shapes) -> str:
    """The file's sizes beside those of its architecture, and which of timm's has them."""
    sizes = sizes_of(shapes_of(file.tensors))
    if sizes is None or sizes == sizes_of(wanted):
        return ""
    text = f"The file is of a network {sizes}; this architecture is {sizes_of(wanted)}."
    near = fitting(source.name, sizes)
    return f"{text} {near} would fit." if near else text


@contextmanager
def _listening() -> Iterator[list[tuple[Shapes, Shapes]]]:
    """What timm loads that does not fit: shapes of the tensors, its filters passed, and wanted.

    timm loads leniently whenever the classifier is dropped, which is always here, and says what
    found no place in its log alone, where it is not needed any more.
    """
    misfits: list[tuple[Shapes, Shapes]] = []
    load = nn.Module.load_state_dict
    listener = threading.get_ident()

    def listen(self: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != listener:
            return load(self, state_dict, *args, **kwargs)
        misfits.append((shapes_of(state_dict), shapes_of(self.state_dict())))
        result = load(self, state_dict, *args, **kwargs)
        if not any(result):  # torch forgives some differences, such as a counter of a norm
            misfits.pop()
        return result

    logger = logging.getLogger("timm.models._builder")
    silent, logger.disabled = logger.disabled, True
    nn.Module.load_state_dict = listen  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():  # of timm's own code, about which a user can do nothing
            warnings.simplefilter("ignore", UserWarning)
            yield misfits
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]
        logger.disabled = silent


def _check_multiple(source: TimmSource, image_size: int) -> None:
    own_size = {k: v for k, v in source.arguments.items() if k != "img_size"}
    with torch.device("meta"):  # no weights: what counts is how it cuts
        network = timm.create_model(source.name, num_classes=0, **own_size)
    patches = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    patch: int = patches if isinstance(patches, int) else patches[0]
    refuse_rest(source.spec, patch, image_size)


def licence(name: str) -> str | None:
    """The licence that timm records for a model's weights, if it records one."""
    described = timm.get_pretrained_cfg(name)
    return described.license if described else None


def _wrap(
    network: nn.Module, architecture: Architecture, spec: InputSpec, origin: Origin
) -> Backbone:
    pool: Pool | None = architecture.arguments.get("pool")
    if pool is not None:
        _repool(network, pool, origin.spec)
    blocks, final = _parts(network, origin.spec)
    # Not `num_features`, which is the width before a head's own hidden layer.
    dim: int = network.head_hidden_size  # type: ignore[assignment]
    return Backbone(
        network,
        dim=dim,
        input_spec=spec,
        architecture=architecture,
        origin=origin,
        blocks=blocks,
        final=final,
    )


def _repool(network: nn.Module, pool: Pool, spec: str) -> None:
    """Pool another way; the final norm stays where the model's own weights put it."""
    children = dict(network.named_children())
    ways: list[Pool] = [] if "head_dist" in children else ["mean"]
    if getattr(network, "cls_token", None) is not None:
        ways.append("cls")
    if "attn_pool" in children:
        ways.append("attention")
    if pool not in ways:
        raise InputError(f"{spec} cannot pool by {pool!r}. Use backbone.pool {' or '.join(ways)}.")
    network.reset_classifier(0, POOLS[pool])  # type: ignore[operator]


def _parts(network: nn.Module, spec: str) -> tuple[list[nn.Module], list[nn.Module]]:
    """The blocks in depth order, and what follows the last of them."""
    children = dict(network.named_children())
    trunk = next((name for name in ("blocks", "layers", "stages") if name in children), None)
    if "patch_embed" not in children or trunk is None:
        raise InputError(
            f"{spec} is no vision transformer: it has no patches and list of blocks. "
            f"Choose a model of the vit, deit, beit, eva or swin families."
        )
    blocks: list[nn.Module] = []
    for layer in children[trunk].children():
        parts = dict(layer.named_children())
        inner = list(parts["blocks"].children()) if trunk != "blocks" else [layer]
        if "downsample" in parts and trunk != "blocks":  # merges patches for the block after it
            inner[0] = nn.ModuleList([parts["downsample"], inner[0]])
        if "norm" in parts and trunk != "blocks":  # after the stage's last block, as PVT has it
            inner[-1] = nn.ModuleList([inner[-1], parts["norm"]])
        blocks += inner
    names = list(children)
    return blocks, [children[name] for name in names[names.index(trunk) + 1 :]]


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter and buffer of an architecture, by its key."""
    return _shapes(
        architecture.name, {k: v for k, v in architecture.arguments.items() if k != "pool"}
    )


def _shapes(name: str, arguments: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0, **arguments)
    return shapes_of(network.state_dict())
