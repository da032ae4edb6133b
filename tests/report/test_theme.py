"""The palette's promises, measured."""

from itertools import combinations

import numpy as np
import pytest

from lacvit.report.theme import CLASS_COLOURS, INKS

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen without one kind of cone.
VISION = {
    "full": np.eye(3),
    "red-blind": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green-blind": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "blue-blind": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
SCHEMES = ["light", "dark"]


def linear(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Ottosson 2020."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    ) @ np.clip(rgb, 0, 1)
    return np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    ) @ np.cbrt(cones)


def cielab(rgb):
    """CIE 1976, from linear sRGB under D65."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x = to_xyz @ np.clip(rgb, 0, 1) / to_xyz.sum(axis=1)
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one, other):
    """WCAG 2."""
    darker, lighter = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=SCHEMES)
@pytest.mark.parametrize("vision", VISION)
def test_class_colours_stay_apart(scheme, vision):
    seen = [oklab(VISION[vision] @ linear(pair[scheme])) for pair in CLASS_COLOURS]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) >= 0.1


@pytest.mark.parametrize("scheme", [0, 1], ids=SCHEMES)
@pytest.mark.parametrize("vision", VISION)
def test_colours_that_stand_side_by_side_are_apart_in_cielab_too(scheme, vision):
    def seen(pair):
        return cielab(VISION[vision] @ linear(pair[scheme]))

    white = cielab(np.ones(3))
    np.testing.assert_allclose(white, [100, 0, 0], atol=1e-9)
    shown = [seen(pair) for pair in (*CLASS_COLOURS, INKS["other"])]
    assert min(np.linalg.norm(one - other) for one, other in combinations(shown, 2)) >= 10
    assert np.linalg.norm(seen(INKS["right"]) - seen(INKS["wrong"])) >= 60


@pytest.mark.parametrize("scheme", [0, 1], ids=SCHEMES)
@pytest.mark.parametrize("ink", ["ink", "muted", "right", "wrong"])
def test_text_can_be_read(scheme, ink):
    for ground in ("paper", "raised"):
        assert contrast(INKS[ink][scheme], INKS[ground][scheme]) >= 4.5


def test_each_colour_names_one_variable():
    drawn = [pair[0] for pair in (*INKS.values(), *CLASS_COLOURS)]
    assert len(set(drawn)) == len(drawn)
