"""Right, wrong, unparsed: three outcomes, counted in pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.stats import OUTCOMES, mcnemar, outcome, outcome_table


def test_counts_and_tests_by_hand() -> None:
    # As own and no_lvr of LVR-7B on V* (docs/methods.md, Statistics): 154 and 145 of 191 right, 9
    # of the second unparsed, 12:3; how the 9 split is made up.
    pairs = (
        [("right", "right")] * 142 + [("right", "wrong")] * 5 + [("right", "unparsed")] * 7
        + [("wrong", "right")] * 3 + [("wrong", "wrong")] * 32 + [("wrong", "unparsed")] * 2
    )  # fmt: skip
    table = outcome_table([one for one, _ in pairs], [two for _, two in pairs])
    assert table.counts == ((142, 5, 7), (3, 32, 2), (0, 0, 0))
    assert (table.n, table.first, table.second) == (191, (154, 37, 0), (145, 37, 9))
    assert table.accuracy_test() == mcnemar(12, 3)
    assert round(table.accuracy_test().p, 4) == 0.0352
    assert table.parse_failure_test() == mcnemar(0, 9)
    assert table.jointly_parsed == 182
    assert table.jointly_parsed_test() == mcnemar(5, 3)


@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES)), max_size=40))
def test_both_orders_mirror_each_other(pairs: list[tuple[str, str]]) -> None:
    first, second = [one for one, _ in pairs], [two for _, two in pairs]
    table, mirrored = outcome_table(first, second), outcome_table(second, first)
    assert table.n == len(pairs)
    assert table.first == mirrored.second == tuple(first.count(name) for name in OUTCOMES)
    for name in ("accuracy_test", "parse_failure_test", "jointly_parsed_test"):
        one, two = getattr(table, name)(), getattr(mirrored, name)()
        assert (one.b, one.c, one.p) == (two.c, two.b, two.p)
    assert table.jointly_parsed == sum("unparsed" not in pair for pair in pairs)


def test_one_answer() -> None:
    assert [outcome(True, True), outcome(False, True), outcome(False, False)] == list(OUTCOMES)
    with pytest.raises(LanternError, match="cannot be correct"):
        outcome(True, False)


def test_refused() -> None:
    with pytest.raises(LanternError, match="1 outcomes .* 2 of the other"):
        outcome_table(["right"], ["right", "wrong"])
    with pytest.raises(LanternError, match="'true'"):
        outcome_table(["true"], ["right"])
