"""Fisher's exact test against published figures and against the tables counted one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.stats import fisher_exact


def test_the_convictions_of_fishers_twins() -> None:
    """R, `fisher.test(Convictions)`: p = .0005367, odds ratio .04693661."""
    found = fisher_exact(2, 15, 10, 3)
    assert found.p == pytest.approx(0.0005367, rel=1e-3)
    assert found.odds_ratio == pytest.approx(0.04693661, rel=1e-4)
    # The ends by their definition: there the observed count is just within either tail of 2.5 %.
    # (R prints [.003325764, .3631823], whose lower end is off by its root finder's tolerance.)
    weights = {x: math.comb(12, x) * math.comb(18, 17 - x) for x in range(13)}

    def tail(odds: float, counts: range) -> float:
        total = sum(w * odds**x for x, w in weights.items())
        return sum(weights[x] * odds**x for x in counts) / total

    assert tail(found.low, range(2, 13)) == pytest.approx(0.025, rel=1e-6)
    assert tail(found.high, range(3)) == pytest.approx(0.025, rel=1e-6)


def test_the_published_trigger_of_monet() -> None:
    """V_COT, V*: 34 of 72 right with a block, 82 of 119 without, p = .0037."""
    assert round(fisher_exact(34, 38, 82, 37).p, 4) == 0.0037


def counted(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p, by counting every table of the same margins."""
    rows, column, n = a + b, a + c, a + b + c + d
    ways = {
        x: math.comb(column, x) * math.comb(n - column, rows - x)
        for x in range(max(0, rows + column - n), min(rows, column) + 1)
    }
    return sum(w for w in ways.values() if w <= ways[a]) / math.comb(n, rows)


@given(*(st.integers(0, 12) for _ in range(4)))
def test_p_is_that_of_the_tables_counted_one_by_one(a: int, b: int, c: int, d: int) -> None:
    found = fisher_exact(a, b, c, d)
    if 0 in (a + b, c + d, a + c, b + d):
        assert found.p == 1 and math.isnan(found.odds_ratio)
        assert (found.low, found.high) == (0, math.inf)
        return
    assert found.p == pytest.approx(counted(a, b, c, d), rel=1e-9)
    assert found.low <= found.odds_ratio <= found.high
    # The interval and the mirrored table agree.
    mirrored = fisher_exact(c, d, a, b)
    assert mirrored.p == pytest.approx(found.p)
    if found.low > 0:
        assert mirrored.high == pytest.approx(1 / found.low, rel=1e-4)


def test_counts_below_zero_and_levels_out_of_range_are_refused() -> None:
    with pytest.raises(LanternError, match="cannot be negative: 1, -1, 2, 3"):
        fisher_exact(1, -1, 2, 3)
    with pytest.raises(LanternError, match="level"):
        fisher_exact(1, 1, 2, 3, level=1.0)
