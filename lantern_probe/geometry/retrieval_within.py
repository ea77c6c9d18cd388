"""Retrieval of each sample's oracle among those of samples alike, such as of one question."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from lantern_probe.errors import LanternError
from lantern_probe.geometry.retrieval_tests import RankTest
from lantern_probe.geometry.vectors import VectorSet, check_pairing, directions, members_of
from lantern_probe.stats.permutation import permutation_p
from lantern_probe.stats.resampling import image_index, permute_images
from lantern_probe.stats.ties import SINGLE_TIE, midranks


@dataclass(frozen=True)
class AlikeRetrieval:
    """Result of retrieval in one view, of each sample among those alike.

    Attributes:
        view: Name of the view: `pooled` (mean over the slots), `concatenated`, `slot 0` and so on.
        slot: Slot of the view, counted from 0; None for `pooled` and `concatenated`.
        n: Number of queries with other samples alike.
        left_out: Number of samples without others alike.
        groups: Number of groups of two or more samples alike.
        place: Mean place of the right entry in its group, with its test: 0 if always first, 1 if
            always last, 0.5 by chance; NaN without groups.
        permutations: Number of random pairings drawn.
        seed: Seed of the pairings.
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

    A model whose latents repeat the question is better than chance in `retrieve`, as it finds the
    oracles of questions like its own. Among samples of one question this does not help, and what
    the latents find comes from the image.

    A place is (rank - 1) / (size - 1), with ties counting half; cosines that float32 cannot tell
    apart are ties. The pairings of the test stay within the groups, and images are exchanged as a
    whole within each (`permute_images`). z is from the exact variance over these pairings
    (Hoeffding 1951), or where images repeat, from that of the pairings drawn.

    Time and memory grow with the square of the largest group.

    Args:
        own: Own latents, with images if these repeat.
        oracle: Oracle latents of the same samples.
        labels: Label of each sample, [n], equal for samples alike, such as the question.
        permutations: Number of random pairings, default 1,999.
        seed: Seed of the pairings, default 0.

    Returns:
        A result for each slot, for the mean over the slots, and for all slots concatenated.

    Raises:
        LanternError: the sets are not of the same samples, there is not one label per sample, a
            label is None, or an option is out of range.

    Examples:
        Latents that repeat their question find nothing among samples of one question:

        >>> import numpy as np
        >>> from lantern_probe.geometry import VectorSet, retrieve, retrieve_alike
        >>> question = np.repeat(np.arange(10), 8)
        >>> meaning = np.random.default_rng(0).normal(size=(10, 16))[question]
        >>> own, oracle = np.random.default_rng(1).normal(size=(2, 80, 16)) + meaning
        >>> sets = VectorSet.of("own", own), VectorSet.of("oracle", oracle)
        >>> within = retrieve_alike(*sets, question.tolist())
        >>> retrieve(*sets)[0].mean_rank.p < 0.01, within[0].place.p < 0.05
        (True, False)
    """
    check_pairing(own, oracle)
    if len(labels) != own.n:
        raise LanternError(f"{len(labels)} labels for {own.n} samples; give one per sample")
    if None in labels:
        raise LanternError(f"sample {list(labels).index(None)} (counted from 0) has no label")
    groups = [g for g in members_of(image_index(list(labels), own.n)) if len(g) > 1]
    images = [image_index(own.images[group], len(group)) for group in groups]
    # Another seed for each group, so that groups of one size are not permuted alike.
    partners = [permute_images(i, permutations, seed + number) for number, i in enumerate(images)]
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
    """Name, slot, and unit vectors of both sets, in each view."""

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
    """Place of every entry for every query of a group, from 0 to 1."""
    return (midranks(-(queries @ gallery.T), SINGLE_TIE) - 1) / (len(gallery) - 1)


def _test(
    places: Sequence[Float[np.ndarray, "_ _"]],
    partners: Sequence[Int[np.ndarray, "permutations _"]],
    exact: bool,
) -> RankTest:
    """Test the mean place against pairings within the groups."""
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
