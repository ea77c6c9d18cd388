"""A diagnosis on the console: the numbers, then their reading and what it rests on."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.card import Card
from lantern_probe.analysis.estimands import ABOUT, FEWEST
from lantern_probe.analysis.format import interval, number

from ..console import print_table


def print_card(card: Card, console: Console) -> None:
    """Print the card of a model."""
    console.print(f"[bold]{escape(card.model)}[/] on {escape(card.data)}", highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("estimand", no_wrap=True)
    for name in ("n", "value [95 %]", "simultaneous"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("share of", overflow="fold")
    for name, found in card.estimates.items():
        shown = interval(found.value, found.low, found.high)
        few = f"fewer than {FEWEST} pairs"
        ends = f"[{number(found.simultaneous_low)}, {number(found.simultaneous_high)}]"
        table.add_row(
            name,
            str(found.n),
            few if found.value is None else shown,
            "-" if found.value is None else escape(ends),
            ABOUT[name],
        )
    print_table(table, console)
    console.print(f"reading: [bold]{escape(card.reading)}[/]", highlight=False)
    for text in card.conclusion():
        console.print(f"  {text}", markup=False, highlight=False)
