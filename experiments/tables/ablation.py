"""Ablations on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantern_probe import organisms
from lantern_probe.analysis.ablation import (
    ALPHA,
    MARGIN,
    POWER,
    ConditionSummary,
    length_notes,
    reference,
)
from lantern_probe.analysis.format import bounds, estimate, number, p_value, points, share
from lantern_probe.analysis.likelihood import mass_notes
from lantern_probe.analysis.served_loss import is_served, served_loss
from lantern_probe.interventions.seeds import spelled

from ..console import print_table

LEGEND = (
    "accuracy [95 % Wilson interval, n / design effect where images repeat]; cut: share of texts "
    "cut off at the token limit; minus own, paired [95 % interval, Tango's, n / design effect "
    "alike], under the same corruption of the image if any, and own@... minus own; p: "
    "{test}, and after Holm over {family}; TOST: p of equivalence with own within {margin} "
    "points, after Holm over the same, * where it is shown; emit: share of samples with a block; "
    "unp: texts without a readable answer, counted as wrong; p(gold): mean probability of the "
    "right answer among the candidates, over texts that open an answer under own too"
)


OF_SEEDS = (
    "of several seeds: means over samples and seeds, and intervals, p, Holm and TOST count the "
    "spread between seeds (two-way variance, t with Satterthwaite's degrees of freedom)"
)
OF_PASSES = (
    "shares and differences are means over a sample's {passes} passes, then over samples; "
    "intervals hold the spread between samples and between passes"
)


def legend(summaries: Sequence[ConditionSummary]) -> str:
    """Explain the table, with the test and the margin that were used."""
    tests = list(dict.fromkeys(s.test.method for s in summaries if s.test is not None))
    margins = {s.equivalence.margin for s in summaries if s.equivalence is not None}
    margin = points(margins.pop()) if margins else points(MARGIN)
    text = LEGEND.format(
        test=" or ".join(tests) or "exact McNemar", margin=margin, family=_family(summaries)
    )
    if any(s.by_seed for s in summaries):
        text = f"{text}; {OF_SEEDS}"
    passes = max((s.passes for s in summaries), default=1)
    return text if passes < 2 else f"{text}; {OF_PASSES.format(passes=passes)}"


def _family(summaries: Sequence[ConditionSummary]) -> str:
    sizes = {s.role: s.family for s in summaries if s.test is not None}
    planned = sizes.get("primary", sizes.get("planned"))
    if planned is None:
        return f"the conditions (a family of {sizes.get(None, 0)})"
    text = f"the preregistered family of {planned}"
    if "exploratory" in sizes:
        text += f" (exploratory conditions: over all {sizes['exploratory']})"
    return text


def row_names(summaries: Sequence[ConditionSummary]) -> dict[str, str]:
    """Name of each condition in a table: with the number of its seeds, or its seed if it draws.

    Its role in a preregistration stands behind it, if it is the primary one or exploratory.

    Args:
        summaries: Conditions of one model.
    """
    names = {}
    for s in summaries:
        role = f" ({s.role})" if s.role in ("primary", "exploratory") else ""
        known = s.by_seed or is_served(s.condition)
        names[s.condition] = (s.name if known else spelled(s.condition)) + role
    return names


def print_condition_table(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print one model's conditions: accuracy, comparison with own, what could not be parsed."""
    own, names = next(s for s in summaries if s.condition == "own"), row_names(summaries)
    passes = f", {own.passes} passes" if own.passes > 1 else ""
    table = Table(
        title=f"{escape(own.model)}: {own.samples} samples, {own.n} with a latent block{passes}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("condition", no_wrap=True)
    for name in (
        "n",
        "accuracy",
        "cut",
        "minus own",
        "p",
        "Holm",
        "TOST",
        "emit",
        "unp",
        "p(gold)",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for s in summaries:
        table.add_row(
            escape(names[s.condition]),
            str(s.n),
            estimate(s.accuracy),
            share(s.truncated),
            estimate(s.difference, signed=True),
            p_value(None if s.test is None else s.test.p),
            p_value(s.holm_p),
            p_value(s.equivalence_holm_p) + ("*" if s.equivalent else ""),
            share(s.emission),
            str(s.unparsed),
            number(s.p_gold),
        )
    print_table(table, console)
    console.print(legend(summaries), highlight=False)
    print_served(summaries, console)
    print_seeds(summaries, console)
    print_passes(summaries, console)
    print_seen(summaries, console)
    print_controls(summaries, console)
    print_parsers(summaries, console)
    print_scores(summaries, console)
    for note in length_notes(summaries):
        console.print(note, markup=False, highlight=False)
    for s in summaries:
        if s.donor is not None:
            console.print(
                f"{names[s.condition]}: the donor's answer in {estimate(s.donor)} of {s.donor.n}",
                markup=False,
            )
    console.print()


def print_served(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print what is lost where latents are not fed, and which served inputs are not the same."""
    loss = served_loss(summaries)
    if loss is not None:
        test = "" if loss.test is None else f", {loss.test.method} p {p_value(loss.test.p)}"
        console.print(
            f"accuracy own minus accuracy stock: {estimate(loss.difference, signed=True)}{test}, "
            f"Holm {p_value(loss.holm_p)}, n {loss.n}; over all samples "
            f"{number(loss.overall, signed=True)}. Plain servers (vLLM, SGLang, Docker Model "
            "Runner, transformers serve) feed no latents back and answer like stock: this is what "
            "they lose",
            markup=False,
            highlight=False,
        )
    for s in summaries:
        if s.mismatch:
            console.print(
                f"{s.condition}: --allow-prompt-mismatch, {s.mismatch} of {s.samples} prompts have "
                "another number of tokens at the server, so its input is not shown to be the same",
                markup=False,
                highlight=False,
            )


def print_seeds(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print the accuracies under each seed, and name the conditions that have one seed only."""
    several = [s for s in summaries if s.by_seed]
    for s in several:
        each = ", ".join(number(one) for one in s.by_seed.values())
        console.print(
            f"{s.condition}, accuracy by seed: {each}; standard deviation {number(s.seed_sd)}",
            markup=False,
            highlight=False,
        )
    if few := [s.condition for s in several if len(s.by_seed) == 2]:
        console.print(
            f"{', '.join(few)}: 2 seeds tell little of the spread between seeds, and their "
            "intervals may be too narrow; give --seeds 5",
            markup=False,
            highlight=False,
        )
    names = row_names(summaries)
    single = [
        names[s.condition] for s in summaries if not s.by_seed and "seed=" in names[s.condition]
    ]
    if single:
        console.print(
            f"one seed, whose draw is in no interval: {', '.join(single)}; --seeds 5 gives the "
            "mean over five",
            markup=False,
            highlight=False,
        )


def print_passes(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print the lowest and the highest accuracy of a pass, where there are several."""
    ranges = [
        f"{s.name} {number(min(s.by_pass.values()))} to {number(max(s.by_pass.values()))}"
        for s in summaries
        if s.passes > 1
    ]
    if ranges:
        console.print(f"accuracy by pass: {', '.join(ranges)}", markup=False, highlight=False)


def print_seen(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print how large a difference is at most, or could have been missed, where none is shown."""
    names = row_names(summaries)
    for text in bounds((names[s.condition], s.difference) for s in summaries):
        console.print(text, markup=False, highlight=False)
    open_ones = [
        s
        for s in summaries
        if s.detectable is not None
        and s.holm_p is not None
        and s.holm_p > ALPHA
        and not s.equivalent
    ]
    for family in dict.fromkeys(s.family for s in open_ones):
        found = [
            f"{names[s.condition]} {points(s.detectable.difference)}"
            for s in open_ones
            if s.family == family and s.detectable is not None
        ]
        console.print(
            f"neither a difference nor equivalence shown; one larger than so many points would "
            f"have been seen with {100 * POWER:g} % power among {family} comparisons (one test at "
            f"{ALPHA:g} / {family}): {', '.join(found)}",
            markup=False,
            highlight=False,
        )


def print_controls(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print every condition against its own control, where both were run."""
    found = [one for s in summaries for one in s.controls]
    if not found:
        return
    table = Table(
        title="effect minus that of the control, or of one half of the image minus the other "
        "[95 % interval]; p: sign flips of whole images, and of several seeds no less than that of "
        "the two-way score",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("condition minus control", overflow="fold")
    for name in ("difference", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    names = row_names(summaries)
    for one in found:
        table.add_row(
            escape(f"{names[one.condition]} - {names[one.control]}"),
            estimate(one.contrast.difference, signed=True),
            p_value(one.contrast.test.p),
            p_value(one.holm_p),
        )
    print_table(table, console)


def print_parsers(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print the accuracies as each parser reads the texts, where there is more than one."""
    names = list(dict.fromkeys(name for s in summaries for name in s.by_parser))
    if len(names) < 2:
        return
    table = Table(
        title="accuracy by parser; likelihood: the most probable candidate, of the texts that "
        "open an answer under own too",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("condition", no_wrap=True)
    for name in (*names, "likelihood", "scored"):
        table.add_column(name, justify="right", no_wrap=True)
    for s in summaries:
        read = [number(s.by_parser.get(name)) for name in names]
        table.add_row(
            escape(row_names([s])[s.condition]),
            *read,
            share(s.likelihood),
            f"{s.likelihood.n} of {s.n}",
        )
    print_table(table, console)


def print_scores(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print own's scores on the samples of others, and warn where the candidates have no mass."""
    found = {s.condition: s.scores for s in summaries if s.scores is not None}
    for name, item in found.items():
        n = item.accuracy.n
        if item.reference_accuracy is not None and n and n < found[reference(name)].scored:
            console.print(
                f"{name}: p(gold) {number(item.p_gold)}, likelihood {share(item.accuracy)}, over "
                f"the {n} samples scored under both; {reference(name)} there "
                f"{number(item.reference_p_gold)}, {share(item.reference_accuracy)}",
                markup=False,
                highlight=False,
            )
    for note in mass_notes(found):
        console.print(note, markup=False, highlight=False)


def print_side_by_side(models: Sequence[Sequence[ConditionSummary]], console: Console) -> None:
    """Print every model's accuracy under every condition, and what is known of each model."""
    table = Table(
        title="accuracy side by side [95 % Wilson interval]; donor: answers that are the donor's",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    table.add_column("condition", no_wrap=True)
    for summaries in models:
        table.add_column(escape(summaries[0].model), justify="right", no_wrap=True)
    for row in zip(*models, strict=True):
        table.add_row(escape(row_names(row)[row[0].condition]), *map(_accuracy, row))
    for row in zip(*models, strict=True):
        if any(s.donor is not None for s in row):
            table.add_row(
                f"{escape(row_names(row)[row[0].condition])}: donor",
                *(estimate(s.donor) for s in row),
            )
    print_table(table, console)
    cards = {m[0].model: organisms.find_card(m[0].model) for m in models}
    known = {name: card for name, card in cards.items() if card is not None}
    for name, card in known.items():
        console.print(f"[bold]{escape(name)}[/] ({card.task}): {escape(card.truth)}")
    for note in dict.fromkeys(card.note for card in known.values()):
        console.print(note, style="italic", highlight=False)


def _accuracy(summary: ConditionSummary) -> str:
    """An accuracy, with the share of texts that were cut off beside it where there are any."""
    cut = summary.truncated
    beside = f" (cut {share(cut)})" if cut is not None and cut.count else ""
    return estimate(summary.accuracy) + beside
