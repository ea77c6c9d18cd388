"""Retrieval by cosine, in every view, piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from lantern_probe.errors import LanternError
from lantern_probe.geometry.resampling import exchanges, image_index
from lantern_probe.geometry.vectors import ROUNDING, VectorSet, check_pairing
from lantern_probe.retrieval.tally import RankTest, Tally
from lantern_probe.stats.ties import unit_scaled

MERGES = ("nothing", "identical", "images")

_CHUNK = 128
"""Queries whose cosines to the whole gallery are held at once, in all views."""


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Retrieval in one view.

    Attributes:
        view: `pooled`, `concatenated` or `slot 0` and so on.
        slot: 0-based; None for the first two.
        n: Queries.
        candidates: Entries of the gallery among which a rank is counted; n, or fewer if merged.
        mean_rank: 1 is best, (candidates + 1) / 2 is chance without merging.
        mrr: Mean reciprocal rank.
        recall: Share of queries with the right entry among the first 1, 5, 10; chance is k /
            candidates, if nothing is merged.
        tied: Queries whose right entry has the cosine of another entry, to 1e-6.
        identical: Items of the gallery with a vector that another item has too.
        shared_images: Items whose image another item has too.
        oracle_recall: R@1 of the gallery against itself: 1 unless items of different entries are
            identical, or too close for float32 to tell (a cosine above 1 - 1e-6).
        merge: What was treated as one entry.
        permutations: Random pairings drawn.
        seed: Of them.
        ranks: Expected rank of the right entry of each query, ties in random order, [n].
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

    Ties are broken at random, in expectation: a right entry that shares its cosine with e others,
    below g, has rank g + 1 + e/2, and its reciprocal rank and its hits are averaged over the e + 1
    places likewise. Cosines within 1e-6 are ties, as float32 holds no more. A query or an item that
    is zero has a cosine of 0 to everything. So latents that are all alike give chance, not whatever
    order the gallery happens to have.

    The null hypothesis is that oracles are paired with queries at random, which keeps the gallery
    and the queries as they are: with a few entries near to everything (hubs), ranks are not
    independent, and the usual standard error of uniform ranks is too large. p is from random
    pairings, (b + 1) / (m + 1), images exchanged as a whole (`geometry.resampling.exchanges`); z
    is from the exact mean and variance over all pairings (Hoeffding 1951), and where images repeat
    from those of the pairings drawn.

    Several samples may share an oracle. `merge="identical"` makes entries of identical vectors
    one, `merge="images"` those of one image, with the highest cosine of its items.

    The gallery is gone through in pieces; no matrix of n x n is kept.

    Args:
        own: Own latents; with images if they repeat.
        oracle: Oracle latents of the same samples.
        merge: What is one entry of the gallery: `nothing` more than an item, `identical` vectors,
            or `images`.
        permutations: Random pairings: m.
        seed: Of the pairings.

    Raises:
        LanternError: the sets are not of the same samples, or an option is out of range.
    """
    check_pairing(own, oracle)
    if merge not in MERGES:
        raise LanternError(f"no merge {merge!r}; choose one of {list(MERGES)}")
    partners = exchanges(own.images, permutations, seed)
    queries, gallery = _Sides.of(own), _Sides.of(oracle)
    first = np.stack([_first(view) for view in gallery.views])
    entries = [_entries(merge, view, own.images) for view in first]
    tallies = [Tally(own.n, view, partners) for view in entries]
    for start in range(0, own.n, _CHUNK):
        piece = _cosines(queries, gallery, slice(start, start + _CHUNK), slice(None))
        for tally, identical, cosines in zip(tallies, first, piece, strict=True):
            # The same vector elsewhere in the gallery may be rounded otherwise.
            copies = np.flatnonzero(identical != np.arange(own.n))
            cosines[:, copies] = cosines[:, identical[copies]]
            tally.add(start, cosines)
    oracle_recall = _oracle_recall(gallery, entries)
    exact = own.image_count == own.n
    shared = int((np.bincount(own.images)[own.images] > 1).sum())
    names = [*(f"slot {slot}" for slot in range(gallery.slots)), "pooled", "concatenated"]
    results = []
    for view, (name, tally) in enumerate(zip(names, tallies, strict=True)):
        mean_rank, mrr = tally.tests(exact)
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
                identical=int((np.bincount(first[view])[first[view]] > 1).sum()),
                shared_images=shared,
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
    """One side in all views.

    Attributes:
        vectors: [n, slots, dim].
        pooled: Mean over the slots, [n, dim].
        scale: 1 / norm in each view, 0 for a zero vector, [views, n].
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
        return self.vectors.shape[1]

    @property
    def views(self) -> list[Float[np.ndarray, "n ..."]]:
        return [*self.vectors.transpose(1, 0, 2), self.pooled, self.vectors]


def _first(vectors: Float[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
    """For each vector the first one that is identical to it, itself if there is none before."""
    seen: dict[bytes, int] = {}
    digests = [hashlib.blake2b(np.ascontiguousarray(v).data, digest_size=16) for v in vectors]
    return np.array([seen.setdefault(d.digest(), i) for i, d in enumerate(digests)])


def _entries(
    merge: str, first: Int[np.ndarray, " n"], images: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The entry of the gallery that each item belongs to, numbered from 0."""
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
    """R@1 of the gallery against itself, in each view, ties in expectation."""
    n = len(gallery.vectors)
    rivals = np.zeros((len(entries), n))
    for start in range(0, n, _CHUNK):
        piece = _cosines(gallery, gallery, slice(start, start + _CHUNK), slice(start, n))
        for view, cosines in enumerate(piece):
            # A cosine is as good either way, so each pair of pieces is looked at once.
            one, two = np.nonzero(cosines > 1 - ROUNDING)
            rival = entries[view][start + one] != entries[view][start + two]
            one, two = one[rival], two[rival]
            np.add.at(rivals[view], start + one, 1)
            later = two >= len(cosines)
            np.add.at(rivals[view], start + two[later], 1)
    rivals[gallery.scale == 0] = n - 1
    recall: Float[np.ndarray, " views"] = (1 / (1 + rivals)).mean(1)
    return recall
