"""Run folders as `lacvit train` leaves them, made up: for the tests of the report."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w
from safetensors.numpy import load_file, save_file

from lacvit.metrics.calibration import reliability, tempered
from lacvit.metrics.geometry import geometry
from lacvit.metrics.quality import quality
from lacvit.metrics.verdict import isotropy_verdict
from lacvit.report import contact_sheet

DIMENSIONS = 64


def make_run_folder(
    folder: Path,
    *,
    classes: int | Sequence[str] = 4,
    images: int = 120,
    epochs: int = 6,
    finished: bool = True,
    notices: Sequence[str] = (),
) -> Path:
    """A whole run of the arm lacvit in `folder`/run, and its test images in `folder`/photos."""
    names = [f"class {i}" for i in range(classes)] if isinstance(classes, int) else list(classes)
    generator = np.random.default_rng(0)
    run = folder / "run"
    labels_N = np.arange(images) % len(names)
    probabilities_NC = _probabilities(generator, labels_N, len(names))
    paths = [f"test/{label}/{number:05d}.png" for number, label in enumerate(labels_N)]
    _write_settings(run, folder / "photos")
    _write_json(run / "data.json", _data(folder / "photos", names, images))
    stage = {"stage": "done"} if finished else {"stage": "contrastive"}
    _write_json(
        run / "status.json",
        {
            **stage,
            "epoch": epochs,
            "finished": finished,
            "method": "lacvit",
            "seconds": 312.4,
            "notices": list(notices),
        },
    )
    _write_stages(run, epochs, finished)
    if finished:
        _write_evaluation(run / "evaluation", names, paths, labels_N, probabilities_NC)
        _write_features(run / "evaluation" / "features", generator, labels_N, len(names))
        _write_evidence(run / "evaluation", labels_N, probabilities_NC)
    rows = [[noise_image(generator, side) for side in (40, 32, 32)] for _ in range(8)]
    (run / "figures").mkdir(parents=True)
    contact_sheet(rows).save(run / "figures" / "views.png")
    return run


def noise_image(generator: np.random.Generator, side: int) -> np.ndarray:
    """A smooth coloured blob, so that a person can tell one from another."""
    grid = np.linspace(0, 2 * np.pi, side)
    phase = generator.uniform(0, 2 * np.pi, (3, 2))
    waves = [np.sin(grid[:, None] + a) * np.cos(grid[None, :] + b) for a, b in phase]
    return ((np.stack(waves, axis=-1) + 1) * 127).astype(np.uint8)


def make_thumbnails(side: int = 32):
    """Stands in for reading the data: an image a path, the same each time."""

    def thumbnails(paths: Sequence[str]) -> list[np.ndarray]:
        return [noise_image(np.random.default_rng(len(paths) + i), side) for i in range(len(paths))]

    return thumbnails


def _probabilities(generator: np.random.Generator, labels_N: np.ndarray, classes: int):
    """Right more often than not; class 2k and 2k + 1 are taken for one another."""
    logits_NC = generator.normal(size=(len(labels_N), classes))
    rows = np.arange(len(labels_N))
    logits_NC[rows, labels_N] += 2.5
    logits_NC[rows, np.minimum(labels_N ^ 1, classes - 1)] += 1.2
    powers = np.exp(2 * logits_NC)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def _write_settings(run: Path, photos: Path) -> None:
    settings = {
        "method": "lacvit",
        "seed": 0,
        "data": {"path": str(photos), "split_seed": 0},
        "backbone": {"spec": "pico", "image_size": 32, "trainable": "all"},
        "views": {"count": 2, "crop_scale": [0.35, 1.0], "flip": 0.5},
        "contrastive": {"epochs": 6, "temperature": 0.1, "lr": 0.002},
        "head": {"solver": "exact", "strengths": [0.01, 0.1, 1.0]},
    }
    run.mkdir(parents=True)
    (run / "settings.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    environment = {
        "lacvit": "0.1.0",
        "torch": "2.13.0",
        "python": "3.11.7",
        "device": "cpu",
        "threads": 2,
        "command": "lacvit train photos --backbone pico",
        "git_commit": None,
    }
    _write_json(run / "environment.json", environment)


def _data(photos: Path, names: list[str], images: int) -> dict[str, object]:
    share = images // len(names)
    return {
        "root": str(photos),
        "fingerprint": "0123456789abcdef" * 4,
        "class_names": names,
        "counts": {
            split: dict.fromkeys(names, share // part + 1)
            for split, part in (("train", 2), ("validation", 8), ("test", 1))
        },
        "paths": {},
    }


def _write_stages(run: Path, epochs: int, finished: bool) -> None:
    start, floor = math.log(255), 3.1
    rows = [
        {
            "epoch": epoch,
            "loss": floor + (start - floor) * math.exp(-0.35 * (epoch + 1)),
            "lr": 0.002 * (1 - epoch / epochs),
            "data_seconds": 0.004,
            "step_seconds": 0.21,
            "loss_start": start,
            "loss_floor": floor,
            "knn_accuracy": 0.7 - 0.4 * math.exp(-0.3 * epoch),
            "effective_rank": 12 + 9 * math.sin(0.5 * epoch),
        }
        for epoch in range(epochs)
    ]
    _write_lines(run / "contrastive" / "metrics.jsonl", rows)
    if finished:
        tried = [
            {
                "epoch": position,
                "strength": strength,
                "loss": 1.0 / (position + 1),
                "validation_loss": 0.9,
                "validation_accuracy": accuracy,
                "iterations": 40.0,
            }
            for position, (strength, accuracy) in enumerate(
                [(0.01, 0.58), (0.1, 0.64), (1.0, 0.66), (10.0, 0.61)]
            )
        ]
        _write_lines(run / "head" / "metrics.jsonl", tried)


def _write_evaluation(folder, names, paths, labels_N, probabilities_NC) -> None:
    predictions_N = probabilities_NC.argmax(axis=1)
    right = float((predictions_N == labels_N).mean())
    score = {"accuracy": right, "interval": [right - 0.04, right + 0.035], "images": len(labels_N)}
    before = {"ece": 0.11, "brier": 0.52, "nll": 1.24}
    after = {"ece": 0.035, "brier": 0.48, "nll": 1.02, "before_temperature": before}
    _write_json(
        folder / "metrics.json",
        {"test": score | {"macro_f1": right - 0.01} | after, "validation": score | {"images": 60}},
    )
    per_class = [
        (
            name,
            ((predictions_N == i) & (labels_N == i)).sum() / max((predictions_N == i).sum(), 1),
            ((predictions_N == i) & (labels_N == i)).sum() / max((labels_N == i).sum(), 1),
            0.6 + 0.003 * i,
            (labels_N == i).sum(),
        )
        for i, name in enumerate(names)
    ]
    _write_csv(
        folder / "per_class.csv", ("class", "precision", "recall", "f1", "support"), per_class
    )
    table = {
        "path": paths,
        "label": [names[i] for i in labels_N],
        "prediction": [names[i] for i in predictions_N],
        "probabilities": list(probabilities_NC),
    }
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    sure_N = probabilities_NC.max(axis=1)
    wrong = np.flatnonzero(predictions_N != labels_N)
    rows = [
        (paths[i], names[labels_N[i]], names[predictions_N[i]], f"{sure_N[i]:.4f}")
        for i in wrong[np.argsort(-sure_N[wrong])]
    ]
    _write_csv(folder / "mistakes.csv", ("path", "label", "prediction", "confidence"), rows)


def _write_features(folder: Path, generator, labels_N: np.ndarray, classes: int) -> None:
    centres_CD = generator.normal(size=(classes, DIMENSIONS))
    noise_ND = generator.normal(size=(len(labels_N), DIMENSIONS))
    features = {
        name: (pull * centres_CD[labels_N] + noise_ND).astype(np.float32)
        for name, pull in (("untouched", 0.35), ("contrastive", 1.1))
    }
    folder.mkdir(parents=True)
    save_file(features, folder / "test.safetensors")


def _write_evidence(folder: Path, labels_N: np.ndarray, probabilities_NC: np.ndarray) -> None:
    """geometry.json and calibration.json of what the other files hold."""
    features = load_file(folder / "features" / "test.safetensors")
    embeddings = {
        name: {
            "geometry": geometry(rows, labels_N, reference_ND=features["untouched"]),
            "quality": quality(rows, labels_N, rows, labels_N),
        }
        for name, rows in features.items()
    }
    before, after = (embeddings[name]["geometry"] for name in ("untouched", "contrastive"))
    verdict = isotropy_verdict(
        before, after, classes=len(set(labels_N.tolist())), dimensions=DIMENSIONS,
        trained_by="contrastive training",
    )  # fmt: skip
    images = len(labels_N)
    _write_json(
        folder / "geometry.json",
        {"images": images, "of": images, "embeddings": embeddings, "verdict": verdict},
    )
    logits_NC = np.log(np.maximum(probabilities_NC, 1e-12))
    bins = {
        name: {
            key: getattr(reliability(tempered(logits_NC, temperature), labels_N), key).tolist()
            for key in ("edges", "counts", "confidence", "accuracy")
        }
        for name, temperature in (("before", 1.0), ("after", 1.8))
    }
    _write_json(folder / "calibration.json", {"temperature": 1.8, **bins})


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_csv(path: Path, header: Sequence[str], rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
