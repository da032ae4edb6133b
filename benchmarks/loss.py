"""The supervised contrastive loss beside its peers: time, memory, and the floor of its products.

    python benchmarks/loss.py --supcontrast ../SupContrast --released ../LaCViT --memory-gb 14

(--quick: a minute's version, nothing written. --bars: only what the bars speak of, ten minutes; all
of it takes an hour or two. --resume: what the CSV has already is kept and not measured again.
--device cuda: the GPU's cases.) Run it on a quiet machine, with OpenMP's default wait policy. The
peers are pytorch-metric-learning, installed with the `test` extra, and two repositories that are
read from where they lie: SupContrast's losses.py and the released LaCViT code's utils/losses.py.
Without their paths they are left out.

Every figure comes from a process of its own: one call to warm up, during which the growth of the
resident memory is taken (from /proc: Linux only), then the median of 3 to 99 calls. Rows are unit
vectors, two views of N/2 images; peers get them normalised, lacvit normalises them again. The
number of classes is varied at 128 dimensions in float32, and is 100 elsewhere. A peer that would
need more memory than --memory-gb, or at half the rows took so long that a call would now take more
than --seconds, is skipped, and its row says so.

The floor: 4 N N D operations (scores, scores again, two products for the gradient, each symmetric
pair once; a quarter of it for the forward pass alone), at the rate of torch.mm on tiles' shapes, in
the dtype in which lacvit multiplies: float32, but bfloat16 on a GPU for bfloat16 rows.

Writes benchmarks/results/loss.csv. Letters: N rows, D dimensions, V views, B images, T rows of a
tile.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from memory import Memory
from provenance import add_output, commit, device_name, output_of
from torch import Tensor

from lacvit.losses import supcon_loss, tiled

RESULTS = Path(__file__).parent / "results" / "loss.csv"
TEMPERATURE = 0.1
ROUNDS, AT_LEAST, ENOUGH_SECONDS = 99, 3, 4.0
# Matrices of N x N in float32 that a peer holds at its peak, forward and backward, as measured.
HELD = {"pytorch-metric-learning": 11, "supcontrast": 8, "released": 8}
# At D = 128, float32, forward and backward: times the speed of the fastest peer.
SPEED_BARS = {1024: 3.0, 4096: 9.0, 8192: 8.5, 16384: 8.5}
FLOOR_BAR, MEMORY_BARS = 0.85, {8192: 64, 32768: 128}
COLUMNS = (
    *("implementation", "n", "d", "classes", "dtype", "passes", "milliseconds", "extra_mb"),
    *("rounds", "times_lacvit", "floor_ms", "share_of_floor", "note"),
    *("load", "device", "threads", "torch", "commit"),
)


@dataclass(frozen=True)
class Case:
    """One question: how long, and how much memory."""

    n: int
    d: int
    classes: int
    dtype: str = "float32"
    passes: str = "both"
    """"both": forward and backward; "forward": without a graph."""


def cpu_cases() -> Iterator[Case]:
    for n in (1024, 2048, 4096, 8192, 16384):
        for passes in ("both", "forward"):
            for classes in (10, 100, n // 2):
                yield Case(n, 128, classes, "float32", passes)
            yield Case(n, 768, 100, "float32", passes)
            yield Case(n, 128, 100, "bfloat16", passes)
            yield Case(n, 768, 100, "bfloat16", passes)


def cuda_cases() -> Iterator[Case]:
    for n in (4096, 16384, 65536):
        for d in (128, 256, 768):
            for dtype in ("bfloat16", "float32"):
                yield Case(n, d, 100, dtype)
                yield Case(n, d, 100, dtype, "forward")


# Once, and lacvit alone: nothing else can hold these.
LARGE = {
    "cpu": (Case(32768, 128, 100), Case(131072, 128, 100)),
    "cuda": (Case(1_000_000, 128, 1000, "bfloat16"),),
}
BARS = tuple(Case(n, 128, 100) for n in (1024, 4096, 8192, 16384))
QUICK = (Case(1024, 128, 100), Case(2048, 128, 100), Case(2048, 128, 100, "float32", "forward"))
Loss = Callable[[Tensor, Tensor], Tensor]  # (x_VBD, labels_B) -> scalar


def lacvit_loss(impl: str) -> Loss:
    def loss(x_VBD: Tensor, labels_B: Tensor) -> Tensor:
        labels_N = labels_B.repeat(len(x_VBD))
        return supcon_loss(x_VBD.flatten(0, 1), labels_N, temperature=TEMPERATURE, impl=impl)

    return loss


def metric_learning_loss() -> Loss:
    from pytorch_metric_learning.losses import SupConLoss

    module = SupConLoss(temperature=TEMPERATURE)
    return lambda x_VBD, labels_B: module(x_VBD.flatten(0, 1), labels_B.repeat(len(x_VBD)))


def repository_loss(file: Path, name: str) -> Loss:
    """SupContrast's form of the loss: (B, V, D), and a factor that base_temperature takes away."""
    spec = importlib.util.spec_from_file_location("peer", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loss = getattr(module, name)(temperature=TEMPERATURE, base_temperature=TEMPERATURE)
    return lambda x_VBD, labels_B: loss(x_VBD.transpose(0, 1), labels_B)


def build(implementation: str, path: str | None) -> Loss:
    if implementation == "pytorch-metric-learning":
        return metric_learning_loss()
    if implementation == "supcontrast":
        return repository_loss(Path(path or "") / "losses.py", "SupConLoss")
    if implementation == "released":
        return repository_loss(Path(path or "") / "utils" / "losses.py", "LaCViTLoss")
    return lacvit_loss(implementation.removeprefix("lacvit "))


def inputs(case: Case, device: str) -> tuple[Tensor, Tensor]:
    """Unit rows around their class's centre, so that the softmax is neither flat nor one-hot."""
    generator = torch.Generator().manual_seed(0)
    n_images = case.n // 2
    labels_B = torch.arange(n_images) % case.classes
    centre_KD = torch.randn(case.classes, case.d, generator=generator)
    x_VBD = torch.randn(2, n_images, case.d, generator=generator).add_(centre_KD[labels_B])
    x_VBD /= torch.linalg.vector_norm(x_VBD, dim=2, keepdim=True)
    return x_VBD.to(device, getattr(torch, case.dtype)), labels_B.to(device)


def measure(case: Case, implementation: str, path: str | None, device: str) -> dict[str, Any]:
    """Milliseconds, MB and the value of one implementation; runs in a process of its own."""
    loss = build(implementation, path)

    def call(x_VBD: Tensor, labels_B: Tensor) -> Tensor:
        if case.passes == "forward":
            with torch.no_grad():
                value = loss(x_VBD, labels_B)
        else:
            x_VBD = x_VBD.detach().requires_grad_()
            value = loss(x_VBD, labels_B)
            value.backward()
        return value.detach()

    call(*inputs(replace(case, n=256, classes=64), device))  # loads what loads lazily
    x_VBD, labels_B = inputs(case, device)
    memory = Memory(device)
    started = time.perf_counter()
    value = float(call(x_VBD, labels_B))
    extra_mb, first = memory.grown(), time.perf_counter() - started
    times: list[float] = [first] if first > 10 * ENOUGH_SECONDS else []
    while not times or (
        times[0] < 10 * ENOUGH_SECONDS
        and len(times) < ROUNDS
        and (len(times) < AT_LEAST or sum(times) < ENOUGH_SECONDS)
    ):
        started = time.perf_counter()
        call(x_VBD, labels_B)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    found = {"milliseconds": 1e3 * statistics.median(times), "rounds": len(times)}
    return {**found, "extra_mb": extra_mb, "value": value}


def measure_products(d: int, dtype: str, tile: int, device: str) -> dict[str, float]:
    """Operations a second of torch.mm in the shapes of a tile: scores, and the gradient's."""
    kind = getattr(torch, dtype)
    z_TD = torch.randn(tile, d, device=device).to(kind)
    scores_TT = torch.randn(tile, tile, device=device).to(kind)
    out_TD = torch.empty_like(z_TD)
    rates = {}
    for name, product in (
        ("scores", lambda: torch.mm(z_TD, z_TD.T, out=scores_TT)),
        ("gradient", lambda: torch.mm(scores_TT, z_TD, out=out_TD)),
    ):
        times = []
        while len(times) < 9:
            started = time.perf_counter()
            for _ in range(20):
                product()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        rates[name] = 20 * 2 * tile * tile * d / statistics.median(times[1:])
    return rates


def floor_ms(case: Case, rates: dict[str, float]) -> float:
    """Each of the four parts is N N D operations: half the pairs, 2 D each."""
    part = case.n * case.n * case.d
    forward = part / rates["scores"]
    return 1e3 * (
        forward if case.passes == "forward" else 2 * forward + 2 * part / rates["gradient"]
    )


def in_a_fresh_process(request: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--request", json.dumps(request)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        said = run.stderr.strip().splitlines()
        return {"note": f"failed: {said[-1][:100] if said else f'signal {-run.returncode}'}"}
    return json.loads(run.stdout)


class Bench:
    """All cases in turn; a row for each implementation."""

    def __init__(self, options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
        self.options = options
        self.device: str = options.device
        self.rows = rows  # of earlier starts at first
        named = {"supcontrast": options.supcontrast, "released": options.released}
        self.paths = {name: str(path) for name, path in named.items() if path}

    def ours(self) -> list[str]:
        return ["lacvit fused", "lacvit tiled"] if self.device == "cuda" else ["lacvit auto"]

    def has(self, case: Case) -> bool:
        """Whether an earlier start has measured it."""
        return any(asdict(case).items() <= row.items() for row in self.rows)

    def run(self, case: Case, peers: bool = True) -> None:
        mine = [self.measured(case, name) for name in self.ours()]
        floor = floor_ms(case, self.rates_for(case))
        theirs = [self.measured(case, n) for n in ["pytorch-metric-learning", *self.paths] if peers]
        done = [row for row in mine if "milliseconds" in row]
        for row in mine + theirs:
            row["floor_ms"] = floor
            if "milliseconds" in row:
                row["share_of_floor"] = floor / row["milliseconds"]
                if done:
                    self.compare(row, min(done, key=lambda own: own["milliseconds"]))
            self.rows.append(row)
            print(line(row), flush=True)

    def compare(self, row: dict[str, Any], own: dict[str, Any]) -> None:
        row["times_lacvit"] = row["milliseconds"] / own["milliseconds"]
        tolerance = 2e-2 if row["dtype"] == "bfloat16" else 1e-4
        if abs(row["value"] - own["value"]) > tolerance * abs(own["value"]):
            row["note"] = f"value {row['value']:.6g}, lacvit's {own['value']:.6g}"

    def measured(self, case: Case, name: str) -> dict[str, Any]:
        row: dict[str, Any] = {"implementation": name, **asdict(case)}
        gigabytes = HELD.get(name, 0) * 4 * case.n**2 / 2**30
        if gigabytes > self.options.memory_gb:
            return {**row, "note": f"skipped: about {gigabytes:.0f} GB"}
        if name in HELD and (seconds := self.expected(case, name)) > self.options.seconds:
            known = f": about {seconds:.0f} s a call" if seconds < math.inf else " at half the rows"
            return {**row, "note": f"skipped{known}"}
        request = {"case": asdict(case), "implementation": name, "path": self.paths.get(name)}
        found = in_a_fresh_process({**request, "device": self.device})
        return {**row, **found, "load": f"{os.getloadavg()[0]:.1f}"}

    def expected(self, case: Case, name: str) -> float:
        """Seconds of a call, by the same at half the rows; 0 where that is not known."""
        half = {**asdict(replace(case, n=case.n // 2)), "implementation": name}
        if case.classes == case.n // 2:
            half["classes"] = case.n // 4
        known = [row for row in self.rows if half.items() <= row.items()]
        if known and "milliseconds" not in known[0]:  # it was skipped there
            return math.inf
        return 4e-3 * known[0]["milliseconds"] if known else 0.0

    def rates_for(self, case: Case) -> dict[str, float]:
        """Measured beside each case: the rate moves with the machine's other guests."""
        on_gpu = self.device == "cuda"
        tile = 8192 if on_gpu else min(tiled.TILE, case.n)
        products = (case.d, case.dtype if on_gpu else "float32", tile)
        return in_a_fresh_process({"products": products, "device": self.device})


def line(row: dict[str, Any]) -> str:
    setting = f"{row['n']:>8,} x {row['d']:<4} {row['classes']:>6} classes {row['dtype']:<9}"
    start = f"{setting}{row['passes']:<8}{row['implementation']:<24}"
    if "milliseconds" not in row:
        return f"{start}{row['note']}"
    figures = f"{row['milliseconds']:10,.1f} ms {row['extra_mb']:8,.0f} MB extra"
    times = f"{row['times_lacvit']:.2f} times lacvit's" if "times_lacvit" in row else ""
    ratios = f"{times:>22}, {row['share_of_floor']:4.0%} of the floor's speed"
    return f"{start}{figures}{ratios}  {row.get('note', '')}".rstrip()


def verdicts(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The bars: 128 dimensions, 100 classes, float32, forward and backward, on a CPU."""
    setting = {"d": 128, "classes": 100, "dtype": "float32", "passes": "both"}
    for n in sorted({row["n"] for row in rows}):
        at_n = [row for row in rows if row["n"] == n and setting.items() <= row.items()]
        timed = {row["implementation"]: row for row in at_n if "milliseconds" in row}
        ours = timed.pop("lacvit auto", None)
        if ours is None:
            continue
        if n in SPEED_BARS and timed:
            name = min(timed, key=lambda key: timed[key]["milliseconds"])
            ratio = timed[name]["times_lacvit"]
            yield verdict(f"N = {n:,}: times the speed of {name}", ratio, SPEED_BARS[n], True)
        if n in SPEED_BARS:
            yield verdict(f"N = {n:,}: share of the floor", ours["share_of_floor"], FLOOR_BAR, True)
        if n in MEMORY_BARS:
            yield verdict(f"N = {n:,}: MB extra", ours["extra_mb"], MEMORY_BARS[n], False)


def verdict(what: str, value: float, bar: float, at_least: bool) -> str:
    holds = value >= bar if at_least else value <= bar
    return f"{what} {value:.3g} (bar {bar}: {'holds' if holds else 'missed'})"


def write(path: Path, rows: list[dict[str, Any]], where: dict[str, Any]) -> None:
    """All rows; ``where`` is of those that do not say themselves where they were measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for row in rows:
            short = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            table.writerow({**where, **short})


def read(path: Path) -> list[dict[str, Any]]:
    """What :func:`write` wrote, with the numbers as numbers; nothing where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    numbers = {"n": int, "d": int, "classes": int, "milliseconds": float, "extra_mb": float}
    numbers |= {"times_lacvit": float, "share_of_floor": float}
    return [{k: numbers.get(k, str)(v) for k, v in row.items()} for row in rows]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    if "products" in request:
        return measure_products(*request["products"], request["device"])
    case = Case(**request["case"])
    return measure(case, request["implementation"], request["path"], request["device"])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_output(parser, RESULTS)
    parser.add_argument("--bars", action="store_true", help="the cases that have a bar")
    parser.add_argument("--rows", help="only these N, such as 1024,4096")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--supcontrast", type=Path, help="folder with SupContrast's losses.py")
    parser.add_argument("--released", type=Path, help="folder with LaCViT's utils/losses.py")
    parser.add_argument("--memory-gb", type=float, default=6, help="what a peer may take")
    parser.add_argument("--seconds", type=float, default=100, help="what a peer's call may take")
    parser.add_argument("--resume", action="store_true", help="keep what the CSV has, and go on")
    parser.add_argument("--request", help=argparse.SUPPRESS)  # what a fresh process is to measure
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.request:
        print(json.dumps(answer(json.loads(options.request))))
        return
    output = output_of(options, RESULTS)
    bench = Bench(options, read(output) if options.resume and output else [])
    on_gpu = options.device == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else device_name()
    where = {"device": device, "threads": torch.get_num_threads()}
    where |= {"torch": torch.__version__, "commit": commit()}
    cases = {"cpu": cpu_cases, "cuda": cuda_cases}[options.device]
    chosen = QUICK if options.quick else BARS if options.bars else tuple(cases())
    large = () if options.quick else LARGE[options.device]
    wanted = set(map(int, options.rows.split(","))) if options.rows else None
    for case in chosen + large:
        if bench.has(case) or (wanted is not None and case.n not in wanted):
            continue
        bench.run(case, peers=case in chosen)
        if output:  # after each case, so that nothing is lost
            write(output, bench.rows, where)
    for text in verdicts(bench.rows):
        print(text)
    print(*(f"{name} {value}" for name, value in where.items()), sep=", ")


if __name__ == "__main__":
    main()
