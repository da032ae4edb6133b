"""Positions resized as their authors do, against sums written out and SciPy's splines."""

import by_hand
import numpy as np
import pytest
import torch

from lacvit.backbones import positions


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("grid", [3, 4, 6, 7, 9, 14])
@pytest.mark.parametrize(
    "name", ["bicubic", "bicubic_by_factor", "bicubic_antialiased", "bilinear"]
)
def test_maps_are_resized_as_written_out(name: str, grid: int) -> None:
    map_GGD = drawn(6, 6, 3)
    map_1DGG = torch.from_numpy(map_GGD).permute(2, 0, 1)[None]
    given = getattr(positions, name)(map_1DGG, grid)[0].permute(1, 2, 0)
    np.testing.assert_allclose(given, getattr(by_hand, name)(map_GGD, grid), atol=1e-12)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_the_positions_of_tokens_before_the_patches_are_kept(prefix: int) -> None:
    stored = torch.from_numpy(drawn(1, prefix + 16, 5))
    resized = positions.resize_absolute(stored, prefix, 6, positions.bicubic)
    assert resized.shape == (1, prefix + 36, 5)
    assert torch.equal(resized[:, :prefix], stored[:, :prefix])
    assert positions.resize_absolute(stored, prefix, 4, positions.bicubic) is stored


@pytest.mark.parametrize("old", [3, 4, 7, 14])
@pytest.mark.parametrize("new", [2, 3, 4, 5, 7, 8, 14, 16, 24])
def test_tables_are_resized_by_splines_on_a_geometric_progression(old: int, new: int) -> None:
    table = drawn((2 * old - 1) ** 2 + 3, 2)
    given = positions.resize_relative(torch.from_numpy(table), new)
    expected = by_hand.resize_table(table, new)
    assert given.shape == ((2 * new - 1) ** 2 + 3, 2)
    # The base of the progression is bisected to 1e-6, which moves far distances by more.
    np.testing.assert_allclose(given, expected, atol=2e-3 if new > 2 * old else 2e-4)
    assert torch.equal(given[-3:], torch.from_numpy(table[-3:]))


def test_a_table_of_the_same_size_is_untouched() -> None:
    table = torch.from_numpy(drawn(7**2 + 3, 2))
    assert positions.resize_relative(table, 4) is table
