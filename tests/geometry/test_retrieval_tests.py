"""Tests of ranks: exact moments by brute force, and published mean ranks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lantern_probe.errors import LanternError
from lantern_probe.geometry.retrieval_tests import RECALL_AT, Tally, rank_test_from_summary


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_exact_moments_with_entries_of_several_items() -> None:
    """The same by brute force for a tally whose entries hold 1, 2 and 3 items."""
    entries = np.array([0, 1, 1, 2, 2, 2])
    cosines = gaussian(6, 6)
    partners = np.array(list(itertools.permutations(range(6))), np.int32)
    tally = Tally(6, entries, partners)
    tally.add(0, cosines)
    assert tally.tests(True)[0].chance == pytest.approx(tally.tests(False)[0].chance)
    assert tally.tests(True)[1].z == pytest.approx(tally.tests(False)[1].z)


@pytest.mark.parametrize(
    ("n", "mean_rank", "z"), [(300, 134.0, -3.3), (300, 140.3, -2.0), (1200, 533.1, -6.7)]
)
def test_published_mean_ranks(n: int, mean_rank: float, z: float) -> None:
    """Above chance, although called chance (docs/methods.md, Published figures to reproduce)."""
    result = rank_test_from_summary(n, mean_rank)
    assert result.z is not None and round(result.z, 1) == z
    assert result.p_better < 0.05 and result.p == pytest.approx(2 * result.p_better)


@pytest.mark.parametrize(("n", "mean_rank"), [(1, 1.0), (300, 0.5), (300, 301), (10, math.nan)])
def test_impossible_mean_ranks_are_refused(n: int, mean_rank: float) -> None:
    with pytest.raises(LanternError, match="mean rank"):
        rank_test_from_summary(n, mean_rank)


def test_pieces_of_queries_add_up_to_the_whole() -> None:
    cosines, partners = gaussian(7, 7), np.array([[1, 0, 3, 2, 5, 6, 4]], np.int32)
    whole, pieces = (Tally(7, np.arange(7), partners) for _ in range(2))
    whole.add(0, cosines.copy())
    pieces.add(0, cosines[:3].copy())
    pieces.add(3, cosines[3:].copy())
    np.testing.assert_array_equal(whole.ranks, pieces.ranks)
    assert whole.recall() == pieces.recall() and set(whole.recall()) == set(RECALL_AT)
    for one, other in zip(whole.tests(True), pieces.tests(True), strict=True):
        assert (one.estimate, one.z) == pytest.approx((other.estimate, other.z))


def test_ranks_and_hits_by_hand() -> None:
    cosines = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.3, 0.8, 0.2]], np.float32)
    tally = Tally(3, np.arange(3), np.array([[1, 2, 0]], np.int32))
    tally.add(0, cosines)
    assert tally.ranks.tolist() == [1, 1.5, 3] and tally.tied == 1
    assert tally.recall()[1] == pytest.approx((1 + 0.5 + 0) / 3)
    mean_rank, mrr = tally.tests(True)
    assert mean_rank.estimate == pytest.approx(5.5 / 3)
    assert mrr.estimate == pytest.approx((1 + (1 + 1 / 2) / 2 + 1 / 3) / 3)
