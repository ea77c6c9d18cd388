"""Distances that latents move, on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.format import interval, number
from lantern_probe.analysis.sensitivity import Sensitivity
from lantern_probe.stats import Difference

from ..console import console, print_table

LEGEND = (
    "cosine distance between a site's state before and after the change [95 % bootstrap "
    "interval, clustered by image], and as a share of the mean distance between samples "
    "[Fieller's]: 0 not noticed, 1 as another sample; - where that distance is too near 0 "
    "for a share of it"
)


def print_sensitivities(found: Sequence[Sensitivity]) -> None:
    """Print one model's table, means over slots."""
    console.print(f"[bold]{escape(found[0].model)}[/]: how far the states move", highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for name in ("change", "site"):
        table.add_column(name, no_wrap=True)
    for name in ("n", "cosine distance", "of that between samples"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in found:
        if item.slot is None:
            share = item.share
            table.add_row(
                escape(item.change),
                escape(item.site),
                str(item.moved.n),
                shown(item.moved),
                interval(share.estimate, share.low, share.high) if share.defined else "-",
            )
    print_table(table)


def shown(moved: Difference) -> str:
    """An estimate with its interval; without one if it is undefined."""
    if moved.method == "undefined":
        return number(moved.estimate)
    return interval(moved.estimate, moved.low, moved.high)
