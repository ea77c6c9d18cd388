"""The ratio of two paired means: its value, its interval, and when it is not reported."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

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


def test_clusters_count_as_one() -> None:
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
    for _ in range(400):
        whole = (rng.random(150) < 0.7).astype(float)
        part = whole * (rng.random(150) < 0.4)
        found = ratio_of_means(part, whole)
        hits += found.low <= 0.4 <= found.high
    assert abs(hits / 400 - 0.95) <= 3.3 * math.sqrt(0.95 * 0.05 / 400)


def test_fieller_by_hand() -> None:
    """The ends solve (t - r w)^2 = c^2 Var(t - r w), here with the roots of numpy."""
    rng = np.random.default_rng(3)
    whole = rng.normal(2, 1, 40)
    part = 0.5 * whole + rng.normal(0, 1, 40)
    found = ratio_of_means(part, whole)
    critical = student.ppf(0.975, 39)
    v = np.cov(part, whole) / 40
    m = (part.mean(), whole.mean())
    roots = np.roots(
        [
            m[1] ** 2 - critical**2 * v[1, 1],
            -2 * (m[0] * m[1] - critical**2 * v[0, 1]),
            m[0] ** 2 - critical**2 * v[0, 0],
        ]
    )
    assert (found.low, found.high) == pytest.approx(sorted(roots.tolist()))
    assert found.errors == pytest.approx(m[1] / math.sqrt(v[1, 1]))
    half = critical * math.sqrt(v[1, 1])
    assert (found.whole_low, found.whole_high) == pytest.approx((m[1] - half, m[1] + half))


def test_a_ratio_that_is_not_given_says_why() -> None:
    found = ratio_of_means([1, 2, 1, 2, 1, 2], [1, 0, 1, 0, 0, 0])
    assert found.reason == (
        "not given: its denominator is 1.6 standard errors from 0 (it takes 3.2)"
    )
    assert "fewer than 5" in ratio_of_means([1, 1], [1, 1]).reason
    assert ratio_of_means(range(10), range(1, 11)).reason == ""


@pytest.mark.parametrize("n", [20, 60, 200])
def test_a_share_of_nothing_is_hardly_ever_given(n: int) -> None:
    """TE = 0 with NDE = -NIE, 2,000 runs: at most 1 % are given (a 95 % interval gives 4 to 8)."""
    rng = np.random.default_rng(n)
    given_ = 0
    for _ in range(2000):
        indirect, direct = rng.normal(1, 1, n), rng.normal(-1, 1, n)
        given_ += ratio_of_means(indirect, indirect + direct).defined
    assert given_ / 2000 <= 0.01


@pytest.mark.parametrize("n", [12, 48])
def test_a_weak_whole_seldom_gives_a_wrong_share(n: int) -> None:
    """Direct -1, indirect 1.1, so the true share is 11; a share that is given and wrong is rare."""
    rng = np.random.default_rng(n)
    wrong = 0
    for _ in range(2000):
        indirect, direct = rng.normal(1.1, 1, n), rng.normal(-1, 1, n)
        found = ratio_of_means(indirect, indirect + direct)
        wrong += found.defined and not found.low <= 11 <= found.high
    assert wrong / 2000 <= 0.05


@pytest.mark.parametrize("n", [20, 60, 200])
def test_a_strong_whole_gives_its_share_as_often_as_it_says(n: int) -> None:
    """Direct .5, indirect 1.5; 2,000 runs, Monte Carlo 99.9 %."""
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(2000):
        indirect, direct = rng.normal(1.5, 1, n), rng.normal(0.5, 1, n)
        found = ratio_of_means(indirect, indirect + direct)
        hits += found.low <= 0.75 <= found.high
    assert abs(hits / 2000 - 0.95) <= 3.3 * math.sqrt(0.95 * 0.05 / 2000)


def test_unequal_clusters_keep_the_level() -> None:
    """Clusters of 1 to 5 samples with an effect of their own; 1,000 runs, Monte Carlo 99.9 %."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(1000):
        sizes = rng.integers(1, 6, 50)
        images = np.repeat(np.arange(50), sizes)
        own = np.repeat(rng.normal(0, 1, 50), sizes)
        whole = 3 + own + rng.normal(0, 1, len(images))
        part = 0.4 * whole + np.repeat(rng.normal(0, 1, 50), sizes)
        found = ratio_of_means(part, whole, images)
        hits += found.low <= 0.4 <= found.high
    assert hits / 1000 >= 0.95 - 3.3 * math.sqrt(0.95 * 0.05 / 1000)


@given(
    st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 1)), min_size=2, max_size=30),
    st.floats(0.1, 50),
)
def test_the_unit_does_not_matter(pairs: list[tuple[int, int]], unit: float) -> None:
    part, whole = np.array(pairs, dtype=float).T
    one = ratio_of_means(part, whole)
    two = ratio_of_means(part * unit, whole * unit)
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
