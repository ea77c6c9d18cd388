"""Answers by likelihood, without parsing: one condition against another on the same samples.

A text that opens no answer has no scores. Such samples are no random part, so two conditions are
compared on those scored under both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.analysis.passes import mean_of, sample_count, share_of
from lantern_probe.analysis.scores import mass_of, most_probable, probability_of
from lantern_probe.records.rows import Row
from lantern_probe.stats import Proportion

LOW = 0.5
"""Probability of all candidates together below which their scores say little about the answer."""


@dataclass(frozen=True)
class Likelihood:
    """Answers of one condition by likelihood, beside those of its reference.

    Attributes:
        accuracy: Fraction of samples whose most probable candidate is the right one, with its 95 %
            Wilson interval; over the samples scored under both, or all for the reference itself.
        p_gold: Mean probability of the right candidate among the candidates, over the same samples;
            None without any.
        reference_accuracy: The reference's fraction on the same samples; None for itself.
        reference_p_gold: The reference's mean probability on the same samples; None for itself.
        scored: Number of samples scored under this condition, under the reference or not.
        mass: Mean probability of all candidates together, over `scored`; None without any.
        low: Number of these samples with a mass under `LOW` in any text.
    """

    accuracy: Proportion
    p_gold: float | None
    reference_accuracy: Proportion | None
    reference_p_gold: float | None
    scored: int
    mass: float | None
    low: int


def summarize(rows: Mapping[Any, Row], reference: Mapping[Any, Row] | None = None) -> Likelihood:
    """Sum up the scores of one condition, on the samples that its reference has scored too.

    Args:
        rows: Rows of the condition, by sample or by sample and pass.
        reference: Rows of what it is compared with; None for no comparison.
    """
    scored = {key: row for key, row in rows.items() if most_probable(row) is not None}
    other = {}
    if reference is not None:
        other = {k: row for k, row in reference.items() if most_probable(row) is not None}
    both = [key for key in scored if reference is None or key in other]
    masses = [(row, mass) for row in scored.values() if (mass := mass_of(row)) is not None]
    there = [scored[key] for key in both]
    theirs = [other[key] for key in both] if reference is not None else None
    return Likelihood(
        accuracy=_accuracy(there),
        p_gold=_p_gold(there),
        reference_accuracy=None if theirs is None else _accuracy(theirs),
        reference_p_gold=None if theirs is None else _p_gold(theirs),
        scored=sample_count(scored.values()),
        mass=mean_of(masses),
        low=sample_count(row for row, mass in masses if mass < LOW),
    )


def mass_notes(found: Mapping[str, Likelihood]) -> list[str]:
    """Warn of conditions under which other answers than the candidates are often likelier.

    Args:
        found: Results by condition.
    """
    return [
        f"{name}: all candidates together have less than {LOW:g} of the probability in {item.low} "
        f"of {item.scored} scored texts (mean {item.mass:.2f}), which say something else; "
        "p(gold) and likelihood are shares of what is left"
        for name, item in found.items()
        if item.low and item.mass is not None
    ]


def _accuracy(rows: Sequence[Row]) -> Proportion:
    return share_of([(row, most_probable(row) == row["gold"]) for row in rows])


def _p_gold(rows: Sequence[Row]) -> float | None:
    return mean_of([(r, p) for r in rows if (p := probability_of(r, r["gold"])) is not None])
