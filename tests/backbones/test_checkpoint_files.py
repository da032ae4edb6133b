"""Reading files of weights: nothing runs, and what is no checkpoint is named."""

import argparse
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import original_files as files
from lacvit.backbones import checkpoint_files
from lacvit.backbones.checkpoint_files import read_checkpoint
from lacvit.errors import InputError, RunStopped

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(1000)}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_checkpoint(path)
    return str(refused.value)


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize("under", ["", "model", "module", "teacher"])
def test_tensors_are_found_where_programs_put_them(under: str, tmp_path: Path) -> None:
    contents = {under: WEIGHTS, "epoch": 3, "model_ema": {"a.weight": torch.ones(9)}}
    torch.save(contents if under else WEIGHTS, tmp_path / "a.pth")
    file = read_checkpoint(tmp_path / "a.pth")
    assert file.tensors.keys() == WEIGHTS.keys()
    assert torch.equal(file.tensors["a.weight"], WEIGHTS["a.weight"])
    assert (file.under, file.beside) == (under, ("epoch", "model_ema") if under else ())


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("yacs.config", "CfgNode"),
        ("attrdict", "AttrDict"),
        ("attrdict.dictionary", "AttrDict"),
    ],
)
def test_foreign_dictionaries_are_read_as_inert_ones(
    module: str, name: str, tmp_path: Path
) -> None:
    with files.foreign_class(module, name) as made:
        # As attrdict's own class does: a state that is no dictionary, with a type in it.
        made.__getstate__ = lambda self: ({}, tuple, False)  # type: ignore[method-assign]
        config = made(MODEL=made(DEPTH=12), OPTS=["a", 1])
        torch.save({"model": WEIGHTS, "config": config}, tmp_path / "a.pth")
    file = read_checkpoint(tmp_path / "a.pth")
    assert file.beside == ("config",)
    assert torch.equal(file.tensors["a.weight"], WEIGHTS["a.weight"])


def test_arguments_and_numpys_scalars_are_read(tmp_path: Path) -> None:
    arguments = argparse.Namespace(lr=np.float64(1e-3), epochs=np.int64(3), best=np.float32(0.5))
    torch.save({"model": WEIGHTS, "args": arguments, "flag": np.bool_(True)}, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth").arguments
    assert dict(read) == {"lr": 1e-3, "epochs": 3, "best": 0.5}


@pytest.mark.parametrize("contents", [[1, 2], {"model": 3}, {}, torch.zeros(3), "text"])
def test_a_checkpoint_of_something_else_is_refused(contents: object, tmp_path: Path) -> None:
    torch.save(contents, tmp_path / "a.pth")
    assert refusal(tmp_path / "a.pth") == (
        f"{tmp_path / 'a.pth'} holds no tensors, neither at its top nor under 'model', 'module', "
        f"'teacher'."
    )


# --- what would run ----------------------------------------------------------------------------


class Trap:
    """Makes a folder when it is unpickled by a reader that trusts its file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("beside", [{}, {"args": argparse.Namespace(lr=1.0)}])
@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_that_would_run_code_runs_nothing(
    new_format: bool, beside: dict[str, object], tmp_path: Path
) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "evil.pth"
    contents = {"model": WEIGHTS, "trap": Trap(str(sprung)), **beside}
    torch.save(contents, path, _use_new_zipfile_serialization=new_format)
    text = refusal(path)
    assert not sprung.exists()
    assert text == (
        f"{path} would run code when loaded (it needs {os.mkdir.__module__}.mkdir). Nothing was "
        f"run. Save its tensors as safetensors where you trust it, and use that file."
    )
    torch.load(path, weights_only=False)  # a reader that trusts it falls into the trap
    assert sprung.exists()


def test_an_archive_of_python_objects_runs_nothing(tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "evil.npz"
    np.savez(path, cls=np.zeros(3), trap=np.array([Trap(str(sprung))], dtype=object))
    assert "would run code when loaded (it needs an array of Python objects)" in refusal(path)
    assert not sprung.exists()


# --- what is no checkpoint ---------------------------------------------------------------------

PAGE = b"<!DOCTYPE html><html><head><title> 404\nNot Found </title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz", ""])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found an empty file."),
        (PAGE, "found a web page titled '404\\nNot Found'."),
        (b"\n <HTML><body>Moved", "found a web page."),
        (b"<?xml version='1.0'?><Error/>", "found a web page."),
        (POINTER, "found a Git LFS pointer, which only names the real file: run git lfs pull."),
        (b"\x80\x04\x95\x00", "found a pickle that torch did not write."),
        (b"\x1f\x8b\x08 something", "found a file of 13 bytes that begins with b'\\x1f"),
        (b"PK\x03\x04 something", "found a zip archive that is cut short."),
    ],
)
def test_what_a_failed_download_leaves_is_named(
    content: bytes, found: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    text = refusal(path)
    assert text.startswith(f"{path} is no whole checkpoint of torch, safetensors or NumPy: found ")
    assert found in text
    assert text.endswith("Fetch it again, and compare its size or sha256.")


def test_another_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("photos/cat.jpg", b"")
    assert "found a zip archive of other files (photos/cat.jpg)." in refusal(tmp_path / "a.pth")


def whole_file(kind: str, path: Path) -> Path:
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **{key: tensor.numpy() for key, tensor in WEIGHTS.items()})
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=kind == "torch")
    return path


@pytest.mark.parametrize("kind", ["torch", "legacy", "safetensors", "npz"])
def test_a_file_cut_off_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    content = whole_file(kind, tmp_path / "whole").read_bytes()
    assert read_checkpoint(tmp_path / "whole").tensors.keys() == WEIGHTS.keys()
    path = tmp_path / "cut"
    for share in (0.01, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        assert "is no whole checkpoint" in refusal(path), share


@pytest.mark.parametrize(
    ("kind", "suffix", "said"),
    [
        ("torch", ".safetensors", "a safetensors file, but is a checkpoint of torch. Rename it to"),
        ("legacy", ".npz", "an archive of NumPy arrays, but is a checkpoint of torch. Rename"),
        ("safetensors", ".pth", "a checkpoint of torch, but is a safetensors file. Rename it to a"),
        ("npz", ".pt", "a checkpoint of torch, but is an archive of NumPy arrays. Rename it to a."),
    ],
)
def test_a_name_that_says_something_else_is_refused(
    kind: str, suffix: str, said: str, tmp_path: Path
) -> None:
    path = whole_file(kind, tmp_path / f"a{suffix}")
    assert f"{path} is named like {said}" in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.pth"
    assert refusal(path) == f"There is no checkpoint {path}. Check the path after file:"
    assert refusal(tmp_path).startswith(f"{tmp_path} is a folder. Name the file of weights in it")


def test_a_program_of_torch_is_told_from_weights(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    text = refusal(path)
    assert "found a TorchScript program, not its weights" in text
    assert "weights_only" not in text


@pytest.mark.parametrize("before", ["\N{BOM}", "<!-- moved -->", "\n  "])
def test_a_page_is_one_whatever_stands_before_it(before: str, tmp_path: Path) -> None:
    path = tmp_path / "mae.pth"
    path.write_text(f"{before}<html><title>Sign in</title></html>", encoding="utf-8")
    assert "found a web page titled 'Sign in'" in refusal(path)


class Runs:
    """A pickle of it calls what it is told to."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch it-ran",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_plain_pickle_is_refused_by_what_it_would_call(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Runs(), protocol=protocol))
    with pytest.raises(InputError) as refused:
        read_checkpoint(path)
    name = f"{os.system.__module__}.system"
    said = f"a pickle that torch did not write, which would call {name} when loaded."
    assert said in str(refused.value)
    assert not (tmp_path / "it-ran").exists()


def test_a_protocol_that_cannot_be_read_safely_is_not_called_damage(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2)}, path, pickle_protocol=4)
    with pytest.raises(InputError, match=r"a protocol above 2\). Save its tensors as safetensors"):
        read_checkpoint(path)


def test_a_stop_while_a_file_is_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is an exception like any other to the readers of damaged bytes."""

    def stop(*_: object) -> None:
        raise RunStopped("stopped by SIGINT")

    path = tmp_path / "mae.pth"
    torch.save({"model": {}}, path)
    monkeypatch.setattr(checkpoint_files, "_read", stop)
    with pytest.raises(RunStopped):
        checkpoint_files.read_checkpoint(path)
