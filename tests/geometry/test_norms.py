"""Lengths of latents, and their path over the slots."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lantern_probe.errors import LanternError
from lantern_probe.geometry import GeometryRow, VectorSet, norm_rows, path_rows


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def pick(rows: list[GeometryRow], measure: str, slot: int | None = None) -> GeometryRow:
    (found,) = (row for row in rows if (row.measure, row.slot) == (measure, slot))
    return found


def test_lengths_are_averaged_by_slot_and_over_all() -> None:
    vectors = gaussian(50, 2, 6)
    vectors[:, 1] *= 3
    rows = norm_rows(VectorSet.of("own", vectors))
    norms = np.linalg.norm(vectors, axis=2)
    for slot, values in ((0, norms[:, 0]), (1, norms[:, 1]), (None, norms)):
        row = pick(rows, "norm", slot=slot)
        assert (row.estimate, row.sd) == pytest.approx((values.mean(), values.std()))
    single = norm_rows(VectorSet.of("tokens", vectors[:, 1]))
    assert [row.slot for row in single] == [None]


def test_the_path_of_latents_that_turn_by_a_right_angle_per_slot() -> None:
    """z_0 = x, z_1 = y, z_2 = -x: cosines 0 and -1, steps of sqrt 2."""
    vectors = np.tile(np.array([[1.0, 0], [0, 1], [-1, 0]]), (10, 1, 1))
    rows = path_rows(VectorSet.of("own", vectors))
    assert [row.slot for row in rows] == [1, 1, 2, 2]
    for slot, cosine in ((1, 0), (2, -1)):
        assert pick(rows, "cosine to first slot", slot=slot).estimate == pytest.approx(cosine)
        assert pick(rows, "step length", slot=slot).estimate == pytest.approx(math.sqrt(2))
    assert path_rows(VectorSet.of("tokens", vectors[:, 0])) == []


def test_a_slot_without_a_direction_has_no_cosine_and_still_a_length() -> None:
    vectors = gaussian(12, 3, 4)
    vectors[0, 0], vectors[1, 2] = 0, 0
    rows = path_rows(VectorSet.of("own", vectors))
    first, second = (pick(rows, "cosine to first slot", slot=slot) for slot in (1, 2))
    assert (first.n, second.n) == (11, 10)
    assert "2 samples without a direction left out" in second.how
    assert pick(rows, "step length", slot=2).n == 12
    assert pick(norm_rows(VectorSet.of("own", vectors)), "norm").n == 12


@pytest.mark.parametrize("measure", [norm_rows, path_rows])
def test_options_out_of_range_are_refused(measure) -> None:
    own = VectorSet.of("own", gaussian(5, 2, 3))
    with pytest.raises(LanternError, match="level"):
        measure(own, level=95)
    with pytest.raises(LanternError, match="resample"):
        measure(own, resamples=0)
