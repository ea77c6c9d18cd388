"""Retrieval of each sample's oracle among those of samples alike, such as of one question."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from lantern_probe.errors import LanternError
from lantern_probe.geometry.resampling import exchanges, image_index
from lantern_probe.geometry.vectors import VectorSet, check_pairing, directions, members_of
from lantern_probe.retrieval.tally import RankTest
from lantern_probe.stats.permutation import permutation_p
from lantern_probe.stats.ties import SINGLE_TIE, midranks


@dataclass(frozen=True)
class AlikeRetrieval:
    """Retrieval in one view, each sample among those alike.

    Attributes:
        view: As in `Retrieval`.
        slot: 0-based; None for `pooled` and `concatenated`.
        n: Queries that have others alike.
        left_out: Samples that have none.
        groups: Groups of samples alike, of two or more.
        place: Mean place of the right entry in its group, 0 if always first, 1 if always last; .5
            is chance. NaN where there is no group.
        permutations: Random pairings drawn.
        seed: Of them.
    """

    view: str
    slot: int | None
    n: int
    left_out: int
    groups: int
    place: RankTest
    permutations: int
    seed: int


def retrieve_alike(
    own: VectorSet,
    oracle: VectorSet,
    labels: Sequence[Any],
    *,
    permutations: int = 1_999,
    seed: int = 0,
) -> list[AlikeRetrieval]:
    """Retrieve each sample's oracle among those of samples with the same label, in every view.

    A model that repeats what its question says is better than chance in `retrieve` wherever the
    evidence looks like the words: it finds the oracles of questions like its own. Among samples of
    one question that is no help, and what is left comes from the image.

    A place is (rank - 1) / (size - 1), ties counting half; cosines that float32 cannot tell apart
    are ties. The pairings of the test stay within the groups, and images are exchanged as a whole
    within each (see `exchanges`); z is from the exact variance over them (Hoeffding 1951), and
    where images repeat from that of the pairings drawn.

    Time and memory grow with the square of the largest group.

    Args:
        own: Own latents; with images if they repeat.
        oracle: Oracle latents of the same samples.
        labels: What is the same in samples that are alike, one per sample [n].
        permutations: Random pairings.
        seed: Of the pairings.

    Raises:
        LanternError: the sets are not of the same samples, labels are not one per sample, or one is
            None, or an option is out of range.
    """
    check_pairing(own, oracle)
    if len(labels) != own.n:
        raise LanternError(f"{len(labels)} labels for {own.n} samples; give one per sample")
    if None in labels:
        raise LanternError(f"sample {list(labels).index(None)} (counted from 0) has no label")
    groups = [g for g in members_of(image_index(list(labels), own.n)) if len(g) > 1]
    images = [image_index(own.images[group], len(group)) for group in groups]
    # Groups of one size must not be exchanged alike.
    partners = [exchanges(i, permutations, seed + number) for number, i in enumerate(images)]
    n = sum(map(len, groups))
    exact = all(len(np.unique(i)) == len(i) for i in images)
    results = []
    for name, slot, queries, gallery in _views(own, oracle):
        places = [_places(queries[group], gallery[group]) for group in groups]
        results.append(
            AlikeRetrieval(
                view=name,
                slot=slot,
                n=n,
                left_out=own.n - n,
                groups=len(groups),
                place=_test(places, partners, exact),
                permutations=permutations,
                seed=seed,
            )
        )
    return results


def _views(
    own: VectorSet, oracle: VectorSet
) -> list[tuple[str, int | None, Float32[np.ndarray, "n _"], Float32[np.ndarray, "n _"]]]:
    """Unit vectors of both sides in each view."""

    def units(of: Callable[[VectorSet], Float32[np.ndarray, "n 1 _"]]) -> Sequence[Any]:
        return [directions(of(side))[0][:, 0] for side in (own, oracle)]

    one, two = (directions(side.vectors)[0] for side in (own, oracle))
    pooled = units(lambda side: side.mean_over_slots().vectors)
    whole = units(lambda side: side.vectors.reshape(side.n, 1, -1))
    return [
        *((f"slot {slot}", slot, one[:, slot], two[:, slot]) for slot in range(one.shape[1])),
        ("pooled", None, pooled[0], pooled[1]),
        ("concatenated", None, whole[0], whole[1]),
    ]


def _places(
    queries: Float32[np.ndarray, "g dim"], gallery: Float32[np.ndarray, "g dim"]
) -> Float[np.ndarray, "g g"]:
    """The place of every entry for every query, from 0 to 1."""
    return (midranks(-(queries @ gallery.T), SINGLE_TIE) - 1) / (len(gallery) - 1)


def _test(
    places: Sequence[Float[np.ndarray, "_ _"]],
    partners: Sequence[Int[np.ndarray, "permutations _"]],
    exact: bool,
) -> RankTest:
    """The mean place, against pairings within the groups."""
    n = sum(map(len, places))
    if not n:
        return RankTest(math.nan, 0.5, None, 1.0, 1.0, "undefined: no two samples are alike")
    seen = sum(float(np.trace(group)) for group in places)
    drawn = np.zeros(len(partners[0]))
    variance = 0.0
    for group, orders in zip(places, partners, strict=True):
        size = len(group)
        drawn += group[np.arange(size), orders].sum(1)
        # Every row has a mean of 1/2.
        variance += float(((group - group.mean(0)) ** 2).sum()) / (size - 1)
    grand, deviation = n / 2, math.sqrt(variance)
    if not exact:
        grand, deviation = float(drawn.mean()), float(drawn.std())
    both = permutation_p(seen, drawn, tail="both", scale=n)
    better = permutation_p(seen, drawn, tail="lower", scale=n)
    z = (seen - grand) / deviation if deviation > 1e-7 * n else None
    method = f"{len(drawn)} pairings within groups; z: " + ("exact" if exact else "from them")
    return RankTest(seen / n, grand / n, z, both, better, method)
