"""Retained gain from rows alone."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from lantern_probe.analysis import decomposition
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.plots.decomposition import plot_gains


def rows_of(right: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    """Rows from a string of 1 and 0 per condition."""
    return [
        {
            "sample": str(number),
            "condition": condition,
            "status": "ok",
            "emitted": True,
            "correct": mark == "1",
            "cluster": str(number),
            "kept": parse_condition(condition).keeps,
            **more,
        }
        for condition, marks in right.items()
        for number, mark in enumerate(marks)
    ]


OUTCOMES = {
    "own": "1111111100",
    "zeros": "1111000000",
    "skip": "1111110000",
    "direct": "1100000000",
}


def test_retained_gain_by_hand() -> None:
    found = {g.condition: g for g in decomposition.summarize(rows_of(OUTCOMES), model="m")}
    assert found["own"].retained.estimate == pytest.approx(1)
    assert found["zeros"].retained.estimate == pytest.approx(2 / 6)
    assert found["skip"].retained.estimate == pytest.approx(4 / 6)
    assert found["direct"].retained.estimate == 0
    assert found["skip"].gain.estimate == pytest.approx(0.4)
    assert found["direct"].test is None and found["direct"].holm_p is None
    tests = {name: found[name].test for name in ("own", "zeros", "skip")}
    assert [test and test.p for test in tests.values()] == [2 / 2**6, 0.5, 2 / 2**4]
    assert found["own"].holm_p == 3 * 2 / 2**6
    assert found["zeros"].keeps == "markers, slots" and found["direct"].keeps == "neither"
    assert found["skip"].retained.low < 4 / 6 < found["skip"].retained.high
    figure = Figure()
    ax = plot_gains(list(found.values()), figure.subplots())
    assert [t.get_text() for t in ax.get_yticklabels()] == ["direct", "skip", "zeros", "own"]


def test_no_gain_has_no_shares() -> None:
    found = decomposition.summarize(rows_of({"own": "1100", "direct": "1010"}), model="m")
    assert not any(g.retained.defined for g in found)


def test_samples_without_a_block_or_with_a_failed_row_are_left_out() -> None:
    rows = rows_of(OUTCOMES)
    rows[0] = {"sample": "0", "condition": "own", "status": "failed", "error": "x"}
    for row in rows:
        if row["sample"] == "1":
            row["emitted"] = False
    found = decomposition.summarize(rows, model="m")
    assert {g.accuracy.n for g in found} == {8}


def test_refusals() -> None:
    with pytest.raises(LanternError, match="no condition 'direct', only own"):
        decomposition.summarize(rows_of({"own": "10"}), model="m")
    with pytest.raises(LanternError, match="no sample with a latent block"):
        decomposition.summarize(rows_of({"own": "10", "direct": "11"}, emitted=False), model="m")
