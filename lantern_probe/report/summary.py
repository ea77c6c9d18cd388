"""Numbers of a run for the top of its page: key figures, and a line per condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.analysis.ablation import (
    ConditionSummary,
    length_notes,
    reference,
    summarize,
)
from lantern_probe.analysis.format import estimate, number, p_value, share
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row
from lantern_probe.report.runs import ReportRun

NEEDED = ("condition", "status", "cluster", "gold", "answer", "correct", "emitted", "finish")
"""Fields without which rows make no table of conditions."""


@dataclass(frozen=True)
class Strip:
    """An interval as a drawing of 0 to 100: ends, estimate, and marks to compare with."""

    low: float
    value: float
    high: float
    marks: tuple[float, ...] = ()
    outer: tuple[float, float] | None = None
    """Ends of a wider interval, drawn thin."""


def strip(
    value: float | None,
    low: float | None,
    high: float | None,
    span: tuple[float, float],
    marks: Sequence[float] = (),
    outer: tuple[float, float] | None = None,
) -> Strip | None:
    """Place an interval in a span; None where there is no value.

    >>> strip(0.5, 0.25, 0.75, (0.0, 1.0))
    Strip(low=25.0, value=50.0, high=75.0, marks=(), outer=None)

    Args:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        span: Values at the left and at the right edge.
        marks: Values of marks, which are left out beyond the edges.
        outer: Ends of a wider interval.
    """
    if value is None or low is None or high is None:
        return None

    def at(number: float) -> float:
        share = (number - span[0]) / (span[1] - span[0])
        return round(100 * min(max(share, 0.0), 1.0), 2)

    inside = tuple(at(mark) for mark in marks if span[0] <= mark <= span[1])
    wide = None if outer is None else (at(outer[0]), at(outer[1]))
    return Strip(at(low), at(value), at(high), inside, wide)


@dataclass(frozen=True)
class ConditionLine:
    """One condition in the table of a run."""

    label: str
    n: int
    accuracy: str
    strip: Strip | None
    difference: str
    shift: Strip | None
    holm_p: str
    same: bool
    """True if the condition is equivalent with what it is compared with."""
    emission: str
    unread: int
    truncated: str
    donor: str
    reference: str | None
    """Label of what it is compared with; None for a reference itself."""


@dataclass(frozen=True)
class ConditionTable:
    """The conditions of a run, with what has to be said below them."""

    lines: Sequence[ConditionLine]
    notes: Sequence[str]


def condition_table(run: ReportRun) -> ConditionTable | None:
    """Compare the conditions of a run of texts; None for rows of another kind.

    Args:
        run: The run.
    """
    rows = run.rows
    if not rows or not _are_answers(rows):
        return None
    try:
        found = summarize(rows, model=str(run.settings.get("model", run.name)))
    except LanternError as error:
        return ConditionTable([], [f"There is no table of conditions: {error}"])
    except (TypeError, KeyError, ValueError, AttributeError) as error:  # of another program
        why = f"a row has a value of another kind ({type(error).__name__}: {error})"
        return ConditionTable([], [f"There is no table of conditions: {why}."])
    return ConditionTable([_line(item) for item in found], length_notes(found))


def _are_answers(rows: Sequence[Row]) -> bool:
    good = [row for row in rows if row.get("status") == "ok"]
    return (
        bool(good)
        and all(
            all(name in row for name in NEEDED) and isinstance(row.get("kept", ""), str)
            for row in good
        )
        and any("parsed" in row for row in good)
    )


def _line(item: ConditionSummary) -> ConditionLine:
    accuracy, difference = item.accuracy, item.difference
    span = (-1.0, 1.0)
    to = reference(item.condition)
    return ConditionLine(
        label=item.condition,
        n=item.n,
        accuracy=estimate(accuracy),
        strip=strip(accuracy.estimate, accuracy.low, accuracy.high, (0, 1), _chance(item))
        if accuracy.n
        else None,
        difference=estimate(difference, signed=True),
        shift=None
        if difference is None
        else strip(difference.estimate, difference.low, difference.high, span, (0,)),
        holm_p=p_value(item.holm_p),
        same=bool(item.equivalent),
        emission=share(item.emission),
        unread=item.unparsed,
        truncated=share(item.truncated),
        donor=share(item.donor),
        reference=None if to == item.condition else to,
    )


def _chance(item: ConditionSummary) -> tuple[float, ...]:
    return () if item.chance is None else (item.chance,)


def key_figures(run: ReportRun, table: ConditionTable | None) -> list[tuple[str, str, str]]:
    """A few numbers with their words: value, name, and a remark.

    Args:
        run: The run.
        table: Its table of conditions.
    """
    rows = run.rows
    ids = {row["sample"] for row in rows} | {*run.samples}
    status = Counter(str(row.get("status", "ok")) for row in rows)
    good = [row for row in rows if row.get("status", "ok") == "ok"]
    figures = [
        (f"{len(ids):,}", "samples", ""),
        (f"{len({row['condition'] for row in rows}):,}", "conditions", ""),
        (f"{len(rows):,}", "rows", ""),
    ]
    own = next((line for line in table.lines if line.label == "own"), None) if table else None
    if own is not None:
        value, _, rest = own.accuracy.partition(" ")
        figures.append((value, "accuracy with own latents", rest))
        figures.append((own.emission, "of the texts have a block", ""))
    if any("answer" in row for row in good):
        unread = sum("answer" in row and row["answer"] is None for row in good)
        figures.append((f"{unread:,}", "without a readable answer", _of(unread, len(good))))
    if any("finish" in row for row in good):
        cut = sum(row.get("finish") == "truncated" for row in good)
        figures.append((f"{cut:,}", "cut off at the token limit", _of(cut, len(good))))
    if lost := status["failed"] + status["left out"]:
        figures.append((f"{lost:,}", "failed or left out", _of(lost, len(rows))))
    return figures


def _of(part: int, whole: int) -> str:
    return f"{number(part / whole)} of {whole:,}" if part else ""


def about(run: ReportRun) -> list[tuple[str, str]]:
    """Name the command, the model, the data and more of `run.json`, with their values.

    Args:
        run: The run.
    """
    manifest, settings = run.manifest, run.settings
    decoding = _mapping(manifest.get("decoding"))
    packages = _mapping(manifest.get("packages"))
    found: list[tuple[str, Any]] = [
        ("command", settings.get("experiment")),
        ("model", settings.get("model")),
        ("data", settings.get("data")),
        ("seed", settings.get("seed", manifest.get("seed"))),
        ("device", decoding.get("device_name") or decoding.get("device")),
        ("dtype", decoding.get("dtype")),
        ("started", manifest.get("created")),
        ("finished", manifest.get("finished")),
        ("lantern_probe", packages.get("lantern-probe")),
        ("commit", str(_mapping(manifest.get("git")).get("commit") or "")[:12]),
        ("folder", str(run.home)),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
