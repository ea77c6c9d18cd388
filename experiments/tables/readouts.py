"""Readouts on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.format import estimate, number, p_value
from lantern_probe.analysis.image_readouts import ImageMean
from lantern_probe.analysis.word_readouts import WordMean

from ..console import console, print_table

WORDS_LEGEND = (
    "own: probability of the text among the question's options, from its first token, mean over "
    "slots; other: the same text read from the vectors of samples of other images whose text "
    "differs; random head: another control; rank: median in the whole vocabulary (1 first). 95 % "
    "studentised bootstrap intervals, clustered by image; p by giving every text the vectors of "
    "another sample at random, images moving as a whole, one-sided, after Holm over the sites of "
    "the table. latent: what is fed at the slot, the final state of the position before; residual: "
    "the slot's own. Readable is not used: for that, exchange the latents (exchange_latents)"
)

MAPS_LEGEND = (
    "nearest image tokens of the latents. percentile: place of the evidence box among all windows "
    "of its size (.5 without meaning); pointing: fraction of slots whose nearest token lies in the "
    "box; permuted: the same with other samples' latents, and p of that permutation, one-sided, "
    "images moving as a whole. Centred: without what all tokens of the image share"
)


def print_words(title: str, found: Sequence[WordMean]) -> None:
    """Print the means of one model, condition and target, one line per site."""
    whole = [one for one in found if one.slot is None]
    console.print(
        f"[bold]{escape(title)}[/], chance {number(whole[0].chance)}, n = {whole[0].mean.n}",
        highlight=False,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("site", no_wrap=True)
    for name in ("own", "other", "random head", "own - other", "p (Holm)", "rank"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in whole:
        table.add_row(
            one.site,
            estimate(one.mean),
            number(one.other),
            number(one.untrained),
            estimate(one.contrast, signed=True),
            p_value(one.p_holm),
            f"{one.rank:.0f}",
        )
    print_table(table)


def print_maps(title: str, found: Sequence[ImageMean]) -> None:
    """Print where the latents of one model point, over all slots."""
    console.print(f"[bold]{escape(title)}[/]", highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("measure", no_wrap=True)
    for name in ("own", "chance", "permuted", "p", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        if one.slot is None:
            table.add_row(
                f"{one.measure}, {'centred' if one.centred else 'raw'}",
                estimate(one.mean),
                number(one.chance),
                number(one.permuted),
                p_value(one.p),
                str(one.mean.n),
            )
    print_table(table)
