"""Run folders with made-up answers, as far as a comparison reads them, and its judgement."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lacvit.comparison.answers import read_answers
from lacvit.comparison.judge import judge
from lacvit.comparison.plan import Cell, PlannedRun, Request
from lacvit.run_folder import RunFolder, write_json, write_toml

CLASSES = ["ant", "bee"]


def write_run(
    folder: Path,
    correct: np.ndarray,
    *,
    classes: list[str] = CLASSES,
    leak: bool = False,
    finished: bool = True,
    only: np.ndarray | None = None,
) -> None:
    """A run folder's files, as far as a comparison reads them; the paths stand in any order.

    With ``only``, the images of these numbers alone were tested.
    """
    run = RunFolder(folder)
    names = [classes[i % 2] for i in range(len(correct))]
    other = {classes[0]: classes[1], classes[1]: classes[0]}
    paths = [f"{name}/{i:04d}.png" for i, name in enumerate(names)]
    if only is not None:
        names, paths = [names[i] for i in only], [paths[i] for i in only]
        correct = correct[only]
    said = [n if c else other[n] for n, c in zip(names, correct, strict=True)]
    sure = [[0.9 if name == best else 0.1 for name in sorted(other)] for best in said]
    table = pa.table({"path": paths, "label": names, "prediction": said, "probabilities": sure})
    folder.mkdir(parents=True, exist_ok=True)
    run.evaluation.mkdir(exist_ok=True)
    order = np.random.default_rng(len(folder.name)).permutation(len(paths))
    pq.write_table(table.take(order), run.evaluation / "predictions.parquet")
    write_json(run.status_file, {"finished": finished, "request": {}, "seconds": 2.5})
    accuracy = {"accuracy": float(np.mean(correct))}
    write_json(run.evaluation / "metrics.json", {"test": accuracy, "validation": accuracy})
    seen = {"train": ["t.png"], "validation": paths[:1] if leak else ["v.png"], "test": paths}
    write_json(run.data, {"class_names": classes, "paths": seen})
    write_toml(run.settings, {"method": "lacvit"})


def planned(tmp_path: Path, method: str, seed: int) -> PlannedRun:
    return PlannedRun(Cell("pico", 10), method, seed, None, tmp_path / "runs" / f"{method}-s{seed}")


def judged(tmp_path: Path, answers: dict[str, np.ndarray], **more: object) -> dict:
    """The judgement of made-up answers (S, N) a method."""
    runs = []
    for method, correct_sn in answers.items():
        for seed, correct in enumerate(correct_sn):
            run = planned(tmp_path, method, seed)
            write_run(run.folder, correct)
            runs.append((run, read_answers(run)))
    defaults = {run.cell.backbone: "cross-entropy-refit" for run, _ in runs}
    request = Request(tmp_path, tuple(answers), seeds=3, **{"defaults": defaults, **more})
    return judge(request, runs, "photos")


def made_up(shares: dict[str, float], seeds: int = 3, images: int = 400) -> dict[str, np.ndarray]:
    """Methods that are right on the given shares of the same images, a little luck apart."""
    rng = np.random.default_rng(0)
    ease = rng.uniform(size=images)
    luck = 0.02 * rng.normal(size=(seeds, images))
    return {
        name: ease + luck + 0.01 * rng.normal(size=(seeds, images)) < share
        for name, share in shares.items()
    }
