"""The second opinion: what GEE gives by hand, what it refuses, and its size under the null."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lantern_probe.errors import LanternError
from lantern_probe.stats import accuracy_test, gee_test


def test_without_clusters_the_odds_ratio_is_that_of_the_margins() -> None:
    own, other = [1] * 30 + [0] * 10, [1] * 20 + [0] * 15 + [1] * 5
    found = gee_test(own, other)
    assert found.odds_ratio == pytest.approx((30 / 10) / (25 / 15))
    assert (found.n, found.clusters, found.freedom) == (40, 40, 38)
    assert found.low < found.odds_ratio < found.high
    assert math.log(found.odds_ratio) == pytest.approx(found.log_odds)


def test_the_error_is_mancl_and_derouens_by_hand() -> None:
    """Clusters of one pair each: an independent computation from the estimating equations."""
    rng = np.random.default_rng(0)
    one, two = (rng.random(60) < 0.7).astype(int), (rng.random(60) < 0.5).astype(int)
    found = gee_test(one, two)
    means = np.array([one.mean(), two.mean()])
    spread = means * (1 - means)
    design = np.array([[1.0, 1.0], [1.0, 0.0]])
    scale = np.diag(np.sqrt(spread))
    working = scale @ np.array([[1, found.correlation], [found.correlation, 1]]) @ scale
    slopes = spread[:, None] * design
    bread = np.linalg.inv(60 * slopes.T @ np.linalg.solve(working, slopes))
    leverage = slopes @ bread @ slopes.T @ np.linalg.inv(working)
    meat = np.zeros((2, 2))
    for pair in np.column_stack([one, two]) - means:
        score = slopes.T @ np.linalg.solve(working, np.linalg.solve(np.eye(2) - leverage, pair))
        meat += np.outer(score, score)
    assert found.error == pytest.approx(math.sqrt((bread @ meat @ bread)[1, 1]), rel=1e-4)


def test_exchanging_the_conditions_turns_the_odds_round() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.random(80) < 0.8, rng.random(80) < 0.6
    images = np.repeat(np.arange(40), 2)
    here, there = gee_test(one, two, images), gee_test(two, one, images)
    assert here.odds_ratio == pytest.approx(1 / there.odds_ratio)
    assert here.p == pytest.approx(there.p) and here.low == pytest.approx(1 / there.high)


def test_repeated_images_cost_certainty() -> None:
    rng = np.random.default_rng(4)
    own = np.repeat(rng.random(30) < 0.8, 4)
    other = np.repeat(rng.random(30) < 0.5, 4)
    images = np.repeat(np.arange(30), 4)
    assert gee_test(own, other, images).error > 1.5 * gee_test(own, other).error


@pytest.mark.parametrize(
    ("own", "other", "clusters", "message"),
    [
        ([1, 0] * 30, [1, 1, 0] * 20, [i % 19 for i in range(60)], "20 clusters, and there are 19"),
        ([1] * 40, [1, 0] * 20, None, "the accuracy of own is 1, and its odds are not finite"),
        ([1, 0] * 20, [0] * 40, None, "the accuracy of zeros is 0"),
        ([1, 0] * 20, [1, 0] * 20, None, "no sample is discordant"),
        ([1, 0] * 20, [0, 1] * 20, ["a"] * 3, "3 cluster ids for 40 samples"),
        ([1, 0] * 20, [0, 1] * 20, [None, *range(39)], "sample 0 .* has no cluster id"),
        ([], [], None, "there are 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(
    own: list[int], other: list[int], clusters: list[object] | None, message: str
) -> None:
    with pytest.raises(LanternError, match=message):
        gee_test(own, other, clusters, names=("own", "zeros"))


def test_the_size_under_the_null_is_near_the_level() -> None:
    """As `benchmarks.gee_size`, with fewer draws: 25 images, 3 questions each."""
    rng = np.random.default_rng(5)
    images = np.repeat(np.arange(25), 3)
    rejected = agreed = 0
    draws = 300
    for seed in range(draws):
        effect = rng.normal(size=25)[images] + rng.normal(size=75)
        one, two = (rng.random(75) < 1 / (1 + np.exp(-effect)) for _ in range(2))
        p = gee_test(one, two, images).p
        rejected += p <= 0.05
        other = accuracy_test(one, two, images, resamples=199, seed=seed).p
        agreed += (p <= 0.05) == (other <= 0.05)
    assert rejected / draws < 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)
    assert agreed / draws > 0.95
