"""MAE's own files: what they give, and everything that can be wrong with a file of weights."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mae_files import (
    DEPTH,
    SIZE,
    WIDTH,
    encoder_tensors,
    features_by_hand,
    pretraining_tensors,
    write_mae_file,
)
from safetensors.torch import save_file
from torch import Tensor

from lacvit.backbones import build_backbone, load_backbone
from lacvit.errors import InputError

IMAGES = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def refusal(spec: str, image_size: int | None = None) -> str:
    with pytest.raises(InputError) as refused:
        load_backbone(spec, image_size=image_size)
    return str(refused.value)


def without(*names: str) -> dict[str, Tensor]:
    return {k: v for k, v in pretraining_tensors().items() if k not in names}


def features(spec: str) -> Tensor:
    with torch.no_grad():
        return load_backbone(spec).eval()(IMAGES)  # type: ignore[no-any-return]


def test_features_equal_the_paper_written_out(tmp_path: Path) -> None:
    path = write_mae_file(tmp_path / "mae.pth")
    backbone = load_backbone(f"file:{path}?heads=3").eval()
    with torch.no_grad():
        given = backbone(IMAGES)
    expected = features_by_hand(
        {k: v.double() for k, v in encoder_tensors().items()}, IMAGES.double()
    )
    assert given.shape == (3, backbone.dim) == (3, WIDTH)
    # Some hundred roundings of values near 1 in a row.
    torch.testing.assert_close(given, expected.float(), rtol=0, atol=1e-5)
    assert len(backbone.blocks()) == DEPTH
    assert backbone.input_spec.size == SIZE
    assert backbone.input_spec.mean == (0.485, 0.456, 0.406)
    assert backbone.origin.format == "mae"
    assert backbone.origin.spec == f"file:{path}?heads=3"
    assert backbone.origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("how", ["bare", "float16", "safetensors", "legacy", "forced"])
def test_every_way_of_storing_gives_the_same_features(how: str, tmp_path: Path) -> None:
    expected = features(f"file:{write_mae_file(tmp_path / 'mae.pth')}?heads=3")
    path, options = tmp_path / "other.pth", "heads=3"
    atol = 0.0
    if how == "bare":
        torch.save(pretraining_tensors(), path)
    elif how == "float16":
        write_mae_file(path, {k: v.half() for k, v in pretraining_tensors().items()})
        atol = 0.02  # float16 keeps 11 bits
    elif how == "safetensors":
        path = tmp_path / "other.safetensors"
        save_file(pretraining_tensors(), path)
    elif how == "legacy":
        torch.save(pretraining_tensors(), path, _use_new_zipfile_serialization=False)
    else:  # the encoder alone, as the authors release it, looks like any vision transformer
        write_mae_file(path, encoder_tensors())
        options = "heads=3&format=mae"
    given = features(f"file:{path}?{options}")
    assert given.dtype == torch.float32
    torch.testing.assert_close(given, expected, rtol=0, atol=atol)


def test_a_fine_tuned_file_brings_its_own_last_norm(tmp_path: Path) -> None:
    norm = {"fc_norm.weight": torch.full((WIDTH,), 2.0), "fc_norm.bias": torch.full((WIDTH,), 1.0)}
    head = {"head.weight": torch.zeros(7, WIDTH), "head.bias": torch.zeros(7)}
    path = write_mae_file(tmp_path / "tuned.pth", encoder_tensors() | norm | head)
    plain = features(f"file:{write_mae_file(tmp_path / 'mae.pth')}?heads=3")
    torch.testing.assert_close(features(f"file:{path}?heads=3"), 2 * plain + 1)


def test_an_architecture_is_built_again_without_the_file(tmp_path: Path) -> None:
    path = write_mae_file(tmp_path / "mae.pth")
    backbone = load_backbone(f"file:{path}?heads=3")
    path.unlink()
    again = build_backbone(backbone.architecture, backbone.input_spec, backbone.origin)
    again.encoder.load_state_dict(backbone.encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(IMAGES), backbone.eval()(IMAGES))


def test_the_difference_to_the_format_is_listed_with_shapes(tmp_path: Path) -> None:
    tensors = without("blocks.1.mlp.fc2.bias", "cls_token")
    tensors["blocks.0.attn.gate"] = torch.zeros(4, 5)
    tensors["blocks.0.norm1.weight"] = torch.zeros(7)
    text = refusal(f"file:{write_mae_file(tmp_path / 'a.pth', tensors)}?heads=3")
    assert text.splitlines() == [
        f"{tmp_path / 'a.pth'} does not fit its format:",
        "  in the file only: blocks.0.attn.gate (4, 5)",
        f"  in the model only: cls_token (1, 1, {WIDTH})",
        f"  in the model only: blocks.1.mlp.fc2.bias ({WIDTH},)",
        f"  blocks.0.norm1.weight is (7,) in the file and ({WIDTH},) in the model",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", f"is {WIDTH} wide, which no released model of its format is"),
        ("", "Give it: file:"),
        ("?heads=5", f"heads=5 of a.pth is no whole number that divides its width, {WIDTH}."),
        ("?heads=0", "heads=0 of a.pth is no whole number"),
        ("?heads=-3", "heads=-3 of a.pth is no whole number"),
        ("?heads=few", "heads=few of a.pth is no whole number"),
        ("?format=dino", "There is no checkpoint format 'dino'. Known: mae."),
        ("?head=3", "has no option 'head': use format and heads."),
    ],
)
def test_options_are_checked(options: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(f"file:{write_mae_file(tmp_path / 'a.pth')}{options}")


def test_another_image_size_is_refused(tmp_path: Path) -> None:
    path = write_mae_file(tmp_path / "a.pth")
    text = refusal(f"file:{path}?heads=3", image_size=64)
    assert text == "a.pth sees 32 x 32 pixels, not 64. Leave --image-size out."
    assert load_backbone(f"file:{path}?heads=3", image_size=32).input_spec.size == 32


def test_files_that_do_not_say_their_format_can_be_forced(tmp_path: Path) -> None:
    path = write_mae_file(tmp_path / "a.pth", encoder_tensors())
    text = refusal(f"file:{path}?heads=3")
    assert "does not say which format it has; its first keys are cls_token, pos_embed" in text
    assert f"write file:{path}?format=mae." in text


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "holds no tensors, neither at its top nor under 'model'."),
        (without("pos_embed"), "has no 'pos_embed': it is no vision transformer."),
        (without("pos_embed") | {"pos_embed": torch.zeros(4)}, "pos_embed (4,), 2 blocks."),
        (
            {k: v for k, v in pretraining_tensors().items() if not k.startswith("blocks.")},
            "0 blocks.",
        ),
    ],
)
def test_what_is_no_vision_transformer_is_refused(
    tensors: dict[str, Tensor], said: str, tmp_path: Path
) -> None:
    assert said in refusal(f"file:{write_mae_file(tmp_path / 'a.pth', tensors)}?heads=3")


@pytest.mark.parametrize("contents", [[1, 2], {"model": 3}, torch.zeros(3), "text"])
def test_a_checkpoint_of_something_else_is_refused(contents: object, tmp_path: Path) -> None:
    torch.save(contents, tmp_path / "a.pth")
    text = refusal(f"file:{tmp_path / 'a.pth'}")
    assert "holds no tensors, neither at its top nor under 'model'." in text


class Trap:
    """Makes a folder when it is unpickled by a reader that trusts its file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_that_would_run_code_runs_nothing(new_format: bool, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    contents = {"model": pretraining_tensors(), "args": Trap(str(sprung))}
    path = tmp_path / "evil.pth"
    torch.save(contents, path, _use_new_zipfile_serialization=new_format)
    text = refusal(f"file:{path}?heads=3")
    assert not sprung.exists()
    if new_format:
        assert text.startswith(f"{path} would run code when loaded (it needs ")
        assert "mkdir" in text
        assert "Nothing was run." in text


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Not found</html>", "a file that begins with b'<!DOCTYPE html><'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "begins with b'version https://'"),
    ],
)
def test_what_a_failed_download_leaves_is_named(
    content: bytes, found: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    text = refusal(f"file:{path}")
    assert text.startswith(f"{path} is no whole checkpoint of torch or safetensors: found ")
    assert found in text
    assert text.endswith("Fetch it again, and compare its size or sha256.")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_off_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / ("whole.safetensors" if kind == "safetensors" else "whole.pth")
    if kind == "safetensors":
        save_file(pretraining_tensors(), whole)
    else:
        torch.save(pretraining_tensors(), whole, _use_new_zipfile_serialization=kind == "zip")
    content = whole.read_bytes()
    path = tmp_path / f"cut{whole.suffix}"
    for share in (0.01, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        assert "is no whole checkpoint" in refusal(f"file:{path}?heads=3"), share


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.pth", tmp_path):
        assert refusal(f"file:{path}") == (
            f"There is no checkpoint {path}. Check the path after file:"
        )
