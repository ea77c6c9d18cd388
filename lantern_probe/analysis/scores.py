"""Candidate scores out of a row: log-odds, margins and probabilities in one place."""

from __future__ import annotations

import math

from lantern_probe.records.rows import Row
from lantern_probe.stats import log_odds


def scores_of(row: Row | None) -> dict[str, float] | None:
    """Log-probabilities of the candidates, in nats; None where not all of them are known."""
    scores = None if row is None else row.get("logprobs")
    if not scores or any(value is None for value in scores.values()):
        return None
    return dict(scores)


def log_odds_of(row: Row | None, answer: str | None) -> float | None:
    """Log-odds of an answer against the other candidates, in nats.

    Returns:
        None where the row has no scores, or the answer is not one of two or more candidates.
    """
    scores = scores_of(row)
    if scores is None or answer not in scores or len(scores) < 2:
        return None
    return log_odds(scores, answer)


def margin_of(row: Row | None, answer: str | None, other: str | None) -> float | None:
    """Log-probability of one answer minus that of another, in nats; None where not scored."""
    scores = (None if row is None else row.get("logprobs")) or {}
    first, second = scores.get(answer), scores.get(other)
    return None if first is None or second is None else float(first - second)


def probability_of(row: Row, answer: str | None) -> float | None:
    """Probability of an answer among the candidates; None where it was not scored."""
    scores = scores_of(row)
    if scores is None or answer not in scores:
        return None
    top = max(scores.values())
    weights = {name: math.exp(value - top) for name, value in scores.items()}
    return weights[answer] / sum(weights.values())


def most_probable(row: Row) -> str | None:
    """Candidate of the highest score, the first of equal ones; None where none was scored."""
    scores = scores_of(row)
    return None if scores is None else max(scores, key=scores.__getitem__)


def mass_of(row: Row | None) -> float | None:
    """Probability of all candidates together, at most 1; None where none was scored."""
    scores = scores_of(row)
    if row is None or scores is None:
        return None
    if row.get("mass") is not None:
        return float(row["mass"])
    return min(1.0, math.fsum(math.exp(value) for value in scores.values()))
