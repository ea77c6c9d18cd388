"""The flat record of all that geometry measures."""

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
    """One measured number; tables and figures are made from lists of these alone.

    Attributes:
        name: The set of vectors: `own`, `oracle`, the name of a reference; `own, oracle` for two.
        measure: What was measured.
        space: `raw`, `centred` or `whitened`.
        slot: 0-based; None for all slots together, or where there are none.
        index: The second slot of a matrix of slots (0-based) or the component of a spectrum
            (1-based); None elsewhere.
        estimate: The value; NaN where it is not defined, and `how` says why.
        sd: Standard deviation of the single values (pairs, or samples) about their mean.
        low: Lower end of the interval of the estimate; None where there is none.
        high: Upper end.
        p: p value of the permutation test that `how` names; None where there is none.
        n: Samples that it is made of.
        images: Different images among them, the independent units.
        how: The interval and the test in words, or why there is no value.
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
    """A row without a value, and why; `place` holds the fields that say of what."""
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
    """The mean of some values per sample, NaN where not defined, with a bootstrap over images.

    Args:
        vectors: The set they come from.
        values: Of each sample, [n, each].
        counts: Of `bootstrap_counts`.
        level: Of the interval.
        note: To be added to `how`.
        **place: The fields that say of what this is the mean, and `p`.
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
    """How an interval was made."""
    text = (
        f"percentile bootstrap over {images} images, {resamples} resamples"
        if images > 1
        else "one image: no interval"
    )
    return text + (f"; {left_out} samples without a direction left out" if left_out else "")
