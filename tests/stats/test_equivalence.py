"""Equivalence of paired accuracies: Tango's score from first principles, and its error rates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial, norm

from lantern_probe.errors import LanternError
from lantern_probe.stats import (
    accuracy_equivalence,
    design_effect,
    equivalence_of_counts,
    paired_score,
)

TABLE = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200)).filter(any)


def boundary_rate(
    decide: Callable[[np.ndarray], bool], draw: Callable[[np.random.Generator], np.ndarray], n: int
) -> float:
    """How often a test decides on data drawn n times."""
    return float(np.mean([decide(draw(np.random.default_rng(i))) for i in range(n)]))


@given(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 200)), st.floats(-0.8, 0.8))
def test_the_score_from_first_principles(table: tuple[int, int, int], d: float) -> None:
    """With q found by maximising the likelihood numerically, not by the formula."""
    b, c, ties = table
    n = b + c + ties

    def minus_log_likelihood(q: float) -> float:
        return -(
            b * math.log(q + d) + c * math.log(q) + (ties * math.log(1 - 2 * q - d) if ties else 0)
        )

    low, high = max(0.0, -d), (1 - d) / 2
    pad = 1e-12 * (high - low)
    q = minimize_scalar(
        minus_log_likelihood, bounds=(low + pad, high - pad), method="bounded",
        options={"xatol": 1e-12},
    ).x  # fmt: skip
    # n times the variance of (b - c) / n when b and c are multinomial with q + d and q.
    expected = (b - c - n * d) / math.sqrt(n * (2 * q + d - d**2))
    assert paired_score(b, c, n, d) == pytest.approx(expected, abs=2e-3, rel=2e-3)


@given(TABLE)
def test_at_zero_it_is_mcnemars_statistic(table: tuple[int, int, int]) -> None:
    b, c, ties = table
    expected = (b - c) ** 2 / (b + c) if b + c else 0.0
    assert paired_score(b, c, b + c + ties, 0.0) ** 2 == pytest.approx(expected)


@given(TABLE, st.floats(0.001, 0.9), st.floats(0.01, 0.4))
def test_test_and_interval_agree(table: tuple[int, int, int], margin: float, alpha: float) -> None:
    b, c, ties = table
    n = b + c + ties
    result = equivalence_of_counts(b, c, n, margin=margin, alpha=alpha)
    assert -1 <= result.low <= result.estimate <= result.high <= 1
    assert (
        result.equivalent == (result.p <= alpha) == (max(result.p_lower, result.p_upper) <= alpha)
    )
    if abs(result.p - alpha) > 1e-6:
        assert result.equivalent == (-margin < result.low and result.high < margin)
    mirrored = equivalence_of_counts(c, b, n, margin=margin, alpha=alpha)
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))
    assert (mirrored.p_lower, mirrored.p_upper) == pytest.approx((result.p_upper, result.p_lower))


def test_ends_of_the_interval() -> None:
    result = equivalence_of_counts(12, 3, 191, margin=0.02)
    z = norm.isf(0.05)
    assert paired_score(12, 3, 191, [result.low, result.high]) == pytest.approx([z, -z])
    # Without a discordant sample: d / (1 - d) = z^2 / n, or (1 - d)^n = alpha, the wider of both.
    empty = equivalence_of_counts(0, 0, 100, margin=0.05)
    assert empty.high == pytest.approx(1 - 0.05 ** (1 / 100)) == pytest.approx(-empty.low)
    assert equivalence_of_counts(0, 0, 100, margin=0.02).p == pytest.approx(0.98**100)
    strict = equivalence_of_counts(0, 0, 100, margin=0.05, alpha=0.001)
    assert strict.high == pytest.approx(1 / (1 + 100 / norm.isf(0.001) ** 2))
    assert empty.equivalent and not equivalence_of_counts(0, 0, 20, margin=0.05).equivalent
    assert equivalence_of_counts(20, 0, 20, margin=0.05).high == 1
    assert equivalence_of_counts(0, 20, 20, margin=0.05).low == -1


@pytest.mark.parametrize(
    ("discordance", "margin"),
    [(0.06, 0.02), (0.06, 0.05), (0.12, 0.02), (0.12, 0.1), (0.3, 0.02), (0.3, 0.05), (0.3, 0.1)],
)
@pytest.mark.parametrize("n", [100, 265, 600])
def test_the_one_sided_tests_keep_their_level_at_the_margin(
    n: int, discordance: float, margin: float
) -> None:
    """No simulation: every table of counts, weighted by its probability at the margin."""
    only_first, only_second = (discordance + margin) / 2, (discordance - margin) / 2
    most = int(n * discordance + 8 * math.sqrt(n * discordance)) + 1
    b, c = (grid.ravel() for grid in np.meshgrid(*[np.arange(min(n, most) + 1)] * 2))
    b, c = b[b + c <= n], c[b + c <= n]
    chance = multinomial.pmf(
        np.stack([b, c, n - b - c], axis=1), n, [only_first, only_second, 1 - discordance]
    )
    size = chance[norm.cdf(paired_score(b, c, n, margin)) <= 0.05].sum()
    # Discrete, hence below; the score is asymptotic, hence a little above at times.
    assert size <= 0.053
    if n * only_second >= 5:
        assert size >= 0.043


def test_tost_claims_equivalence_at_the_margin_at_its_level() -> None:
    # Accuracies .80 and .75, n = 600, on the margin: the claim would be false.
    def claims(shares: list[float], repetitions: int) -> float:
        counts = np.random.default_rng(0).multinomial(600, shares, size=repetitions).tolist()
        found = [equivalence_of_counts(b, c, 600, margin=0.05) for b, c, _ in counts]
        return float(np.mean([result.equivalent for result in found]))

    repetitions = 600
    rate = claims([0.1, 0.05, 0.85], repetitions)
    assert rate == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / repetitions))
    assert claims([0.04, 0.04, 0.92], 100) > 0.9  # and it does claim it where it is so


def test_tost_keeps_its_level_when_images_repeat() -> None:
    """On the margin, with four questions an image that mostly share their fate."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        shares = [0.1, 0.05, 0.85]
        image = rng.choice([1, -1, 0], p=shares, size=150)[images]
        own = rng.choice([1, -1, 0], p=shares, size=600)
        return np.where(rng.random(600) < 0.6, image, own)

    def decide(difference: np.ndarray, clusters: np.ndarray | None) -> bool:
        first, second = difference > 0, difference < 0
        return accuracy_equivalence(first, second, clusters, margin=0.05).equivalent

    images, repetitions = np.repeat(np.arange(150), 4), 500
    clustered = boundary_rate(lambda x: decide(x, images), draw, repetitions)
    naive = boundary_rate(lambda x: decide(x, None), draw, 150)
    assert clustered == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / repetitions))
    assert naive > 0.08  # the control: clusters do matter here


def test_design_effect() -> None:
    values = np.random.default_rng(0).integers(-1, 2, size=100)
    once, fourfold = np.arange(100), np.tile(np.arange(100), 4)
    assert design_effect(values, None) == design_effect(values, once) == (1.0, 100)
    assert design_effect(np.tile(values, 4), fourfold) == (pytest.approx(4 * 100 / 99), 100)
    # Nothing varies, or there is one cluster: each counts as one sample.
    assert design_effect(np.zeros(12, int), np.repeat([0, 1, 2], 4)) == (4.0, 3)
    assert design_effect(values, np.zeros(100, int)) == (100.0, 1)
    # Clusters that balance out do not add samples.
    assert design_effect(np.array([1, -1] * 20), np.repeat(np.arange(20), 2)) == (1.0, 20)


def test_two_clusters_prove_little() -> None:
    first, second = np.tile([1, 0, 1, 1], 50), np.tile([1, 0, 1, 1], 50)
    first[3], second[103] = 0, 0
    halves = np.repeat(["a", "b"], 100)
    assert accuracy_equivalence(first, second, margin=0.05).equivalent
    assert not accuracy_equivalence(first, second, halves, margin=0.05).equivalent


def test_from_outcomes_and_from_nothing() -> None:
    result = accuracy_equivalence([1, 1, 0, 0, 1], [1, 0, 1, 0, 0], margin=0.3)
    assert (result.n, result.b, result.c, result.clusters) == (5, 2, 1, 5)
    assert result == equivalence_of_counts(2, 1, 5, margin=0.3)
    nothing = accuracy_equivalence([], [], margin=0.1)
    assert (nothing.p, nothing.low, nothing.high, nothing.equivalent) == (1, -1, 1, False)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((-1, 0, 5), {}, "negative"),
        ((3, 3, 5), {}, "3 . 3 discordant samples among only 5"),
        ((1, 1, 5), {"margin": 0.0}, "margin"),
        ((1, 1, 5), {"margin": 2.0}, "margin"),
        ((1, 1, 5), {"alpha": 0.5}, "alpha"),
        ((1, 1, 5), {"effect": 0.5}, "design effect"),
        ((1, 1, 5), {"clusters": 6}, "6 clusters"),
    ],
)
def test_refused(counts: tuple[int, int, int], options: dict, message: str) -> None:
    with pytest.raises(LanternError, match=message):
        equivalence_of_counts(*counts, **{"margin": 0.02, **options})
