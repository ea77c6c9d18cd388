"""Retrieval of each sample's oracle latents by its own latents, by cosine, in every view."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from lantern_probe.errors import LanternError
from lantern_probe.geometry.retrieval_tests import RankTest, Tally
from lantern_probe.geometry.vectors import ROUNDING, VectorSet, check_pairing
from lantern_probe.stats.resampling import image_index, permute_images
from lantern_probe.stats.ties import unit_scaled

MERGES = ("nothing", "identical", "images")
"""Ways in which items of the gallery can be merged into one entry."""

_CHUNK = 128
"""Number of queries whose cosines to the whole gallery are held at once, in all views."""


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Result of retrieval in one view.

    Attributes:
        view: Name of the view: `pooled` (mean over the slots), `concatenated`, `slot 0` and so on.
        slot: Slot of the view, counted from 0; None for `pooled` and `concatenated`.
        n: Number of queries.
        candidates: Number of entries of the gallery, among which ranks are counted; n, or fewer if
            items were merged.
        mean_rank: Mean rank of the right entry, with its test. 1 is best; without merging, chance
            is (candidates + 1) / 2.
        mrr: Mean reciprocal rank of the right entry, with its test; 1 is best.
        recall: Fraction of queries with the right entry among the first k, by k of 1, 5 and 10.
            Without merging, chance is k / candidates.
        tied: Number of queries whose right entry has the cosine of another entry, to 1e-6.
        identical: Number of items of the gallery whose vector another item has too.
        shared_images: Number of items whose image another item has too.
        oracle_recall: Recall at 1 of the gallery against itself. It is 1 unless items of different
            entries are identical, or too close for float32 to tell (a cosine above 1 - 1e-6).
        merge: Items that were treated as one entry, one of `MERGES`.
        permutations: Number of random pairings drawn.
        seed: Seed of the pairings.
        ranks: Expected rank of the right entry of each query, with ties in random order, [n].
    """

    view: str
    slot: int | None
    n: int
    candidates: int
    mean_rank: RankTest
    mrr: RankTest
    recall: dict[int, float]
    tied: int
    identical: int
    shared_images: int
    oracle_recall: float
    merge: str
    permutations: int
    seed: int
    ranks: Float[np.ndarray, " n"] = field(repr=False)


def retrieve(
    own: VectorSet,
    oracle: VectorSet,
    *,
    merge: str = "nothing",
    permutations: int = 1_999,
    seed: int = 0,
) -> list[Retrieval]:
    """Retrieve each sample's oracle by its own latents, in every view.

    Ties are broken at random, in expectation. A right entry after g better ones, which shares its
    cosine with e others, has rank g + 1 + e/2; its reciprocal rank and its hits are averaged over
    the e + 1 places. Cosines within 1e-6 are ties, as float32 holds no more. A query or an item
    that is zero has a cosine of 0 to everything. So latents that are all alike give chance, and not
    a result of the gallery's order.

    Under the null hypothesis oracles are paired with queries at random, while gallery and queries
    stay as they are. With a few entries near to everything (hubs), ranks are not independent, and
    the usual standard error of uniform ranks is too large. p is (b + 1) / (m + 1), where b of m
    random pairings reach the value seen; images are exchanged as a whole (`permute_images`). z is
    from the exact mean and variance over all pairings (Hoeffding 1951), or where images repeat,
    from those of the pairings drawn.

    Several samples may share an oracle. `merge="identical"` makes items with identical vectors one
    entry, and `merge="images"` items of one image. An entry has the highest cosine of its items.

    Queries are compared in pieces, so that no n x n matrix is kept.

    Args:
        own: Own latents, with images if these repeat.
        oracle: Oracle latents of the same samples, the gallery.
        merge: Items that make one entry of the gallery: `nothing` (default; each is its own entry),
            `identical` or `images`.
        permutations: Number m of random pairings, default 1,999.
        seed: Seed of the pairings, default 0.

    Returns:
        A result for each slot, for the mean over the slots, and for all slots concatenated.

    Raises:
        LanternError: the sets are not of the same samples, or an option is out of range.

    Examples:
        Latents that are their oracles plus noise find them:

        >>> import numpy as np
        >>> from lantern_probe.geometry import VectorSet, retrieve
        >>> oracle, noise = np.random.default_rng(0).normal(size=(2, 50, 4, 16))
        >>> own = oracle + 0.5 * noise
        >>> found = retrieve(VectorSet.of("own", own), VectorSet.of("oracle", oracle))
        >>> [result.view for result in found]
        ['slot 0', 'slot 1', 'slot 2', 'slot 3', 'pooled', 'concatenated']
        >>> found[-1].recall[1], found[-1].mean_rank.chance
        (1.0, 25.5)
    """
    check_pairing(own, oracle)
    if merge not in MERGES:
        raise LanternError(f"no merge {merge!r}; choose one of {list(MERGES)}")
    partners = permute_images(own.images, permutations, seed)
    queries, gallery = _Sides.of(own), _Sides.of(oracle)
    first = np.stack([_first(view) for view in gallery.views])
    entries = [_entries(merge, view, own.images) for view in first]
    tallies = [Tally(own.n, view, partners) for view in entries]
    _tally(tallies, queries, gallery, first)
    oracle_recall = _oracle_recall(gallery, entries)
    results = []
    for view, (name, tally) in enumerate(zip(gallery.names, tallies, strict=True)):
        mean_rank, mrr = tally.tests(exact=own.image_count == own.n)
        results.append(
            Retrieval(
                view=name,
                slot=view if view < gallery.slots else None,
                n=own.n,
                candidates=tally.candidates,
                mean_rank=mean_rank,
                mrr=mrr,
                recall=tally.recall(),
                tied=tally.tied,
                identical=_repeated(first[view]),
                shared_images=_repeated(own.images),
                oracle_recall=float(oracle_recall[view]),
                merge=merge,
                permutations=permutations,
                seed=seed,
                ranks=tally.ranks,
            )
        )
    return results


@dataclass(frozen=True, eq=False)
class _Sides:
    """Own latents or oracle latents, in all views.

    Attributes:
        vectors: Vectors, [n, slots, dim].
        pooled: Mean of each sample's vectors over the slots, [n, dim].
        scale: Inverse norm in each view, 0 for a zero vector, [views, n].
    """

    vectors: Float[np.ndarray, "n slots dim"]
    pooled: Float[np.ndarray, "n dim"]
    scale: Float[np.ndarray, "views n"]

    @classmethod
    def of(cls, side: VectorSet) -> _Sides:
        slots, _ = unit_scaled(side.vectors, (1, 2))  # float32 must hold the squares
        pooled = slots.mean(1)
        squares = np.einsum("nkd,nkd->kn", slots, slots)
        squares = np.stack([*squares, np.einsum("nd,nd->n", pooled, pooled), squares.sum(0)])
        scale = np.zeros_like(squares)
        np.divide(1, np.sqrt(squares), out=scale, where=squares > 0)
        return cls(slots, pooled, scale)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return self.vectors.shape[1]

    @property
    def names(self) -> list[str]:
        """Names of the views."""
        return [*(f"slot {slot}" for slot in range(self.slots)), "pooled", "concatenated"]

    @property
    def views(self) -> list[Float[np.ndarray, "n ..."]]:
        """Vectors of each view."""
        return [*self.vectors.transpose(1, 0, 2), self.pooled, self.vectors]


def _tally(
    tallies: Sequence[Tally],
    queries: _Sides,
    gallery: _Sides,
    first: Int[np.ndarray, "views n"],
) -> None:
    """Rank every query's entries in each view, piece by piece.

    Args:
        tallies: Tally of each view, which takes in the cosines.
        queries: Queries in all views.
        gallery: Gallery in all views.
        first: First identical item of each item, by view.
    """
    n = len(gallery.vectors)
    for start in range(0, n, _CHUNK):
        piece = _cosines(queries, gallery, slice(start, start + _CHUNK), slice(None))
        for tally, identical, cosines in zip(tallies, first, piece, strict=True):
            # Products with the same vector may be rounded differently elsewhere in the matrix.
            copies = np.flatnonzero(identical != np.arange(n))
            cosines[:, copies] = cosines[:, identical[copies]]
            tally.add(start, cosines)


def _repeated(names: Int[np.ndarray, " n"]) -> int:
    """Number of items whose name another item has too."""
    return int((np.bincount(names)[names] > 1).sum())


def _first(vectors: Float[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
    """Index of the first identical vector of each vector, which may be itself."""
    seen: dict[bytes, int] = {}
    digests = [hashlib.blake2b(np.ascontiguousarray(v).data, digest_size=16) for v in vectors]
    return np.array([seen.setdefault(d.digest(), i) for i, d in enumerate(digests)])


def _entries(
    merge: str, first: Int[np.ndarray, " n"], images: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Entry of the gallery to which each item belongs, counted from 0."""
    if merge == "nothing":
        return np.arange(len(first))
    return images if merge == "images" else image_index(first, len(first))


def _cosines(
    queries: _Sides, gallery: _Sides, rows: slice, columns: slice
) -> list[Float[np.ndarray, "rows columns"]]:
    """Cosines of some queries to some of the gallery, in each view."""
    products = [
        queries.vectors[rows, slot] @ gallery.vectors[columns, slot].T
        for slot in range(gallery.slots)
    ]
    whole = products[0].copy()
    for product in products[1:]:
        whole += product
    products += [queries.pooled[rows] @ gallery.pooled[columns].T, whole]
    for view, product in enumerate(products):
        product *= queries.scale[view, rows, None]
        product *= gallery.scale[view, columns]
    return products


def _oracle_recall(
    gallery: _Sides, entries: Sequence[Int[np.ndarray, " n"]]
) -> Float[np.ndarray, " views"]:
    """Recall at 1 of the gallery against itself, in each view, with ties in expectation."""
    n = len(gallery.vectors)
    rivals = np.zeros((len(entries), n))
    for start in range(0, n, _CHUNK):
        piece = _cosines(gallery, gallery, slice(start, start + _CHUNK), slice(start, n))
        for view, cosines in enumerate(piece):
            # Cosines are symmetric, so each pair of pieces is computed once.
            one, two = np.nonzero(cosines > 1 - ROUNDING)
            rival = entries[view][start + one] != entries[view][start + two]
            one, two = one[rival], two[rival]
            np.add.at(rivals[view], start + one, 1)
            later = two >= len(cosines)
            np.add.at(rivals[view], start + two[later], 1)
    rivals[gallery.scale == 0] = n - 1
    recall: Float[np.ndarray, " views"] = (1 / (1 + rivals)).mean(1)
    return recall
