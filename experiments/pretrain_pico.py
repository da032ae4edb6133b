"""Pretrain pico, the backbone that ships with lacvit, or one of its self-supervised twins.

Command:  python experiments/pretrain_pico.py --data DATA/tinyimagenet32/train.parquet \
              --objective supervised --output runs/pico
          (pico-mae: --objective mae --output runs/pico-mae; so too simmim and data2vec)
Hardware: one core of a 2-core machine, no GPU, 1.2 GB of memory.
Time:     pico about 35 minutes on a free core (the shipped one took 56 minutes of a shared core,
          with --minutes 56 and the schedule set by the clock, and came to 10.5 epochs);
          pico-mae 26 minutes of processor time, 6.4 epochs.
Result:   pico's held-out accuracy 28.7 % of 200 classes, pico-mae's held-out loss 0.59; the rest
          in experiments/results/pico_figures.csv.

The same command after an interruption continues from the last checkpoint. Batches, crops and masks
are functions of (seed, step), so no random state needs saving.

The output folder gets log.jsonl, checkpoint.pt, and when done pico.safetensors (float16, timm's
keys), or pico-mae.pth, pico-simmim.pth or pico-data2vec.pth in the format of the method's authors.
"""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from export_pico import export_original, export_pico
from muon import Muon
from pico_beit import Data2Vec, SimMim
from pico_models import MaskedAutoencoder, build_classifier, classify
from pico_settings import Settings, parse_arguments
from tiny_images import IMAGENET, PICO, Normalisation, random_crops, read_images
from torch import nn
from torch.nn import functional

SELF_SUPERVISED = (MaskedAutoencoder, SimMim, Data2Vec)

HELD_OUT = 4000  # the file's last images, never trained on: the log's validation accuracy


class Clock:
    """Seconds of training so far, over all restarts."""

    def __init__(self, kind: str, before: float) -> None:
        self._now = time.process_time if kind == "cpu" else time.monotonic
        self._start = self._now() - before

    def seconds(self) -> float:
        return self._now() - self._start


def main() -> None:
    settings, data, output, threads = parse_arguments()
    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    images, labels = read_images(data, cache=output.parent)
    model, epochs = train(settings, images, labels, output)
    if isinstance(model, SELF_SUPERVISED):
        target = output / f"pico-{settings.objective}.pth"
        export_original(model, target, asdict(settings), round(epochs))
    else:
        export_pico(model, output / "pico.safetensors", settings.shape)


def train(
    settings: Settings, images: torch.Tensor, labels: torch.Tensor, output: Path
) -> tuple[nn.Module, float]:
    """The whole run, from its last checkpoint if there is one; and the epochs it took."""
    torch.manual_seed(settings.seed)
    model = build_model(settings, classes=int(labels.max()) + 1)
    optimisers = build_optimisers(settings, model)
    checkpoint = output / "checkpoint.pt"
    step, seconds = resume(checkpoint, settings, model, optimisers)
    clock = Clock(settings.clock, seconds)
    per_epoch = (len(images) - HELD_OUT) // settings.batch_size
    steps = round(settings.epochs * per_epoch)
    last_saved, last_step, last_seconds, losses = time.monotonic(), step, seconds, []
    while (done := progress(settings, step / steps, clock.seconds())) < 1:
        set_learning_rates(optimisers, done, settings.warmup)
        generator = torch.Generator().manual_seed(settings.seed * 10_000_019 + step)
        chosen = batch_indices(settings, per_epoch, step)
        crops = random_crops(images[chosen], settings.smallest_crop, generator)
        views = normalisation(model)(crops)
        loss = step_loss(settings, model, views, labels[chosen], done, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        if isinstance(model, Data2Vec):
            model.follow(done)
        step += 1
        losses.append(loss.item())
        if step % 200 == 0:
            speed = (step - last_step) * settings.batch_size / (clock.seconds() - last_seconds)
            last_step, last_seconds = step, clock.seconds()
            report(output, step, done, losses, speed, validate(model, images, labels))
            losses = []
        if time.monotonic() - last_saved > 180:
            save(checkpoint, settings, model, optimisers, step, clock.seconds())
            last_saved = time.monotonic()
    save(checkpoint, settings, model, optimisers, step, clock.seconds())
    report(output, step, 1.0, losses, 0.0, validate(model, images, labels))
    return model, step / per_epoch


def build_model(settings: Settings, classes: int) -> nn.Module:
    if settings.objective == "mae":
        return MaskedAutoencoder(
            settings.shape, settings.decoder_dim, settings.decoder_depth, settings.mask
        )
    if settings.objective == "simmim":
        return SimMim(settings.shape, settings.mask)
    if settings.objective == "data2vec":
        return Data2Vec(settings.shape, settings.mask)
    return build_classifier(settings.shape, classes)


def normalisation(model: nn.Module) -> Normalisation:
    return IMAGENET if isinstance(model, SELF_SUPERVISED) else PICO


def build_optimisers(settings: Settings, model: nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW, without decay for vectors, positions and tokens; Muon for the blocks if asked."""
    muon: list[torch.nn.Parameter] = []
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim == 2 and "blocks." in name and settings.optimiser == "muon":
            muon.append(parameter)
        elif parameter.ndim in (2, 4):
            decayed.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.95), fused=True)
    ]
    if muon:
        optimisers.append(Muon(muon, lr=settings.muon_lr, weight_decay=settings.weight_decay))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return optimisers


def progress(settings: Settings, share_of_steps: float, seconds: float) -> float:
    """0 at the start, 1 at the end of the run: by steps or by time, whichever is further."""
    if settings.minutes:
        return max(share_of_steps, seconds / (60 * settings.minutes))
    return share_of_steps


def set_learning_rates(optimisers: list[torch.optim.Optimizer], done: float, warmup: float) -> None:
    """Linear warm-up, then half a cosine to zero."""
    rest = torch.tensor((done - warmup) / (1 - warmup))
    factor = done / warmup if done < warmup else float(0.5 * (1 + torch.cos(torch.pi * rest)))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * max(factor, 1e-3)


def batch_indices(settings: Settings, per_epoch: int, step: int) -> torch.Tensor:
    """This step's rows of its epoch's permutation."""
    epoch, place = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(settings.seed * 10_000_019 + 7_000_003 + epoch)
    # A few rows fewer than an epoch's images are used: the remainder of the last batch.
    order = torch.randperm(per_epoch * settings.batch_size, generator=generator)
    return order[place * settings.batch_size : (place + 1) * settings.batch_size]


def step_loss(
    settings: Settings,
    model: nn.Module,
    views: torch.Tensor,
    labels: torch.Tensor,
    done: float,
    generator: torch.Generator,
) -> torch.Tensor:
    if isinstance(model, SELF_SUPERVISED):
        return model.loss(views, generator)
    keep = settings.keep if done < settings.keep_until else 1.0
    logits = classify(model, views, keep, generator)
    return functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)


@torch.inference_mode()
def validate(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Accuracy on the held-out images; self-supervised: minus its loss, the mask fixed."""
    model.eval()
    score = 0.0
    for start in range(len(images) - HELD_OUT, len(images), 500):
        batch = normalisation(model)(images[start : start + 500])
        if isinstance(model, SELF_SUPERVISED):
            score -= float(model.loss(batch, torch.Generator().manual_seed(start))) * len(batch)
        else:
            score += float((model(batch).argmax(1) == labels[start : start + 500]).sum())
    model.train()
    return score / HELD_OUT


def report(
    output: Path, step: int, done: float, losses: list[float], speed: float, score: float
) -> None:
    line = {
        "time": time.strftime("%H:%M:%S"),
        "step": step,
        "done": round(done, 4),
        "loss": round(sum(losses) / max(1, len(losses)), 4),
        "images_per_second": round(speed),
        "validation": round(score, 4),
    }
    with (output / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")


def save(
    path: Path,
    settings: Settings,
    model: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    step: int,
    seconds: float,
) -> None:
    state = {
        "settings": asdict(settings),
        "model": model.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "step": step,
        "seconds": seconds,
    }
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def resume(
    path: Path,
    settings: Settings,
    model: nn.Module,
    optimisers: list[torch.optim.Optimizer],
) -> tuple[int, float]:
    """Load the checkpoint, if any; gives the steps and seconds already behind it."""
    if not path.exists():
        return 0, 0.0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["settings"] != asdict(settings):
        raise SystemExit(
            f"{path} belongs to other settings: {state['settings']}. Use another --output."
        )
    model.load_state_dict(state["model"])
    for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(kept)
    return state["step"], state["seconds"]


if __name__ == "__main__":
    main()
