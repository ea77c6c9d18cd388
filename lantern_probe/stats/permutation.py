"""The sign-flip test of a mean paired difference, exact wherever that is affordable."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import Clusters, by_cluster, paired_differences

EXACT_UP_TO = 20
"""Clusters whose 2^g sign patterns are all gone through: a million."""

_WIDEST = 20_000
"""Largest sum of absolute whole-number differences whose distribution is made exactly."""

_CHUNK = 8_000_000
"""Signs held at once."""


@dataclass(frozen=True)
class SignFlip:
    """A paired permutation test that the differences are symmetric around 0.

    Attributes:
        n: Samples.
        clusters: Units whose signs are flipped as a whole.
        estimate: Mean difference, in the unit of the measure; NaN when n is 0.
        p: Two-sided p value.
        method: `exact` (every sign pattern counts) or `monte carlo`.
        resamples: Sign patterns drawn; 0 when exact.
        seed: Seed of their generator.
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
    """Could the mean difference be this far from 0 if each sign were a coin toss?

    Under the null hypothesis the two conditions are exchangeable within a sample, so every
    difference might as well have the other sign; the differences of one cluster (image) flip
    together. The p value is the share of sign patterns whose sum is at least as far from 0 as the
    one seen. It is exact for whole numbers (right minus wrong: by convolution; without clusters
    that *is* the exact McNemar test) and for up to `EXACT_UP_TO` clusters with a difference;
    otherwise patterns are drawn, and p = (b + 1) / (m + 1), which never claims more than m draws
    can show (Phipson & Smyth 2010) and keeps the level.

    Args:
        differences: First condition minus second per sample [n], such as letter log-odds (nats).
        clusters: The image (or other unit) of each sample [n]; each sample its own if None.
        resamples: Patterns drawn where the test is not exact: m.
        seed: Of the generator.

    Raises:
        LanternError: a difference is not finite, or `resamples` is below 1.
    """
    if resamples < 1:
        raise LanternError(f"the permutation test needs at least 1 resample, not {resamples}")
    values = paired_differences(differences)
    n = len(values)
    sums, _ = by_cluster(values, clusters)
    groups, total = len(sums), float(np.abs(sums).sum())
    estimate = float(values.mean()) if n else math.nan
    sums = sums[sums != 0]  # 0 has no sign to flip
    # Sums of the same numbers in another order differ by rounding; equal ones must count.
    seen = abs(float(sums.sum())) - 1e-12 * total
    if not len(sums):
        return SignFlip(n, groups, estimate, 1.0, "exact", 0, seed)
    if np.all(sums == np.rint(sums)) and total <= _WIDEST:
        p = _by_convolution(sums)
    elif len(sums) <= EXACT_UP_TO:
        p = float(np.mean(np.abs(_all_sums(sums)) >= seen))
    else:
        hits = _drawn_hits(sums, seen, resamples, np.random.default_rng(seed))
        p = (hits + 1) / (resamples + 1)
        return SignFlip(n, groups, estimate, p, "monte carlo", resamples, seed)
    return SignFlip(n, groups, estimate, min(1.0, p), "exact", 0, seed)


def _by_convolution(sums: Float[np.ndarray, " g"]) -> float:
    """The p value of whole numbers, from the distribution of their sum under random signs."""
    steps = np.abs(sums).astype(np.int64)
    # Entry i: the probability that the steps taken as positive add up to i, out of `width`; the
    # signed sum is then 2 i - width.
    width = int(steps.sum())
    chance = np.zeros(width + 1)
    chance[0] = 1.0
    for step in steps.tolist():
        chance[step:] = (chance[step:] + chance[:-step]) / 2
        chance[:step] /= 2
    far = np.abs(2 * np.arange(width + 1) - width) >= abs(np.rint(sums.sum()))
    return float(chance[far].sum())


def _all_sums(sums: Float[np.ndarray, " g"]) -> Float[np.ndarray, " patterns"]:
    # The other half of the patterns mirrors these, and leaves the share as it is.
    found = sums[:1]
    for value in sums[1:]:
        found = np.concatenate([found + value, found - value])
    return found


def _drawn_hits(
    sums: Float[np.ndarray, " g"], seen: float, resamples: int, rng: np.random.Generator
) -> int:
    chunk = max(1, _CHUNK // len(sums))
    hits, whole = 0, float(sums.sum())
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        positive = rng.integers(0, 2, size=(size, len(sums)), dtype=np.int8) @ sums
        hits += int(np.sum(np.abs(2 * positive - whole) >= seen))
    return hits
