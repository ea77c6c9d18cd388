"""Score of one answer: right, wrong or unparsed; or the log-odds of the right candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lantern_probe.errors import LanternError
from lantern_probe.stats.paired import McNemar, mcnemar

Outcome = Literal["right", "wrong", "unparsed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""All outcomes of a row, in the order of their definition."""


@dataclass(frozen=True)
class OutcomeTable:
    """Outcomes of two conditions on the same samples, with parse failure as a third outcome.

    Attributes:
        counts: Number of samples by outcome under the first (row) and under the second condition
            (column), [3 x 3], in the order of `OUTCOMES`.
    """

    counts: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

    @property
    def n(self) -> int:
        """Number of samples."""
        return sum(map(sum, self.counts))

    @property
    def first(self) -> tuple[int, int, int]:
        """Number right, wrong and unparsed under the first condition."""
        right, wrong, unparsed = (sum(row) for row in self.counts)
        return right, wrong, unparsed

    @property
    def second(self) -> tuple[int, int, int]:
        """Number right, wrong and unparsed under the second condition."""
        right, wrong, unparsed = (sum(column) for column in zip(*self.counts, strict=True))
        return right, wrong, unparsed

    @property
    def jointly_parsed(self) -> int:
        """Number of samples with a readable answer under both conditions."""
        return sum(sum(row[:2]) for row in self.counts[:2])

    def accuracy_test(self) -> McNemar:
        """McNemar's test on right answers; an unparsed text counts as wrong."""
        return mcnemar(sum(self.counts[0][1:]), self.counts[1][0] + self.counts[2][0])

    def jointly_parsed_test(self) -> McNemar:
        """McNemar's test on right answers among the jointly parsed: content, without format.

        Being readable is itself an outcome, so this describes those samples and not the effect on
        all of them.
        """
        return mcnemar(self.counts[0][1], self.counts[1][0])

    def parse_failure_test(self) -> McNemar:
        """McNemar's test on parse failure.

        b and c are the numbers of texts unparsed under the first condition only, and under the
        second only.
        """
        return mcnemar(sum(self.counts[2][:2]), self.counts[0][2] + self.counts[1][2])


def outcome(correct: bool, parsed: bool) -> Outcome:
    """The outcome of one answer.

    Raises:
        LanternError: a text without a readable answer is called correct.
    """
    if not parsed:
        if correct:
            raise LanternError("an answer that could not be read cannot be correct")
        return "unparsed"
    return "right" if correct else "wrong"


def outcome_table(first: Sequence[str], second: Sequence[str]) -> OutcomeTable:
    """Count the outcomes of two conditions, paired by sample.

    Args:
        first: `right`, `wrong` or `unparsed` per sample [n].
        second: The same samples in the same order [n].

    Raises:
        LanternError: lengths differ, or an outcome is unknown.
    """
    if len(first) != len(second):
        raise LanternError(f"{len(first)} outcomes under one condition, {len(second)} of the other")
    unknown = [value for value in (*first, *second) if value not in OUTCOMES]
    if unknown:
        raise LanternError(f"no outcome {unknown[0]!r}; use one of {list(OUTCOMES)}")
    pairs = list(zip(first, second, strict=True))
    right, wrong, unparsed = (
        (pairs.count((one, "right")), pairs.count((one, "wrong")), pairs.count((one, "unparsed")))
        for one in OUTCOMES
    )
    return OutcomeTable((right, wrong, unparsed))


def log_odds(logprobs: Mapping[str, float], gold: str) -> float:
    """Log-odds, in nats, of the right candidate against all the others; no parsing.

    Args:
        logprobs: Log-probability of every candidate, in nats; the probabilities need not add up
            to 1.
        gold: Right candidate.

    Raises:
        LanternError: `gold` is no candidate, it is the only one, or a value is not finite.
    """
    if gold not in logprobs or len(logprobs) < 2:
        raise LanternError(
            f"log-odds need {gold!r} and another among the candidates, not {list(logprobs)}"
        )
    bad = [name for name, value in logprobs.items() if not math.isfinite(value)]
    if bad:
        raise LanternError(f"the log-probability of {bad[0]!r} is {logprobs[bad[0]]}")
    others = [value for name, value in logprobs.items() if name != gold]
    top = max(others)
    return logprobs[gold] - top - math.log(sum(math.exp(value - top) for value in others))
