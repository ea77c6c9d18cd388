"""Published next to measured on the console."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.markup import escape

from lantern_probe.analysis.format import interval, number, p_value
from lantern_probe.analysis.literature.accuracies import AccuracyComparison, AccuracyLine, PairLine
from lantern_probe.analysis.literature.figures import ALL, MARKS, PublishedFigure
from lantern_probe.analysis.literature.ranks import RetrievalComparison
from lantern_probe.analysis.literature.source import Source
from lantern_probe.geometry.retrieval_tests import RankTest
from lantern_probe.stats import Proportion

from ..console import console, print_caption, print_table, titled_table

STEP, LOOK = 0.03, 0.3
"""Seconds of a decode step and of reading an image and a question, for one GPU: guesses."""
PREFIX, CONTINUATION = 60, 100
"""Tokens up to the block and behind it: guesses."""
SAMPLES_TOGETHER, ROWS_TOGETHER = 8, 32

INDEPENDENT = (
    "0 lies in Newcombe's 95 % interval of the difference of the two, as of independent samples "
    "(where the published n is unknown: the published value lies in the measured interval)"
)
SAME = "the counts are equal, as these are the published records themselves"


def print_list(figures: Collection[PublishedFigure]) -> None:
    """Print every figure, what its published setting needs, and what can be made here."""
    import torch
    from huggingface_hub import try_to_load_from_cache

    table = titled_table("published figures")
    for name in ("figure", "mark", "n", "checkpoint", "data", "GPU h", "stand-in"):
        table.add_column(name, justify="right" if name in ("n", "GPU h") else "left", no_wrap=True)
    for figure in figures:
        hours = guessed_hours(figure)
        table.add_row(
            figure.name,
            figure.mark,
            str(figure.n.get(ALL, "?")),
            "their records" if figure.records else escape(figure.model or "none is known"),
            figure.data,
            "-" if hours is None else f"{hours:.1f}" if hours >= 0.1 else "<0.1",
            figure.stand_in[0] if figure.stand_in else "RECORDS",
        )
    print_table(table)
    print_caption(
        "mark: "
        + "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.items())
        + ". The published setting is --model CHECKPOINT --data DATA, on a GPU of 10 GB or more. "
        f"GPU h: a guess, {STEP * 1000:g} ms a decode step and {LOOK:g} s to read an image, never "
        "measured. Stand-in: what can be made without all that, from an organism on the task that "
        "its truth is stated for, or from RECORDS; an organism shows that the figure can "
        "be made, and what a model of known truth gives."
    )
    there = [
        name
        for name in dict.fromkeys(figure.model for figure in figures if figure.model)
        if isinstance(try_to_load_from_cache(name, "config.json"), str)
    ]
    gpu = "a GPU" if torch.cuda.is_available() else "no GPU"
    cached = ", ".join(there) or "none of the checkpoints"
    console.print(f"This machine has {gpu}, and {cached} in the Hub's cache.", highlight=False)
    console.print()
    for figure in figures:
        console.print(f"[bold]{figure.name}[/]: {escape(figure.title)}; {escape(figure.shows)}")


def guessed_hours(figure: PublishedFigure) -> float | None:
    """Hours on one GPU, from the guesses above; None where no model is run."""
    n = figure.n.get(ALL)
    if n is None or figure.model is None:
        return None
    rows = n * (len(figure.conditions) or 3)  # retrieval captures three conditions
    steps = n / SAMPLES_TOGETHER * PREFIX + rows / ROWS_TOGETHER * CONTINUATION
    return (steps * STEP + n * LOOK) / 3600


def print_accuracies(
    figure: PublishedFigure,
    found: AccuracyComparison,
    source: Source,
) -> None:
    """Every published share and paired difference, next to the measured one."""
    _heading(figure, source)
    departures = source.departures
    measures = {line.published.measure for line in found.lines}
    splits = {line.published.split for line in found.lines}
    table = titled_table("shares")
    table.add_column("condition", no_wrap=True)
    if len(measures) > 1:
        table.add_column("of", no_wrap=True)
    if len(splits) > 1:
        table.add_column("split", no_wrap=True)
    blocks = ["with a block"] if found.without_block else []
    for name in ("published", "measured", "n", "agrees", *blocks):
        table.add_column(name, justify="right", no_wrap=True)
    for line in found.lines:
        value, m = line.published, line.measured
        table.add_row(
            escape(value.condition),
            *([value.measure] if len(measures) > 1 else []),
            *([escape(value.split)] if len(splits) > 1 else []),
            _published(line),
            _share(m),
            str(m.n) if m else "-",
            _yes(line.agrees, departures),
            *([_share(line.with_block)] if blocks else []),
        )
    print_table(table)
    print_caption(
        "published and measured share [95 % Wilson interval; of the published one where n is "
        f"known]; agrees: {SAME if source.same else INDEPENDENT}"
        + ("; in brackets: another setting" if departures else "")
        + f". {_by_chance([line.agrees for line in found.lines], source.same)} "
        f"An unparsed text is wrong; letters are read by the {figure.parser} parser. Jointly "
        "parsed: among the samples parsed under every condition."
    )
    block = f"{found.samples - found.without_block} of {found.samples} samples have a latent block"
    if found.without_block:
        block += "; without one no condition does anything, so read the column 'with a block'"
    console.print(block, highlight=False)
    console.print()
    _print_pairs(figure, found.pairs, departures, source.same)
    for note in (*source.notes, *found.notes):
        console.print(f"note: {note}", markup=False, highlight=False)


def _print_pairs(
    figure: PublishedFigure, pairs: Sequence[PairLine], departures: Sequence[str], same: bool
) -> None:
    table = titled_table(f"pairs: accuracy of the first minus the second, {len(pairs)} comparisons")
    table.add_column("pair", no_wrap=True)
    names = ["published"]
    if figure.flips:
        names += ["b:c", "p", "Holm"]
    for name in (*names, "measured", "b:c", "p", "Holm", "agrees"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in pairs:
        cells = [_signed(pair.low, pair.high)]
        if figure.flips:
            flips = pair.flips
            cells.append(f"{flips.b}:{flips.c}" if flips else "-")
            cells += [p_value(pair.p), p_value(pair.holm_p)]
        m = pair.measured
        d = m.difference if m else None
        cells += [
            interval(d.estimate, d.low, d.high, signed=True) if d else "-",
            f"{m.mcnemar.b}:{m.mcnemar.c}" if m else "-",
            p_value((m.clustered or m.mcnemar).p if m else None),
            p_value(m.p if m else None),
        ]
        table.add_row(
            escape(f"{pair.first} - {pair.second}"), *cells, _yes(pair.agrees, departures)
        )
    print_table(table)
    print_caption(
        "measured difference [95 % interval, Tango's, clustered by image]; b:c right under the "
        "first only and under the second only; p exact McNemar (sign flips of whole images where "
        "they repeat), and after Holm over the pairs; agrees: "
        + (
            SAME
            if same
            else "0 lies in the 95 % interval of the measured difference minus the published one "
            "(without published counts: the published one lies in the measured interval)"
        )
        + (f"; the published counts are marked {figure.flips_mark}" if figure.flips else "")
    )


def print_retrieval(
    figure: PublishedFigure,
    found: Sequence[RetrievalComparison],
    source: Source,
) -> None:
    """Both readings of retrieval, published next to measured."""
    _heading(figure, source)
    departures = source.departures
    table = titled_table("the pooled latent's rank of its own oracle")
    table.add_column("measure", no_wrap=True)
    for name in ("chance", "published", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for comparison in found:
        table.add_column(comparison.query, justify="right", no_wrap=True)
        table.add_column("agrees", justify="right", no_wrap=True)
    for place, line in enumerate(found[0].lines):
        digits = 1 if line.measure == "mean rank" else 4
        cells = [f"{line.chance:.{digits}f}", f"{line.published:.{digits}f}"]
        cells.append(p_value(line.published_p))
        for comparison in found:
            m = comparison.lines[place]
            cells.append(f"{m.measured:.{digits}f} [{m.low:.{digits}f}, {m.high:.{digits}f}]")
            cells.append(_yes(m.agrees, departures))
        table.add_row(line.measure, *cells)
    print_table(table)
    n = figure.n[ALL]
    print_caption(
        f"chance and published among {n}; measured among {found[0].lines[0].n} [95 % interval: "
        "Wilson for recall, bootstrap by image for the means]; p: one-sided, the published value "
        "against random pairing, as if ranks were independent: exact binomial test of a recall "
        "against k / n, z of a mean; agrees: 0 lies in the 95 % interval of the difference of the "
        "two, as of independent samples (a published mean has the measured spread), told for equal "
        "n only" + ("; in brackets: another setting" if departures else "")
    )
    said = [
        f"the authors' reading: {figure.shows}",
        f"the rank test, published: {_test(found[0].published_test)}",
    ]
    for comparison in found:
        said.append(f"the rank test, {comparison.query}: {_test(comparison.measured_test)}")
        if comparison.among_alike is not None:
            said.append(
                f"the same among samples of one question (place from 0 to 1, "
                f"{comparison.n_alike} samples): {_test(comparison.among_alike)}"
            )
    for text in said:
        console.print(text, markup=False, highlight=False)


def _by_chance(agrees: Sequence[bool | None], same: bool) -> str:
    """Words on how many of the values differ, and how many would by chance."""
    told = [said for said in agrees if said is not None]
    if not told:
        return "Nothing is measured."
    if same:
        return f"{told.count(False)} of {len(told)} values differ."
    return (
        f"{told.count(False)} of {len(told)} values differ; with one truth {0.05 * len(told):.1f} "
        "would by chance."
    )


def _test(test: RankTest) -> str:
    z = "" if test.z is None else f"z = {test.z:.2f}, "
    return f"{test.estimate:.4g}, by chance {test.chance:.4g}, {z}p = {test.p:.2g} ({test.method})"


def _heading(figure: PublishedFigure, source: Source) -> None:
    console.print(f"[bold]{figure.name}: {escape(figure.title)}[/]", highlight=False)
    lines = [
        f"published ({figure.mark}: {MARKS[figure.mark]}): {figure.source}",
        *([f"note: {figure.note}"] if figure.note else []),
        f"measured: {source.label}",
    ]
    if source.trust:
        lines.append(f"taken on trust: {'; '.join(source.trust)}")
    if source.departures:
        lines.append(
            f"NOT the published setting: {'; '.join(source.departures)}. What is measured here is "
            "no evidence for or against what was published."
        )
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _share(share: Proportion | None) -> str:
    return interval(share.estimate, share.low, share.high) if share and share.n else "-"


def _published(line: AccuracyLine) -> str:
    value, known = line.published, line.published_interval
    if value.low != value.high:
        return f"{number(value.low)} to {number(value.high)}"
    return interval(value.low, known.low, known.high) if known else number(value.low)


def _signed(low: float, high: float) -> str:
    if low == high:
        return number(low, signed=True)
    return f"{number(low, signed=True)} to {number(high, signed=True)}"


def _yes(said: bool | None, departures: Sequence[str]) -> str:
    if said is None:
        return "-"
    word = "yes" if said else "no"
    return f"({word})" if departures else word
