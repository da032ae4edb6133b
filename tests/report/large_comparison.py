"""A made-up comparison of many classes and images, as far as its page reads it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import save_file

from lacvit.run_folder import write_json, write_toml

METHODS = {"linear-probe": 0.6, "lacvit": 0.7}
CLASSES = 100
IMAGES = 10_000
DIMENSIONS = 24


def write_large_comparison(folder: Path) -> Path:
    """Two methods, one seed each; class 2k and 2k + 1 are taken for one another."""
    generator = np.random.default_rng(0)
    names = [f"class {number}" for number in range(CLASSES)]
    labels_n = np.arange(IMAGES) % CLASSES
    methods = []
    for method, share in METHODS.items():
        wrong_n = generator.uniform(size=IMAGES) > share
        other_n = np.where(generator.uniform(size=IMAGES) < 0.5, labels_n ^ 1,
                           generator.integers(0, CLASSES, IMAGES))  # fmt: skip
        said_n = np.where(wrong_n, other_n, labels_n)
        run = folder / "runs" / f"{method}-s0"
        _write_run(run, names, labels_n, said_n, generator, method)
        accuracy = float((said_n == labels_n).mean())
        result = {"seed": 0, "accuracy": accuracy, "validation_accuracy": accuracy}
        runs = [result | {"seconds": 60.0 / share, "folder": f"runs/{method}-s0"}]
        ends = {"least": accuracy, "most": accuracy, "interval": [accuracy - 0.01, accuracy + 0.01]}
        figures = {"method": method, "accuracy": accuracy, "seconds": 60.0 / share, "runs": runs}
        methods.append(figures | ends)
    pair = {"method": "lacvit", "against": "linear-probe", "difference": 0.1, "seeds": 1}
    pair |= {name: [0.08, 0.12] for name in ("interval", "two_way", "image_bootstrap")}
    pair |= {
        "paired_t": None,
        "corrected_t": None,
        "verdict": "better",
        "words": "lacvit is better.",
        "p_holm": 0.001,
        "p_value": 0.001,
        "detectable": 0.02,
        "mcnemar": [0.001],
    }
    pair |= {"seeds_won": 1.0}
    cell = {"name": "pico", "backbone": "pico", "shots": None, "images": IMAGES, "seeds": [0]}
    cell |= {"classes": CLASSES, "methods": methods, "pairs": [pair], "answer": "lacvit is better."}
    whole = {"data": "photos", "methods": list(METHODS), "seeds": 1, "margin": 0.01}
    whole |= {"complete": True, "missing": [], "answer": cell["answer"], "cells": [cell]}
    write_json(folder / "comparison.json", whole)
    return folder


def smooth_images(paths: Sequence[str]) -> list[np.ndarray]:
    """An image a path, the same each time, about as hard to compress as a small photograph."""
    images = []
    for path in paths:
        seed = int(path.split("/")[-1].removesuffix(".png"))
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        images.append(np.asarray(Image.fromarray(coarse).resize((48, 40))))
    return images


def _write_run(
    run: Path,
    names: list[str],
    labels_n: np.ndarray,
    said_n: np.ndarray,
    generator: np.random.Generator,
    method: str,
) -> None:
    evaluation = run / "evaluation"
    (evaluation / "features").mkdir(parents=True)
    sure = 0.6 + 0.3 * generator.uniform(size=(IMAGES, 1)).astype(np.float32)
    probabilities_nc = np.broadcast_to((1 - sure) / (CLASSES - 1), (IMAGES, CLASSES)).copy()
    probabilities_nc[np.arange(IMAGES), said_n] = sure[:, 0]
    table = {
        "path": [f"{names[label]}/{i:05d}.png" for i, label in enumerate(labels_n)],
        "label": [names[i] for i in labels_n],
        "prediction": [names[i] for i in said_n],
        "probabilities": list(probabilities_nc),
    }
    pq.write_table(pa.table(table), evaluation / "predictions.parquet")
    centres_cd = generator.normal(size=(CLASSES, DIMENSIONS))
    noise_nd = generator.normal(size=(IMAGES, DIMENSIONS))
    pulls = {"untouched": 0.5} | ({"contrastive": 1.5} if method == "lacvit" else {})
    features = {
        name: (pull * centres_cd[labels_n] + noise_nd).astype(np.float32)
        for name, pull in pulls.items()
    }
    save_file(features, evaluation / "features" / "test.safetensors")
    measures = {"geometry": {"mean_cosine": 0.25}, "quality": {}}
    stage = {"embeddings": {"untouched": measures, "contrastive": measures}, "verdict": ["So."]}
    if method == "lacvit":
        write_json(evaluation / "geometry.json", stage)
        rows = '{"epoch": 0, "loss": 5.0}\n{"epoch": 1, "loss": 4.0}\n'
        (run / "contrastive").mkdir()
        (run / "contrastive" / "metrics.jsonl").write_text(rows, encoding="utf-8")
    write_json(run / "status.json", {"finished": True, "request": {}, "seconds": 9.0})
    write_json(run / "data.json", {"class_names": names, "paths": {}})
    write_toml(run / "settings.toml", {"method": method})
