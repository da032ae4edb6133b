"""``lacvit embed``: the trained encoder's features, in a file."""

import errno
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import nn

from lacvit.backbones import load_backbone
from lacvit.cli import embed as command
from lacvit.cli.main import main
from lacvit.model import Classifier, load


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    backbone = load_backbone("pico")
    Classifier(backbone, nn.Linear(backbone.dim, 2), ["cat", "dog"]).save(folder, card="")
    return folder


def exit_code(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    return int(stopped.value.code or 0)


def images(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"{number:02}.png" for number in range(count)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return [str(file) for file in files]


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_the_file_holds_what_the_model_makes_of_each_image(
    suffix: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = images(tmp_path / "photos", 40)  # more than are read at a time
    output = tmp_path / f"embeddings{suffix}"
    output.write_text("of an earlier time")
    assert (
        exit_code(["embed", str(trained), str(tmp_path / "photos"), "--output", str(output)]) == 0
    )
    assert f"40 embeddings of 128 numbers each: {output}" in capsys.readouterr().out
    if suffix == ".npz":
        with np.load(output) as found:
            paths, rows_ND = found["paths"].tolist(), found["embeddings"]
    else:
        table = pq.read_table(output)
        assert table.column_names == ["path", "embedding"]
        paths = table["path"].to_pylist()
        rows_ND = np.stack(table["embedding"].to_numpy())
    assert paths == files
    assert rows_ND.dtype == np.float32
    np.testing.assert_allclose(rows_ND, load(trained).embed(files), atol=1e-5)
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".part")] == []


def test_what_cannot_be_read_is_named_and_left_out(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (good,) = images(tmp_path / "photos", 1)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    output = tmp_path / "embeddings.parquet"
    assert exit_code(["embed", str(trained), str(bad), good, "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert f"lacvit: {bad} cannot be read" in said
    assert "1 of 2 files were left out" in said
    assert pq.read_table(output)["path"].to_pylist() == [good]
    output.write_text("of an earlier time")
    assert exit_code(["embed", str(trained), str(bad), "--output", str(output)]) == 2
    assert output.read_text() == "of an earlier time", "nothing to put in its place"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("embeddings.csv", "its name must end in .parquet or .npz"),
        ("nowhere/embeddings.npz", "there is no folder"),
        ("folder.npz", "which is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_model_is_loaded(
    output: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.npz").mkdir()
    (file,) = images(tmp_path / "photos", 1)
    assert exit_code(["embed", "no-model", file, "--output", str(tmp_path / output)]) == 2
    assert text in capsys.readouterr().err


def test_a_full_disk_keeps_the_file_that_was_there(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (file,) = images(tmp_path / "photos", 1)
    output = tmp_path / "embeddings.npz"
    output.write_text("of an earlier time")

    def full(part: Path, embedded: object, dim: int) -> None:
        part.write_text("half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(command, "_write_npz", full)
    assert exit_code(["embed", str(trained), file, "--output", str(output)]) == 2
    assert f"{output} cannot be written: No space left on device." in capsys.readouterr().err
    assert output.read_text() == "of an earlier time"
    assert not list(tmp_path.glob(".*.part"))
