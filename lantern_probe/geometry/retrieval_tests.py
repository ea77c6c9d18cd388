"""Ranks of the right entries: means, recall, and tests against random pairing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.stats.permutation import permutation_p
from lantern_probe.stats.ties import SINGLE_TIE, tied_places

RECALL_AT = (1, 5, 10)
"""Numbers k of first entries at which recall is taken."""


@dataclass(frozen=True)
class RankTest:
    """Test of a mean over queries against random pairing of oracles with queries.

    Attributes:
        estimate: Mean over the queries.
        chance: Expectation of the mean over all pairings.
        z: Estimate minus chance, divided by the standard deviation over the pairings; None if that
            is 0.
        p: Two-sided p value, twice the smaller tail and at most 1.
        p_better: One-sided p value of retrieval better than chance.
        method: Source of z and p in words.
    """

    estimate: float
    chance: float
    z: float | None
    p: float
    p_better: float
    method: str


def rank_test_from_summary(n: int, mean_rank: float) -> RankTest:
    """Test a published mean rank of n queries among n entries, from the two numbers alone.

    Independent, uniform ranks have mean (n + 1) / 2 and variance (n^2 - 1) / 12, and their mean is
    taken as normal. Hubs make the true variance smaller, so the test is conservative.

    Args:
        n: Number of queries and of entries.
        mean_rank: Published mean rank, counted from 1.

    Raises:
        LanternError: n queries among n entries cannot have this mean rank.

    Examples:
        >>> from lantern_probe.geometry import rank_test_from_summary
        >>> test = rank_test_from_summary(300, 134.0)
        >>> print(f"chance {test.chance}, z {test.z:.1f}, p {test.p:.4f}")
        chance 150.5, z -3.3, p 0.0010
    """
    if n < 2 or not 1 <= mean_rank <= n:
        raise LanternError(f"a mean rank among {n} lies between 1 and {n}, not at {mean_rank}")
    chance = (n + 1) / 2
    z = (mean_rank - chance) / math.sqrt((n * n - 1) / (12 * n))
    p = 2 * float(norm.sf(abs(z)))
    return RankTest(mean_rank, chance, z, p, float(norm.cdf(z)), "uniform ranks, normal")


class Tally:
    """Ranks of one view, gathered piece by piece, under the true and the random pairings.

    Arrays with a first dimension of 2 hold the rank first, and the reciprocal rank second.

    Attributes:
        n: Number of queries and of items in the gallery.
        entries: Entry of each item, [n].
        partners: Item paired with each query in each random pairing, [permutations, n].
        weights: Number of items of each entry, [candidates].
        candidates: Number of entries.
        order: Items sorted by entry, [n].
        starts: First position of each entry in `order`, [candidates].
        tables: Value of each place, [2, candidates].
        sums: Sum of the values of all places before each, [2, candidates + 1].
        ranks: Expected rank of each query's right entry, [n].
        hits: Expected number of queries with the right entry among the first k, by k.
        tied: Number of queries whose right entry shares its cosine with another.
        seen: Sum of the right entries' values over the queries, [2].
        squares: Sum of squared values over all pairs of query and item, [2].
        row_squares: Sum over the queries of the squared sum over the items, [2].
        drawn: Sum of values over the queries in each random pairing, [2, permutations].
        columns: Sum of values over the queries for each entry, [2, candidates].
    """

    def __init__(
        self, n: int, entries: Int[np.ndarray, " n"], partners: Int[np.ndarray, "permutations n"]
    ):
        self.n, self.entries, self.partners = n, entries, partners
        self.weights = np.bincount(entries).astype(np.float64)
        self.candidates = len(self.weights)
        self.order = np.argsort(entries, kind="stable")
        self.starts = np.flatnonzero(np.diff(entries[self.order], prepend=-1))
        places = np.arange(1, self.candidates + 1)
        self.tables = np.stack([places, 1 / places])
        self.sums = np.concatenate([np.zeros((2, 1)), np.cumsum(self.tables, 1)], 1)
        self.ranks = np.zeros(n)
        self.hits = dict.fromkeys(RECALL_AT, 0.0)
        self.tied = 0
        self.seen, self.squares, self.row_squares = np.zeros((3, 2))
        self.drawn = np.zeros((2, len(partners)))
        self.columns = np.zeros((2, self.candidates))

    def add(self, start: int, cosines: Float[np.ndarray, "some n"]) -> None:
        """Add the ranks of a piece of queries.

        Args:
            start: Index of the first query of the piece.
            cosines: Cosine of each query of the piece to each item.
        """
        if self.candidates < self.n:
            cosines = np.maximum.reduceat(cosines[:, self.order], self.starts, axis=1)
        above, shared = tied_places(-cosines, SINGLE_TIE)
        ties = np.nonzero(shared > 1)
        first, count = above[ties], shared[ties]
        size = len(cosines)
        right = (np.arange(size), self.entries[start : start + size])
        self._add_hits(above[right], shared[right])
        partners = self.entries[self.partners[:, start : start + size]]
        partners += right[0] * self.candidates  # places in the flattened piece
        for measure, (table, sums) in enumerate(zip(self.tables, self.sums, strict=True)):
            values = table[above]
            values[ties] = (sums[first + count] - sums[first]) / count
            if measure == 0:
                self.ranks[start : start + size] = values[right]
            self.seen[measure] += values[right].sum()
            self.drawn[measure] += values.ravel().take(partners).sum(1)
            self.columns[measure] += values.sum(0)
            self.row_squares[measure] += ((values @ self.weights) ** 2).sum()
            values *= values
            self.squares[measure] += (values @ self.weights).sum()

    def _add_hits(self, above: Int[np.ndarray, " some"], shared: Int[np.ndarray, " some"]) -> None:
        self.tied += int((shared > 1).sum())
        for k in RECALL_AT:
            self.hits[k] += float(np.clip((k - above) / shared, 0, 1).sum())

    def recall(self) -> dict[int, float]:
        """Fraction of queries with the right entry among the first k, for each k of `RECALL_AT`."""
        return {k: hits / self.n for k, hits in self.hits.items()}

    def tests(self, exact: bool) -> tuple[RankTest, RankTest]:
        """Test the mean rank and the mean reciprocal rank.

        Args:
            exact: Take z from the exact moments over all pairings, instead of those of the pairings
                drawn. Wrong where images repeat.
        """
        return self._test(0, exact), self._test(1, exact)

    def _test(self, measure: int, exact: bool) -> RankTest:
        n, drawn, total = self.n, self.drawn[measure], float(self.seen[measure])
        if exact:
            grand = float(self.columns[measure] @ self.weights) / n
            # Hoeffding's variance: the sum of squares without the means of rows and columns.
            left = (
                self.squares[measure]
                - self.row_squares[measure] / n
                - (self.columns[measure] ** 2 @ self.weights) / n
                + grand**2
            )
            deviation = math.sqrt(max(0.0, left / max(1, n - 1)))
        else:
            grand, deviation = float(drawn.mean()), float(drawn.std())
        scale = math.sqrt(self.squares[measure])
        z = (total - grand) / deviation if deviation > 1e-7 * scale else None
        both = permutation_p(total, drawn, tail="both")
        better = permutation_p(total, drawn, tail="lower" if measure == 0 else "upper")
        method = f"{len(drawn)} random pairings; z: " + ("exact" if exact else "from them")
        return RankTest(total / n, grand / n, z, both, better, method)
