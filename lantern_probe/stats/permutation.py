"""Permutation p values, and the sign-flip test of a mean difference, exact where affordable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import Clusters, by_cluster, paired_differences
from lantern_probe.stats.ties import TIE, reaches, rescaled, settled, unit_scaled

TAILS = ("upper", "lower", "both")

EXACT_UP_TO = 20
"""Largest number of clusters g whose 2^g sign patterns are all enumerated: a million."""

_WIDEST = 20_000
"""Largest sum of absolute whole-number differences whose distribution is made exactly."""

_CHUNK = 8_000_000
"""Number of signs held in memory at once."""


def permutation_p(
    seen: float,
    drawn: ArrayLike,
    *,
    tail: str = "upper",
    scale: float | None = None,
    tie: float = TIE,
) -> float:
    """p value of a statistic among the values it takes under random permutations.

    (b + 1) / (m + 1), with b of m drawn values at least as extreme as the one seen (Phipson & Smyth
    2010): never 0, and it keeps its level at any m. A drawn value that equals the one seen up to
    rounding counts as extreme, since the same numbers in another order add up to other last bits.

    Args:
        seen: Observed statistic.
        drawn: Statistic under each permutation [m].
        tail: Direction of extreme values: `upper` (default), `lower`, or `both`, which doubles the
            smaller of the two p values, to at most 1.
        scale: Size of the numbers that make up the statistic, in its unit; its absolute value by
            default, which is too small where positive and negative terms cancel.
        tie: Difference relative to `scale` that is rounding: `ties.TIE`, or `ties.SINGLE_TIE`
            for statistics made in float32.

    Raises:
        LanternError: a value is NaN, or there is no such tail.
    """
    if tail not in TAILS:
        raise LanternError(f"no tail {tail!r} of a permutation test; choose one of {list(TAILS)}")
    values = np.asarray(drawn, dtype=np.float64)
    if math.isnan(seen) or np.isnan(values).any():
        raise LanternError("a permutation test cannot compare NaN; leave undefined values out")
    size = abs(seen) if scale is None else scale
    slack = tie * size if math.isfinite(size) else 0.0
    upper = hits_p(int(reaches(values, seen, slack).sum()), values.size)
    lower = hits_p(int(reaches(-values, -seen, slack).sum()), values.size)
    return {"upper": upper, "lower": lower, "both": min(1.0, 2 * min(upper, lower))}[tail]


def hits_p(hits: Any, draws: int) -> Any:
    """The p value of `permutation_p` where the extreme draws were counted elsewhere.

    Args:
        hits: Number of draws at least as extreme as the observed statistic, or an array of such
            numbers.
        draws: Number of draws.
    """
    return (hits + 1) / (draws + 1)


@dataclass(frozen=True)
class SignFlip:
    """A paired permutation test that the differences are symmetric around 0.

    Attributes:
        n: Number of samples.
        clusters: Number of units whose signs are flipped as a whole.
        estimate: Mean difference, in the unit of the measure; NaN if n is 0.
        p: Two-sided p value.
        method: `exact` (every sign pattern counts) or `monte carlo`.
        resamples: Number of sign patterns drawn; 0 if exact.
        seed: Seed of the generator of sign patterns.
    """

    n: int
    clusters: int
    estimate: float
    p: float
    method: str
    resamples: int
    seed: int


def sign_flip_test(
    differences: ArrayLike,
    clusters: Clusters = None,
    *,
    resamples: int = 9_999,
    seed: int = 0,
) -> SignFlip:
    """Test that the mean difference is 0, by flipping the signs of the differences.

    Under the null hypothesis the two conditions are exchangeable within a sample, so the opposite
    sign of every difference is as likely. The differences of one cluster (image) flip together.
    The p value is the fraction of sign patterns whose sum is at least as far from 0 as the
    observed one, up to rounding. It is exact for whole numbers (right minus wrong: by convolution;
    without clusters that *is* the exact McNemar test) and for up to `EXACT_UP_TO` clusters with a
    difference. Otherwise m patterns are drawn, and p is that of `permutation_p`.

    Args:
        differences: First condition minus second per sample [n], such as letter log-odds (nats).
        clusters: The image (or other unit) of each sample [n]; each sample its own if None.
        resamples: Number m of patterns drawn if the test is not exact; default 9,999.
        seed: Seed of the generator of sign patterns, default 0.

    Raises:
        LanternError: a difference is not finite, or `resamples` is below 1.
    """
    if resamples < 1:
        raise LanternError(f"the permutation test needs at least 1 resample, not {resamples}")
    values, exponent = unit_scaled(paired_differences(differences))
    n = len(values)
    sums, _ = by_cluster(values, clusters)
    sizes, _ = by_cluster(np.abs(values), clusters)
    groups = len(sums)
    estimate = float(rescaled(values.mean(), exponent)) if n else math.nan
    moved = settled(sums, sizes) != 0  # 0 has no sign to flip
    sums, sizes = sums[moved], sizes[moved]
    if not len(sums):
        return SignFlip(n, groups, estimate, 1.0, "exact", 0, seed)
    whole = _whole(rescaled(sums, exponent), rescaled(sizes, exponent))
    seen, total = abs(float(sums.sum())), float(sizes.sum())
    if whole is not None:
        p = _by_convolution(whole)
    elif len(sums) <= EXACT_UP_TO:
        p = float(np.mean(reaches(np.abs(_all_sums(sums)), seen, TIE * total)))
    else:
        drawn = _drawn_sums(sums, resamples, np.random.default_rng(seed))
        p = permutation_p(seen, np.abs(drawn), scale=total)
        return SignFlip(n, groups, estimate, p, "monte carlo", resamples, seed)
    return SignFlip(n, groups, estimate, min(1.0, p), "exact", 0, seed)


def _whole(
    sums: Float[np.ndarray, " g"], sizes: Float[np.ndarray, " g"]
) -> Int[np.ndarray, " g"] | None:
    """The sums as whole numbers, if they are that up to rounding and not too large to convolve."""
    if np.abs(sums).max() > _WIDEST or np.abs(sums).sum() > _WIDEST + 0.5:
        return None
    whole = np.rint(sums)
    return None if np.any(settled(sums - whole, sizes)) else whole.astype(np.int64)


def _by_convolution(sums: Int[np.ndarray, " g"]) -> float:
    """The p value of whole numbers, from the distribution of their sum under random signs."""
    steps = np.abs(sums)
    # Entry i: the probability that the steps taken as positive add up to i, out of `width`; the
    # signed sum is then 2 i - width.
    width = int(steps.sum())
    chance = np.zeros(width + 1)
    chance[0] = 1.0
    for step in steps.tolist():
        chance[step:] = (chance[step:] + chance[:-step]) / 2
        chance[:step] /= 2
    far = np.abs(2 * np.arange(width + 1) - width) >= abs(int(sums.sum()))
    return float(chance[far].sum())


def _all_sums(sums: Float[np.ndarray, " g"]) -> Float[np.ndarray, " patterns"]:
    # The other half of the patterns mirrors these, and leaves the share as it is.
    found = sums[:1]
    for value in sums[1:]:
        found = np.concatenate([found + value, found - value])
    return found


def _drawn_sums(
    sums: Float[np.ndarray, " g"], resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, " resamples"]:
    chunk = max(1, _CHUNK // len(sums))
    drawn, whole = [], float(sums.sum())
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        positive = rng.integers(0, 2, size=(size, len(sums)), dtype=np.int8) @ sums
        drawn.append(2 * positive - whole)
    return np.concatenate(drawn)
