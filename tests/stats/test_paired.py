"""The statistics against published values, other implementations, and by simulation."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from lantern_probe.errors import LanternError
from lantern_probe.stats import (
    accuracy_difference,
    benjamini_hochberg,
    discordant,
    holm,
    mcnemar,
    wilson,
)

# docs/methods.md, Statistics: b, c, p as printed there, but for 5:12, whose p is exactly
# 2 * 9402 / 2^17 = .14346 (.144 there).
LVR_7B = [
    (8, 22, 0.0161), (7, 24, 0.00333), (7, 28, 0.000508), (2, 5, 0.453), (5, 12, 0.143),
    (5, 9, 0.424), (12, 3, 0.0352), (4, 5, 1), (5, 5, 1), (3, 13, 0.0213), (2, 11, 0.0225),
    (3, 2, 1),
]  # fmt: skip
LANTERN_3B = [
    (27, 17, 0.17), (28, 17, 0.14), (33, 16, 0.021), (28, 19, 0.24), (15, 14, 1), (20, 18, 0.87),
    (19, 11, 0.20), (20, 19, 1), (28, 21, 0.39), (24, 18, 0.44),
]  # fmt: skip
# As there, but for 9:1: 8:1 is significant already, p = 20 / 2^9 = .039.
SMALLEST_SIGNIFICANT = [(6, 0), (8, 1), (12, 3), (15, 5), (21, 9), (29, 15)]

UNIT = st.floats(0, 1)


def as_printed(p: float, digits: int) -> float:
    return float(f"{p:.{digits}g}")


@pytest.mark.parametrize(("b", "c", "p"), LVR_7B)
def test_mcnemar_gives_the_lvr_7b_values(b: int, c: int, p: float) -> None:
    assert as_printed(mcnemar(b, c).p, 3) == p


@pytest.mark.parametrize(("b", "c", "p"), LANTERN_3B)
def test_mcnemar_gives_the_lantern_3b_values(b: int, c: int, p: float) -> None:
    assert as_printed(mcnemar(b, c).p, 2) == p


@pytest.mark.parametrize(("b", "c"), SMALLEST_SIGNIFICANT)
def test_mcnemar_threshold_of_significance(b: int, c: int) -> None:
    assert mcnemar(b, c).p < 0.05 <= mcnemar(b - 1, c).p


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_agrees_with_statsmodels_and_is_symmetric(b: int, c: int) -> None:
    p = mcnemar(b, c).p
    assert p == mcnemar(c, b).p
    if b + c:
        assert p == pytest.approx(statsmodels_mcnemar([[0, b], [c, 0]], exact=True).pvalue)
    else:
        assert p == 1


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(LanternError, match="b=-1"):
        mcnemar(-1, 3)


def test_discordant_counts() -> None:
    assert discordant([1, 1, 0, 0, 1], [True, False, True, False, False]) == (2, 1)
    assert discordant([], []) == (0, 0)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), UNIT)
def test_wilson_agrees_with_statsmodels(counts: tuple[int, int], level: float) -> None:
    level = 0.5 + 0.499 * level
    k, n = counts
    result = wilson(k, n, level)
    assert 0 <= result.low <= result.estimate <= result.high <= 1
    assert (result.low, result.high) == pytest.approx(
        proportion_confint(k, n, alpha=1 - level, method="wilson"), abs=1e-9
    )


def test_wilson_of_nothing_is_everything() -> None:
    result = wilson(0, 0)
    assert math.isnan(result.estimate)
    assert (result.low, result.high, result.n) == (0, 1, 0)


@pytest.mark.parametrize(("count", "n", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 95.0)])
def test_wilson_refuses_nonsense(count: int, n: int, level: float) -> None:
    with pytest.raises(LanternError):
        wilson(count, n, level)


def pairs(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    first = rng.random(n) < 0.8
    return first, np.where(rng.random(n) < 0.25, rng.random(n) < 0.4, first)


@pytest.mark.parametrize(("ours", "theirs"), [("bca", "BCa"), ("percentile", "percentile")])
def test_bootstrap_agrees_with_scipy(ours: str, theirs: str) -> None:
    first, second = pairs(150, np.random.default_rng(3))
    result = accuracy_difference(first, second, resamples=40_000, method=ours)
    reference = scipy.stats.bootstrap(
        ((first.astype(int) - second),), np.mean, n_resamples=40_000, method=theirs,
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert result.method == ours
    assert result.estimate == pytest.approx(first.mean() - second.mean())
    assert (result.low, result.high) == pytest.approx((reference.low, reference.high), abs=0.007)


def test_bootstrap_covers_at_its_level() -> None:
    # True difference: .25 * (.8 - .4) = .1; 500 repetitions put 3 sd of coverage at .03.
    hits = 0
    for repetition in range(500):
        first, second = pairs(200, np.random.default_rng(repetition))
        result = accuracy_difference(first, second, method="bca", resamples=1000, seed=repetition)
        hits += result.low <= 0.1 <= result.high
    assert 0.92 <= hits / 500 <= 0.98


@pytest.mark.parametrize("method", ["tango", "bca"])
def test_repeating_every_sample_does_not_narrow_a_clustered_interval(method: str) -> None:
    first, second = pairs(100, np.random.default_rng(0))
    images = np.arange(100)
    once = accuracy_difference(first, second, method=method)
    fourfold = accuracy_difference(
        np.tile(first, 4), np.tile(second, 4), clusters=np.tile(images, 4), method=method
    )
    naive = accuracy_difference(np.tile(first, 4), np.tile(second, 4), method=method)
    assert (fourfold.n, fourfold.clusters) == (400, 100)
    # BCa: equal up to float noise, the same draws of the same clusters. Tango: t, not normal.
    assert (fourfold.low, fourfold.high) == pytest.approx((once.low, once.high), abs=0.004)
    assert fourfold.high - fourfold.low >= 0.9999 * (once.high - once.low)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


@pytest.mark.parametrize("method", ["tango", "bca"])
def test_clusters_of_one_equal_no_clusters_and_order_is_free(method: str) -> None:
    first, second = pairs(80, np.random.default_rng(5))
    plain = accuracy_difference(first, second, method=method)
    ids = [f"image {i}" for i in range(80)]
    assert accuracy_difference(first, second, clusters=ids, method=method) == plain
    order = np.random.default_rng(1).permutation(80)
    shuffled = accuracy_difference(
        first[order], second[order], clusters=[ids[i] for i in order], method=method
    )
    assert (shuffled.low, shuffled.high) == pytest.approx((plain.low, plain.high))


def test_the_seed_decides() -> None:
    first, second = pairs(60, np.random.default_rng(2))
    bca = partial(accuracy_difference, first, second, method="bca")
    assert bca(seed=4) == bca(seed=4)
    assert len({bca(seed=s, resamples=200).high for s in range(8)}) > 1


def test_no_discordant_sample_is_no_certainty() -> None:
    few = accuracy_difference([1] * 5, [1] * 5)
    many = accuracy_difference([1] * 500, [1] * 500)
    assert few.method == many.method == "exact bound"
    assert few.low == pytest.approx(-few.high)
    assert few.high == pytest.approx(1 - 0.025 ** (1 / 5))
    assert many.high < 0.008
    assert few.discordant == many.discordant == 0


def test_degenerate_cases() -> None:
    nothing = accuracy_difference([], [])
    assert math.isnan(nothing.estimate)
    assert (nothing.low, nothing.high) == (-1, 1)
    always = accuracy_difference([1] * 50, [0] * 50)
    assert always.estimate == always.high == 1
    assert 0.8 < always.low < 1
    for method in ("tango", "bca"):
        one_image = accuracy_difference([1, 0, 1], [0] * 3, clusters=["a"] * 3, method=method)
        assert one_image.low < -0.9
        assert one_image.high > 0.9


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), max_size=30))
def test_any_outcomes_give_an_ordered_interval(rows: list[tuple[bool, bool, int]]) -> None:
    first, second, images = ([row[i] for row in rows] for i in range(3))
    result = accuracy_difference(first, second, clusters=images, resamples=200)
    assert -1 <= result.low <= result.high <= 1
    assert result.clusters == len(set(images))
    if rows:
        assert result.estimate == pytest.approx(np.mean(first) - np.mean(second))


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        ([1, 0], [1], {}, r"shapes \[2\] and \[1\]"),
        ([1, 2], [1, 0], {}, "first outcomes must be 0 or 1, not 2"),
        ([1, 0], [1, math.nan], {}, "second outcomes"),
        ([1, 0], [1, None], {}, "second outcomes"),
        ([1, 0], [1, 0], {"clusters": [1]}, "1 cluster ids for 2 samples"),
        ([1, 0], [1, 0], {"clusters": [1, None]}, "sample 1 .* no cluster id"),
        ([1, 0], [1, 0], {"level": 1.0}, "level"),
        ([1, 0], [1, 0], {"method": "t"}, "'t'"),
        ([1, 0], [1, 0], {"resamples": 0}, "resample"),
    ],
)
def test_bootstrap_refuses(first: list, second: list, options: dict, message: str) -> None:
    with pytest.raises(LanternError, match=message):
        accuracy_difference(first, second, **options)


def test_holm_gives_the_lantern_3b_value() -> None:
    adjusted = holm([mcnemar(b, c).p for b, c, _ in LANTERN_3B])
    assert as_printed(adjusted[2] or 0, 2) == 0.21
    assert all(p is not None and p >= 0.21 for p in adjusted)


def test_holm_does_not_count_what_was_not_tested() -> None:
    adjusted = holm([0.01, None, 0.04, math.nan, 0.03])
    assert adjusted[:3] == [pytest.approx(0.03), None, pytest.approx(0.06)]
    assert math.isnan(adjusted[3] or 0)
    assert holm([]) == []
    assert holm([None]) == [None]


@pytest.mark.slow
@settings(max_examples=10)  # the other implementation takes its time
@given(st.lists(UNIT, min_size=1, max_size=20))
def test_holm_agrees_with_statsmodels_and_keeps_the_order(family: list[float]) -> None:
    adjusted = holm(family)
    assert adjusted == pytest.approx(multipletests(family, method="holm")[1])
    ranked = [p for _, p in sorted(zip(family, adjusted, strict=True))]
    assert all(a <= b for a, b in pairwise(ranked))


def test_holm_refuses_what_is_no_p_value() -> None:
    with pytest.raises(LanternError, match=r"1\.5"):
        holm([0.1, 1.5])


@settings(max_examples=10)
@given(st.lists(UNIT, min_size=1, max_size=20))
def test_benjamini_hochberg_agrees_with_statsmodels(family: list[float]) -> None:
    adjusted = benjamini_hochberg(family)
    assert adjusted == pytest.approx(multipletests(family, method="fdr_bh")[1])
    assert all(a <= b + 1e-12 for a, b in zip(adjusted, holm(family), strict=True))


def test_benjamini_hochberg_by_hand_and_without_what_was_not_tested() -> None:
    # .01 * 4 / 1, then .02 * 4 / 2, then the smaller of .03 * 4 / 3 and .04 * 4 / 4.
    assert benjamini_hochberg([0.04, None, 0.01, 0.03, 0.02, math.nan])[:5] == [
        pytest.approx(0.04), None, *[pytest.approx(0.04)] * 3
    ]  # fmt: skip
    assert benjamini_hochberg([]) == []
    with pytest.raises(LanternError, match=r"-0\.1"):
        benjamini_hochberg([-0.1])


def test_mcnemar_rejects_a_true_null_at_most_at_its_level() -> None:
    # Conditional tests are conservative: the rate over 4,000 nulls of 265 samples with a share of
    # .1 discordant stays below .05 and 3 Monte Carlo standard errors.
    rng = np.random.default_rng(0)
    sizes = rng.binomial(265, 0.1, size=4000)
    firsts = rng.binomial(sizes, 0.5).tolist()
    rejected = [mcnemar(b, d - b).p <= 0.05 for b, d in zip(firsts, sizes.tolist(), strict=True)]
    rate = np.mean(rejected)
    assert 0.02 < rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)
