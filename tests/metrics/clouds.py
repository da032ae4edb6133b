"""Embeddings that the tests of several measures share."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def clouds(draw):
    """Gaussian clouds of any shape, stretched along their axes and moved off the origin."""
    n, d = draw(st.integers(3, 30)), draw(st.integers(2, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stretch = 10.0 ** random.uniform(-draw(st.sampled_from([0, 1, 3])), 0, size=d)
    return random.normal(size=(n, d)) * stretch + draw(st.sampled_from([0.0, 1.0, 5.0]))


def simplex(n_classes, per_class, d):
    """Classes of copies at the corners of a regular simplex, and their labels."""
    corners = np.eye(n_classes, d) - np.eye(n_classes, d).mean(axis=0)
    return np.repeat(corners, per_class, axis=0)


def classes(seed, n=90, d=12, n_classes=4, noise=1.0):
    """Unequal Gaussian classes off the origin: features, labels."""
    random = np.random.default_rng(seed)
    share = random.dirichlet(np.full(n_classes, 3.0))
    labels = random.choice(n_classes, size=n, p=share)
    labels[: 2 * n_classes] = np.repeat(np.arange(n_classes), 2)
    centres = random.normal(size=(n_classes, d)) + 1
    return centres[labels] + noise * random.normal(size=(n, d)), labels


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def other_pairs(n):
    return ~np.eye(n, dtype=bool)
