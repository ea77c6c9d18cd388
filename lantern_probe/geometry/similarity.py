"""Cosines between samples at a slot, and between the slots of a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from lantern_probe.errors import LanternError
from lantern_probe.geometry.row import GeometryRow, bootstrap_words, mean_row, undefined
from lantern_probe.geometry.vectors import (
    SPACES,
    VectorSet,
    directions,
    in_space,
    members_of,
)
from lantern_probe.stats.clusters import check_level
from lantern_probe.stats.resampling import bootstrap_counts, image_index, image_sums, interval

BETWEEN, WITHIN, SLOT_PAIR = "cosine between samples", "cosine between slots", "slot cosine"
ALIKE = "cosine between samples alike"

_CHUNK = 512
"""Samples whose cosines to all others are held at once."""


def cosine_rows(
    vectors: VectorSet,
    *,
    labels: Sequence[Any] | None = None,
    spaces: Sequence[str] = SPACES,
    resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[GeometryRow]:
    """How alike the vectors of a set are, in each space (see `in_space`).

    `cosine between samples`: mean cosine of two samples of *different* images at the same slot;
    slot None is the mean over the slots. `cosine between samples alike`: the same for pairs with
    the same label, such as the question: what collapses onto the question is far apart among all
    samples, and near 1 here. `cosine between slots`: mean cosine of a slot to the other
    slots of the same sample. `slot cosine`: the same for each pair (slot, index) of slots. The last
    two only where there are slots.

    Centring alone puts the mean cosine between samples near -1 / (n - 1), whatever the vectors
    are; what is left to see is its sd, about 1 / sqrt(dimensions used). Between the slots of a
    sample the mean still says something: what is particular to the sample stays from slot to slot.

    Pairs share samples, so the bootstrap draws images, and a pair counts as often as both its
    images were drawn; copies of one image are never a pair. Mean and whitening are those of all
    samples, held fixed. A vector that is zero in a space has no direction: it is left out and
    counted.

    Args:
        vectors: The set.
        labels: Of each sample, for the cosine between samples alike.
        spaces: Which spaces.
        resamples: Bootstrap resamples.
        level: Of the intervals.
        seed: Of the bootstrap.

    Raises:
        LanternError: an option is out of range, or there is not one label per sample.
    """
    check_level(level)
    if labels is not None and len(labels) != vectors.n:
        raise LanternError(f"{vectors.name}: {len(labels)} labels for {vectors.n} samples")
    counts = bootstrap_counts(vectors.images, resamples, seed)
    groups: dict[str, Sequence[Any]] = {BETWEEN: [np.arange(vectors.n)]}
    if labels is not None:
        groups[ALIKE] = members_of(image_index(labels, vectors.n))
    rows = []
    for space in spaces:
        coordinates, note = in_space(vectors, space)
        units, defined = directions(coordinates)
        for measure, members in groups.items():
            rows += _between(vectors, measure, members, space, note, units, defined, counts, level)
        if vectors.slotted and len(vectors.slots) > 1:
            rows += _within(vectors, space, note, units, defined, counts, level)
    return rows


def _between(
    vectors: VectorSet,
    measure: str,
    groups: Sequence[Int[np.ndarray, " _"]],
    space: str,
    note: str,
    units: Float32[np.ndarray, "n slots dim"],
    defined: Bool[np.ndarray, "n slots"],
    counts: Float[np.ndarray, "resamples g"],
    level: float,
) -> list[GeometryRow]:
    place: dict[str, Any] = {"name": vectors.name, "measure": measure, "space": space}
    what = "vector" if measure == BETWEEN else "vector and the same label"
    # By image, so that the sums of a group are in the order of its images.
    by_image = [group[np.argsort(vectors.images[group], kind="stable")] for group in groups]
    rows: list[GeometryRow] = []
    draws: list[Any] = []
    moments: list[tuple[int, float, float]] = []
    paired = np.zeros(vectors.n, bool)

    def row(slot: int | None, estimate: float, sd: float, draw: Any, used: Any) -> GeometryRow:
        images = len(np.unique(vectors.images[used]))
        low, high = interval(draw, level)
        alone = int((defined.any(1) & ~used).sum()) if measure == ALIKE else 0
        left_out = vectors.n - int(used.sum()) - alone
        how = bootstrap_words(images, len(counts), left_out) + note
        how += f"; {alone} samples with none alike left out" if alone else ""
        how = (
            how
            if slot is not None or not vectors.slotted
            else f"mean over {len(draws)} slots; {how}"
        )
        return GeometryRow(
            **place,
            slot=slot,
            estimate=estimate,
            sd=sd,
            low=low,
            high=high,
            n=int(used.sum()),
            images=images,
            how=how,
        )

    for slot, known, u in zip(vectors.slots, defined.T, units.transpose(1, 0, 2), strict=True):
        members = [group[known[group]] for group in by_image]
        members = [some for some in members if len(np.unique(vectors.images[some])) > 1]
        if not members:
            why = f"no two images with a {what} that is not zero in this space"
            rows.append(undefined(vectors, why, **place, slot=slot))
            continue
        used = np.isin(np.arange(vectors.n), np.concatenate(members))
        paired |= used
        each = [_pair_moments(u[some], vectors.images[some]) for some in members]
        pairs, total, squares = (sum(values) for values in zip(*each, strict=True))
        moments.append((pairs, total, squares))
        draws.append(_resampled_pairs(u, members, vectors.images, counts))
        rows.append(row(slot, total / pairs, _sd(*moments[-1]), draws[-1], used))
    if vectors.slotted and not draws:
        why = f"no slot has two images with a {what} that is not zero in this space"
        rows.append(undefined(vectors, why, **place, slot=None))
    elif vectors.slotted:
        mean = float(np.mean([total / pairs for pairs, total, _ in moments]))
        sd = _sd(*(sum(values) for values in zip(*moments, strict=True)))
        rows.append(row(None, mean, sd, np.mean(draws, axis=0), paired))
    return rows


def _sd(pairs: float, total: float, squares: float) -> float:
    return math.sqrt(max(0.0, squares / pairs - (total / pairs) ** 2))


def _pair_moments(
    units: Float32[np.ndarray, "n dim"], images: Int[np.ndarray, " n"]
) -> tuple[int, float, float]:
    """Number, sum and sum of squares of the cosines of samples of different images."""
    pairs, total, squares = 0, 0.0, 0.0
    for start in range(0, len(units), _CHUNK):
        rows = slice(start, start + _CHUNK)
        cosines = units[rows] @ units[start:].T
        # Each pair once: within the diagonal block only its upper part counts.
        other = images[rows, None] != images[start:]
        other &= np.arange(len(cosines))[:, None] < np.arange(cosines.shape[1])
        cosines *= other
        pairs += int(other.sum())
        total += float(cosines.sum(dtype=np.float64))
        squares += float(np.einsum("ij,ij->i", cosines, cosines).sum(dtype=np.float64))
    return pairs, total, squares


def _resampled_pairs(
    units: Float32[np.ndarray, "n dim"],
    groups: Sequence[Int[np.ndarray, " _"]],
    images: Int[np.ndarray, " n"],
    counts: Float[np.ndarray, "resamples g"],
) -> Float[np.ndarray, " resamples"]:
    """The mean cosine between different images of a group in each resample.

    With s_g the sum of an image's unit vectors and w_g how often it was drawn, the sum over pairs
    of different images is |sum w s|^2 - sum w^2 |s|^2, and likewise for the number of pairs.
    """
    above, below = np.zeros((2, len(counts)))
    for members in groups:
        there, index, sizes = np.unique(images[members], return_inverse=True, return_counts=True)
        sums = image_sums(units[members], index)
        own = np.einsum("gd,gd->g", sums, sums, dtype=np.float64)
        times = counts[:, there]
        drawn = times @ sums.astype(np.float32)
        squared = times.astype(np.float64) ** 2
        above += np.einsum("rd,rd->r", drawn, drawn, dtype=np.float64) - squared @ own
        below += (times @ sizes) ** 2 - squared @ sizes**2
    return np.divide(above, below, out=np.full(len(counts), np.nan), where=below > 0.5)


def _within(
    vectors: VectorSet,
    space: str,
    note: str,
    units: Float32[np.ndarray, "n slots dim"],
    defined: Bool[np.ndarray, "n slots"],
    counts: Float[np.ndarray, "resamples g"],
    level: float,
) -> list[GeometryRow]:
    slots = units.shape[1]
    cosines = np.matmul(units, units.transpose(0, 2, 1)).astype(np.float64)
    cosines[~(defined[:, :, None] & defined[:, None, :])] = np.nan

    def row(values: Float[np.ndarray, "n each"], measure: str, **place: Any) -> GeometryRow:
        place |= {"measure": measure, "space": space}
        return mean_row(vectors, values, counts, level, note=note, **place)

    rows = [row(np.delete(cosines[:, t], t, 1), WITHIN, slot=t) for t in range(slots)]
    rows.append(row(cosines[:, *np.triu_indices(slots, 1)], WITHIN, slot=None))
    for one in range(slots):
        for two in range(slots):
            rows.append(row(cosines[:, one, two, None], SLOT_PAIR, slot=one, index=two))
    return rows
