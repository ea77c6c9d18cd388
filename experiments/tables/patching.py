"""Effects of patched activations on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.format import p_value
from lantern_probe.analysis.patching import DIRECTIONS, PatchEffect
from lantern_probe.stats import Difference, Ratio

from ..console import print_table

ALPHA = 0.05
"""Cells left out of the table are counted where their Holm p is below it."""


LEGEND = (
    "recovery: shift of the logit difference over the difference between the two runs [95 % "
    "Fieller's interval, clustered by pair], - where that difference is too near 0 for a share of "
    "it; denoise: clean into corrupted; noise: corrupted into clean; flip: share whose most "
    "probable answer became the donor's; Holm: p of the sign-flip test that the shift is 0, whole "
    "pairs (n of them) flipped "
    "together, exact for up to 20 pairs, after Holm over all cells of the model and direction, "
    "single slots too; sham: largest shift, nats, with own activations put back, not tested; p "
    "before Holm, and the shifts with their intervals (studentised bootstrap), are in patching.json"
)


def print_effects(effects: Sequence[PatchEffect], console: Console) -> None:
    """Print one model's cells, all positions of a role together; single slots are in the figure."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("cell", no_wrap=True)
    for name in ("n", *(part for way in DIRECTIONS for part in (way, "flip", "Holm")), "sham"):
        table.add_column(name, justify="right", no_wrap=True)
    found = {(e.condition, e.direction): e for e in effects}
    quiet, shifted = 0, 0
    for label in dict.fromkeys(e.condition for e in effects if e.slot is None and not e.sham):
        both = [found[label, way] for way in DIRECTIONS]
        sham = max(found[f"{label}:sham", way].largest for way in DIRECTIONS)
        figures = [(ratio(e.recovery), share(e.flips)) for e in both]
        if set(figures) == {(".00 [.00, .00]", ".00")} and not sham:
            quiet += 1
            adjusted = [e.shift_holm_p for e in both if e.shift_holm_p is not None]
            shifted += any(p < ALPHA for p in adjusted)
            continue
        cells = [
            part
            for e, two in zip(both, figures, strict=True)
            for part in (*two, p_value(e.shift_holm_p))
        ]
        n = "/".join(dict.fromkeys(str(e.n) for e in both))
        table.add_row(escape(label), n, *cells, f"{sham:.1g}")
    largest = max(e.n for e in effects)
    family = {e.condition for e in effects if e.shift_test is not None}
    draws = max((e.shift_test.resamples for e in effects if e.shift_test is not None), default=0)
    console.print(
        f"[bold]{escape(effects[0].model)}[/]: recovery, up to {largest} samples in each direction"
        f"; Holm over {len(family)} cells" + (f", {draws:,} draws" if draws else ""),
        highlight=False,
    )
    print_table(table, console)
    console.print(
        f"and {quiet} cells in which all of these figures but Holm are .00; Holm is below "
        f"{two_digits(ALPHA)} in {shifted} of them",
        highlight=False,
    )
    console.print()


def ratio(value: Ratio) -> str:
    """A ratio with its interval; a dash where it is not defined."""
    if not value.defined:
        return "-"
    estimate, low, high = (two_digits(end) for end in (value.estimate, value.low, value.high))
    return f"{estimate} [{low}, {high}]"


def share(value: Difference) -> str:
    """A share; a dash where there is none."""
    return two_digits(value.estimate) if value.n else "-"


def two_digits(value: float) -> str:
    """Two decimals, without a leading zero, and 0 without a sign."""
    text = f"{round(value, 2) + 0:.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
