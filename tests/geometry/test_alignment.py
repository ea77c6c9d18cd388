"""CKA and RSA, where their values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.geometry import (
    GeometryRow,
    VectorSet,
    alignment_rows,
    debiased_cka,
)

CKA, RSA = "debiased linear CKA", "RSA"


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def pair(own: np.ndarray, oracle: np.ndarray, images=None) -> tuple[VectorSet, VectorSet]:
    return VectorSet.of("own", own, images), VectorSet.of("oracle", oracle, images)


def pick(rows: list[GeometryRow], measure: str, space: str = "centred", slot: int | None = None):
    found = [r for r in rows if (r.measure, r.space, r.slot) == (measure, space, slot)]
    assert len(found) == 1
    return found[0]


def hsic_1(one: np.ndarray, two: np.ndarray) -> float:
    """The unbiased estimator as printed in Song et al. (2012), equation 5."""
    n = len(one)
    k, l = (vectors @ vectors.T for vectors in (one, two))  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    total = np.trace(k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2))
    return (total - 2 * (k @ l).sum() / (n - 2)) / (n * (n - 3))


def biased_cka(one: np.ndarray, two: np.ndarray) -> float:
    one, two = one - one.mean(0), two - two.mean(0)
    cross = np.linalg.norm(one.T @ two) ** 2
    return cross / (np.linalg.norm(one.T @ one) * np.linalg.norm(two.T @ two))


def test_intervals_of_alignment_cover_as_often_as_they_say() -> None:
    """The truth is the value of many samples; 95 % of 60 give or take three standard errors."""

    def drawn(n: int, seed: int) -> tuple[VectorSet, VectorSet]:
        one = gaussian(n, 6, seed=seed)
        return pair(one, one + 1.2 * gaussian(n, 6, seed=seed + 10_000))

    many = alignment_rows(*drawn(2_000, 99), permutations=1, resamples=2)
    inside = {CKA: 0, RSA: 0}
    for seed in range(60):
        for row in alignment_rows(*drawn(60, seed), permutations=1, seed=seed):
            assert row.low is not None and row.high is not None
            assert row.low <= row.estimate <= row.high and "jackknife: 40 draws of 48" in row.how
            inside[row.measure] += row.low <= pick(many, row.measure).estimate <= row.high
    assert all(hits >= 60 * 0.95 - 3 * (60 * 0.95 * 0.05) ** 0.5 for hits in inside.values()), (
        inside
    )


def test_an_interval_takes_enough_images() -> None:
    """Four samples give a value; a draw of three of them has none."""
    few = alignment_rows(*pair(gaussian(4, 3), gaussian(4, 3, seed=1)))
    row = pick(few, CKA)
    assert math.isfinite(row.estimate) and row.low is row.high is None
    assert row.how.startswith("too few for an interval")
    one_image = pair(gaussian(6, 3), gaussian(6, 3, seed=1), ["x"] * 6)
    assert all(row.low is None for row in alignment_rows(*one_image))
    with pytest.raises(LanternError, match="at least 2 draws, not 1"):
        alignment_rows(*pair(gaussian(9, 3), gaussian(9, 3)), resamples=1)


def test_cka_is_that_of_the_printed_estimator() -> None:
    one, two = gaussian(20, 7), gaussian(20, 5, seed=1)
    two[:, :3] += one[:, :3]
    expected = hsic_1(one, two) / math.sqrt(hsic_1(one, one) * hsic_1(two, two))
    assert debiased_cka(one, two) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_cka_is_1_under_rotation_shift_and_scale_in_any_order(seed: int) -> None:
    vectors = gaussian(12, 6, seed=seed)
    rotation, _ = np.linalg.qr(gaussian(6, 6, seed=seed))
    turned = 3 * vectors @ rotation + gaussian(6, seed=seed + 1)
    assert debiased_cka(vectors, turned) == pytest.approx(1, abs=1e-4)
    other = gaussian(12, 4, seed=seed + 2)
    order = np.random.default_rng(seed).permutation(12)
    assert debiased_cka(turned[order], other[order]) == pytest.approx(
        debiased_cka(vectors, other), abs=1e-4
    )


def test_independent_noise_has_no_cka_only_when_debiased() -> None:
    """At n = dim the plain CKA of nothing is dim / (n + dim), from the diagonal alone."""
    n = dim = 100
    draws = [gaussian(2, n, dim, seed=seed) for seed in range(20)]
    debiased = [debiased_cka(*draw) for draw in draws]
    assert abs(np.mean(debiased)) < 4 * np.std(debiased) / math.sqrt(20)
    assert np.max(np.abs(debiased)) < 0.1
    assert np.mean([biased_cka(*draw) for draw in draws]) == pytest.approx(0.5, abs=0.02)
    # Without the diagonal of the Gram matrices the plain one loses it too.
    grams = [[v @ v.T - np.diag((v**2).sum(1)) for v in draw] for draw in draws]
    without = [(a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b) for a, b in grams]
    assert np.max(np.abs(without)) < 0.1


def ranks_with_ties(values: np.ndarray) -> np.ndarray:
    """Expected ranks where differences of up to 1e-6 are ties, by comparing all with all."""
    apart = values[:, None] - values
    return (apart > 1e-6).sum(1) + ((np.abs(apart) <= 1e-6).sum(1) + 1) / 2


def test_rsa_is_the_spearman_correlation_of_the_distances() -> None:
    own, oracle = gaussian(25, 2, 6), gaussian(25, 2, 6, seed=1)
    oracle[:, 1] += own[:, 1]
    rows = alignment_rows(*pair(own, oracle), permutations=99)
    upper = np.triu_indices(25, 1)
    for slot in range(2):
        distances = []
        for vectors in (own[:, slot], oracle[:, slot]):
            away = vectors - vectors.mean(0)
            away /= np.linalg.norm(away, axis=1, keepdims=True)
            distances.append(1 - (away @ away.T)[upper])
        row = pick(rows, RSA, slot=slot)
        expected = scipy.stats.pearsonr(*map(ranks_with_ties, distances)).statistic
        assert row.estimate == pytest.approx(expected, abs=1e-5)
        # A tie moves two of 300 ranks by one half.
        spearman = scipy.stats.spearmanr(*distances).statistic
        assert row.estimate == pytest.approx(spearman, abs=3e-5)
        assert (row.n, row.name) == (25, "own, oracle")
    assert pick(rows, RSA, slot=1).p == 0.01 and pick(rows, CKA, slot=1).p == 0.01
    assert pick(rows, CKA).p is not None


@pytest.mark.slow
def test_p_values_are_uniform_where_nothing_is_shared() -> None:
    found: dict[str, list[float]] = {CKA: [], RSA: []}
    for seed in range(150):
        sets = pair(gaussian(20, 6, seed=seed) + 0.5, gaussian(20, 6, seed=seed + 1000) + 0.5)
        rows = alignment_rows(*sets, permutations=99, seed=seed)
        for measure, values in found.items():
            values.append(pick(rows, measure).p)
    for measure, values in found.items():
        level = np.mean(np.array(values) <= 0.05)
        assert level <= 0.109, measure  # .05 and 3.3 sd
        assert scipy.stats.kstest(values, "uniform").pvalue > 0.001, measure


def test_copies_of_an_image_are_no_evidence_of_alignment() -> None:
    images = np.repeat(np.arange(8), 5)
    hits = {"grouped": 0, "naive": 0}
    for seed in range(60):
        own, oracle = gaussian(2, 8, 6, seed=seed)
        for name, groups in (("grouped", images), ("naive", None)):
            sets = pair(own[images], oracle[images], groups)
            hits[name] += pick(alignment_rows(*sets, permutations=39), CKA).p <= 0.05
    assert hits["grouped"] <= 9  # .05 of 60 and 3.3 sd
    assert hits["naive"] > 50


def test_collapsed_latents_have_no_alignment_and_say_so() -> None:
    own = np.broadcast_to(gaussian(1, 2, 6), (20, 2, 6))
    rows = alignment_rows(*pair(own, gaussian(20, 2, 6)), permutations=9)
    for row in rows:
        assert math.isnan(row.estimate) and row.p is None
        assert row.how.startswith("undefined: own does not vary")
    assert math.isnan(debiased_cka(own[:, 0], own[:, 0]))
    few = alignment_rows(*pair(gaussian(3, 4), gaussian(3, 4)), permutations=9)
    assert "it takes 4" in pick(few, CKA).how


def test_sets_of_other_samples_are_refused() -> None:
    own, oracle = VectorSet.of("own", gaussian(5, 2, 3)), VectorSet.of("oracle", gaussian(4, 2, 3))
    with pytest.raises(LanternError, match="own and oracle"):
        alignment_rows(own, oracle)
