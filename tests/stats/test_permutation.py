"""The sign-flip test and the interval of a real-valued difference: by hand, and calibrated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.stats import (
    accuracy_difference,
    log_odds,
    mcnemar,
    mean_difference,
    permutation,
    sign_flip_test,
)


def monte_carlo(rate: float, repetitions: int) -> float:
    """Three standard errors of a rate."""
    return 3 * math.sqrt(rate * (1 - rate) / repetitions)


def by_enumeration(sums: np.ndarray) -> float:
    signs = np.array(list(itertools.product((-1, 1), repeat=len(sums))))
    return float(np.mean(np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40))
def test_without_clusters_it_is_mcnemars_test(b: int, c: int, ties: int) -> None:
    result = sign_flip_test([1] * b + [-1] * c + [0] * ties)
    assert result.p == pytest.approx(mcnemar(b, c).p)
    assert (result.method, result.n, result.clusters) == ("exact", b + c + ties, b + c + ties)


@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=1, max_size=9))
def test_few_differences_are_enumerated(values: list[float]) -> None:
    result = sign_flip_test(values)
    assert result.method == "exact"
    assert result.p == pytest.approx(by_enumeration(np.array(values)))
    assert result.estimate == pytest.approx(np.mean(values))


@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 5)), min_size=1, max_size=40))
def test_clusters_of_whole_numbers_are_exact(rows: list[tuple[int, int]]) -> None:
    values, images = [row[0] for row in rows], [row[1] for row in rows]
    sums = np.array([sum(v for v, i in rows if i == image) for image in set(images)])
    result = sign_flip_test(values, images)
    assert result.method == "exact"
    assert result.p == pytest.approx(by_enumeration(sums))


def test_it_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, size=11)
    reference = scipy.stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(values).p == pytest.approx(reference.pvalue)


def test_drawn_patterns_come_close_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(0.5, 1, size=14)
    exact = sign_flip_test(values)
    monkeypatch.setattr(permutation, "EXACT_UP_TO", 0)
    drawn = sign_flip_test(values, resamples=20_000)
    assert (exact.method, drawn.method, drawn.resamples) == ("exact", "monte carlo", 20_000)
    assert drawn.p == pytest.approx(exact.p, abs=monte_carlo(exact.p, 20_000))
    assert drawn == sign_flip_test(values, resamples=20_000)
    assert drawn.p != sign_flip_test(values, resamples=20_000, seed=1).p


def test_a_drawn_p_value_is_never_zero() -> None:
    assert sign_flip_test(np.linspace(1, 2, 60), resamples=999).p == 1 / 1000


def test_more_samples_of_an_image_add_nothing() -> None:
    values = np.random.default_rng(2).normal(0.3, 1, size=15)
    fourfold = sign_flip_test(np.tile(values, 4), np.tile(np.arange(15), 4))
    assert (fourfold.n, fourfold.clusters) == (60, 15)
    assert fourfold.p == pytest.approx(sign_flip_test(values).p)
    assert sign_flip_test(np.tile(values, 4)).p < fourfold.p / 2


def test_nothing_shows_nothing() -> None:
    assert sign_flip_test([0, 0, 0]).p == 1
    nothing = sign_flip_test([])
    assert nothing.p == 1 and math.isnan(nothing.estimate)
    assert sign_flip_test([0.7]).p == 1


def test_it_keeps_its_level_on_clustered_heavy_tails() -> None:
    # 30 images with 1 to 4 questions that share a shift; symmetric around 0, tails of t(3).
    # With m + 1 a multiple of 20 the level is exactly .05.
    rng, repetitions = np.random.default_rng(3), 1500
    clustered = naive = 0
    for seed in range(repetitions):
        images = np.repeat(np.arange(30), rng.integers(1, 5, size=30))
        values = rng.standard_t(3, size=30)[images] + 0.5 * rng.standard_t(3, size=len(images))
        clustered += sign_flip_test(values, images, resamples=199, seed=seed).p <= 0.05
        naive += sign_flip_test(values, resamples=199, seed=seed).p <= 0.05
    assert clustered / repetitions == pytest.approx(0.05, abs=monte_carlo(0.05, repetitions))
    assert naive / repetitions > 0.1  # the control: clusters do matter here


@pytest.mark.parametrize(
    ("differences", "options", "message"),
    [
        ([1.0, math.nan], {}, "sample 1 .* nan"),
        ([math.inf], {}, "sample 0 .* inf"),
        ([[1.0]], {}, "one number per sample"),
        (["a"], {}, "one number per sample"),
        ([1.0], {"resamples": 0}, "at least 1 resample"),
        ([1.0], {"clusters": ["a", "b"]}, "2 cluster ids for 1 samples"),
    ],
)
def test_refused(differences: list, options: dict, message: str) -> None:
    with pytest.raises(LanternError, match=message):
        sign_flip_test(differences, **options)


def test_the_interval_of_a_mean_is_that_of_accuracies_for_whole_numbers() -> None:
    rng = np.random.default_rng(4)
    first, second, images = rng.random(90) < 0.8, rng.random(90) < 0.6, rng.integers(0, 40, 90)
    counts = accuracy_difference(first, second, images, method="bca")
    means = mean_difference(first.astype(float) - second, images, method="bca")
    assert (means.low, means.high) == pytest.approx((counts.low, counts.high))
    assert (means.n, means.clusters, means.method) == (90, counts.clusters, "bca")


def test_the_interval_of_a_mean_covers_at_its_level_by_image() -> None:
    rng, repetitions, hits = np.random.default_rng(5), 300, 0
    for seed in range(repetitions):
        images = np.repeat(np.arange(60), 2)
        values = 0.3 + rng.normal(size=60)[images] + rng.normal(size=120)
        result = mean_difference(values, images, resamples=500, seed=seed)
        hits += result.low <= 0.3 <= result.high
    assert 0.91 <= hits / repetitions <= 0.98


def test_the_interval_of_equal_means_is_not_defined() -> None:
    for values in ([], [0.5], [0.5, 0.5]):
        result = mean_difference(values)
        assert (result.method, result.low, result.high) == ("undefined", -math.inf, math.inf)
    with pytest.raises(LanternError, match="'t'"):
        mean_difference([1.0, 2.0], method="t")


def test_log_odds() -> None:
    scores = {"A": math.log(0.6), "B": math.log(0.1), "C": math.log(0.1)}
    assert log_odds(scores, "A") == pytest.approx(math.log(0.6 / 0.2))
    assert log_odds({"A": -1000.0, "B": -1001.0}, "A") == pytest.approx(1)
    for wrong in ({"B": 0.0, "C": 0.0}, {"A": 0.0}, {"A": math.nan, "B": 0.0}):
        with pytest.raises(LanternError, match="'A'"):
            log_odds(wrong, "A")
