"""The table of several passes: means over the passes of a sample, and no pass taken for all."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.analysis import crossed, decomposition, exchange, mediation, triggers
from lantern_probe.analysis.ablation import as_records, summarize
from lantern_probe.analysis.card import make_card
from lantern_probe.analysis.comparison import compare
from lantern_probe.analysis.discordant import as_records as pair_records
from lantern_probe.analysis.discordant import discordant_pairs
from lantern_probe.analysis.passes import by_pass, mean_of
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row

Outcomes = dict[str, list[bool | None]]
"""Right, wrong or no block (None) in each pass, by sample."""


def rows_of(condition: str, outcomes: Outcomes) -> list[Row]:
    return [
        {
            "sample": sample,
            "condition": condition,
            "pass": number,
            "status": "ok",
            "gold": "A",
            "answer": "A" if right else "B",
            "correct": bool(right),
            "parsed": {"default": "A" if right else "B"},
            "candidates": 2,
            "cluster": sample,
            "emitted": right is not None,
            "logprobs": None,
            "finish": "closed",
            "text": "t",
        }
        for sample, some in outcomes.items()
        for number, right in enumerate(some)
    ]


OWN = rows_of("own", {"a": [True, True], "b": [True, None], "c": [True, False]})
ZEROS = rows_of("zeros", {"a": [False, True], "b": [False, None], "c": [False, False]})


def test_accuracy_is_the_mean_over_passes_and_then_over_samples() -> None:
    own, zeros = summarize([*OWN, *ZEROS], model="m")
    assert (own.samples, own.n, own.passes) == (3, 3, 2)
    assert own.accuracy.estimate == pytest.approx((1 + 1 + 0.5) / 3)
    assert own.emission.estimate == pytest.approx((1 + 0.5 + 1) / 3)
    assert zeros.accuracy.estimate == pytest.approx(0.5 / 3)
    assert zeros.difference is not None and zeros.test is not None
    assert zeros.difference.estimate == pytest.approx(-(0.5 + 1 + 0.5) / 3)
    assert zeros.difference.n == 3 and zeros.mcnemar is None
    assert zeros.test.method == "sign flip of means" and zeros.test.p == 0.25
    assert own.by_pass == {0: 1.0, 1: 0.5}
    assert own.by_parser == {"default": pytest.approx(own.accuracy.estimate)}
    (record,) = (r for r in as_records([own, zeros]) if r["condition"] == "zeros")
    assert (record["passes"], record["only_own"], record["mcnemar_p"]) == (2, None, None)


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [*OWN, *ZEROS]
    first, second = summarize(rows, model="m"), summarize(rows[::-1], model="m")
    assert as_records(first) == as_records(second[::-1])


def test_one_pass_reads_as_greedy_rows_do() -> None:
    one = [row for row in (*OWN, *ZEROS) if row["pass"] == 0]
    plain = [{key: value for key, value in row.items() if key != "pass"} for row in one]
    assert as_records(summarize(one, model="m")) == as_records(summarize(plain, model="m"))


def test_conditions_are_compared_in_the_passes_that_both_have() -> None:
    zeros = [row for row in ZEROS if row["pass"] == 0]
    _, found = summarize([*OWN, *zeros], model="m")
    assert found.passes == 1 and found.difference is not None
    assert found.difference.estimate == -1 and found.mcnemar is not None


def test_a_sample_that_failed_in_a_pass_is_counted_and_not_left_out() -> None:
    failed = {"sample": "a", "condition": "zeros", "pass": 1, "status": "failed", "error": "no"}
    rows = [row for row in ZEROS if (row["sample"], row["pass"]) != ("a", 1)]
    _, found = summarize([*OWN, *rows, failed], model="m")
    assert (found.samples, found.failed, found.n) == (3, 1, 3)


def test_a_control_is_compared_by_the_means_of_samples() -> None:
    erase = rows_of("erase:attribute=x", {"a": [False, False], "b": [False, None], "c": [True] * 2})
    sham = rows_of(
        "erase-random:attribute=x", {"a": [True, False], "b": [True, None], "c": [True] * 2}
    )
    found = summarize([*OWN, *erase, *sham], model="m")
    (contrast,) = next(s for s in found if s.condition == "erase:attribute=x").controls
    assert contrast.contrast.difference.estimate == pytest.approx(-(0.5 + 1 + 0) / 3)
    assert contrast.contrast.difference.n == 3


def test_discordant_pairs_are_of_one_pass() -> None:
    pairs = pair_records(discordant_pairs(OWN, ZEROS))
    assert [(p["sample"], p["pass"]) for p in pairs] == [("a", 0), ("b", 0), ("c", 0)]


def test_means_of_no_rows_are_nothing() -> None:
    assert mean_of([]) is None and by_pass([]) == {}


ONE_TEXT: dict[str, Any] = {
    "exchanges": lambda rows: exchange.summarize(rows, model="m", conditions=["zeros"]),
    "mediation": lambda rows: mediation.summarize(rows, model="m"),
    "crossed cells": lambda rows: crossed.summarize(rows, model="m"),
    "decomposition": lambda rows: decomposition.summarize(rows, model="m", base="zeros"),
    "triggers": lambda rows: triggers.summarize(rows, model="m"),
    "card": lambda rows: make_card(rows, model="m", data="d"),
    "comparison": lambda rows: compare({"own": rows, "zeros": rows}),
}


@pytest.mark.parametrize("name", ONE_TEXT)
def test_an_analysis_of_one_text_refuses_several_passes(name: str) -> None:
    with pytest.raises(LanternError, match="2 passes of sampled decoding"):
        ONE_TEXT[name]([*OWN, *ZEROS])
