"""Checks of paired data, and sums over clusters of samples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Num
from numpy.typing import ArrayLike, NDArray

from lantern_probe.errors import LanternError
from lantern_probe.stats.ties import TIE, unit_scaled

Clusters = Sequence[Hashable] | NDArray[Any] | None
"""Image, or other independent unit, of each sample; None makes each sample its own cluster."""


def check_level(level: float) -> None:
    """Refuse a level of an interval that is not a probability strictly between 0 and 1."""
    if not 0 < level < 1:
        raise LanternError(f"the level of an interval lies between 0 and 1, not {level}")


def check_rate(name: str, value: float) -> None:
    """Refuse an error rate or a power outside (0, 1)."""
    if not 0 < value < 1:
        raise LanternError(f"{name} lies between 0 and 1, not {value}")


def check_effect(effect: float) -> None:
    """Refuse a design effect that is below 1, or not finite."""
    if not 1 <= effect < float("inf"):
        raise LanternError(f"the design effect is at least 1 and finite, not {effect}")


def check_counts(b: float, c: float, n: float | None = None) -> None:
    """Refuse discordant counts that no `n` samples can have."""
    if b < 0 or c < 0:
        raise LanternError(f"discordant counts cannot be negative: b={b}, c={c}")
    if n is not None and b + c > n:
        raise LanternError(f"{b} + {c} discordant samples among only {n}")


def paired_outcomes(
    first: ArrayLike, second: ArrayLike
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Both conditions' outcomes as integers [n].

    Raises:
        LanternError: lengths differ, or a value is neither 0 nor 1.
    """
    one, two = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != two.shape:
        raise LanternError(
            "paired outcomes need one value per sample under both conditions, not shapes "
            f"{list(one.shape)} and {list(two.shape)}"
        )
    for name, values in (("first", one), ("second", two)):
        bad = [value for value in values.tolist() if value not in (0, 1)]
        if bad:
            raise LanternError(f"the {name} outcomes must be 0 or 1, not {bad[0]!r}")
    return one.astype(np.int64), two.astype(np.int64)


def paired_differences(values: ArrayLike) -> NDArray[np.float64]:
    """Differences of a measure between two conditions as floats [n].

    Raises:
        LanternError: not one finite number per sample.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "biuf"):
        raise LanternError(
            f"differences need one number per sample, not {array.dtype} {list(array.shape)}"
        )
    array = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise LanternError(
            f"the difference of sample {bad[0]} (counted from 0) is {array[bad[0]]}; leave out "
            "samples without a finite value under both conditions, and say how many"
        )
    return array


def by_cluster(
    values: Num[np.ndarray, " n"], clusters: Clusters
) -> tuple[Num[np.ndarray, " g"], Int[np.ndarray, " g"]]:
    """Sum of the values and number of samples of each cluster, [g] and [g].

    Raises:
        LanternError: the cluster ids are not one per sample, or one is None.
    """
    if clusters is None:
        return values, np.ones(len(values), np.int64)
    ids = clusters.tolist() if isinstance(clusters, np.ndarray) else list(clusters)
    if len(ids) != len(values):
        raise LanternError(f"{len(ids)} cluster ids for {len(values)} samples")
    if None in ids:
        raise LanternError(
            f"sample {ids.index(None)} (counted from 0) has no cluster id; give every sample one"
        )
    index = {name: i for i, name in enumerate(dict.fromkeys(ids))}
    place = np.fromiter((index[name] for name in ids), np.int64, len(ids))
    sums, sizes = np.zeros(len(index), values.dtype), np.zeros(len(index), np.int64)
    np.add.at(sums, place, values)
    np.add.at(sizes, place, 1)
    return sums, sizes


PSEUDO_CLUSTERS = 3
"""Number of clusters of equal samples that `outcome_effect` adds to those seen.

Simulated coverage and size are right with 3 (tests/stats/test_calibration.py).
"""


def full_effect(sizes: Int[np.ndarray, " g"]) -> float:
    """Design effect of clusters of sizes m whose samples are all equal: sum m^2 / sum m (Kish)."""
    m = sizes.astype(np.float64)
    return float((m**2).sum() / m.sum())


def outcome_effect(values: Num[np.ndarray, " n"], clusters: Clusters) -> tuple[float, int]:
    """Design effect for outcomes, careful where few clusters tell it, and the number of clusters.

    `design_effect` is an estimate from the clusters that hold another value than the most common
    one. If these are few, it is too small too often: one discordant sample in one image says
    little about how alike an image's samples are. So it is averaged with the effect of equal
    samples (`full_effect`), which counts as `PSEUDO_CLUSTERS` such clusters, and is not lowered.

    Args:
        values: Outcomes (0, 1), differences of two outcomes (-1, 0, 1), or means of such over the
            samples of a unit, per sample or unit [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
    """
    effect, groups = design_effect(values, clusters)
    if groups in (0, len(values)):
        return effect, groups
    kinds, counts = np.unique(values, return_counts=True)
    rare, sizes = by_cluster((values != kinds[counts.argmax()]).astype(np.int64), clusters)
    telling = int(np.count_nonzero(rare))
    blend = (telling * effect + PSEUDO_CLUSTERS * full_effect(sizes)) / (telling + PSEUDO_CLUSTERS)
    return max(effect, blend), groups


def design_effect(differences: Num[np.ndarray, " n"], clusters: Clusters) -> tuple[float, int]:
    """Design effect of the clusters on the mean difference, and the number of clusters g.

    It is the ratio of the cluster-robust variance of the mean, with its g / (g - 1) correction, to
    the variance of independent samples (Kish 1965; Rao & Scott 1992). n / effect is the equivalent
    number of independent samples. It is never below 1: clusters that seem to *help* are mostly
    noise in the estimate. If no sample deviates from the mean, or there is a single cluster, the
    variance is unknown, and the effect is that of samples that are equal within a cluster
    (`full_effect`): n / g for clusters of one size.

    Args:
        differences: One finite number per sample [n], in any unit.
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
    """
    n = len(differences)
    values, _ = unit_scaled(np.asarray(differences, dtype=np.float64))
    sums, sizes = by_cluster(values, clusters)
    groups = len(sums)
    if groups in (0, n):
        return 1.0, groups
    if groups == 1 or np.ptp(values) <= TIE:  # all are below 1 now: what is less is rounding
        return full_effect(sizes), groups
    mean = values.sum() / n
    independent = float(((values - mean) ** 2).sum())
    robust = float(((sums - sizes * mean) ** 2).sum())
    effect = robust / independent * groups / (groups - 1)
    return (effect if effect > 1 + TIE else 1.0), groups
