"""``lacvit demo``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lacvit.errors import InputError

if TYPE_CHECKING:
    from lacvit.pipeline import TrainResult

METHODS = ("lacvit", "cross-entropy", "linear-probe")
SEEDS = 3
SHOTS = 10
EPOCHS = 25
BATCH = 32  # of 100 images: four steps an epoch are 5 points better than one (docs/log.md)
# Digits do not survive a flip, and have no colour.
SETTINGS: dict[str, object] = {
    "contrastive.epochs": EPOCHS,
    "contrastive.batch_size": BATCH,
    "cross_entropy.batch_size": BATCH,
    "views.flip": 0.0,
    "views.saturation": 0.0,
    "views.hue": 0.0,
}


def demo(
    output: Annotated[Path, typer.Option(help="Where images and runs go.")] = Path("lacvit-demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method.")] = SEEDS,
) -> None:
    """Both stages and two baselines on handwritten digits, ten labelled images a class.

    No network is needed. Each seed draws its own ten images a class to train on, ten to validate
    on, and tests on the rest; every method sees the same.
    """
    started = time.monotonic()
    from lacvit import pipeline
    from lacvit.cli.signals import stop_on_signals
    from lacvit.config import make_settings
    from lacvit.progress import make_progress

    progress = make_progress(quiet=False, json_logs=False, brief=True)
    results: dict[str, list[TrainResult]] = {method: [] for method in METHODS}
    with stop_on_signals():
        for seed in range(seeds):
            data = output / f"digits-s{seed}"
            if not data.exists():
                _write_digits(data, seed)
            for method in METHODS:
                progress.message(f"{method}, seed {seed}")
                flags = SETTINGS if method != "linear-probe" else {}
                settings = make_settings(
                    recipe={
                        **flags,
                        "method": method,
                        "seed": seed,
                        "data.path": str(data),
                        "backbone.spec": "pico",
                    }
                )
                request = pipeline.Request(output=output / "runs" / f"{method}-s{seed}")
                results[method].append(pipeline.train(settings, request, progress=progress))
    _show(results, time.monotonic() - started)
    first, example = results["lacvit"][0].run_folder, output / "digits-s0" / "test" / "3"
    print(
        f"Everything is in {output}. Open {first / 'report.html'}\n"
        f"Label an image: {shlex.join(['lacvit', 'predict', str(first), str(example)])}\n"
        f"Your own images, one folder a class: lacvit train YOUR_FOLDER"
    )


def _write_digits(folder: Path, seed: int) -> None:
    try:
        write_digits(folder, seed)
    except OSError as error:
        raise InputError(
            f"{folder.parent} cannot be written: {error.strerror}. Choose another folder with "
            f"--output."
        ) from error


def write_digits(folder: Path, seed: int) -> None:
    """scikit-learn's 1,797 handwritten digits as PNG files in train, val and test folders."""
    import numpy as np
    from sklearn.datasets import load_digits

    from lacvit.data.decoding import encode_png

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    building = folder.with_name(f".{folder.name}.tmp")
    generator = np.random.default_rng(seed)
    for digit in range(10):
        order = generator.permutation(np.flatnonzero(digits.target == digit))
        parts = {
            "train": order[:SHOTS],
            "val": order[SHOTS : 2 * SHOTS],
            "test": order[2 * SHOTS :],
        }
        for split, indices in parts.items():
            place = building / split / str(digit)
            place.mkdir(parents=True, exist_ok=True)
            for index in indices:
                (place / f"{index:04d}.png").write_bytes(encode_png(images[index]))
    building.rename(folder)


def _show(results: Mapping[str, Sequence[TrainResult]], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    runs = len(next(iter(results.values())))
    images = next(iter(results.values()))[0].images
    table = Table(
        "method",
        "mean",
        "least to most",
        title=f"Accuracy@1 on {images:,} digits, {SHOTS} labelled a class, {runs} seed"
        + ("" if runs == 1 else "s"),
        title_justify="left",
    )
    for method, found in results.items():
        values = [100 * result.accuracy for result in found]
        table.add_row(
            method, f"{sum(values) / runs:.1f} %", f"{min(values):.1f} to {max(values):.1f} %"
        )
    console = Console()
    console.print(table)
    console.print(f"{seconds:.0f} s in all", highlight=False)
