"""A difference of two differences: an effect against that of its control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.accuracy import PairedTest, outcome_difference
from lantern_probe.stats.bootstrap import Difference, mean_difference
from lantern_probe.stats.clusters import Clusters, paired_differences
from lantern_probe.stats.permutation import SignFlip, sign_flip_test


@dataclass(frozen=True)
class Contrast:
    """Mean of one paired difference minus that of another, on the same samples.

    Attributes:
        difference: First minus second, with its interval.
        test: Test that it is 0: sign flips of whole clusters, or of binary outcomes `accuracy_test`
            and `mean_test`, which are the same.
    """

    difference: Difference
    test: SignFlip | PairedTest


def difference_of_differences(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Contrast:
    """Compare two effects on the same samples, such as erasing a concept against its control.

    Two effects whose own intervals overlap may differ, and two of which one is significant alone
    need not. The contrast is what such a claim is about. Where it takes only the values -1, 0 and
    1 in every sample, as if both effects have the same reference, its interval is Tango's
    (`accuracy_difference`), else the studentised bootstrap of `mean_difference`.

        >>> own, erased, control = [1] * 8, [0] * 8, [1] * 6 + [0] * 2
        >>> effect = [e - o for e, o in zip(erased, own)]
        >>> sham = [c - o for c, o in zip(control, own)]
        >>> found = difference_of_differences(effect, sham)
        >>> found.difference.estimate, found.test.p
        (-0.75, 0.03125)

    Args:
        first: First effect per sample [n]: one condition minus its reference.
        second: Second effect per sample [n], on the same samples in the same order.
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        level: Nominal coverage, default 0.95.
        resamples: Number of bootstrap resamples and of drawn sign patterns, default 10,000.
        seed: Seed of both, default 0.

    Raises:
        LanternError: lengths differ, a value is not finite, or an option is out of range.
    """
    one, two = paired_differences(first), paired_differences(second)
    if len(one) != len(two):
        raise LanternError(f"{len(one)} first effects for {len(two)} second ones")
    values = one - two
    test = sign_flip_test(values, clusters, resamples=resamples, seed=seed)
    interval = outcome_difference if np.isin(values, (-1, 0, 1)).all() else mean_difference
    found = interval(values, clusters, level=level, resamples=resamples, seed=seed)
    return Contrast(found, test)
