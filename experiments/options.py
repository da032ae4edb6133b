"""Options that need no other training: what the head is given, and the weights that give it.

Each trained encoder of the search's base (CIFAR-10, 50 a class, judged on 1,000 held-out training
images) is read once and tried in every way: plain; features averaged with those of the mirrored
image, and with those of the corners too; pooled tokens of several blocks side by side; weights
interpolated with the pretrained ones (Wortsman et al. 2022); and the head fitted on training and
validation images together, once validation has chosen its strength.

Command:  python experiments/options.py --data DATA/cifar10/train.parquet --pretrained runs \\
              --output runs/options
Hardware: 2 cores, no GPU.
Time:     80 seconds an encoder to train, 15 to try.
Result:   experiments/results/options.csv and docs/log.md.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from grid import RATES, kind
from jobs import Job, backbones, read_lines, run_all, summarise
from search import BASE, SEEDS
from sklearn.linear_model import LogisticRegression

from lacvit.backbones import Backbone, load_backbone
from lacvit.config import RunSettings
from lacvit.data.batches import evaluation_batches, hold
from lacvit.data.records import ImageRecords
from lacvit.data.splits import Splits
from lacvit.features import Crops, encode
from lacvit.model import Classifier
from lacvit.reading import read_splits
from lacvit.run_folder import RunFolder
from lacvit.training.head import LabelledFeatures, fit_exact_head
from lacvit.training.logs import Silence

RESULT = Path(__file__).parent / "results" / "options.csv"
ARMS = ("linear-probe", "cross-entropy", "lacvit", "joint")
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
KEPT = (0.25, 0.5, 0.75)  # shares of the trained weights


def jobs(data: str, specs: dict[str, str]) -> Iterator[Job]:
    for seed in SEEDS:
        for backbone, spec in specs.items():
            for arm in ARMS:
                row = {"backbone": backbone, "arm": arm}
                settings = {**BASE, "data.path": data, "backbone.spec": spec, "method": arm}
                yield Job(row, seed, {**settings, **RATES[kind(backbone)]})


def tried(folder: RunFolder) -> Iterator[tuple[str, float]]:
    """Option -> Accuracy@1 on the held-out images, of one run's encoder."""
    settings = RunSettings.model_validate(folder.resolved_settings())
    splits = read_splits(settings, Silence())
    trained = Classifier.load(folder.model).backbone
    untouched = load_backbone(settings.backbone.spec)
    plain = per_block(trained, splits)
    last = {name: blocks[-1] for name, blocks in plain.items()}
    yield "plain", judged(last, splits)
    yield "head on training and validation", judged(last, splits, both=True)
    mirrored = per_block(trained, splits, mirror=True)
    both_sides = {name: (last[name] + mirrored[name][-1]) / 2 for name in last}
    yield "mirrored", judged(both_sides, splits)
    yield "mirrored, training and validation", judged(both_sides, splits, both=True)
    corners = {name: with_corners(trained, records) for name, records in splits.items()}
    yield "corners", judged(corners, splits)
    yield "corners, training and validation", judged(corners, splits, both=True)
    for count in (2, 3):
        several = {name: np.concatenate(blocks[-count:], 1) for name, blocks in plain.items()}
        yield f"last {count} blocks", judged(several, splits)
    if settings.method == "linear-probe":
        return
    end = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    start = untouched.state_dict()
    for share in KEPT:
        mixed = {key: torch.lerp(start[key], end[key], share) for key in end}
        trained.load_state_dict(mixed)
        found = {name: blocks[-1] for name, blocks in per_block(trained, splits).items()}
        yield f"interpolated {share:g}", judged(found, splits)
        if share == 0.5:
            both = {name: np.concatenate([last[name], found[name]], 1) for name in last}
            yield "trained and interpolated side by side", judged(both, splits)


@torch.no_grad()
def per_block(
    backbone: Backbone, splits: Splits, *, mirror: bool = False
) -> dict[str, list[np.ndarray]]:
    """For each split the mean patch token after every block, and at last the pooled feature."""
    caught: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _, __, out: caught.append(out))
        for block in backbone.blocks()
    ]
    backbone.eval()
    found = {}
    for name, records in splits.items():
        parts: list[list[np.ndarray]] = []
        for images in evaluation_batches(
            hold(records), backbone.input_spec, batch_size=250, device=torch.device("cpu")
        ):
            caught.clear()
            pooled = backbone(images.flip(3) if mirror else images)
            grid = 16  # patches of a 32-pixel image; class tokens stand before them
            parts.append([*(out[:, -grid:].mean(1).numpy() for out in caught[:-1]), pooled.numpy()])
        found[name] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    for hook in hooks:
        hook.remove()
    return found


def with_corners(backbone: Backbone, records: ImageRecords) -> np.ndarray:
    """What ``features.crops=corners`` reads."""
    batches = evaluation_batches(
        hold(records), backbone.input_spec, batch_size=250, device=torch.device("cpu")
    )
    return encode(backbone, batches, crops=Crops())


def judged(features: dict[str, np.ndarray], splits: Splits, *, both: bool = False) -> float:
    """Accuracy@1 of the exact head on what "test" is here: held-out training images."""
    labels = {name: records.labels for name, records in splits.items()}
    train, validation = (
        LabelledFeatures(features[name], labels[name]) for name in ("train", "validation")
    )
    classes = len(splits.class_names)
    head = fit_exact_head(train, validation, classes=classes, strengths=STRENGTHS)
    if not both:
        scores = features["test"] @ head.weight_CD.T + head.bias_C
        return float((scores.argmax(1) == labels["test"]).mean())
    rows = np.concatenate([train.features_ND, validation.features_ND])
    mean, deviation = rows.mean(0), rows.std(0)
    # The penalty is on the sum of the losses, of which there are now more.
    model = LogisticRegression(C=head.strength, max_iter=1000)
    model.fit((rows - mean) / deviation, np.concatenate([train.labels_N, validation.labels_N]))
    return float(model.score((features["test"] - mean) / deviation, labels["test"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pretrained", type=Path, help="leave out to run pico alone")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    lines = read_lines(RESULT)
    for job in jobs(arguments.data, backbones(arguments.pretrained)):
        row = {**job.row, "seed": str(job.seed)}
        if any({**row, "option": "corners"}.items() <= line.items() for line in lines):
            continue
        run_all([job], arguments.output, "1/1", RESULT.with_name("none.csv"))
        lines = [line for line in lines if not row.items() <= line.items()]
        for option, accuracy in tried(RunFolder(arguments.output / job.name)):
            print(f"{job.name}: {option} {100 * accuracy:.1f}", flush=True)
            lines.append({**row, "option": option, "held_out_accuracy": f"{accuracy:.4f}"})
        with RESULT.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    print(summarise(lines, ("backbone", "arm", "option"), "held_out_accuracy"))


if __name__ == "__main__":
    main()
