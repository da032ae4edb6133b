"""Random numbers as a pure function of (seed, epoch, view, image index, draw).

Each number is a hash of its five keys, so nothing depends on the order in which images are
asked for, on the batch they fall into, or on which worker or rank asks.

Shape letters: B images, K draws an image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]

# Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators": SplitMix64's
# increment (2^64 / golden ratio, odd) and its finaliser, a bijection of 64-bit words.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniforms(
    indices: npt.NDArray[np.integer], count: int, *, seed: int, epoch: int, view: int
) -> npt.NDArray[np.float64]:
    """Independent numbers in [0, 1), (B, K) with K = ``count``; 53 random bits each."""
    key = _key(seed, epoch, view)
    start = _mix(key + _words(indices) * _GOLDEN)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(start[:, None] + steps[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def epoch_order(n: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation of ``range(n)``, uniform over seeds and epochs."""
    keys = _mix(_key(seed, epoch, -1) + _words(np.arange(n)) * _GOLDEN)
    return np.argsort(keys, kind="stable").astype(np.int64)


def share(indices: npt.NDArray[np.int64], rank: int, world_size: int) -> npt.NDArray[np.int64]:
    """What process ``rank`` of ``world_size`` takes: consecutive, sizes differ by 1 at the most."""
    return np.array_split(indices, world_size)[rank]


def _key(*parts: int) -> np.uint64:
    key = np.zeros(1, dtype=np.uint64)
    for part in parts:
        word = np.array([part % 2**64], dtype=np.uint64)
        key = _mix((key ^ word) + _GOLDEN)
    return np.uint64(key[0])


def _words(values: npt.NDArray[np.integer]) -> UInt64:
    return values.astype(np.int64).view(np.uint64)


def _mix(words: UInt64) -> UInt64:
    """SplitMix64's finaliser; arithmetic modulo 2^64."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))
