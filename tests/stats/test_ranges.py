"""Every public statistic takes any value of its range, and no result hangs on the last bit."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.stats import (
    accuracy_difference,
    accuracy_equivalence,
    benjamini_hochberg,
    clustered_share,
    design_effect,
    equivalence_of_counts,
    holm,
    log_odds,
    mcnemar,
    mean_difference,
    paired,
    paired_score,
    ratio_of_means,
    sign_flip_test,
    wilson,
)

SUBNORMAL, TINY, BELOW_ONE = 5e-324, 2.2e-308, 1 - 2**-53
INSIDE = [SUBNORMAL, TINY, 1e-17, 0.5, BELOW_ONE]
"""Edges of the open interval (0, 1)."""

HUGE = 10**18
LARGEST = float(np.finfo(float).max)
ANY = st.floats(allow_nan=False, allow_infinity=False)
EDGES = st.sampled_from([0.0, SUBNORMAL, -SUBNORMAL, TINY, 1.0, BELOW_ONE, LARGEST, -LARGEST])
DIFFERENCES = st.lists(ANY | EDGES, max_size=8)
TENTHS = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=24)


def summed(tenths: list[tuple[int, int]], order: np.ndarray) -> tuple[list[float], list[int]]:
    """Differences of k / 10, which no float is, and their clusters, in some order."""
    return [tenths[i][0] / 10 for i in order], [tenths[i][1] for i in order]


def inside(value: float, values: list[float]) -> bool:
    """Whether a mean lies between the smallest and the largest value, up to rounding."""
    slack = 1e-12 * max(map(abs, values)) + SUBNORMAL
    return min(values) - slack <= value <= max(values) + slack


def same(one: object, two: object) -> None:
    """All fields agree, numbers up to rounding."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, float):
            assert a == pytest.approx(b, rel=1e-9, abs=1e-12, nan_ok=True), field.name
        else:
            assert a == b, field.name


# --- Proportions and counts ---


@pytest.mark.parametrize("n", range(54))
def test_mcnemar_is_exact_to_the_last_bit_where_a_float_can_be(n: int) -> None:
    below = Fraction(0)
    for c in range(n // 2 + 1):
        below += Fraction(math.comb(n, c), 2**n)
        assert mcnemar(n - c, c).p == mcnemar(c, n - c).p == min(1, 2 * below)


def test_mcnemar_of_any_counts() -> None:
    assert mcnemar(1074, 0).p == 2 * SUBNORMAL and mcnemar(0, 5000).p == 0
    assert mcnemar(HUGE, HUGE).p == mcnemar(10**400, 10**400).p == 1
    assert mcnemar(10**400, 0).p == 0
    # Both sides of where the normal distribution takes over: three standard deviations.
    for half in (4 * 10**7, 6 * 10**7, 4 * 10**14, 10**30):
        step = 3 * math.isqrt(2 * half) // 2
        assert mcnemar(half + step, half - step).p == pytest.approx(0.0027, rel=1e-3)


def test_the_normal_distribution_takes_over_without_a_seam(monkeypatch) -> None:
    counts = [(5 * 10**7 + step, 5 * 10**7 - step) for step in (0, 500, 5_000, 12_000, 24_000)]
    exact = [mcnemar(*count).p for count in counts]
    monkeypatch.setattr(paired, "BINOMIAL_UP_TO", 10)
    assert [mcnemar(*count).p for count in counts] == pytest.approx(exact, rel=1e-5, abs=0)
    assert exact[0] == 1 and 1e-6 < exact[-1] < 2e-6


@pytest.mark.parametrize("level", INSIDE)
@pytest.mark.parametrize("n", [0, 1, 2, 191, HUGE])
def test_wilson_at_any_level_and_size(level: float, n: int) -> None:
    found = [wilson(count, n, level) for count in sorted({0, min(1, n), n // 2, n})]
    for result in found:
        assert 0 <= result.low <= result.high <= 1
        assert n == 0 or result.low <= result.estimate <= result.high
    for one, two in pairwise(found):
        assert one.low <= two.low and one.high <= two.high
    if n:
        assert found[0].low == 0 and found[-1].high == 1
        mirrored = wilson(n - found[1].count, n, level)
        assert 1 - mirrored.high == pytest.approx(found[1].low, rel=1e-6, abs=1e-16)


@given(st.integers(1, 400), st.data(), st.floats(1, 60))
def test_wilson_with_a_design_effect_is_that_of_fewer_samples(n: int, data, effect: float) -> None:
    count = data.draw(st.integers(0, n))
    result, whole = wilson(count, n, effect=effect), wilson(7 * count, 7 * n, effect=7)
    assert result.low <= count / n <= result.high
    same(whole, dataclasses.replace(wilson(count, n), count=7 * count, n=7 * n))
    # The score interval: the shares p with (p - count / n)^2 = z^2 p (1 - p) effect / n.
    for end in (result.low, result.high):
        if 0 < end < 1:
            z = (count / n - end) / math.sqrt(end * (1 - end) * effect / n)
            assert abs(z) == pytest.approx(scipy.stats.norm.isf(0.025), rel=1e-6)


@pytest.mark.parametrize("effect", [0.5, math.nan, math.inf])
def test_an_impossible_design_effect_is_refused(effect: float) -> None:
    with pytest.raises(LanternError, match="design effect"):
        wilson(1, 2, effect=effect)
    assert wilson(1, 2, effect=LARGEST).high == 1


@given(st.lists(st.sampled_from([0.0, SUBNORMAL, TINY, 0.5, BELOW_ONE, 1.0]), max_size=12))
def test_adjusted_p_values_of_any_p_values(family: list[float]) -> None:
    for adjusted in (holm(family), benjamini_hochberg(family)):
        assert all(p is not None and q <= p <= 1 for p, q in zip(adjusted, family, strict=True))
        by_p = dict(zip(family, adjusted, strict=True))
        assert adjusted == [by_p[p] for p in family]  # equal p values stay equal


# --- Intervals and tests of differences ---


@pytest.mark.parametrize("level", INSIDE)
@pytest.mark.parametrize("method", ["tango", "bca", "percentile"])
@pytest.mark.parametrize("right", [[1], [1, 1, 1], [1, 0, 1], [0] * 40 + [1], [1, 0] * 60])
def test_intervals_of_accuracies_at_any_level(level: float, method: str, right: list[int]) -> None:
    wrong = [0] * len(right)
    result = accuracy_difference(right, wrong, level=level, method=method, resamples=200)
    assert -1 <= result.low <= result.high <= 1
    # The median of a few draws need not be the estimate; a score interval always holds it.
    options = {"level": level} if method == "tango" else {"method": method, "resamples": 200}
    share = clustered_share(right, **options)
    assert 0 <= share.low <= share.estimate <= share.high <= 1


METHODS = st.sampled_from(["studentised", "bca", "percentile"])


@given(DIFFERENCES, st.sampled_from(INSIDE), METHODS)
def test_the_interval_of_any_differences(values: list[float], level: float, method: str) -> None:
    result = mean_difference(values, level=level, resamples=50, method=method)
    assert result.low <= result.high
    assert not values or inside(result.estimate, values)
    if result.method in ("bca", "percentile"):
        assert inside(result.low, values) and inside(result.high, values)
    elif values:
        slack = 1e-12 * max(map(abs, values))
        assert result.low <= result.estimate + slack and result.estimate <= result.high + slack


@given(DIFFERENCES, st.sampled_from([None, [0, 0, 1, 1, 2, 2, 3, 3]]))
def test_the_sign_flip_test_of_any_differences(values: list[float], images) -> None:
    result = sign_flip_test(values, images and images[: len(values)], resamples=50)
    assert 0 < result.p <= 1
    assert not values or inside(result.estimate, values)


@given(st.lists(ANY | EDGES, min_size=25, max_size=30))
def test_drawn_sign_patterns_of_any_differences(values: list[float]) -> None:
    assert 0 < sign_flip_test(values, resamples=50).p <= 1


@given(st.lists(st.tuples(ANY | EDGES, ANY | EDGES), max_size=8), st.sampled_from(INSIDE))
def test_the_ratio_of_any_differences(pairs: list[tuple[float, float]], level: float) -> None:
    part, whole = [a for a, _ in pairs], [b for _, b in pairs]
    result = ratio_of_means(part, whole, level=level)
    assert result.low <= result.high and result.whole_low <= result.whole_high
    assert result.defined != math.isnan(result.estimate)
    if pairs:
        assert inside(result.part, part) and inside(result.whole, whole)


@given(
    st.lists(st.floats(-9, 9).map(lambda x: round(x, 3)), min_size=2, max_size=12),
    st.integers(-900, 900),
)
def test_a_power_of_two_as_unit_changes_nothing_at_all(values: list[float], power: int) -> None:
    unit, images = 2.0**power, [i // 2 for i in range(len(values))]
    scaled = [value * unit for value in values]
    one = mean_difference(values, images, resamples=50)
    two = mean_difference(scaled, images, resamples=50)
    assert (two.estimate, two.low, two.high) == tuple(
        end * unit for end in (one.estimate, one.low, one.high)
    )
    assert two.method == one.method
    assert design_effect(np.array(scaled), images) == design_effect(np.array(values), images)
    shift = [value + 1 for value in values]
    assert ratio_of_means(scaled, [s * unit for s in shift], images).low == (
        ratio_of_means(values, shift, images).low
    )


@given(TENTHS, st.integers(0, 2**32 - 1))
def test_the_order_of_the_samples_of_an_image_changes_nothing(tenths, seed: int) -> None:
    """Sums of tenths differ in their last bits with the order; clusters keep their own."""
    first = np.arange(len(tenths))
    moved = np.random.default_rng(seed).permutation(len(tenths))
    appearance = list(dict.fromkeys(image for _, image in tenths))
    moved = np.array(sorted(moved, key=lambda i: appearance.index(tenths[i][1])))
    first = np.array(sorted(first, key=lambda i: appearance.index(tenths[i][1])))
    (one, images), (two, others) = summed(tenths, first), summed(tenths, moved)
    assert images == others
    for statistic in (mean_difference, sign_flip_test):
        same(statistic(one, images, resamples=99), statistic(two, images, resamples=99))
    whole = [abs(value) for value in one], [abs(value) for value in two]
    same(
        ratio_of_means(one, whole[0], images),
        ratio_of_means(two, whole[1], images),
    )
    assert design_effect(np.array(one), images) == pytest.approx(
        design_effect(np.array(two), images)
    )


def test_whole_numbers_made_of_tenths_are_tested_exactly() -> None:
    tenths, images = np.tile([0.7, 0.2, 0.1], 30), np.repeat(np.arange(30), 3)
    assert 0.7 + 0.2 + 0.1 != 1  # one by one: from Python 3.12 on, sum() makes up for rounding
    result = sign_flip_test(tenths, images)
    assert (result.method, result.p) == ("exact", 2**-29)


def test_differences_that_cancel_up_to_rounding_are_no_differences() -> None:
    values, images = [0.1, 0.2, -0.3] * 8, np.repeat(np.arange(8), 3)
    assert values[0] + values[1] + values[2] != 0
    assert sign_flip_test(values, images).p == 1
    assert mean_difference(values, images).method == "undefined"
    assert not ratio_of_means(np.ones(24), values, images).defined
    part = np.tile([1, -1, 1, 1, 0, 1, 1, 1], 4) * 0.1
    result = ratio_of_means(part, part)
    assert (result.estimate, result.low, result.high) == pytest.approx((1, 1, 1))


def test_resamples_that_tie_with_the_estimate_count_half_in_any_unit() -> None:
    values = np.array([1] * 6 + [-1] * 5 + [0] * 30)
    one = accuracy_difference(values == 1, values == -1, method="bca")
    for unit in (0.1, 0.3, 1 / 7):
        two = mean_difference(values * unit, method="bca")
        assert (two.low, two.high) == pytest.approx((one.low * unit, one.high * unit))


def test_the_design_effect_knows_no_unit() -> None:
    values, images = np.array([3.0, 1, -1, 2, 0, 0, 1, 1]), [0, 0, 1, 1, 2, 2, 3, 3]
    expected = design_effect(values, images)
    assert expected[0] > 1
    for unit in (SUBNORMAL, 1e-200, 1e-9, 1e300):
        assert design_effect(values * unit, images) == pytest.approx(expected)
    # Equal up to rounding is equal: each image is one sample.
    assert design_effect(np.array([0.1 + 0.2, 0.3, 0.3, 0.3]), [0, 0, 1, 1]) == (2.0, 2)


def test_log_odds_of_the_smallest_probabilities() -> None:
    assert log_odds({"A": 0.0, "B": -LARGEST}, "A") == LARGEST
    assert log_odds({"A": -LARGEST, "B": -SUBNORMAL}, "A") == -LARGEST
    assert log_odds({"A": -SUBNORMAL, "B": -SUBNORMAL}, "A") == 0


# --- Equivalence ---


@pytest.mark.parametrize("margin", INSIDE)
@pytest.mark.parametrize("alpha", [SUBNORMAL, TINY, 0.05, math.nextafter(0.5, 0)])
@pytest.mark.parametrize(
    ("b", "c", "n"), [(0, 0, 1), (1, 0, 1), (3, 9, 40), (0, 40, 40), (HUGE, 2 * HUGE, 9 * HUGE)]
)
def test_equivalence_at_any_margin_and_level(
    margin: float, alpha: float, b: int, c: int, n: int
) -> None:
    for clusters in {n, max(1, n // 2), 1}:
        for effect in (1.0, 2.5, LARGEST):
            found = equivalence_of_counts(
                b, c, n, margin=margin, alpha=alpha, effect=effect, clusters=clusters
            )
            assert -1 <= found.low <= found.estimate <= found.high <= 1
            assert 0 <= found.p_lower <= 1 and 0 <= found.p_upper <= 1
            mirrored = equivalence_of_counts(
                c, b, n, margin=margin, alpha=alpha, effect=effect, clusters=clusters
            )
            assert (mirrored.low, mirrored.high) == (-found.high, -found.low)


def test_the_interval_of_equivalence_narrows_however_many_samples() -> None:
    for n in (10**6, 10**12, HUGE, 10**30):
        found = equivalence_of_counts(n // 5, n // 10, n, margin=0.2)
        spread = math.sqrt((0.3 - 0.1**2) / n)
        z = scipy.stats.norm.isf(0.05)
        assert found.high - found.low == pytest.approx(2 * z * spread, rel=1e-2, abs=2e-16)


@given(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
    st.sampled_from([0.0, SUBNORMAL, TINY, 1e-17, 0.3, BELOW_ONE]),
    st.sampled_from([1.0, TINY, 1e300]),
)
def test_the_score_of_any_difference(table: tuple[int, int, int], d: float, unit: float) -> None:
    b, c, n = table[0] * unit, table[1] * unit, sum(table) * unit
    z = paired_score(b, c, n, d)
    assert math.isfinite(z)
    assert paired_score(c, b, n, -d) == -z
    assert n > 0 or z == 0


def test_equivalence_of_outcomes_that_never_differ() -> None:
    for n in (1, 2, 100):
        found = accuracy_equivalence([1] * n, [1] * n, [0] * n, margin=BELOW_ONE)
        assert found.low <= 0 <= found.high
