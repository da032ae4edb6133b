"""Which encoders a comparison's page draws."""

from collections.abc import Mapping

import numpy as np

from lacvit.report.arm_runs import ArmRun
from lacvit.report.embedded import embeddings

RNG = np.random.default_rng(0)
UNTOUCHED, ONE, OTHER = (RNG.normal(size=(6, 4)).astype(np.float32) for _ in range(3))


def arm(method: str, features: Mapping[str, np.ndarray]) -> ArmRun:
    labels_N = np.arange(6) % 2
    return ArmRun(
        method=method,
        number=0,
        seed=0,
        paths=tuple("abcdef"),
        labels_N=labels_N,
        predictions_N=labels_N,
        probabilities_NC=np.full((6, 2), 0.5, np.float32),
        columns=("even", "odd"),
        features={"untouched": UNTOUCHED, **features},
    )


def test_an_encoder_that_two_methods_share_is_drawn_once() -> None:
    found = embeddings(
        [
            arm("linear-probe", {}),
            arm("cross-entropy", {"cross_entropy": ONE}),
            arm("lacvit", {"contrastive": OTHER}),
            arm("cross-entropy-refit", {"cross_entropy": ONE.copy()}),
        ]
    )
    assert [one.arms for one in found] == [
        (),
        ("cross-entropy", "cross-entropy-refit"),
        ("lacvit",),
    ]
    assert found[1].title == "cross-entropy and cross-entropy-refit"
    np.testing.assert_array_equal(found[2].features_ND, OTHER)
