"""Folders of transformers and of timm whose file of weights is none, or would run code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hf_folders import TINY, save
from lacvit.backbones import load_backbone, timm_models
from lacvit.errors import InputError

WHOLE = "model.safetensors"


def hf_folder(folder: Path) -> Path:
    return save(TINY["vit"].make(), folder)


def timm_folder(folder: Path) -> Path:
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 16, "patch_size": 8}
    network = timm_models.timm.create_model("vit_tiny_patch16_224", num_classes=3, **sizes)
    timm_models.timm.models.save_for_hf(network, folder, model_args=sizes, safe_serialization=True)
    return folder


SOURCES = {"hf": hf_folder, "timm": timm_folder}


def refusal(source: str, folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_backbone(f"{source}:{folder}")
    return str(refused.value)


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("source", SOURCES)
def test_a_folders_pickle_that_would_run_code_is_refused(source: str, tmp_path: Path) -> None:
    folder = SOURCES[source](tmp_path / "model")
    (folder / WHOLE).unlink()
    path = folder / "pytorch_model.bin"
    torch.save({"norm.weight": Malicious(tmp_path / "ran")}, path)
    text = refusal(source, folder)
    assert text.startswith(f"{path} would run code when loaded (it needs ")
    assert "PosixPath" in text
    assert "Nothing was run. Save its tensors as safetensors where you trust it" in text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", [WHOLE, "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("damaged", "found"),
    [
        (lambda whole: b"<html><title>Log in</title>", "a web page titled 'Log in'."),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (lambda whole: b"", "an empty file."),
        (lambda whole: whole[: len(whole) // 2], "cut short"),
    ],
    ids=["page", "pointer", "empty", "cut"],
)
def test_a_folders_weights_that_are_no_whole_file_are_named(
    damaged: Callable[[bytes], bytes], found: str, name: str, source: str, tmp_path: Path
) -> None:
    folder = SOURCES[source](tmp_path)
    path = folder / name
    if name != WHOLE:
        torch.save(load_file(folder / WHOLE), path)
        (folder / WHOLE).unlink()
    path.write_bytes(damaged(path.read_bytes()))
    text = refusal(source, folder)
    assert text.startswith(f"{path} is no whole checkpoint of torch, safetensors or NumPy")
    assert found in text
    assert text.endswith("Fetch it again, and compare its size or sha256.")
