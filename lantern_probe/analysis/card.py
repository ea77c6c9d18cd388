"""The card of a model: its estimands, the reading of them, and what speaks for and against it.

It is computed from rows alone. The numbers come first: a reading is a reading of them. Where the
conditions differ in what was parsed, cut off or given a block, no number compares like with like,
and there is no reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.analysis.estimands import (
    ABOUT,
    Estimate,
    Look,
    by_category,
    estimates,
)
from lantern_probe.analysis.exchange import OWN, SHAM
from lantern_probe.analysis.format import interval, number, p_value
from lantern_probe.analysis.mediation import summarize as mediation
from lantern_probe.analysis.reading import UNDECIDED, Reading, Statement, Thresholds, read
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, refuse_passes
from lantern_probe.stats import Proportion, proportion

FORMAT = 1
"""Version of `card.json`."""

NO_READING = "no reading"
"""Word of a card whose conditions cannot be compared."""

LEAST_BLOCKS = 0.1
"""Share of texts with a block below which there is no reading."""

_MOVING = ("faithful", "partial", "redundant", "weak")
_STILL = ("bypass", "collapsed", "format only", "markers only")


@dataclass(frozen=True)
class Evidence:
    """A statement of the reading's rule, with the interval that decides it.

    Attributes:
        statement: The statement in words.
        estimand: Name of its estimand.
        verdict: `holds`, `contradicted`, `open`, or `no value` with too few pairs.
        slack: Distance between the bound and the nearest end of the simultaneous interval, negative
            where the interval crosses the bound; None without a value.
    """

    statement: str
    estimand: str
    verdict: str
    slack: float | None


@dataclass(frozen=True)
class Card:
    """The conclusion of a diagnosis.

    Attributes:
        model: Name of the model.
        data: Name of the data, and the edit that makes the twins.
        reading: Word of the reading; `undecided`, or `no reading`.
        estimates: Estimates by name.
        evidence: Statements of the rule, or of all rules that remain.
        remain: Readings that no interval contradicts.
        reasons: Sentences that say why there is no reading; empty with one.
        disagrees: Sentences about what does not fit the reading.
        change: Sentence that says what would change the reading.
        n_deciding: Pairs at which the intervals as they stand would decide; None if decided.
        expected: Reading that would then hold; None as for `n_deciding`.
        accuracy: Accuracy by condition, with its 95 % Wilson interval by pair.
        categories: Estimates within each category of questions.
        supporting: Further measurements that decide nothing, as sentences.
        settings: Thresholds, levels, numbers of pairs planned and used, conditions and prompt.
        without_twin: For every sample without a twin, the reason; none of the numbers counts them.
    """

    model: str
    data: str
    reading: str
    estimates: Mapping[str, Estimate]
    evidence: Sequence[Evidence]
    remain: Sequence[str]
    reasons: Sequence[str]
    disagrees: Sequence[str]
    change: str
    n_deciding: int | None
    expected: str | None
    accuracy: Mapping[str, Proportion]
    categories: Mapping[str, Mapping[str, Estimate]]
    supporting: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    without_twin: Sequence[str] = ()

    def as_record(self) -> dict[str, Any]:
        """The card as it is written to `card.json`."""
        return {
            "format": FORMAT,
            "model": self.model,
            "data": self.data,
            "reading": self.reading,
            "estimates": {name: _numbers(found) for name, found in self.estimates.items()},
            "evidence": [asdict(item) for item in self.evidence],
            "remain": list(self.remain),
            "reasons": list(self.reasons),
            "disagrees": list(self.disagrees),
            "change": self.change,
            "n_deciding": self.n_deciding,
            "expected": self.expected,
            "accuracy": {
                label: {"value": p.estimate, "low": p.low, "high": p.high, "n": p.n}
                for label, p in self.accuracy.items()
            },
            "categories": {
                name: {key: _numbers(found) for key, found in some.items()}
                for name, some in self.categories.items()
            },
            "supporting": list(self.supporting),
            "settings": dict(self.settings),
            "without_twin": list(self.without_twin),
        }

    def lines(self) -> list[str]:
        """The card as lines of plain text, numbers first."""
        width = max(map(len, ABOUT))
        said = [f"{self.model} on {self.data}", ""]
        for name, found in self.estimates.items():
            shown = interval(found.value, found.low, found.high)
            if found.value is None:
                shown = f"no value with {found.n} of at least 20 pairs"
            together = f"[{number(found.simultaneous_low)}, {number(found.simultaneous_high)}]"
            said.append(f"{name:{width}}  {shown:24} {together:16} n {found.n:4}  {ABOUT[name]}")
        return [*said, "", f"reading: {self.reading}", *(f"  {t}" for t in self.conclusion())]

    def conclusion(self) -> list[str]:
        """The evidence of the reading, what does not fit it, and what would change it, in lines."""
        said = [f"because {reason}" for reason in self.reasons]
        said += [f"{item.verdict:12} {item.statement}" for item in self.evidence]
        if self.reading == UNDECIDED:
            said.append(f"remaining: {', '.join(self.remain) or 'none'}")
        said += [f"disagrees: {text}" for text in self.disagrees]
        said += [self.change, *self.supporting]
        if self.without_twin:
            first = "; ".join(self.without_twin[:3])
            said.append(f"without a twin, and left out: {len(self.without_twin)} samples: {first}")
        return said

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        """The card in a notebook."""
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(interval(e.value, e.low, e.high))}</td>"
            f"<td>[{number(e.simultaneous_low)}, {number(e.simultaneous_high)}]</td>"
            f"<td>{e.n}</td><td style='text-align:left'>{escape(ABOUT[name])}</td></tr>"
            for name, e in self.estimates.items()
        )
        return (
            f"<p>{escape(self.model)} on {escape(self.data)}</p><table><tr><th>estimand</th>"
            f"<th>95 %</th><th>simultaneous</th><th>n</th><th>share of</th></tr>{rows}</table>"
            f"<p><b>{escape(self.reading)}</b></p><pre>{escape(chr(10).join(self.conclusion()))}</pre>"
        )


def _numbers(found: Estimate) -> dict[str, Any]:
    names = ("value", "low", "high", "simultaneous_low", "simultaneous_high", "n")
    return {name: getattr(found, name) for name in names}


def make_card(
    rows: Sequence[Row],
    *,
    model: str,
    data: str,
    thresholds: Thresholds | None = None,
    look: Look | None = None,
    oracle: bool = True,
    settings: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
) -> Card:
    """Make the card of one run on pairs of twins.

    Args:
        rows: Rows of the pairs looked at, with the conditions of `estimands.CONDITIONS`.
        model: Name of the model.
        data: Name of the data and of the edit.
        thresholds: Numbers on which the reading turns; the defaults if None.
        look: Moment of the look; all pairs by default.
        oracle: False if there is no oracle recipe, so that `twin-oracle` was not run.
        settings: Further settings to record.
        without: For every sample without a twin, the reason; default none.

    Raises:
        LanternError: a sample has several passes, or no row ran.
    """
    refuse_passes(rows, f"{model}: the card of a diagnosis")
    if not any(row["status"] == "ok" for row in rows):
        failed = next((row["error"] for row in rows if row["status"] == "failed"), "no rows")
        raise LanternError(f"{model}: nothing could be run on {data}; the first: {failed}")
    limits, moment = thresholds or Thresholds(), look or Look()
    reasons = comparable(rows, limits.delta)
    blocks = any(row["condition"] == OWN and row.get("emitted") for row in rows)
    found = estimates(rows, moment) if blocks else {}
    categories = by_category(rows, moment) if blocks else {}
    reading = read(found, limits, oracle=oracle, look=moment)
    word = NO_READING if reasons else reading.word
    evidence = [_evidence(claim, found.get(claim.name)) for claim in reading.evidence]
    supporting, disagrees = _mediated(rows, model, word) if blocks else ([], [])
    if word not in (UNDECIDED, NO_READING):
        disagrees += _categories_that_differ(categories, word, limits, oracle, moment)
    return Card(
        model,
        data,
        word,
        found,
        evidence,
        reading.remain,
        reasons,
        disagrees,
        _change(word, evidence, reading),
        reading.n if word == UNDECIDED else None,
        reading.expected if word == UNDECIDED else None,
        accuracies(rows),
        categories,
        [*_shams(rows), *supporting],
        {**asdict(limits), **asdict(moment), **(settings or {})},
        without,
    )


def comparable(rows: Sequence[Row], delta: float) -> list[str]:
    """Say where conditions differ in what decides whether an answer can be read at all.

    Args:
        rows: Rows of a run.
        delta: Largest difference of shares that is let pass.
    """
    ran = {
        label: [r for r in rows if r["condition"] == label and r["status"] == "ok"]
        for label in CONDITIONS
    }
    own = ran[OWN]
    if not own:
        return ["no sample ran with its own latents"]
    blocks = sum(bool(row.get("emitted")) for row in own)
    reasons = []
    if blocks < LEAST_BLOCKS * len(own):
        reasons.append(
            f"{blocks} of {len(own)} texts have a block, less than {LEAST_BLOCKS:.0%}; the prompt "
            "is in settings"
        )
    kinds = {
        "cut off": lambda row: row.get("finish") == "truncated",
        "without an answer that can be read": lambda row: row["answer"] is None,
        "without a block": lambda row: not row.get("emitted"),
    }
    for name, is_so in kinds.items():
        usual = sum(map(is_so, own)) / len(own)
        for label, some in ran.items():
            share = sum(map(is_so, some)) / len(some) if some else usual
            if abs(share - usual) > delta:
                reasons.append(
                    f"texts {name} are {share:.3f} under {label} and {usual:.3f} under own, more "
                    f"than {delta:g} apart"
                )
    return reasons


def _evidence(claim: Statement, found: Estimate | None) -> Evidence:
    if found is None or found.value is None:
        return Evidence(str(claim), claim.name, "no value", None)
    room = []
    if claim.above is not None:
        room.append(found.simultaneous_low - claim.above)
    if claim.below is not None:
        room.append(claim.below - found.simultaneous_high)
    verdict = "holds" if claim.holds(found) else "contradicted" if claim.fails(found) else "open"
    return Evidence(str(claim), claim.name, verdict, min(room))


def _change(word: str, evidence: Sequence[Evidence], reading: Reading) -> str:
    if word == NO_READING:
        return "a reading needs texts that can be compared: see the reasons"
    if word == UNDECIDED and reading.n is not None:
        return (
            f"undecided between {' and '.join(reading.remain)}: about {reading.n} pairs would "
            f"decide if all shares stayed as they are, for {reading.expected}"
        )
    if word == UNDECIDED:
        between = " and ".join(reading.remain) or "no reading of the list"
        return f"undecided between {between}: more pairs with the same shares would not decide"
    nearest = min(evidence, key=lambda item: item.slack if item.slack is not None else 1.0)
    return (
        f"nearest to failing is '{nearest.statement}': its interval ends "
        f"{number(nearest.slack)} inside the bound"
    )


def accuracies(rows: Sequence[Row]) -> dict[str, Proportion]:
    """Accuracy by condition, of the rows that ran and have a right answer.

    Args:
        rows: Rows of a run on pairs of twins.
    """
    found = {}
    for label in CONDITIONS:
        graded = [
            r
            for r in rows
            if r["condition"] == label and r["status"] == "ok" and r.get("correct") is not None
        ]
        if graded:
            clusters = [row["cluster"] for row in graded]
            found[label] = proportion([row["correct"] for row in graded], clusters)
    return found


def _shams(rows: Sequence[Row]) -> list[str]:
    own = {r["sample"]: r for r in rows if r["condition"] == OWN and r["status"] == "ok"}
    again = [r for r in rows if r["condition"] == SHAM and r["status"] == "ok"]
    both = [(own[r["sample"]], r) for r in again if r["sample"] in own]
    same = sum(one["answer"] == other["answer"] for one, other in both)
    return [f"sham: own latents put back gave the same answer in {same} of {len(both)} texts"]


def _mediated(rows: Sequence[Row], model: str, word: str) -> tuple[list[str], list[str]]:
    """The image's effect through the latents, and whether it fits the reading."""
    if not any(row["condition"] == "twin" and row["status"] == "ok" for row in rows):
        return [], []
    try:
        (found,) = mediation(rows, model=model)
    except LanternError as error:  # no twin has a block to lend
        return [f"mediation: {error}"], []
    if not found.n or not found.tests:
        return ["mediation: no sample has all four scores"], []
    p = found.holm_p["nie"]
    shown = interval(found.nie.estimate, found.nie.low, found.nie.high, signed=True)
    text = f"mediation: natural indirect effect {shown} nats, n {found.n}, Holm p {p_value(p)}"
    moves = p is not None and p < 0.05 and found.nie.estimate < 0
    if word in _STILL and moves:
        return [text], [f"answers move in probability all the same ({text})"]
    if word in _MOVING and not moves:
        return [text], [f"the indirect effect is not told from 0 ({text})"]
    return [text], []


def _categories_that_differ(
    categories: Mapping[str, Mapping[str, Estimate]],
    word: str,
    limits: Thresholds,
    oracle: bool,
    look: Look,
) -> list[str]:
    if len(categories) < 2:
        return []
    words = {n: read(e, limits, oracle=oracle, look=look).word for n, e in categories.items()}
    return [
        f"questions of category {name!r} read {other} by themselves"
        for name, other in words.items()
        if other not in (word, UNDECIDED)
    ]
