"""Exchanges, mediation and slot shares on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.exchange import Exchange
from lantern_probe.analysis.format import bounds, interval, p_value
from lantern_probe.analysis.mediation import EFFECTS, Mediation
from lantern_probe.analysis.slot_shares import SlotShare
from lantern_probe.analysis.swap_controls import SwapShift
from lantern_probe.interventions.seeds import spelled
from lantern_probe.stats import Difference, PairedTest, SignFlip
from lantern_probe.stats.two_way import TwoWayTest

from ..console import print_table

LEGEND = (
    "lift: share of donor's answers minus the share that come with the own latents anyway; margin: "
    "by how much the donor's answer gained on the own one, over the samples that open an answer "
    "under both; TE = NDE + TIE: total, natural direct and total indirect effect; NIE: natural "
    "indirect effect, with words fixed where the text after the block is forced to be that of the "
    "own run; [95 % interval, clustered by pair: Wilson's of shares, Tango's of lifts, "
    "else studentised bootstrap]; p: sign-flip test that it is 0 "
    "on the same n samples, whole pairs flipped together (exact for lifts and for few pairs, else "
    "9,999 draws); Holm: p after Holm over the model's exchanges, lifts and margins apart, or over "
    "the four effects; self-swap is a sham: it shows rounding, which is not tested; of several "
    "seeds: means over samples and seeds, whose spread is in intervals and tests (two-way, t); "
    "of one seed its draw is in no interval"
)


def print_exchanges(items: Sequence[Exchange], console: Console) -> None:
    """Print one model's exchanges."""
    console.print(f"[bold]{escape(items[0].model)}[/]: what comes out")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("exchange", no_wrap=True)
    for name in ("n", "donor's answer", "lift", "p", "Holm", "as before"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in items:
        table.add_row(
            escape(shown_name(item)),
            str(item.n),
            *(shown(d) for d in (item.donor_rate, item.lift)),
            *p_values(item.lift_test, item.lift_holm_p),
            shown(item.kept),
        )
    print_table(table, console)
    for text in bounds((f"lift of {shown_name(item)}", item.lift) for item in items):
        console.print(text, markup=False, highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("exchange", no_wrap=True)
    for name in ("n", "margin, nats", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in items:
        table.add_row(
            escape(shown_name(item)),
            str(item.scored),
            shown(item.margin) if item.margin is not None else "-",
            *p_values(item.margin_test, item.margin_holm_p),
        )
    print_table(table, console)


def print_mediation(item: Mediation, console: Console) -> None:
    """Print one model's effects, and the mediated share of them."""
    console.print(f"mediation, n = {item.n} ({item.left_out} left out)", highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("effect", no_wrap=True)
    for name in ("nats of the gold log-odds", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in EFFECTS:
        tested = p_values(item.tests.get(name), item.holm_p.get(name))
        table.add_row(name.upper(), shown(getattr(item, name)), *tested)
    print_table(table, console)
    print_paths(item, console)
    for name, share in (("TIE / TE", item.share), ("NIE / TE", item.share_nie)):
        text = share.reason or interval(share.estimate, share.low, share.high)
        console.print(f"{name} {text}", highlight=False, markup=False)


def print_paths(item: Mediation, console: Console) -> None:
    """Print the interaction of image and latents, and the paths of the indirect effect."""
    found = item.interaction
    rows: list[tuple[str, Difference, SignFlip | None, float | None]] = [
        ("TIE - NIE (image and latents interact)", found.difference, found.test, None)
    ]
    if (paths := item.by_words) is not None:
        rows += [
            (f"NIE, words fixed (n = {paths.n})", paths.fixed, paths.tests["fixed"],
             paths.holm_p["fixed"]),
            ("NIE through the words", paths.words, paths.tests["words"], paths.holm_p["words"]),
        ]  # fmt: skip
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("contrast", no_wrap=True)
    for name in ("nats of the gold log-odds", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, difference, test, holm_p in rows:
        table.add_row(name, shown(difference), *p_values(test, holm_p))
    print_table(table, console)


def print_twins(model: str, items: Mapping[str, Mediation], console: Console) -> None:
    """Print one model's mediation by several twins, side by side.

    Args:
        model: Name of the model.
        items: Mediation by the name of the twin.
        console: The console.
    """
    table = Table(
        title=f"{escape(model)}: mediation by twin, nats [95 % interval]; p of TIE - NIE",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("", no_wrap=True)
    for twin in items:
        table.add_column(escape(twin), justify="right", no_wrap=True)
    lines: dict[str, list[str]] = {"n": [str(item.n) for item in items.values()]}
    for name in EFFECTS:
        lines[name.upper()] = [shown(getattr(item, name)) for item in items.values()]
    lines["NIE, words fixed"] = [
        "-" if item.by_words is None else shown(item.by_words.fixed) for item in items.values()
    ]
    lines["TIE - NIE"] = [shown(item.interaction.difference) for item in items.values()]
    lines["p"] = [p_values(item.interaction.test, None)[0] for item in items.values()]
    for name in ("share", "share_nie"):
        shares = [getattr(item, name) for item in items.values()]
        lines["TIE / TE" if name == "share" else "NIE / TE"] = [
            "-" if share.reason else interval(share.estimate, share.low, share.high)
            for share in shares
        ]
    for name, cells in lines.items():
        table.add_row(name, *cells)
    print_table(table, console)


def print_shares(shares: Sequence[SlotShare], console: Console) -> None:
    """Print one model's slots, for all questions or for those of one category."""
    of_category = "" if shares[0].category is None else f"{shares[0].category}: "
    later = "frozen" if shares[0].frozen else "re-rolled, so a share includes what they copy"
    console.print(
        f"{of_category}which slots carry the donor's answer (n = {shares[0].shapley.n}; later "
        f"slots {later})",
        markup=False,
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("slot")
    for name in ("alone", "left out", "Shapley", "Shapley, nats"):
        table.add_column(name, justify="right", no_wrap=True)
    nats = {s.slot: s for s in shares if s.measure == "margin"}
    for share in shares:
        if share.measure == "donor":
            table.add_row(
                str(share.slot),
                *(shown(d) for d in (share.alone, share.left_out, share.shapley)),
                shown(nats[share.slot].shapley),
            )
    print_table(table, console)


def shown_name(item: Exchange | SwapShift) -> str:
    """Name of an exchange in a table: with the number of its seeds, or its seed if it draws."""
    return item.name if item.seeds > 1 else spelled(item.condition)


def p_values(
    test: SignFlip | PairedTest | TwoWayTest | None, holm_p: float | None
) -> tuple[str, str]:
    """A test's p value, before and after Holm."""
    return p_value(None if test is None else test.p), p_value(holm_p)


def shown(difference: Difference) -> str:
    """An estimate with its interval."""
    if difference.method == "undefined":
        return "-" if difference.n == 0 else f"{difference.estimate:.3f}"
    return interval(difference.estimate, difference.low, difference.high)
