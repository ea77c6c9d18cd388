"""The ratio of two paired means: its value, its interval, and when it is not reported."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.stats import ratio_of_means


def test_a_ratio_by_hand() -> None:
    whole = [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    part = [1, 0, 1, 0, 0, 1, 0, 1, 0, 0]
    found = ratio_of_means(part, whole)
    assert found.defined and found.estimate == pytest.approx(4 / 9)
    assert (found.n, found.clusters) == (10, 10)
    assert found.part == pytest.approx(0.4) and found.whole == pytest.approx(0.9)
    assert 0 <= found.low < 4 / 9 < found.high <= 1
    same = ratio_of_means(whole, whole)
    assert (same.estimate, same.low, same.high) == (1, 1, 1)


def test_a_whole_that_may_be_zero_has_no_share() -> None:
    found = ratio_of_means([1, 0, 0, 0], [1, -1, 1, -1])
    assert not found.defined and math.isnan(found.estimate)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.whole_low < 0 < found.whole_high
    assert not ratio_of_means([], []).defined
    # A few samples that are alike say nothing of their spread.
    assert not ratio_of_means([0.0] * 4, [1.0] * 4).defined


def test_clusters_are_resampled_whole() -> None:
    rng = np.random.default_rng(0)
    part = np.repeat(rng.random(12) < 0.5, 10).astype(float)
    whole, images = np.ones(120), np.repeat(np.arange(12), 10)
    alone, together = ratio_of_means(part, whole), ratio_of_means(part, whole, images)
    assert together.clusters == 12 and alone.clusters == 120
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.slow
def test_the_interval_covers_as_often_as_it_says() -> None:
    """Ratio of a binary part to a binary whole at n = 150; 400 draws, Monte Carlo 99.9 %."""
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(400):
        whole = (rng.random(150) < 0.7).astype(float)
        part = whole * (rng.random(150) < 0.4)
        found = ratio_of_means(part, whole, resamples=999, seed=seed)
        hits += found.low <= 0.4 <= found.high
    assert abs(hits / 400 - 0.95) <= 3.3 * math.sqrt(0.95 * 0.05 / 400)


@given(
    st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 1)), min_size=2, max_size=30),
    st.floats(0.1, 50),
)
def test_the_unit_does_not_matter(pairs: list[tuple[int, int]], unit: float) -> None:
    part, whole = np.array(pairs, dtype=float).T
    one = ratio_of_means(part, whole, resamples=200)
    two = ratio_of_means(part * unit, whole * unit, resamples=200)
    assert one.defined == two.defined
    if one.defined:
        assert (one.estimate, one.low, one.high) == pytest.approx(
            (two.estimate, two.low, two.high), nan_ok=True
        )


def test_refusals() -> None:
    with pytest.raises(LanternError, match="3 numerators for 2 denominators"):
        ratio_of_means([1, 2, 3], [1, 2])
    with pytest.raises(LanternError, match="is nan"):
        ratio_of_means([1, math.nan], [1, 2])
    with pytest.raises(LanternError, match="at least 1 resample"):
        ratio_of_means([1], [1], resamples=0)
