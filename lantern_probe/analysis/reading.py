"""The reading of a model's estimands: one word, or `undecided` with the n that would decide.

The rules are those of docs/methods.md, The conclusion; the first that holds is the reading. A rule
is a list of statements about single estimands, and holds if the simultaneous interval of each lies
on the side stated. A statement whose estimand has no value neither holds nor fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lantern_probe.analysis.battery import REMOVALS
from lantern_probe.analysis.estimands import Estimate, Look, scaled
from lantern_probe.errors import LanternError

UNDECIDED = "undecided"

FURTHEST = 64
"""Largest multiple of the pairs at hand for which a decision is foretold."""

_STEPS = 60
"""Number of multiples that are tried, evenly spaced on a logarithmic scale."""


@dataclass(frozen=True)
class Thresholds:
    """Numbers on which a reading turns; to be chosen before the rows are looked at.

    Attributes:
        delta: Largest share that counts as nothing, in (0, high); default 0.05.
        high: Smallest share that counts as most of the pairs, in (delta, 1); default 0.8.
    """

    delta: float = 0.05
    high: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.delta < self.high < 1:
            raise LanternError(
                f"thresholds need 0 < delta < high < 1, not delta={self.delta}, high={self.high}"
            )


@dataclass(frozen=True)
class Statement:
    """A claim about one estimand: that it lies within bounds.

    Attributes:
        name: Name of the estimand.
        above: Bound that the lower end must reach; None for none.
        below: Bound that the upper end must not pass; None for none.
    """

    name: str
    above: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        if self.above is None:
            return f"{self.name} at most {self.below:g}"
        if self.below is None:
            return f"{self.name} above {self.above:g}"
        if self.above == -self.below:
            return f"{self.name} equivalent to 0 within {self.below:g}"
        return f"{self.name} between {self.above:g} and {self.below:g}"

    def holds(self, estimate: Estimate | None) -> bool:
        """True if the simultaneous interval lies within the bounds."""
        if estimate is None or estimate.value is None:
            return False
        over = self.above is None or estimate.simultaneous_low > self.above
        return over and (self.below is None or estimate.simultaneous_high <= self.below)

    def fails(self, estimate: Estimate | None) -> bool:
        """True if the simultaneous interval lies outside the bounds."""
        if estimate is None or estimate.value is None:
            return False
        under = self.above is not None and estimate.simultaneous_high <= self.above
        return under or (self.below is not None and estimate.simultaneous_low > self.below)


@dataclass(frozen=True)
class Reading:
    """A reading with the evidence for it.

    Attributes:
        word: The reading, one of `READINGS`, or `undecided`.
        evidence: Statements of the rule that holds; of all rules that remain if it is undecided.
        remain: Readings that no interval contradicts, the word itself included.
        n: Pairs at which the intervals as they stand would decide; None if it is decided, or if up
            to `FURTHEST` times as many would not.
        expected: Reading that would then hold; None as for `n`.
        oracle: False if there is no oracle recipe, so that other rules stand in.
    """

    word: str
    evidence: tuple[Statement, ...]
    remain: tuple[str, ...]
    n: int | None
    expected: str | None
    oracle: bool


Rules = Mapping[str, Sequence[Statement]]


def rules(thresholds: Thresholds, *, oracle: bool = True) -> Rules:
    """The statements of each reading, in the order in which readings are tried.

    Args:
        thresholds: Numbers on which they turn.
        oracle: False if there is no oracle recipe. Then *bypass* and *collapsed* are one rule,
            `BYPASS_OR_COLLAPSED`, and *sees* stands in for the gap.
    """
    delta, high = thresholds.delta, thresholds.high

    def nothing(name: str) -> Statement:
        return Statement(name, above=-delta, below=delta)

    still = Statement("depends", below=delta)
    mostly = Statement("follows", above=high)
    gap = {
        True: (Statement("gap", above=1 - high), Statement("gap", below=1 - high)),
        False: (Statement("sees", below=high), Statement("sees", above=high)),
    }[oracle]
    empty: dict[str, list[Statement]] = {
        "collapsed": [
            Statement("carries over", below=delta),
            Statement("could carry", above=high),
        ],
        "bypass": [still, Statement("depends-oracle", below=delta), *map(nothing, REMOVALS)],
    }
    if not oracle:
        empty = {BYPASS_OR_COLLAPSED: [still, *map(nothing, REMOVALS)]}
    return {
        **empty,
        "format only": [still, Statement("block", above=delta)],
        "markers only": [
            still, nothing("needed"), nothing("block"), Statement("markers", above=delta)
        ],
        "redundant": [Statement("follows", above=delta), nothing("needed")],
        "weak": [mostly, Statement("carries over", above=delta), gap[0]],
        "faithful": [mostly, Statement("needed", above=delta), gap[1]],
        "partial": [
            Statement("follows", above=delta, below=high), Statement("needed", above=delta)
        ],
    }  # fmt: skip


BYPASS_OR_COLLAPSED = "bypass or collapsed"
"""Rule for models without an oracle recipe; it decides nothing between the two."""

READINGS = tuple(rules(Thresholds()))
"""All readings but `undecided`, in the order in which they are tried."""


def read(
    found: Mapping[str, Estimate],
    thresholds: Thresholds | None = None,
    *,
    oracle: bool = True,
    look: Look | None = None,
    foretell: bool = True,
) -> Reading:
    """Read estimates: the first rule that holds, or undecided.

    Args:
        found: Estimates by name.
        thresholds: Numbers on which the reading turns; the defaults if None.
        oracle: False if there is no oracle recipe.
        look: Moment of the look, for the n that would decide; all pairs by default.
        foretell: Find the n that would decide; default True.
    """
    tried = rules(thresholds or Thresholds(), oracle=oracle)
    remain = tuple(
        name
        for name, claims in tried.items()
        if not any(claim.fails(found.get(claim.name)) for claim in claims)
    )
    word = _first(tried, found.get)
    if word == BYPASS_OR_COLLAPSED:
        remain = ("bypass", "collapsed")
        return Reading(UNDECIDED, tuple(tried[word]), remain, None, None, oracle)
    if word is not None:
        return Reading(word, tuple(tried[word]), remain, None, None, oracle)
    evidence = tuple(dict.fromkeys(claim for name in remain for claim in tried[name]))
    n, expected = _deciding(tried, found, look or Look()) if foretell else (None, None)
    return Reading(UNDECIDED, evidence, remain, n, expected, oracle)


def _first(tried: Rules, found: Callable[[str], Estimate | None]) -> str | None:
    for name, claims in tried.items():
        if all(claim.holds(found(claim.name)) for claim in claims):
            return name
    return None


def _deciding(
    tried: Rules, found: Mapping[str, Estimate], look: Look
) -> tuple[int | None, str | None]:
    """The pairs at which a rule would hold if all shares stayed as they are, and its reading."""
    pairs = max((found[name].n for name in ("sees", "needed") if name in found), default=0)
    if not pairs:
        return None, None
    for step in range(1, _STEPS + 1):
        factor = FURTHEST ** (step / _STEPS)
        larger = {name: scaled(estimate, factor, look) for name, estimate in found.items()}
        word = _first(tried, larger.get)
        if word is not None:
            return -(-int(pairs * factor * 100) // 100), word
    return None, None


__all__ = [
    "BYPASS_OR_COLLAPSED",
    "READINGS",
    "UNDECIDED",
    "Reading",
    "Statement",
    "Thresholds",
    "read",
    "rules",
]
