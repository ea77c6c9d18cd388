"""The flat record of every geometric measure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from lantern_probe.geometry.vectors import VectorSet
from lantern_probe.stats.resampling import image_sums, interval, ratios


@dataclass(frozen=True, kw_only=True)
class GeometryRow:
    """One measured number; tables and figures are made from lists of these rows alone.

    Attributes:
        name: Name of the set of vectors, such as `own`, `oracle` or a reference's; `own, oracle`
            for a measure of two sets.
        measure: Name of the measure, such as `effective rank`.
        space: Space of the vectors: `raw`, `centred` or `whitened`.
        slot: Slot, counted from 0; None for all slots together, or for vectors without slots.
        index: Second slot of a matrix of slots, counted from 0, or component of a spectrum, counted
            from 1; None elsewhere.
        estimate: Value of the measure; NaN if it is not defined, for the reason in `how`.
        sd: Standard deviation of the single values (of pairs, or of samples) about their mean; None
            for measures that are no mean of such values.
        low: Lower end of the estimate's interval; None without one.
        high: Upper end of the estimate's interval; None without one.
        p: p value of the permutation test that `how` names; None without one.
        n: Number of samples in the estimate.
        images: Number of different images among the samples, which are the independent units.
        how: The interval and the test in words, or the reason why there is no value.
    """

    name: str
    measure: str
    space: str
    slot: int | None
    index: int | None = None
    estimate: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int
    images: int
    how: str


def undefined(vectors: VectorSet, why: str, **place: Any) -> GeometryRow:
    """Make a row without a value.

    Args:
        vectors: Set that was measured.
        why: Reason why there is no value.
        **place: Fields that identify the row: `measure`, `space`, `slot` and so on.
    """
    return GeometryRow(
        **{"name": vectors.name} | place,
        estimate=math.nan,
        n=vectors.n,
        images=vectors.image_count,
        how=f"undefined: {why}",
    )


def mean_row(
    vectors: VectorSet,
    values: Num[np.ndarray, "n each"],
    counts: Float[np.ndarray, "resamples g"],
    level: float,
    *,
    note: str = "",
    **place: Any,
) -> GeometryRow:
    """Make a row of a mean of values, with the bootstrap interval over images.

    Args:
        vectors: Set that was measured.
        values: Values of each sample, [n, each]; NaN where not defined.
        counts: Number of times each image is drawn in each resample (`bootstrap_counts`).
        level: Confidence level of the interval, between 0 and 1.
        note: Text that is added to `how`.
        **place: Fields that identify the row, and `p`.
    """
    known = np.isfinite(values)
    samples = known.any(1)
    if not samples.any():
        return undefined(vectors, "all vectors are zero in this space", **place)
    sums = np.where(known, values, 0).sum(1, dtype=np.float64)
    sizes = known.sum(1)
    n, images = int(samples.sum()), len(np.unique(vectors.images[samples]))
    draws = ratios(counts, image_sums(sums, vectors.images), image_sums(sizes, vectors.images))
    low, high = interval(draws, level) if images > 1 else (None, None)
    single = values[known].astype(np.float64)
    return GeometryRow(
        **{"name": vectors.name} | place,
        estimate=float(single.mean()),
        sd=float(single.std()),
        low=low,
        high=high,
        n=n,
        images=images,
        how=bootstrap_words(images, len(counts), vectors.n - n) + note,
    )


def bootstrap_words(images: int, resamples: int, left_out: int) -> str:
    """Describe a bootstrap interval over images in words, for `GeometryRow.how`.

    Args:
        images: Number of different images.
        resamples: Number of resamples.
        left_out: Number of samples without a direction.
    """
    text = (
        f"percentile bootstrap over {images} images, {resamples} resamples"
        if images > 1
        else "one image: no interval"
    )
    return text + (f"; {left_out} samples without a direction left out" if left_out else "")
