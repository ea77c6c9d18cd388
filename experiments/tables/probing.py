"""Probes and erasures on the console."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.ablation import ConditionSummary
from lantern_probe.analysis.format import estimate, interval, number, p_value
from lantern_probe.probing.after_erasure import COMPONENTS, CONTROLS, HIDDEN, STEPS, AfterErasure
from lantern_probe.probing.intervals import best_interval
from lantern_probe.probing.pooled import best_contrast
from lantern_probe.records.rows import Row

from ..console import console, print_table
from .ablation import print_controls, row_names

STATISTICS = {"class": "mean log-likelihood out of fold", "value": "R²"}
"""Statistic of the permutation test of each kind of target, in words."""


def print_probes(model: str, rows: Sequence[Row]) -> None:
    """Print the best slot of every site for every target, with all controls."""
    for target in dict.fromkeys(row["target"] for row in rows):
        if target.startswith("distractor_"):
            continue
        some = [row for row in rows if row["target"] == target]
        first = some[0]
        metric = "accuracy" if first["kind"] == "class" else "R²"
        statistic = STATISTICS[first["kind"]]
        console.print(
            f"[bold]{escape(model)}[/], {escape(target)}: {metric}, n = {first['n']} of "
            f"{first['images']} images; question {number(first['question'])}, image mean "
            f"{number(first['image_mean'])}, majority {number(first['majority'])}, of the control "
            f"task {number(first.get('control_majority'))}; p of the {statistic}; "
            f"{_seeds(first)}",
            highlight=False,
        )
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
        table.add_column("site, best slot", no_wrap=True)
        for name in ("probe", "other object", "untrained", "control", "p", "all sites", "bits"):
            table.add_column(name, justify="right", no_wrap=True)
        for site in dict.fromkeys(row["site"] for row in some):
            slots = [r for r in some if r["site"] == site]
            row = max(slots, key=lambda r: r["score"])
            # The best of several slots is held against the best of their controls.
            best = {
                name: max((r[name] for r in slots if r[name] is not None), default=None)
                for name in ("distractor", "untrained", "control")
            }
            base = row.get("baseline_bits", row["uniform_bits"])
            share = "-" if row["bits"] is None else f"{row['bits']:.0f}/{base:.0f}"
            table.add_row(
                escape(site) + ("" if row["slot"] is None else f" {row['slot']}"),
                interval(row["score"], *best_interval(slots)),
                *(number(best[name]) for name in ("distractor", "untrained", "control")),
                p_value(row["p"]),
                p_value(row["p_family"]),
                share,
            )
        print_table(table)
        print_contrasts(some)
        if first.get("note"):
            console.print(f"{escape(target)}: {escape(first['note'])}", highlight=False)


CONTRASTS = {
    "control": "control task",
    "untrained": "untrained",
    "question": "question",
    "image_mean": "image mean",
}
"""Controls against which a probe is held, by their names in a row."""


def _seeds(row: Row) -> str:
    if row.get("seeds", 1) > 1:
        return f"mean of {row['seeds']} seeds"
    return f"folds and control tasks of seed {row.get('seed', 0)}"


def print_contrasts(rows: Sequence[Row]) -> None:
    """Print the best slot of every site against each control, with interval and test."""
    table = Table(
        title="best slot minus its control, paired by sample [95 % interval, over the slots] p",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("site", no_wrap=True)
    for name in CONTRASTS.values():
        table.add_column(f"minus {name}", justify="right", no_wrap=True)
    shown = False
    for site in dict.fromkeys(row["site"] for row in rows):
        slots = [row for row in rows if row["site"] == site]
        found = [best_contrast(slots, name) for name in CONTRASTS]
        shown |= any(found)
        table.add_row(escape(site), *map(_contrast, found))
    if shown:
        print_table(table)


def _contrast(one: Mapping[str, float] | None) -> str:
    if one is None:
        return "-"
    text = interval(one["difference"], one["low"], one["high"], signed=True)
    return f"{text} {p_value(one['p'])}"


def print_erasure(model: str, rows: Sequence[Row], summaries: Sequence[ConditionSummary]) -> None:
    """Print, for every erased target, how well it is decoded and what erasing it does."""
    console.print(f"[bold]{escape(model)}[/]: decodable, and used?", highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("erased from the slots", no_wrap=True)
    for name in ("best probe of the latents", "accuracy", "minus own", "Holm p"):
        table.add_column(name, justify="right", no_wrap=True)
    names = row_names(summaries)
    for s in summaries:
        erased = re.sub(r".*attribute=([^,]+).*", r"\1", s.condition)
        target = "gold" if erased == "answer" else erased
        scores = [
            row["score"] for row in rows if row["target"] == target and row["site"] == "latent@slot"
        ]
        read = s.condition.startswith("erase:")
        table.add_row(
            escape(names[s.condition]),
            number(max(scores)) if read and scores else "",
            estimate(s.accuracy),
            estimate(s.difference, signed=True),
            p_value(s.holm_p),
        )
    print_table(table)
    print_controls(summaries, console)


def print_after_erasure(model: str, read: Sequence[AfterErasure]) -> None:
    """Print how well each target is read after its linear erasure, by each kind of probe.

    Args:
        model: Name of the model.
        read: Targets, each by each kind of probe.
    """
    table = Table(
        title=f"{escape(model)}: read from the latents of all slots after linear erasure",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("target, probe", no_wrap=True)
    for name in ("n", "majority", "before", "after", "shuffled", "after - shuffled", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in read:
        found = one.contrast
        table.add_row(
            f"{escape(one.target)}, {one.probe}",
            str(one.n),
            number(one.majority),
            number(one.before),
            interval(one.after, one.low, one.high),
            number(one.shuffled),
            interval(found["difference"], found["low"], found["high"], signed=True),
            p_value(found["p"]),
        )
    print_table(table)


AFTER_LEGEND = (
    f"after erasure: {COMPONENTS} principal components of all slots; they, LEACE and the probe are "
    f"fitted on the training part of each fold; mlp: {HIDDEN} hidden units, {STEPS} steps; "
    f"shuffled: the same with labels permuted over images, erasure included ({CONTROLS} draws, "
    "whose spread is in the interval of the difference); accuracy above it after the erasure is a "
    "code that no linear probe reads"
)

LEGEND = (
    "probe: out of fold, folds by image, best of the site's slots, and so are its controls [95 % "
    "interval of repeated folds (Nadeau & Bengio), which counts training on other samples and, by "
    "the largest bootstrapped deviation over the slots, the choice of the best]; other object: the "
    "same attribute of an object nobody asked for; untrained: the same site of a model of random "
    "weights; control: one random label per question; p: permutations of the labels (mean "
    "log-likelihood out of fold above that of the class frequencies; R² for values), and over all "
    "sites of the capture (largest statistic, which takes the choice of the best slot into "
    "account); minus control task: selectivity, above both majorities, with the spread between the "
    "draws; of several seeds: means over folds and control tasks, with the spread between seeds in "
    "every interval; the untrained model is one draw of weights; bits: online code over that of "
    "the class frequencies; "
    "erase-shuffled: the eraser of shuffled labels; erase-random: as many random directions, of as "
    "much variance; erasers are applied to stored own latents, unless a label says rerolled=1"
)
