"""The figures of pico's card: what its features are worth on CIFAR-10, and those of pico-mae.

Command:  python experiments/evaluate_pico.py --data DATA \
              --pico src/lacvit/backbones/pico_weights/pico.safetensors \
              --mae runs/pico-mae/pico-mae.pth --output experiments/results/pico_figures.csv
Hardware: one core of a 2-core machine, no GPU.
Time:     3 minutes of processor time for pico, about 20 with pico-mae, most of it fine-tuning.
Result:   experiments/results/pico_figures.csv.

k-NN (k = 20, cosine) and linear probe (logistic regression on standardised features, its strength
chosen on the last 1,000 training images) fit DATA/cifar10/train.parquet, 5,000 images. Fine-tuning,
for pico-mae and the same network untrained, takes the first 50 of each class.
Accuracy@1 on the 10,000 test images, read after every choice.
"""

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pico_models import MaskedAutoencoder, Shape
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm import create_model
from timm.models.vision_transformer import VisionTransformer
from tiny_images import IMAGENET, PICO, Normalisation, random_crops, read_images
from torch.nn import functional

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C
CHOICE = 1000  # training images that choose the strength
SHOTS = 50
FINE_TUNE_EPOCHS = 50
FINE_TUNE_BATCH = 50
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)  # the best on 50 more a class is taken, for each start


@dataclass(frozen=True)
class Images:
    """A labelled set, decoded."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def first(self, a_class: int, skip: int = 0) -> "Images":
        """The images number skip to skip + a_class of every class, in the file's order."""
        rows = [
            torch.nonzero(self.labels == label).flatten()[skip : skip + a_class]
            for label in self.labels.unique()
        ]
        chosen = torch.cat(rows)
        return Images(self.pixels[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    weights: str
    measure: str
    seed: int
    accuracy: float
    chosen: str


@dataclass(frozen=True)
class Start:
    """Weights to be judged, and the input that they are used to."""

    name: str
    path: Path
    build: Callable[[Path], VisionTransformer]
    normalise: Normalisation

    def model(self) -> VisionTransformer:
        return self.build(self.path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of pico and pico-mae on CIFAR-10.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds cifar10/")
    parser.add_argument("--pico", type=Path, required=True)
    parser.add_argument("--mae", type=Path, help="leave out to skip pico-mae")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train = Images(*read_images(arguments.data / "cifar10/train.parquet"))
    test = Images(*read_images(arguments.data / "cifar10/test.parquet"))
    pico_starts = [
        Start("random, pico's shape", arguments.pico, random_pico, PICO),
        Start("pico", arguments.pico, load_pico, PICO),
    ]
    mae_starts = []
    if arguments.mae:
        mae_starts = [
            Start("random, pico-mae's shape", arguments.mae, random_mae, IMAGENET),
            Start("pico-mae", arguments.mae, load_mae, IMAGENET),
        ]
    figures = feature_figures("raw pixels", raw(train), raw(test), train, test)
    for start in pico_starts + mae_starts:
        figures += feature_figures(
            start.name, pooled(start, train), pooled(start, test), train, test
        )
    for start in mae_starts:
        figures += fine_tune_figures(start, train, test, arguments.seeds)
    write(figures, arguments.output)


def feature_figures(
    name: str, fit_ND: np.ndarray, test_ND: np.ndarray, train: Images, test: Images
) -> list[Figure]:
    """k-NN and linear probe on fixed features."""
    known, truth = train.labels.numpy(), test.labels.numpy()
    neighbours = KNeighborsClassifier(20, metric="cosine").fit(fit_ND, known)
    on_choice = {
        strength: probe(strength)
        .fit(fit_ND[:-CHOICE], known[:-CHOICE])
        .score(fit_ND[-CHOICE:], known[-CHOICE:])
        for strength in STRENGTHS
    }
    best = max(on_choice, key=lambda strength: on_choice[strength])
    linear = probe(best).fit(fit_ND, known)
    return [
        told(Figure(name, "knn", 0, neighbours.score(test_ND, truth), "k=20")),
        told(Figure(name, "linear probe", 0, linear.score(test_ND, truth), f"C={best:g}")),
    ]


def probe(strength: float):
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def raw(images: Images) -> np.ndarray:
    return PICO(images.pixels).flatten(1).numpy()


@torch.inference_mode()
def pooled(start: Start, images: Images) -> np.ndarray:
    """The mean of the final patch tokens, after the last layer norm."""
    model = start.model().eval()
    features = [
        model.forward_head(model.forward_features(start.normalise(batch)), pre_logits=True)
        for batch in images.pixels.split(500)
    ]
    return torch.cat(features).numpy()


def fine_tune_figures(start: Start, train: Images, test: Images, seeds: int) -> list[Figure]:
    """All weights trained on 50 images a class; the learning rate chosen on 50 others."""
    few, others = train.first(SHOTS), train.first(SHOTS, skip=SHOTS)
    on_others = {
        lr: accuracy(fine_tuned(start, few, lr, seed=100), start.normalise, others)
        for lr in LEARNING_RATES
    }
    best = max(on_others, key=lambda lr: on_others[lr])
    figures = []
    for seed in range(seeds):
        score = accuracy(fine_tuned(start, few, best, seed), start.normalise, test)
        figures.append(
            told(Figure(start.name, "fine-tuning, 50 a class", seed, score, f"lr={best:g}"))
        )
    return figures


def fine_tuned(start: Start, images: Images, lr: float, seed: int) -> VisionTransformer:
    """Plain AdamW, cosine with warm-up, crops and flips, one rate for all layers."""
    model = start.model()
    torch.manual_seed(seed)
    model.reset_classifier(int(images.labels.max()) + 1)
    model.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05, fused=True)
    generator = torch.Generator().manual_seed(seed)
    steps = FINE_TUNE_EPOCHS * len(images.labels) // FINE_TUNE_BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, 10 * (step + 1) / steps) * 0.5 * (1 + np.cos(np.pi * step / steps)),
    )
    for _ in range(FINE_TUNE_EPOCHS):
        order = torch.randperm(len(images.labels), generator=generator)
        for chosen in order.split(FINE_TUNE_BATCH):
            crops = random_crops(images.pixels[chosen], 0.35, generator)
            logits = model(start.normalise(crops))
            loss = functional.cross_entropy(logits, images.labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.inference_mode()
def accuracy(model: VisionTransformer, normalise: Normalisation, images: Images) -> float:
    batches = zip(images.pixels.split(500), images.labels.split(500), strict=True)
    right = [(model(normalise(pixels)).argmax(1) == labels).sum() for pixels, labels in batches]
    return int(torch.stack(right).sum()) / len(images.labels)


def load_pico(path: Path) -> VisionTransformer:
    model = random_pico(path)
    with safe_open(path, "pt") as file:
        model.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()})  # noqa: SIM118
    return model


def random_pico(path: Path) -> VisionTransformer:
    """timm's own builder, given the architecture in the file's header."""
    with safe_open(path, "pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    torch.manual_seed(0)
    return create_model("vit_tiny_patch16_224", pretrained=False, **architecture)


def load_mae(path: Path) -> VisionTransformer:
    with torch.serialization.safe_globals([argparse.Namespace]):
        weights = torch.load(path, weights_only=True)["model"]
    return _mae_encoder(path, weights)


def random_mae(path: Path) -> VisionTransformer:
    """The weights that pretraining starts from."""
    torch.manual_seed(0)
    return _mae_encoder(path, MaskedAutoencoder(_mae_shape(path), 64, 1, 0.5).state_dict())


def _mae_encoder(path: Path, weights: dict[str, torch.Tensor]) -> VisionTransformer:
    """As the MAE authors fine-tune: patch tokens averaged, then a layer norm of its own."""
    shape = _mae_shape(path)
    model = VisionTransformer(
        **shape.arguments(),
        num_classes=0,
        class_token=True,
        global_pool="avg",
    )
    fresh = {key: value for key, value in model.state_dict().items() if "fc_norm" in key}
    encoder = {key: weights[key] for key in model.state_dict() if key not in fresh}
    model.load_state_dict(encoder | fresh)
    return model


def _mae_shape(path: Path) -> Shape:
    with torch.serialization.safe_globals([argparse.Namespace]):
        arguments = torch.load(path, weights_only=True)["args"]
    return Shape(arguments.embed_dim, arguments.depth, arguments.num_heads)


def told(figure: Figure) -> Figure:
    print(
        f"{figure.weights:28} {figure.measure:24} {100 * figure.accuracy:5.1f}  {figure.chosen}",
        flush=True,
    )
    return figure


def write(figures: list[Figure], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["weights", "measure", "seed", "accuracy", "chosen"])
        for figure in figures:
            rows.writerow(
                [
                    figure.weights,
                    figure.measure,
                    figure.seed,
                    f"{figure.accuracy:.4f}",
                    figure.chosen,
                ]
            )


if __name__ == "__main__":
    main()
