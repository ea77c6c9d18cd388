"""Controls of an exchange on the console: image and latents crossed, shifts of every swap."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from lantern_probe.analysis.crossed import CELLS, Crossed
from lantern_probe.analysis.format import estimate, p_value
from lantern_probe.analysis.swap_controls import SwapShift

from ..console import print_table, titled_table
from .exchange import p_values, shown, shown_name

CROSSED_LEGEND = (
    "image and latents crossed: share of the sample's right answer; the contrasts are paired [95 % "
    "interval, clustered by pair], p: sign-flip test, whole pairs flipped; Holm over the four"
)

SWAP_LEGEND = (
    "margin: log-probability of the right answer minus that of the best other candidate, its shift "
    "from own, signed and absolute; reverse: the twin gets the sample's latents; random-pair: "
    "another pair's twin; Holm: p of the sign-flip test, after Holm over the swaps, of the signed "
    "shift, and of the absolute one minus the sham's on the same samples (exchange.json has that "
    "difference)"
)


def print_crossed(found: Crossed, console: Console) -> None:
    """Print the four cells and their contrasts."""
    table = titled_table(
        f"{found.model}: image and latents crossed, n = {found.n} ({found.left_out} left out)"
    )
    table.add_column("cell", no_wrap=True)
    table.add_column("the sample's right answer", justify="right", no_wrap=True)
    for name, cell in zip(CELLS, found.cells, strict=True):
        table.add_row(name, shown(cell))
    print_table(table, console)
    table = titled_table("what clean latents, and a clean image, bring")
    table.add_column("contrast", no_wrap=True)
    for name in ("difference", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for contrast in found.contrasts:
        table.add_row(
            contrast.name,
            estimate(contrast.difference, signed=True),
            *p_values(contrast.test, contrast.holm_p),
        )
    print_table(table, console)


def print_swap_shifts(found: Sequence[SwapShift], console: Console) -> None:
    """Print the shifts of one model's margin under every swap."""
    table = titled_table(f"{found[0].model}: shift of the right answer's margin, nats")
    table.padding = (0, 0)
    table.add_column("swap", no_wrap=True)
    for name in ("n", "signed", "Holm", "absolute", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in found:
        table.add_row(
            f"{escape(shown_name(item))}, {item.direction}",
            str(item.n),
            shown(item.signed),
            p_value(item.signed_holm_p),
            shown(item.absolute),
            p_value(item.absolute_holm_p),
        )
    print_table(table, console)
