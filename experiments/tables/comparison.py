"""A paired comparison on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from lantern_probe.analysis.comparison import (
    CompareSettings,
    Comparison,
    ConditionReport,
    PairReport,
)
from lantern_probe.analysis.format import interval, number, p_value, points, share
from lantern_probe.analysis.verdict import read_pair
from lantern_probe.stats import Detectable, Difference, Proportion

from ..console import print_caption, print_table, titled_table


def print_conditions(
    conditions: Sequence[ConditionReport], settings: CompareSettings, console: Console
) -> None:
    """Every condition by itself: accuracy, what could not be parsed, and without that."""
    level = f"{100 * (1 - settings.alpha):g} %"
    table = titled_table("conditions")
    scored = any(c.likelihood.n for c in conditions)
    known = any(c.truncated is not None for c in conditions)
    table.add_column("condition", overflow="fold")
    cut = ("cut",) if known else ()
    for name in ("n", "right", "accuracy", *cut, "unparsed", "jointly parsed", "block"):
        table.add_column(name, justify="right", no_wrap=True)
    if scored:
        table.add_column("likelihood", justify="right", no_wrap=True)
    for c in conditions:
        table.add_row(
            escape(c.condition),
            str(c.n),
            str(c.accuracy.count),
            _share(c.accuracy),
            *([share(c.truncated)] if known else []),
            str(c.unparsed),
            _share(c.jointly_parsed),
            str(c.emitted),
            *([number(c.likelihood.estimate) if c.likelihood.n else "-"] if scored else []),
        )
    print_table(table, console)
    print_caption(
        f"accuracy [{level} Wilson interval, n / design effect where images repeat]: an unparsed "
        "text counts as wrong. Jointly parsed: "
        f"the same among the {conditions[0].jointly_parsed.n} samples parsed under every "
        "condition. Block: texts with a latent block."
        + (" Cut: share of texts cut off at the token limit." if known else "")
        + (
            " Likelihood: the most probable candidate is the right one, among the "
            f"{conditions[0].likelihood.n} samples scored under every condition."
            if scored
            else ""
        ),
        console,
    )


def print_pairs(comparison: Comparison, console: Console) -> None:
    """Every pair: the test, difference, equivalence, what could have been seen."""
    settings, pairs = comparison.settings, comparison.pairs
    clustered = any(pair.clustered for pair in pairs)
    table = titled_table(f"pairs: accuracy of the first minus the second, {len(pairs)} comparisons")
    table.add_column("pair", overflow="fold")
    for name in ("n", "b:c", "p", "Holm", *(["p clust."] if clustered else [])):
        table.add_column(name, justify="right", no_wrap=True)
    several = len(pairs) > 1
    for name in ("difference", "TOST", "MDE", *(["fam."] if several else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in pairs:
        table.add_row(
            _name(pair),
            str(pair.n),
            f"{pair.mcnemar.b}:{pair.mcnemar.c}",
            p_value(pair.mcnemar.p),
            p_value(pair.holm_p),
            *([p_value(pair.clustered_holm_p)] if clustered else []),
            _difference(pair.difference),
            p_value(pair.equivalence_holm_p) + ("*" if pair.equivalent else " "),
            _seen(pair.detectable),
            *([_seen(pair.detectable_in_family)] if several else []),
        )
    print_table(table, console)
    print_caption(
        "b:c: right under the first only and under the second only. p: exact McNemar, and after "
        f"Holm. Difference [{100 * (1 - settings.alpha):g} % interval, Tango's; it reaches 0 where "
        f"the test does not reject]. TOST: p of equivalence within {points(settings.margin)} pp "
        f"after Holm; * where it is shown. MDE: smallest difference that one test at "
        f"{settings.alpha:g} sees with {100 * settings.power:g} % power"
        + (
            f"; fam.: the same at {settings.alpha:g} / {len(pairs)}, which Holm asks of the "
            f"smallest of {len(pairs)} p values."
            if several
            else "."
        )
        + (
            f" P clust.: sign flips of whole clusters ({settings.cluster}), after Holm; interval, "
            "TOST and MDE are clustered too, the first two p are not; p clust. decides."
            if clustered
            else ""
        ),
        console,
    )


def print_parsing(pairs: Sequence[PairReport], console: Console) -> None:
    """Parse failure as an outcome, and the accuracies among the jointly parsed."""
    if not any(pair.outcomes.first[2] or pair.outcomes.second[2] for pair in pairs):
        console.print("Every text has a readable answer.\n")
        return
    table = titled_table("parse failure")
    table.add_column("pair", overflow="fold")
    for name in ("unparsed", "lost", "p", "Holm", "joint n", "difference", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in pairs:
        table.add_row(
            _name(pair),
            f"{pair.outcomes.first[2]} {pair.outcomes.second[2]}",
            f"{pair.parse_failure.b}:{pair.parse_failure.c}",
            p_value(pair.parse_failure_test.p),
            p_value(pair.parse_failure_holm_p),
            str(pair.joint_n),
            _difference(pair.joint_difference) if pair.joint_n else "-",
            p_value(pair.joint_test.p),
        )
    print_table(table, console)
    print_caption(
        "unparsed under the first and the second. Lost: by the first only and by the second only. "
        f"p: {pairs[0].parse_failure_test.method} on parse failure, and after Holm. Then, among "
        "the samples parsed under both: how many, the difference of the accuracies, its p by the "
        "same test, not adjusted.",
        console,
    )


def print_log_odds(pairs: Sequence[PairReport], console: Console) -> None:
    """The right answer's log-odds, which need no parsing; nothing where there are none."""
    shown = [pair for pair in pairs if pair.log_odds and pair.log_odds_test]
    if not shown:
        return
    table = titled_table("log-odds of the right answer, in nats: first minus second")
    table.add_column("pair", overflow="fold")
    for name in ("n", "difference", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in shown:
        assert pair.log_odds and pair.log_odds_test
        ps = (p_value(pair.log_odds_test.p), p_value(pair.log_odds_holm_p))
        table.add_row(_name(pair), str(pair.log_odds.n), _difference(pair.log_odds), *ps)
    print_table(table, console)
    print_caption(
        "mean difference [studentised bootstrap interval]; p by flipping signs of whole clusters, "
        "and after Holm.",
        console,
    )


def print_reading(comparison: Comparison, console: Console) -> None:
    """Every pair in words, then the notes on the data."""
    for pair in comparison.pairs:
        console.print(
            f"[bold]{_name(pair)}[/]: {escape(read_pair(pair, comparison))}", highlight=False
        )
    for note in comparison.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _name(pair: PairReport) -> str:
    return escape(f"{pair.first} - {pair.second}")


def _seen(found: Detectable | None) -> str:
    return number(found.difference) if found else "-"


def _share(share: Proportion) -> str:
    return interval(share.estimate, share.low, share.high) if share.n else "-"


def _difference(difference: Difference) -> str:
    return interval(difference.estimate, difference.low, difference.high, signed=True)
