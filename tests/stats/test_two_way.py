"""Means over samples and seeds: their variance by hand, and coverage where seeds matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.stats.passes import (
    mean_accuracy_difference,
    mean_accuracy_equivalence,
    mean_clustered_share,
    mean_share,
    mean_test,
)
from lantern_probe.stats.two_way import indices, two_way, two_way_mean

SAMPLES, SEEDS = 96, 5


def crossed(n: int, seeds: int, per_image: int = 1) -> dict[str, list[int]]:
    """Every sample under every seed; images of equal size."""
    samples = np.repeat(np.arange(n), seeds)
    return {
        "samples": samples.tolist(),
        "clusters": (samples // per_image).tolist(),
        "seeds": np.tile(np.arange(seeds), n).tolist(),
    }


def test_the_parts_of_the_variance_are_the_mean_squares_of_a_balanced_layout():
    values = np.random.default_rng(0).normal(size=(7, 3))
    layout = crossed(7, 3)
    parts = two_way(
        values.ravel(), *(np.array(layout[name]) for name in ("samples", "samples", "seeds"))
    )
    n, seeds = values.shape
    rows, columns = values.mean(1), values.mean(0)
    left = values - rows[:, None] - columns + values.mean()
    assert parts.samples == pytest.approx(np.var(rows, ddof=1) / n)
    assert parts.seeds == pytest.approx(np.var(columns, ddof=1) / seeds)
    square = (left**2).sum() / ((n - 1) * (seeds - 1))
    assert parts.both == pytest.approx(square / (n * seeds))
    assert parts.variance == pytest.approx(parts.samples + max(0, parts.seeds - parts.both))


def outcomes(
    rng: np.random.Generator, item: float, seed: float, mean: float, per_image: int
) -> np.ndarray:
    """Right answers [sample, seed]; images and seeds shift all that belong to them (probit)."""
    images = np.repeat(rng.normal(size=SAMPLES // per_image) * item, per_image)
    shift = rng.normal(size=SEEDS) * seed
    return rng.random((SAMPLES, SEEDS)) < norm.cdf(mean + images[:, None] + shift)


@pytest.mark.parametrize(
    ("item", "seed", "mean", "per_image"),
    [(1, 0.0, 0.5, 1), (1, 0.3, 0.5, 1), (1, 0.5, 0.5, 4), (0.3, 1.0, 0.0, 1)],
)
def test_intervals_over_seeds_hold_their_level(
    item: float, seed: float, mean: float, per_image: int
):
    """Coverage over 100 draws of samples *and* seeds; that of these very seeds falls below."""
    rng, repeats, right = np.random.default_rng(1), 100, 0.9
    truth = float(norm.cdf(mean / math.sqrt(1 + item**2 + seed**2)))
    layout = crossed(SAMPLES, SEEDS, per_image)
    held = {"difference": 0, "share": 0, "one way": 0}
    for _ in range(repeats):
        texts = outcomes(rng, item, seed, mean, per_image).ravel()
        own = np.repeat(rng.random(SAMPLES) < right, SEEDS)
        found = mean_accuracy_difference(texts, own, **layout)
        held["difference"] += found.low <= truth - right <= found.high
        share = mean_share(texts, **layout)
        held["share"] += share.low <= truth <= share.high
        fixed = mean_share(texts, layout["samples"], layout["clusters"])
        held["one way"] += fixed.low <= truth <= fixed.high
    error = 3 * math.sqrt(0.95 * 0.05 / repeats)
    assert held["difference"] / repeats >= 0.95 - error
    assert held["share"] / repeats >= 0.95 - error
    if seed >= 1:
        assert held["one way"] / repeats < 0.85


def test_the_test_over_seeds_keeps_its_level_and_that_of_these_seeds_does_not():
    """Two conditions of the same mean accuracy, of which one draws: 300 runs."""
    rng, repeats, seed = np.random.default_rng(2), 200, 0.6
    layout = crossed(SAMPLES, SEEDS)
    rejected = {"two-way": 0, "one-way": 0, "equivalence": 0}
    for _ in range(repeats):
        texts = outcomes(rng, 0.5, seed, 0.0, 1).ravel()
        own = np.repeat(rng.random(SAMPLES) < 0.5, SEEDS)
        rejected["two-way"] += mean_test(own, texts, **layout, resamples=199).p <= 0.05
        one = mean_test(own, texts, layout["samples"], layout["clusters"], resamples=199)
        rejected["one-way"] += one.p <= 0.05
        # At the margin's edge equivalence must not be claimed more often than at alpha.
        edge = np.repeat(rng.random(SAMPLES) < 0.35, SEEDS)
        rejected["equivalence"] += mean_accuracy_equivalence(
            edge, texts, **layout, margin=0.15
        ).equivalent
    error = 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert rejected["two-way"] / repeats <= 0.05 + error
    assert rejected["equivalence"] / repeats <= 0.05 + error
    assert rejected["one-way"] / repeats > 0.2


def test_means_of_measures_hold_their_level_over_seeds():
    rng, repeats, held, rejected = np.random.default_rng(3), 400, 0, 0
    layout = crossed(30, 4)
    for _ in range(repeats):
        values = rng.normal(size=(30, 1)) + 0.4 * rng.normal(size=4) + rng.normal(size=(30, 4))
        found = two_way_mean(values.ravel(), **layout)
        held += found.difference.low <= 0 <= found.difference.high
        rejected += found.test.p <= 0.05
    assert held == repeats - rejected
    assert held / repeats >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / repeats)


@given(st.integers(1, 12), st.integers(2, 4), st.integers(0, 2**31))
def test_seeds_that_all_agree_change_nothing_but_the_words(n: int, seeds: int, draw: int):
    rng = np.random.default_rng(draw)
    layout = crossed(n, seeds)
    one, two = (np.repeat(rng.random(n) < 0.5, seeds) for _ in range(2))
    found = mean_accuracy_difference(one, two, **layout)
    same = mean_accuracy_difference(one, two, layout["samples"], layout["clusters"])
    assert (found.estimate, found.low, found.high) == (same.estimate, same.low, same.high)
    assert found.low <= found.estimate <= found.high


@given(st.integers(2, 10), st.integers(2, 4), st.integers(0, 2**31))
def test_the_interval_over_seeds_is_no_narrower_and_any_order_gives_it(
    n: int, seeds: int, draw: int
):
    rng = np.random.default_rng(draw)
    layout = crossed(n, seeds)
    texts, own = rng.random(n * seeds) < 0.4, np.repeat(rng.random(n) < 0.7, seeds)
    found = mean_accuracy_difference(texts, own, **layout)
    fixed = mean_accuracy_difference(texts, own, layout["samples"], layout["clusters"])
    assert found.estimate == pytest.approx(fixed.estimate)
    assert found.low <= fixed.low + 1e-9 and found.high >= fixed.high - 1e-9
    order = rng.permutation(n * seeds)
    again = mean_accuracy_difference(
        texts[order], own[order], **{k: [v[i] for i in order] for k, v in layout.items()}
    )
    assert (again.low, again.high) == (pytest.approx(found.low), pytest.approx(found.high))
    assert -1 <= found.low <= found.high <= 1


def test_one_seed_is_no_seed():
    layout = crossed(8, 1)
    right = [1, 0, 1, 1, 0, 1, 1, 1]
    assert mean_clustered_share(right, **layout) == mean_clustered_share(
        right, layout["samples"], layout["clusters"]
    )


def test_unequal_lengths_and_single_seeds_are_refused():
    with pytest.raises(LanternError, match="at least 2 seeds"):
        two_way_mean([1.0, 2.0], ["a", "b"], [0, 0])
    with pytest.raises(LanternError, match="finite"):
        two_way_mean([1.0, math.nan], ["a", "a"], [0, 1])
    with pytest.raises(LanternError, match="one sample, seed and cluster"):
        two_way_mean([1.0, 2.0], ["a"], [0, 1])
    with pytest.raises(LanternError, match="1 seeds for 2 texts"):
        mean_share([1, 0], ["a", "a"], seeds=[0])
    assert indices(["b", "a", "b"]).tolist() == [0, 1, 0]
