"""Cosines between samples at a slot, and between the slots of a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
"""Number of samples whose cosines to all others are held at once."""


@dataclass(frozen=True, eq=False)
class _Space:
    """A set of vectors in one space, with all that an interval takes.

    Attributes:
        vectors: Set of vectors.
        name: Name of the space.
        note: Note on the space for `GeometryRow.how`.
        units: Vectors of length 1, [n, slots, coordinates]; zero without a direction.
        defined: True for the vectors that have a direction, [n, slots].
        counts: Number of times each image is drawn in each resample, [resamples, images].
        level: Confidence level of the intervals.
    """

    vectors: VectorSet
    name: str
    note: str
    units: Float32[np.ndarray, "n slots coordinates"]
    defined: Bool[np.ndarray, "n slots"]
    counts: Float[np.ndarray, "resamples g"]
    level: float

    @classmethod
    def of(
        cls, vectors: VectorSet, name: str, counts: Float[np.ndarray, "resamples g"], level: float
    ) -> _Space:
        """Bring a set into a space."""
        coordinates, note = in_space(vectors, name)
        return cls(vectors, name, note, *directions(coordinates), counts, level)

    def members(
        self, groups: Sequence[Int[np.ndarray, " _"]], place: int
    ) -> list[Int[np.ndarray, " _"]]:
        """Members of each group that have a direction at a slot, groups of one image left out."""
        known = self.defined[:, place]
        found = [group[known[group]] for group in groups]
        return [some for some in found if len(np.unique(self.vectors.images[some])) > 1]


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Cosines of the pairs of samples of different images within the groups, at one slot.

    Attributes:
        used: True for the samples that are in a pair, [n].
        moments: Number, sum and sum of squares of the cosines.
        draws: Mean cosine in each resample, [resamples].
    """

    used: Bool[np.ndarray, " n"]
    moments: tuple[int, float, float]
    draws: Float[np.ndarray, " resamples"]

    @property
    def mean(self) -> float:
        """Mean cosine."""
        return self.moments[1] / self.moments[0]

    @classmethod
    def of(cls, space: _Space, place: int, members: Sequence[Int[np.ndarray, " _"]]) -> _Pairs:
        """Measure the pairs within each group."""
        images, units = space.vectors.images, space.units[:, place]
        each = [_pair_moments(units[some], images[some]) for some in members]
        pairs, total, squares = (sum(values) for values in zip(*each, strict=True))
        return cls(
            np.isin(np.arange(len(images)), np.concatenate(members)),
            (pairs, total, squares),
            _resampled_pairs(units, members, images, space.counts),
        )


def cosine_rows(
    vectors: VectorSet,
    *,
    labels: Sequence[Any] | None = None,
    spaces: Sequence[str] = SPACES,
    resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[GeometryRow]:
    """Measure how alike the vectors of a set are, in each space (`in_space`).

    `cosine between samples` is the mean cosine of two samples of *different* images at the same
    slot; its slot None is the mean over the slots. `cosine between samples alike` is the same over
    pairs with the same label, such as the question: latents that collapse onto the question are
    far apart among all samples, and near 1 here. For sets with slots there are two more. `cosine
    between slots` is the mean cosine of a slot to the other slots of the same sample. `slot cosine`
    is the mean cosine of each pair (slot, index) of slots.

    Centring alone puts the mean cosine between samples near -1 / (n - 1), whatever the vectors
    are. Its sd, about 1 / sqrt(dimensions used), still says something. So does the mean between
    the slots of a sample: what is particular to the sample stays from slot to slot.

    Pairs share samples, so the bootstrap draws images, and a pair counts as often as both its
    images were drawn. Samples of one image are never a pair. Mean and whitening are those of all
    samples, held fixed. A vector that is zero in a space has no direction; it is left out and
    counted.

    Args:
        vectors: Set to measure.
        labels: Label of each sample, [n], for the cosine between samples alike. None (default)
            leaves this measure out.
        spaces: Spaces to measure in, by default `raw`, `centred` and `whitened`.
        resamples: Number of bootstrap resamples, default 1,000.
        level: Confidence level of the intervals, default 0.95.
        seed: Seed of the bootstrap, default 0.

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
    for name in spaces:
        space = _Space.of(vectors, name, counts, level)
        for measure, members in groups.items():
            rows += _between(space, measure, members)
        if vectors.slotted and len(vectors.slots) > 1:
            rows += _within(space)
    return rows


def _between(
    space: _Space, measure: str, groups: Sequence[Int[np.ndarray, " _"]]
) -> list[GeometryRow]:
    """Rows of the mean cosine between samples of a group, per slot and over the slots."""
    vectors = space.vectors
    place: dict[str, Any] = {"measure": measure, "space": space.name}
    what = "vector" if measure == BETWEEN else "vector and the same label"
    # Sorted by image, so that the sums over a group come in the order of its images.
    groups = [group[np.argsort(vectors.images[group], kind="stable")] for group in groups]
    rows: list[GeometryRow] = []
    found: list[_Pairs] = []
    for index, slot in enumerate(vectors.slots):
        members = space.members(groups, index)
        if not members:
            why = f"no two images with a {what} that is not zero in this space"
            rows.append(undefined(vectors, why, **place, slot=slot))
            continue
        found.append(_Pairs.of(space, index, members))
        rows.append(_pairs_row(space, measure, slot, found[-1], found[-1].mean))
    if vectors.slotted and not found:
        why = f"no slot has two images with a {what} that is not zero in this space"
        rows.append(undefined(vectors, why, **place, slot=None))
    elif vectors.slotted:
        pairs, total, squares = (sum(one) for one in zip(*(p.moments for p in found), strict=True))
        used = np.any([one.used for one in found], axis=0)
        draws = np.mean([one.draws for one in found], axis=0)
        mean = float(np.mean([one.mean for one in found]))
        pooled = _Pairs(used, (pairs, total, squares), draws)
        rows.append(
            _pairs_row(space, measure, None, pooled, mean, f"mean over {len(found)} slots; ")
        )
    return rows


def _pairs_row(
    space: _Space, measure: str, slot: int | None, pairs: _Pairs, estimate: float, before: str = ""
) -> GeometryRow:
    """Make the row of a mean cosine, with the samples that it leaves out."""
    vectors, used = space.vectors, pairs.used
    n, images = int(used.sum()), len(np.unique(vectors.images[used]))
    low, high = interval(pairs.draws, space.level)
    alone = int((space.defined.any(1) & ~used).sum()) if measure == ALIKE else 0
    how = bootstrap_words(images, len(space.counts), vectors.n - n - alone) + space.note
    how += f"; {alone} samples with none alike left out" if alone else ""
    return GeometryRow(
        name=vectors.name,
        measure=measure,
        space=space.name,
        slot=slot,
        estimate=estimate,
        sd=_sd(*pairs.moments),
        low=low,
        high=high,
        n=n,
        images=images,
        how=before + how,
    )


def _sd(pairs: float, total: float, squares: float) -> float:
    """Standard deviation from the number, the sum and the sum of squares of values."""
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
    """Mean cosine between samples of different images of a group, in each resample.

    Let s_g be the sum of the unit vectors of image g, and w_g the number of times it was drawn. The
    sum over pairs of different images is |sum w s|^2 - sum w^2 |s|^2, counting each pair twice, and
    likewise for the number of pairs.
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


def _within(space: _Space) -> list[GeometryRow]:
    """Rows of the cosines between the slots of a sample, per slot, over all, and per pair."""
    units, defined = space.units, space.defined
    slots = units.shape[1]
    cosines = np.matmul(units, units.transpose(0, 2, 1)).astype(np.float64)
    cosines[~(defined[:, :, None] & defined[:, None, :])] = np.nan

    def row(values: Float[np.ndarray, "n each"], measure: str, **place: Any) -> GeometryRow:
        place |= {"measure": measure, "space": space.name}
        return mean_row(space.vectors, values, space.counts, space.level, note=space.note, **place)

    rows = [row(np.delete(cosines[:, t], t, 1), WITHIN, slot=t) for t in range(slots)]
    rows.append(row(cosines[:, *np.triu_indices(slots, 1)], WITHIN, slot=None))
    for one in range(slots):
        for two in range(slots):
            rows.append(row(cosines[:, one, two, None], SLOT_PAIR, slot=one, index=two))
    return rows
