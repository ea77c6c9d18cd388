"""Lengths of latents, and their drift from slot to slot."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from lantern_probe.geometry.row import GeometryRow, mean_row
from lantern_probe.geometry.vectors import VectorSet, directions
from lantern_probe.stats.clusters import check_level
from lantern_probe.stats.resampling import bootstrap_counts

NORM, TO_FIRST, STEP = "norm", "cosine to first slot", "step length"


def norm_rows(
    vectors: VectorSet, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0
) -> list[GeometryRow]:
    """Measure the mean length of the vectors, per slot and over all (slot None), in their own unit.

    Compare it with the same rows of ordinary tokens' embeddings: an embedding of another length is
    out of distribution whatever its direction (arXiv 2605.12374). Intervals are bootstraps over
    images.

    Args:
        vectors: Set to measure.
        resamples: Number of bootstrap resamples, default 1,000.
        level: Confidence level of the intervals, default 0.95.
        seed: Seed of the bootstrap, default 0.

    Raises:
        LanternError: an option is out of range.
    """
    check_level(level)
    counts = bootstrap_counts(vectors.images, resamples, seed)
    norms = _lengths(vectors.vectors)
    places = [(slot, norms[:, place, None]) for place, slot in enumerate(vectors.slots)]
    if vectors.slotted:
        places.append((None, norms))
    return [
        mean_row(vectors, values, counts, level, measure=NORM, space="raw", slot=slot)
        for slot, values in places
    ]


def path_rows(
    vectors: VectorSet, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0
) -> list[GeometryRow]:
    """Measure the drift over the slots: `cosine to first slot`, and `step length` |z_t - z_(t-1)|.

    Each has one row per slot from 1 on, in the raw space; a step has the unit of the vectors. A
    model that repeats its first latent has cosines of 1 and steps of 0. Intervals are bootstraps
    over images.

    Args:
        vectors: Set to measure; without slots there are no rows.
        resamples: Number of bootstrap resamples, default 1,000.
        level: Confidence level of the intervals, default 0.95.
        seed: Seed of the bootstrap, default 0.

    Raises:
        LanternError: an option is out of range.
    """
    check_level(level)
    if not vectors.slotted:
        return []
    counts = bootstrap_counts(vectors.images, resamples, seed)
    units, defined = directions(vectors.vectors)
    cosines = np.einsum("nd,nkd->nk", units[:, 0], units)
    cosines[~(defined & defined[:, :1])] = np.nan
    rows = []
    for slot in range(1, vectors.vectors.shape[1]):
        step = np.subtract(*(vectors.vectors[:, [t]].astype(np.float64) for t in (slot, slot - 1)))
        for measure, values in ((TO_FIRST, cosines[:, slot]), (STEP, _lengths(step)[:, 0])):
            place: dict[str, Any] = {"measure": measure, "space": "raw", "slot": slot}
            rows.append(mean_row(vectors, values[:, None], counts, level, **place))
    return rows


def _lengths(vectors: Float[np.ndarray, "n slots dim"]) -> Float[np.ndarray, "n slots"]:
    """Lengths in float64, which holds the square of any float32."""
    return np.sqrt(np.einsum("nkd,nkd->nk", vectors, vectors, dtype=np.float64))
