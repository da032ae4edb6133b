"""What a file of weights is, without building a network: ``lacvit backbones inspect FILE``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from lacvit.backbones.checkpoint_files import read_checkpoint
from lacvit.backbones.formats import FORMATS, find_elsewhere, find_sign
from lacvit.backbones.reading import candidates, measure, read_as
from lacvit.errors import InputError


class CheckpointReport(BaseModel):
    """What is known of a checkpoint; None where the file does not tell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str
    tensors: int = Field(description="how many there are, the left-over ones included")
    types: tuple[str, ...] = Field(description="of the numbers in them, such as float16")
    under: str = Field(description="the file's key that holds them; empty: its top")
    beside: tuple[str, ...] = Field(description="the file's other keys")
    format: str | None = Field(description="one of lacvit.backbones.formats.FORMATS")
    evidence: str = Field(description="what decided the format, or which formats would do")
    width: int | None = Field(None, description="of the embedding")
    depth: int | None = Field(None, description="number of blocks")
    heads: int | None = Field(None, description="attention heads; None: give ?heads=")
    patch: int | None = Field(None, description="pixels a side")
    image_size: int | None = Field(None, description="pixels a side, of the stored positions")
    parameters: int | None = Field(None, description="of the encoder")
    left_over: tuple[str, ...] = Field((), description="keys that are not of the encoder")
    unknown: tuple[str, ...] = Field((), description="keys for which the load would fail")


def inspect_checkpoint(path: str | Path, *, format: str | None = None) -> CheckpointReport:
    """What the file at ``path`` holds; ``format`` reads it as one where its keys do not decide.

    Raises:
        InputError: no such file, no checkpoint (what was found is said), a file that would run
            code, or a format that is not known.
    """
    file = read_checkpoint(Path(path).expanduser())
    report = CheckpointReport(
        path=str(file.path),
        sha256=file.sha256,
        tensors=len(file.tensors),
        types=tuple(sorted({str(t.dtype).removeprefix("torch.") for t in file.tensors.values()})),
        under=file.under,
        beside=file.beside,
        format=None,
        evidence="",
    )
    if format is None and find_sign(file) is None:
        found = find_elsewhere(file.tensors)
        alike = f"might be {' or '.join(candidates(file))}" if candidates(file) else "unknown"
        return report.model_copy(update={"evidence": found or alike})
    reading = read_as(file, format)
    evidence = f"{reading.evidence}. {reading.advice}" if reading.advice else reading.evidence
    told = report.model_copy(
        update={
            "format": reading.format,
            "evidence": evidence,
            "left_over": reading.renamed.left_over,
            "unknown": tuple(reading.renamed.strangers),
        }
    )
    try:
        shape = measure(file, reading)
    except InputError as error:
        return told.model_copy(update={"evidence": f"{reading.evidence}; but {error}"})
    # By storage: a shared table is one tensor of the file, however many blocks it goes to.
    weights = {tensor.data_ptr(): tensor for tensor in reading.renamed.weights.values()}
    return told.model_copy(
        update={
            "width": shape.width,
            "depth": shape.depth,
            "heads": shape.heads or FORMATS[reading.format].heads.get(shape.width),
            "patch": shape.patch,
            "image_size": shape.grid * shape.patch,
            "parameters": sum(tensor.numel() for tensor in weights.values()),
        }
    )
