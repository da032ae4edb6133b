"""Two views of each image, images a second on one core: lacvit beside PIL and torchvision v1.

    python benchmarks/data.py [--data train.parquet] [--size 32] [--quick] [--output FILE.csv]

Both pipelines start from decoded uint8 images in memory and end with normalised float32
tensors: a random resized crop of 0.2 to 1 of the area, flip, colour jitter 0.4, 0.4, 0.4, 0.1
with probability 0.8, grey with probability 0.2. They take turns in one process with one thread,
and processor time is counted, so that what else the machine does falls on both or on neither.
Without --data the images are scikit-learn's digits, enlarged to --size, coloured at random.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from provenance import add_output, commit, device_name, output_of

from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.data.augmentation import Augmentation
from lacvit.data.batches import DecodedImages, ViewPlan, hold, view_batches
from lacvit.data.readers import read_data
from lacvit.data.records import ImageRecords, records_from_arrays
from lacvit.input_spec import InputSpec

ensure_torchvision()
from torchvision import transforms  # noqa: E402  (only after the shim)

BAR = 3.0  # times the images a second of PIL and torchvision v1
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
COLUMNS = (
    *("pipeline", "size", "views", "images", "rounds", "images_per_second", "least", "most"),
    *("ratio", "load", "device", "torch", "commit"),
)
RESULTS = Path(__file__).parent / "results" / "data.csv"

AUGMENTATION = Augmentation(
    crop_scale=(0.2, 1.0),
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    jitter_probability=0.8,
    grey_probability=0.2,
)


def peer_transform(size: int) -> transforms.Compose:
    """The usual contrastive pipeline, from a PIL image to a tensor."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def coloured_digits(size: int, count: int) -> ImageRecords:
    """scikit-learn's digits as RGB images of one size, each tinted."""
    from sklearn.datasets import load_digits  # only where no data is given: it imports slowly

    digits = load_digits()
    chosen = np.arange(count) % len(digits.images)
    tints = np.random.default_rng(0).uniform(0.3, 1, (count, 1, 1, 3))
    small = digits.images[chosen] / 16 * 255
    images = [
        np.asarray(Image.fromarray(image.astype(np.uint8)).resize((size, size)))[:, :, None]
        for image in small
    ]
    pixels = [(image * tint).astype(np.uint8) for image, tint in zip(images, tints, strict=True)]
    return records_from_arrays(pixels, digits.target[chosen], [str(i) for i in range(10)])


def ours(images: DecodedImages, plan: ViewPlan, epoch: int) -> int:
    """One epoch of two views; the number of images."""
    labels = images.records.labels
    return sum(len(batch.labels_B) for batch in view_batches(images, labels, plan, epoch))


def theirs(arrays: list[np.ndarray], size: int, batch_size: int) -> int:
    """The same by PIL and torchvision v1, image by image, stacked into batches."""
    transform = peer_transform(size)
    for start in range(0, len(arrays), batch_size):
        batch = [Image.fromarray(array) for array in arrays[start : start + batch_size]]
        torch.stack([torch.stack([transform(image), transform(image)]) for image in batch])
    return len(arrays)


def rate(work: Callable[[], int]) -> float:
    """Images a second of processor time."""
    start = time.process_time()
    return work() / (time.process_time() - start)


def measure(records: ImageRecords, size: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each pipeline, once a round, in turns."""
    spec = InputSpec(size=size, mean=MEAN, std=STD, interpolation="bilinear")
    plan = ViewPlan(spec, AUGMENTATION, views=2, batch_size=128)
    images = hold(records)
    arrays = [records.read(i) for i in range(len(records))]
    ours(images, plan, 0)  # warm-up
    found: dict[str, list[float]] = {"lacvit": [], "PIL and torchvision v1": []}
    for turn in range(rounds):
        found["lacvit"].append(rate(lambda turn=turn: ours(images, plan, turn)))
        found["PIL and torchvision v1"].append(rate(lambda: theirs(arrays, size, 128)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a Parquet file, or a folder, of images")
    parser.add_argument("--size", type=int, default=32, help="pixels a side of a view")
    add_output(parser, RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)

    count, rounds = (512, 3) if options.quick else (2048, 9)
    if options.data:
        found = read_data(options.data)
        records = found.get("train", found.get("all"))
        records = records.select(range(min(count, len(records))))
    else:
        records = coloured_digits(options.size, count)
    rates = measure(records, options.size, rounds)
    load = os.getloadavg()[0]
    ratio = median(
        a / b for a, b in zip(rates["lacvit"], rates["PIL and torchvision v1"], strict=True)
    )

    print(f"two views at {options.size} px of {len(records)} images, one thread, {rounds} rounds")
    print("images a second and core: median, least and most")
    for name, values in rates.items():
        print(f"  {name:<24} {median(values):7,.0f} {min(values):7,.0f} {max(values):7,.0f}")
    verdict = "holds" if ratio >= BAR else "missed"
    print(
        f"  lacvit / PIL and torchvision v1 = {ratio:.2f} (median of rounds; bar {BAR}: {verdict})"
    )
    print(f"  device {device_name()}, load average {load:.1f}, commit {commit()}")

    output = output_of(options, RESULTS)
    if output is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name, values in rates.items():
            share = f"{ratio:.2f}" if name == "lacvit" else "1.00"
            numbers = [f"{value:.0f}" for value in (median(values), min(values), max(values))]
            setting = [name, options.size, 2, len(records), rounds]
            where = [f"{load:.1f}", device_name(), torch.__version__, commit()]
            table.writerow([*setting, *numbers, share, *where])


if __name__ == "__main__":
    main()
