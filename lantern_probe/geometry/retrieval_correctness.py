"""Link between the rank of a sample's own oracle and the sample's answer being right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats import Clusters
from lantern_probe.stats.clusters import check_level
from lantern_probe.stats.permutation import permutation_p
from lantern_probe.stats.resampling import bootstrap_counts, image_index, interval, permute_images


@dataclass(frozen=True)
class RankCorrectness:
    """Association of the samples' ranks with their answers.

    Attributes:
        n: Number of samples.
        images: Number of different images, the independent units.
        right: Number of samples with the right answer.
        auc: Probability that a right sample has a better (lower) rank than a wrong one, ties
            counting half; 0.5 by chance. NaN if all are right, all are wrong, or all ranks are
            equal.
        auc_low: Lower end of the bootstrap interval of `auc`; 0 if `auc` is NaN.
        auc_high: Upper end of the bootstrap interval of `auc`; 1 if `auc` is NaN.
        spearman: Spearman correlation of rank and being right; negative if good (low) ranks go with
            right answers.
        spearman_low: Lower end of the bootstrap interval of `spearman`; -1 if it is NaN.
        spearman_high: Upper end of the bootstrap interval of `spearman`; 1 if it is NaN.
        p: Two-sided permutation p value of both measures. With the ranks and the number of right
            answers given, each determines the other.
        level: Confidence level of the intervals.
        permutations: Number of permutations of the ranks over images.
        resamples: Number of bootstrap resamples of images.
        seed: Seed of the bootstrap and of the permutations.
    """

    n: int
    images: int
    right: int
    auc: float
    auc_low: float
    auc_high: float
    spearman: float
    spearman_low: float
    spearman_high: float
    p: float
    level: float
    permutations: int
    resamples: int
    seed: int


def rank_correctness(
    ranks: ArrayLike,
    correct: ArrayLike,
    images: Clusters = None,
    *,
    permutations: int = 1_999,
    resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> RankCorrectness:
    """Test whether the rank of a sample's oracle predicts that its answer is right.

    An association may only mean that some samples are easier in both respects. Interventions say
    whether the answer uses the latents.

    Args:
        ranks: Rank of each sample's oracle, [n], finite, such as `Retrieval.ranks`.
        correct: Right (1, True) or wrong (0, False) answer of each sample, [n].
        images: Image of each sample, [n]. With None (default) each sample has its own.
        permutations: Number of permutations of the ranks, images as a whole; default 1,999.
        resamples: Number of bootstrap resamples of images, for percentile intervals; default 2,000.
        level: Confidence level of the intervals, default 0.95.
        seed: Seed of the bootstrap and of the permutations, default 0.

    Raises:
        LanternError: the lengths differ, a rank is not finite, an answer is neither 0 nor 1, or an
            option is out of range.

    Examples:
        >>> from lantern_probe.geometry import rank_correctness
        >>> result = rank_correctness([1, 2, 3, 4, 5, 6], [1, 1, 1, 0, 1, 0])
        >>> print(f"AUC {result.auc:.3f}, p {result.p:.1f}")
        AUC 0.875, p 0.3
    """
    check_level(level)
    values, truth = _checked(ranks, correct)
    index = image_index(images, len(values))
    order = np.argsort(values, kind="stable")
    rising = values[order]
    starts = np.flatnonzero(np.append(True, rising[1:] != rising[:-1]))
    counts = bootstrap_counts(index, resamples, seed)
    partners = permute_images(index, permutations, seed)

    def measures(weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws 2"]:
        right, wrong = (
            np.add.reduceat((weights * which)[:, order], starts, axis=1)
            for which in (truth, 1 - truth)
        )
        return _auc_and_spearman(right, wrong)

    auc, spearman = measures(np.ones((1, len(values))))[0].tolist()
    n, groups, hits = len(values), int(index.max()) + 1, int(truth.sum())
    if not math.isfinite(spearman):
        nothing = (math.nan, 0.0, 1.0, math.nan, -1.0, 1.0, 1.0)
        return RankCorrectness(n, groups, hits, *nothing, level, permutations, resamples, seed)
    pieces = np.array_split(counts, max(1, counts.shape[0] * n // 1_000_000))
    draws = np.concatenate([measures(piece[:, index].astype(np.float64)) for piece in pieces])
    auc_low, auc_high = _ends(draws[:, 0], level, groups, (0.0, 1.0))
    low, high = _ends(draws[:, 1], level, groups, (-1.0, 1.0))
    # With ranks and answers given, both measures are linear in the sum of the right samples'
    # midranks.
    sizes = np.diff(starts, append=n)
    middle = np.empty(n)
    middle[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    seen = middle @ truth
    drawn = middle[partners[:, truth == 1]].sum(1)
    p = permutation_p(float(seen), drawn, tail="both")
    return RankCorrectness(
        n, groups, hits, auc, auc_low, auc_high, spearman, low, high, p, level, permutations,
        resamples, seed,
    )  # fmt: skip


def _checked(
    ranks: ArrayLike, correct: ArrayLike
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Ranks and answers as float64 arrays, after checking them."""
    values, truth = np.asarray(ranks, dtype=np.float64), np.asarray(correct)
    if values.ndim != 1 or values.shape != truth.shape or not len(values):
        raise LanternError(
            "one rank and one answer per sample are needed, not "
            f"{list(values.shape)} and {list(truth.shape)}"
        )
    bad = np.flatnonzero(~np.isfinite(values) | ~np.isin(truth, (0, 1)))
    if len(bad):
        raise LanternError(
            f"sample {bad[0]} (counted from 0): rank {values[bad[0]]}, right {truth[bad[0]]!r}; "
            "ranks must be finite and answers 0 or 1"
        )
    return values, truth.astype(np.float64)


def _ends(
    draws: Float[np.ndarray, " resamples"], level: float, groups: int, whole: tuple[float, float]
) -> tuple[float, float]:
    """Percentile interval; the whole range if there is one image, or no draw has a value."""
    low, high = interval(draws, level) if groups > 1 else (None, None)
    return whole if low is None or high is None else (low, high)


def _auc_and_spearman(
    right: Float[np.ndarray, "draws ranks"], wrong: Float[np.ndarray, "draws ranks"]
) -> Float[np.ndarray, "draws 2"]:
    """Compute AUC and Spearman correlation from the numbers of samples with each rank.

    Args:
        right: Number of right samples with each rank, in rising order of the ranks.
        wrong: Number of wrong samples with each rank.

    Returns:
        AUC and correlation of each draw, [draws, 2]; NaN where they are not defined.
    """
    both = right + wrong
    n, hits, misses = (part.sum(1) for part in (both, right, wrong))
    after = misses[:, None] - np.cumsum(wrong, 1) + wrong / 2
    middle = np.cumsum(both, 1) - both / 2 + 0.5
    spread = (both * middle**2).sum(1) - n * ((n + 1) / 2) ** 2
    above = (right * middle).sum(1) - hits * (n + 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        auc = (right * after).sum(1) / (hits * misses)
        spearman = above / np.sqrt(spread * hits * misses / n)
    known = (hits > 0) & (misses > 0) & (spread > 1e-6)
    return np.where(known[:, None], np.stack([auc, spearman], 1), np.nan)
