"""Rank and correctness: both measures by other implementations, and the level of the test."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from lantern_probe.errors import LanternError
from lantern_probe.geometry.retrieval_correctness import rank_correctness


def test_rank_and_correctness_agree_with_other_implementations() -> None:
    rng = np.random.default_rng(0)
    ranks = rng.integers(1, 40, 120).astype(float)
    correct = rng.random(120) < 1 / (1 + np.exp((ranks - 20) / 8))
    result = rank_correctness(ranks, correct)
    assert result.auc == pytest.approx(roc_auc_score(correct, -ranks))
    assert result.spearman == pytest.approx(scipy.stats.spearmanr(ranks, correct).statistic)
    assert result.auc_low < result.auc < result.auc_high
    assert result.spearman_low < result.spearman < result.spearman_high < 0
    assert result.p == pytest.approx(2 / 2000)
    assert (result.n, result.images, result.right) == (120, 120, int(correct.sum()))
    reference = scipy.stats.bootstrap(
        (ranks, correct), lambda r, c: roc_auc_score(c, -r), paired=True, vectorized=False,
        n_resamples=1000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert (result.auc_low, result.auc_high) == pytest.approx(tuple(reference), abs=0.02)


def test_rank_and_correctness_keep_the_level_with_repeated_images() -> None:
    images = np.repeat(np.arange(12), 5)
    clustered, naive = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        ranks, correct = rng.random(12)[images], (rng.random(12) < 0.5)[images]
        options = {"permutations": 99, "resamples": 2, "seed": seed}
        clustered.append(rank_correctness(ranks, correct, images, **options).p)
        naive.append(rank_correctness(ranks, correct, **options).p)
    assert np.mean(np.array(clustered) <= 0.05) <= 0.109
    assert np.mean(np.array(naive) <= 0.05) > 0.109


@pytest.mark.parametrize(
    ("ranks", "correct"), [([1, 2, 3], [1, 1, 1]), ([1, 2], [0, 0]), ([4, 4, 4], [0, 1, 0])]
)
def test_correctness_without_any_contrast_says_nothing(ranks: list, correct: list) -> None:
    result = rank_correctness(ranks, correct, permutations=19)
    assert math.isnan(result.auc) and math.isnan(result.spearman) and result.p == 1
    assert (result.auc_low, result.auc_high, result.spearman_low) == (0, 1, -1)


def test_one_image_leaves_the_interval_open() -> None:
    result = rank_correctness([1, 2, 3, 4], [1, 1, 0, 0], ["a"] * 4, permutations=19)
    assert (result.auc, result.auc_low, result.auc_high, result.p) == (1, 0, 1, 1)


@pytest.mark.parametrize(
    ("ranks", "correct", "said"),
    [([1, 2], [1], "one rank"), ([1, math.nan], [1, 0], "sample 1"), ([1, 2], [0, 2], "sample 1")],
)
def test_correctness_refuses_what_is_no_rank_or_answer(
    ranks: list, correct: list, said: str
) -> None:
    with pytest.raises(LanternError, match=said):
        rank_correctness(ranks, correct)
