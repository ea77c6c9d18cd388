"""Answers by likelihood: paired with the reference, and warned about without mass."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rich.console import Console

from experiments.tables.ablation import print_condition_table
from lantern_probe.analysis import ablation, likelihood
from lantern_probe.analysis.likelihood import mass_notes
from lantern_probe.analysis.scores import mass_of
from lantern_probe.stats import wilson


def row(index: int, condition: str, p: float | None, mass: float = 1.0) -> dict[str, Any]:
    """A row whose right candidate has the probability p of the two candidates' mass."""
    scores = None if p is None else {"a": math.log(p * mass), "b": math.log((1 - p) * mass)}
    return {
        "sample": str(index), "condition": condition, "status": "ok", "emitted": True, "gold": "a",
        "answer": "a", "correct": True, "candidates": 2, "cluster": str(index), "logprobs": scores,
        "finish": "closed", "parsed": {"default": "a"},
    }  # fmt: skip


def test_scores_are_compared_on_the_samples_scored_under_both() -> None:
    """Zeros closes off the hard samples; by itself it would look better than own."""
    rows = [row(i, "own", 0.9 if i < 20 else 0.2) for i in range(40)]
    rows += [row(i, "zeros", 0.8 if i < 20 else None) for i in range(40)]
    own, zeros = ablation.summarize(rows, model="m")
    assert own.p_gold == pytest.approx(0.55) and own.likelihood == wilson(20, 40)
    assert zeros.p_gold == pytest.approx(0.8) and zeros.likelihood == wilson(20, 20)
    assert zeros.scores is not None
    assert zeros.scores.reference_p_gold == pytest.approx(0.9)
    assert zeros.scores.reference_accuracy == wilson(20, 20)
    flat = ablation.as_records([zeros])[0]
    assert flat["scored"] == 20 and flat["reference_p_gold"] == pytest.approx(0.9)
    console = Console(width=98, record=True)
    print_condition_table([own, zeros], console)
    text = " ".join(console.export_text().split())
    assert "over the 20 samples scored under both; own there .900, 1.000" in text


def test_samples_scored_only_by_the_condition_are_left_out_too() -> None:
    rows = {str(i): row(i, "zeros", 0.9) for i in range(4)}
    reference = {str(i): row(i, "own", None if i < 3 else 0.7) for i in range(4)}
    found = likelihood.summarize(rows, reference)
    assert (found.accuracy.n, found.scored) == (1, 4)
    assert found.reference_p_gold == pytest.approx(0.7)
    alone = likelihood.summarize(rows)
    assert alone.accuracy.n == 4 and alone.reference_accuracy is None


def test_candidates_without_mass_are_warned_about() -> None:
    rows = {str(i): row(i, "zeros", 0.9, 0.1 if i < 3 else 0.9) for i in range(5)}
    found = likelihood.summarize(rows)
    assert found.low == 3 and found.mass == pytest.approx((3 * 0.1 + 2 * 0.9) / 5)
    (note,) = mass_notes({"own": likelihood.summarize({"0": row(0, "own", 0.5)}), "zeros": found})
    assert note.startswith("zeros: ") and "in 3 of 5 scored texts (mean 0.42)" in note


def test_the_recorded_mass_counts_and_older_rows_have_that_of_their_scores() -> None:
    one = row(0, "own", 0.5, 0.25)
    assert mass_of(one) == pytest.approx(0.25)
    assert mass_of(one | {"mass": 0.2}) == 0.2
    assert mass_of(one | {"logprobs": {"a": -0.001, "b": -0.2}}) == 1
    assert mass_of(one | {"logprobs": None}) is None
