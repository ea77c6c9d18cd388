"""Attention by role on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.attention import MEASURES, AttentionMean
from lantern_probe.analysis.format import interval, number
from lantern_probe.stats import Difference
from lantern_probe.vocabulary import ATTENTION_QUERIES

from ..console import console, print_table

LEGEND = (
    "mass: share of a query's attention; entropy in nats; enrichment: mass of the evidence box "
    "over the mean window of its size (1 without preference), percentile among these windows; "
    "95 % studentised bootstrap intervals, clustered by image"
)


def print_means(found: Sequence[AttentionMean], n: int) -> None:
    """Print one model's figures, over all layers."""
    console.print(f"[bold]{escape(found[0].model)}[/], n = {n}, mean over layers and heads")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("attention of", no_wrap=True)
    for measure in MEASURES:
        table.add_column(measure.replace("mass:", "on "), justify="right", no_wrap=True)
    for query in ATTENTION_QUERIES:
        cells = []
        for measure in MEASURES:
            some = [
                f.mean for f in found if (f.query, f.measure, f.layer) == (query, measure, None)
            ]
            cells.append(shown(some[0]) if some else "-")
        table.add_row(str(query).replace("_", " "), *cells)
    print_table(table)


def shown(mean: Difference) -> str:
    """An estimate with its interval; alone where all samples are alike, as without slots before."""
    if mean.method == "undefined":
        return number(mean.estimate)
    return interval(mean.estimate, mean.low, mean.high)
