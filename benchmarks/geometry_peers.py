"""Measures of an embedding beside published implementations of them, on the same rows.

    pip install IsoScore scikit-dimension ckatorch
    python benchmarks/geometry_peers.py [--output FILE.csv]

IsoScore is its authors' own package; scikit-dimension has Levina and Bickel's and Facco's
dimensions; ckatorch has CKA by kernels. What a peer computes in float32 differs in the seventh
digit. tests/metrics holds IsoScore's own figures to ours; the other two bring compilers and plots,
which no test needs.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from provenance import commit
from sklearn.datasets import load_digits

from lacvit.metrics.dimension import DISCARDED, NEIGHBOURS, intrinsic_dimension
from lacvit.metrics.similarity import linear_cka
from lacvit.metrics.spectrum import iso_score, iso_score_star

RESULTS = Path(__file__).parent / "results" / "geometry-peers.csv"
WORST = 1e-5  # of the figures, relative

Floats = NDArray[np.float64]


def embeddings() -> dict[str, Floats]:
    """Rows of three kinds: real pixels, classes off the origin, a flat cloud in many dimensions."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 32)) + 2
    basis = np.linalg.qr(random.normal(size=(30, 5)))[0]
    pixels = load_digits().data
    return {
        "digits, 1797 x 64": np.unique(pixels, axis=0),
        "ten classes, 1000 x 32": centres[np.arange(1000) % 10] + random.normal(size=(1000, 32)),
        "five dimensions, 1500 x 30": random.normal(size=(1500, 5)) @ basis.T,
    }


def measures(x_ND: Floats) -> Iterator[tuple[str, str, Callable[[], float], Callable[[], object]]]:
    """Name, package, ours, theirs."""
    import skdim
    from ckatorch.core import cka_base, cka_batch
    from IsoScore import IsoScore

    covariance = torch.tensor(np.cov(x_ND[::2], rowvar=False))
    other_ND = np.tanh(x_ND @ np.random.default_rng(1).normal(size=(x_ND.shape[1], 20)) / 8)
    few, other = (torch.tensor(rows[:300]) for rows in (x_ND, other_ND))
    yield "iso_score", "IsoScore", lambda: iso_score(x_ND), lambda: IsoScore.IsoScore(x_ND)
    yield (
        "iso_score_star",
        "IsoScore",
        lambda: iso_score_star(x_ND, shrinkage=0.2, target_DD=covariance.numpy()),
        lambda: IsoScore.IsoScore_star(x_ND, covariance, 0.2),
    )
    yield (
        "dimension_two_nn",
        "scikit-dimension",
        lambda: intrinsic_dimension(x_ND).two_nn.value,
        lambda: skdim.id.TwoNN(discard_fraction=DISCARDED).fit(x_ND).dimension_,
    )
    yield (
        "dimension_mle",
        "scikit-dimension",
        lambda: intrinsic_dimension(x_ND).mle.value,
        lambda: skdim.id.MLE().fit_transform(x_ND, n_neighbors=NEIGHBOURS, comb="mle"),
    )
    yield (
        "cka_biased",
        "ckatorch",
        lambda: linear_cka(few.numpy(), other.numpy()),
        lambda: cka_base(few, other, method="hsic"),
    )
    yield (
        "cka",
        "ckatorch",
        lambda: linear_cka(few.numpy(), other.numpy(), debiased=True),
        lambda: cka_batch(few[None], other[None]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    lines = [("rows", "measure", "lacvit", "published", "by", "relative difference", "commit")]
    worst = 0.0
    for rows, x_ND in embeddings().items():
        for name, package, ours, theirs in measures(x_ND):
            value, expected = ours(), float(theirs())
            apart = abs(value - expected) / abs(expected)
            worst = max(worst, apart)
            by = f"{package} {version(package)}"
            lines.append(
                (rows, name, f"{value:.8g}", f"{expected:.8g}", by, f"{apart:.1e}", commit())
            )
            print(*lines[-1], sep="  ")
    with options.output.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    if worst > WORST:
        raise SystemExit(f"A measure is {worst:.1e} from its published implementation.")


if __name__ == "__main__":
    main()
