"""Published accuracies next to those of a run or of record files, from the rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lantern_probe.analysis.comparison import CompareSettings, Comparison, PairReport, compare
from lantern_probe.analysis.literature.figures import ALL, Flips, PublishedFigure, Value
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import Proportion, holm, mcnemar, proportion, score_interval, wilson
from lantern_probe.stats.score import independent_difference

OWN = "own"
"""Condition with which the others are compared if no pairs were published."""


@dataclass(frozen=True)
class AccuracyLine:
    """One published fraction next to the measured one.

    Attributes:
        published: Published value, with its n if that is known.
        published_interval: 95 % Wilson interval of the published value; None for a range, or if n
            is unknown.
        measured: Measured fraction, with its 95 % Wilson interval. None without such samples, or
            if conditions are missing that decide which samples are jointly parsed.
        with_block: Accuracy among the samples with a latent block; None for other measures.
        agrees: True if published and measured do not differ: 0 lies in Newcombe's 95 % interval of
            their difference, as of independent samples. If the published n is unknown, True if the
            published value, or a part of its range, lies in the measured interval. If these are
            the published records, True if the counts are equal. None without a measured value.
    """

    published: Value
    published_interval: Proportion | None
    measured: Proportion | None
    with_block: Proportion | None
    agrees: bool | None


@dataclass(frozen=True)
class PairLine:
    """Published difference of two conditions' accuracies next to the measured one.

    Attributes:
        first: Name of the condition from whose accuracy the other's is subtracted.
        second: Name of the other condition.
        low: Published difference, or the lower end of its range.
        high: Published difference, or the upper end of its range.
        flips: Published paired counts; None if only accuracies were published.
        p: p value of the exact McNemar test of `flips`; None without them.
        holm_p: p value of `flips` after Holm over the published pairs; None without them.
        measured: Measured paired analysis; None if a condition is missing.
        agrees: True if the published and the measured difference do not differ: 0 lies in the 95 %
            interval of one minus the other, as of independent samples. If no paired counts were
            published, True if the published difference lies in the measured interval. None without
            a measured one.
    """

    first: str
    second: str
    low: float
    high: float
    flips: Flips | None
    p: float | None
    holm_p: float | None
    measured: PairReport | None
    agrees: bool | None


@dataclass(frozen=True)
class AccuracyComparison:
    """Published accuracies of a figure next to the measured ones.

    Attributes:
        lines: One line per published value, in their order.
        pairs: One line per published pair, or per condition against `own`.
        samples: Number of samples with an answer under `own`, or else under the first condition
            that has rows.
        without_block: Number of these samples without a latent block, on which no condition acts.
        notes: Remarks on missing conditions and unusual rows.
    """

    lines: tuple[AccuracyLine, ...]
    pairs: tuple[PairLine, ...]
    samples: int
    without_block: int
    notes: tuple[str, ...]


def compare_accuracies(
    figure: PublishedFigure,
    conditions: Mapping[str, Sequence[Row]],
    *,
    seed: int = 0,
    same: bool = False,
) -> AccuracyComparison:
    """Put every published accuracy of a figure next to the one that the rows give.

    Accuracy is over all samples that ran, with or without a latent block, as it was published. The
    accuracy among the samples with a block is given in addition.

    Args:
        figure: Published figure of kind `accuracy`.
        conditions: Rows by condition, of a run or of `read_published`. Conditions that the figure
            lacks are ignored. The field `category` tells the splits apart.
        seed: Seed of the bootstrap intervals, default 0.
        same: True if the rows are the published records themselves. Published and measured then
            agree if their counts are equal, as an interval would be too lenient. Default False.

    Raises:
        LanternError: none of the figure's conditions is there, or their samples do not fit.
    """
    there = {name: conditions[name] for name in figure.conditions if _any_graded(conditions, name)}
    if not there:
        raise LanternError(
            f"{figure.name} is about {', '.join(figure.conditions)}; there are answers under none "
            f"of these, only under {', '.join(conditions) or 'nothing'}"
        )
    wanted = _pairs(figure)
    found = compare(
        there, [p for p in wanted if p[0] in there and p[1] in there], CompareSettings(seed=seed)
    )
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    missing = [name for name in figure.conditions if name not in there]
    notes = [f"not measured: {', '.join(missing)}"] if missing else []
    known = [row for row in there.get(OWN, next(iter(there.values()))) if counts(row, block=False)]
    without = {row["sample"] for row in known if not row["emitted"]}
    return AccuracyComparison(
        tuple(_line(value, there, found, without, not missing, same) for value in figure.values),
        tuple(_pair_lines(figure, wanted, pairs, same)),
        len(known),
        len(without),
        (*notes, *found.notes),
    )


def _any_graded(conditions: Mapping[str, Sequence[Row]], name: str) -> bool:
    return any(counts(row, block=False) for row in conditions.get(name, ()))


def _line(
    value: Value,
    there: Mapping[str, Sequence[Row]],
    found: Comparison,
    without: set[str],
    complete: bool,
    same: bool,
) -> AccuracyLine:
    count = value.count
    known = None if count is None or value.n is None else wilson(count, value.n)
    rows = there.get(value.condition, ())
    measured = _measured(value, rows, found, complete)
    with_block = None
    if value.measure == "accuracy":
        with_block = _share([row for row in rows if row["sample"] not in without], value.split)
    agrees = _agree(value, known, measured)
    if same and known and measured:
        agrees = (known.count, known.n) == (measured.count, measured.n)
    return AccuracyLine(value, known, measured, with_block, agrees)


def _measured(
    value: Value, rows: Sequence[Row], found: Comparison, complete: bool
) -> Proportion | None:
    report = next((c for c in found.conditions if c.condition == value.condition), None)
    if report is None:
        return None
    if value.measure == "unparsed":
        return wilson(report.unparsed, report.n)
    if value.measure == "jointly parsed":
        return report.jointly_parsed if complete else None
    return _share(rows, value.split)


def _share(rows: Sequence[Row], split: str) -> Proportion | None:
    used = [row for row in rows if counts(row, block=False) and split in (ALL, row.get("category"))]
    right = [int(row["correct"]) for row in used]
    return proportion(right, [row["cluster"] for row in used]) if right else None


def _pairs(figure: PublishedFigure) -> list[tuple[str, str]]:
    if figure.flips:
        return [(pair.first, pair.second) for pair in figure.flips]
    return [(OWN, name) for name in figure.conditions if name != OWN]


def _pair_lines(
    figure: PublishedFigure,
    wanted: Sequence[tuple[str, str]],
    found: Mapping[tuple[str, str], PairReport],
    same: bool,
) -> list[PairLine]:
    shares = {v.condition: v for v in figure.values if (v.measure, v.split) == ("accuracy", ALL)}
    tests = [mcnemar(pair.b, pair.c).p for pair in figure.flips]
    by_pair = {
        (pair.first, pair.second): (pair, p, adjusted)
        for pair, p, adjusted in zip(figure.flips, tests, holm(tests), strict=True)
    }
    lines = []
    for first, second in wanted:
        flips, p, adjusted = by_pair.get((first, second), (None, None, None))
        one, two = shares[first], shares[second]
        low, high = one.low - two.high, one.high - two.low
        if flips:
            low = high = (flips.b - flips.c) / figure.n[ALL]
        pair = found.get((first, second))
        agrees = None
        if pair and flips and same:
            agrees = (flips.b, flips.c) == (pair.mcnemar.b, pair.mcnemar.c)
        elif pair and flips:
            told = (low, *score_interval(flips.b, flips.c, figure.n[ALL]))
            d = pair.difference
            agrees = _holds_zero(independent_difference((d.estimate, d.low, d.high), told))
        elif pair:
            agrees = low <= pair.difference.high and pair.difference.low <= high
        lines.append(PairLine(first, second, low, high, flips, p, adjusted, pair, agrees))
    return lines


def _agree(value: Value, known: Proportion | None, measured: Proportion | None) -> bool | None:
    if measured is None:
        return None
    if known is None:
        return value.low <= measured.high and measured.low <= value.high
    pair = [(one.estimate, one.low, one.high) for one in (measured, known)]
    return _holds_zero(independent_difference(*pair))


def _holds_zero(interval: tuple[float, float]) -> bool:
    return interval[0] <= 0 <= interval[1]
