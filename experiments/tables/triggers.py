"""Triggers on the console."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from lantern_probe.analysis.format import estimate, interval, number, p_value
from lantern_probe.analysis.triggers import Triggers

from ..console import print_table, titled_table

LEGEND = (
    "Texts with and without a block are of different questions: their accuracies, and Fisher's "
    "exact test of emission and correctness, show an association and no effect. The effect is the "
    "contrast on the same samples, paired [95 % interval, clustered by image]; p: sign-flip test, "
    "McNemar's where no image repeats; Holm: p after Holm over the contrasts. force: in a text "
    "that opens no block one is opened where the start marker was likeliest; ban: no markers"
)


def print_triggers(found: Triggers, console: Console) -> None:
    """Print one model's emission, its association with correctness, and the effect of a block."""
    fisher = found.association
    console.print(f"[bold]{escape(found.model)}[/]: {found.n} samples")
    odds = "no odds ratio: all or none have a block, or are right"
    if fisher.odds_ratio == fisher.odds_ratio:
        ends = (fisher.odds_ratio, fisher.low, fisher.high)
        odds = f"odds ratio {interval(*ends)} (exact), p {p_value(fisher.p)}"
    console.print(
        f"a block in {estimate(found.emission)} of {found.emission.n}; right with a block "
        f"{estimate(found.with_block)} of {found.with_block.n}, without "
        f"{estimate(found.without_block)} of {found.without_block.n}; {odds}",
        markup=False,
        highlight=False,
    )
    if found.images < found.n and fisher.odds_ratio == fisher.odds_ratio:
        console.print(
            f"{found.images} images for {found.n} samples: Fisher's test counts samples as "
            "independent, and its p is too small",
            markup=False,
            highlight=False,
        )
    table = titled_table("effect of a block on the same samples")
    table.add_column("samples", no_wrap=True)
    table.add_column("contrast", no_wrap=True)
    for name in ("n", "difference", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for effect in found.effects:
        table.add_row(
            effect.samples,
            f"{effect.first} - {effect.second}",
            str(effect.n),
            estimate(effect.difference, signed=True),
            p_value(None if effect.test is None else effect.test.p),
            p_value(effect.holm_p),
        )
    print_table(table, console)
    share = found.emission.estimate
    if share in (0, 1):
        console.print(
            f"emission is {number(share)}: there is nothing endogenous to find",
            markup=False,
            highlight=False,
        )
