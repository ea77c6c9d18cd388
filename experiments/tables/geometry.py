"""Geometry and retrieval of latents on the console."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantern_probe.analysis.format import interval, number, p_value
from lantern_probe.geometry import SPACES, GeometryRow
from lantern_probe.geometry.alignment import CKA, RSA
from lantern_probe.geometry.dimensionality import EFFECTIVE_RANK, PARTICIPATION
from lantern_probe.geometry.norms import NORM, STEP, TO_FIRST
from lantern_probe.geometry.oracle_preference import TO_ORACLE, TO_OTHERS, USP, USP_CHANCE
from lantern_probe.geometry.retrieval import Retrieval
from lantern_probe.geometry.retrieval_correctness import RankCorrectness
from lantern_probe.geometry.retrieval_tests import RECALL_AT, RankTest
from lantern_probe.geometry.retrieval_within import AlikeRetrieval
from lantern_probe.geometry.similarity import ALIKE, BETWEEN, WITHIN
from lantern_probe.stats import holm

from ..console import print_table

COSINES = (
    "mean over the slots (lowest to highest slot). Centred: the mean of each slot removed, which "
    "puts the cosine between samples near -1 / (n - 1) whatever they are; its sd still says "
    "something (about 1 / sqrt(dimensions)). Alike: pairs of the same --alike, the question by "
    "default. dummy: what the model generates while zeros stand in its slots; question token: its "
    "final state at the question's last token"
)
SIZES = (
    "ranks of all sets from equally many vectors; norm, and the length of the step from slot to "
    "slot, in the unit of the vectors; first slot: cosine of the last slot to it"
)
ALIGNMENT = (
    "of the latents' mean over the slots (lowest to highest slot). CKA is debiased, 0 on average "
    "for unrelated vectors; USP: share of samples nearer to other samples' own latents than to "
    "their own oracle; chance: USP with random oracles; p: random pairings"
)
RETRIEVAL = (
    "z: exact over all pairings of queries and oracles where no image repeats; p: two-sided, by "
    "random pairings, .001 at the least; best: the slot of the lowest mean rank, its p after Holm "
    "over the slots; tied: queries whose oracle shares its cosine. Own latents run free; "
    "teacher-forced slots from 1 on have seen the oracle's slots before them, and may copy; slot 0 "
    "is the same in both"
)


def print_geometry(
    rows: Sequence[GeometryRow], generated: Sequence[str], oracle: str, console: Console
) -> None:
    """Print one model's cosines, ranks and sizes, and its latents' alignment with the oracle."""
    found = _Rows(rows)
    for measure in (BETWEEN, ALIKE, WITHIN):
        table = _table(measure, ["set", "n", *SPACES, "sd, centred"], console)
        for name in found.names(measure):
            n = found.all_slots(name, measure, "raw").n
            sd = found.all_slots(name, measure, "centred").sd
            cells = [found.cell(name, measure, space) for space in SPACES]
            table.add_row(escape(name), str(n), *cells, number(sd))
        print_table(table, console)
    console.print(COSINES, highlight=False)
    size = next(row.n for row in rows if row.measure == EFFECTIVE_RANK)
    names = ("effective rank", "participation", "norm", "step", "first slot")
    title = f"size; ranks are centred, and from {size} vectors each"
    table = _table(title, ["set", *names], console)
    for name in found.names(NORM):
        last = found.by_slot(name, TO_FIRST, "raw")[-1:]
        table.add_row(
            escape(name),
            found.cell(name, EFFECTIVE_RANK, "centred"),
            found.cell(name, PARTICIPATION, "centred"),
            found.cell(name, NORM, "raw"),
            found.cell(name, STEP, "raw").partition(" ")[0],
            number(last[0].estimate) if last else "-",
        )
    print_table(table, console)
    console.print(SIZES, highlight=False)
    n = found.all_slots(f"{generated[0]}, {oracle}", USP, "raw").n
    columns = ["measure", "space", *generated, *(f"p {name}" for name in generated)]
    table = _table(f"generated latents against their oracle, n = {n}", columns, console)
    for measure, space in (
        *((measure, "centred") for measure in (CKA, RSA)),
        *((m, s) for s in ("raw", "centred") for m in (TO_ORACLE, TO_OTHERS, USP, USP_CHANCE)),
    ):
        pairs = [f"{name}, {oracle}" for name in generated]
        ps = [found.all_slots(name, measure, space).p for name in pairs]
        cells = [found.cell(name, measure, space) for name in pairs]
        table.add_row(measure, space, *cells, *map(p_value, ps))
    print_table(table, console)
    console.print(ALIGNMENT, highlight=False)


def print_retrieval(
    found: Mapping[str, Sequence[Retrieval]],
    alike: Mapping[str, Sequence[AlikeRetrieval]],
    column: str,
    correctness: Mapping[str, RankCorrectness],
    console: Console,
) -> None:
    """Print one model's retrieval for all queries, and the relation of ranks to right answers.

    Args:
        found: Retrieval among all samples, by query; the first query is the free-running one.
        alike: Retrieval among samples alike, by query.
        column: Column whose value samples alike share.
        correctness: Relation of ranks to right answers for the first query, by view.
        console: Console to print to.
    """
    first = next(iter(found.values()))
    one, inside = first[0], next(iter(alike.values()))[0]
    identical = [view.identical for view in first]
    checks = [view.oracle_recall for view in first]
    table = _table(
        f"retrieval of the own oracle, n = {one.n} among {one.candidates}",
        ["view, query", *(f"R@{k}" for k in RECALL_AT), "rank", "MRR", "z", "p", "z MRR", "tied"],
        console,
    )
    within: list[tuple[str, ...]] = []
    for view in ("pooled", "concatenated", "best"):
        for query, views in found.items():
            slots = [item for item in views if item.slot is not None]
            if view == "best" and not slots:
                continue
            shown = [item for item in views if item.view == view]
            if view == "best":
                shown = [min(slots, key=lambda slot: slot.mean_rank.estimate)]
            for item in shown:
                test, mrr, tests = item.mean_rank, item.mrr, [s.mean_rank for s in slots]
                name = f"{item.view}{' (best)' * (view == 'best')}, {query}"
                table.add_row(
                    name,
                    *(number(item.recall[k]) for k in RECALL_AT),
                    f"{test.estimate:.1f}",
                    number(mrr.estimate),
                    _z(test.z),
                    p_value(_in_family(test, tests) if view == "best" else test.p),
                    _z(mrr.z),
                    str(item.tied),
                )
                place = next(a.place for a in alike[query] if a.view == item.view)
                family = [a.place for a in alike[query] if a.slot is not None]
                p = _in_family(place, family) if view == "best" else place.p
                within.append((name, number(place.estimate), _z(place.z), p_value(p)))
    chance = ", ".join(f"R@{k} {number(min(1, k / one.candidates))}" for k in RECALL_AT)
    print_table(table, console)
    console.print(
        f"chance: {chance}, rank {one.mean_rank.chance:.1f}, MRR {number(one.mrr.chance)}; oracles "
        f"against themselves: R@1 at least {number(min(checks))} in every view, at most "
        f"{max(identical)} identical; {one.shared_images} samples share an image. {RETRIEVAL}",
        highlight=False,
    )
    if inside.groups:
        title = (
            f"among samples of the same {column}: n = {inside.n} in {inside.groups} groups, "
            f"{inside.left_out} without others; place 0 is first, .5 chance, 1 last"
        )
        table = _table(title, ["view, query", "place", "z", "p"], console)
        for line in within:
            table.add_row(*line)
        print_table(table, console)
    else:
        console.print(f"no two samples share their {column}: no retrieval among samples alike")
    _print_correctness(correctness, console)


def _print_correctness(correctness: Mapping[str, RankCorrectness], console: Console) -> None:
    """Print how well the rank predicts a right answer."""
    some = next(iter(correctness.values()), None)
    if some is None or some.right in (0, some.n):
        which = "no answer is known" if some is None else f"{some.right} of {some.n} are right"
        console.print(f"does the rank predict the answer? {which}: nothing to predict\n")
        return
    table = _table(
        f"does the own latents' rank predict their answer? {some.right} of {some.n} right",
        ["view", "AUC, .5 is chance", "Spearman", "p", "Holm"],
        console,
    )
    adjusted = holm([item.p for item in correctness.values()])
    for (view, item), p in zip(correctness.items(), adjusted, strict=True):
        if math.isnan(item.auc):
            table.add_row(view, "-", "-", "-", "-")
            continue
        table.add_row(
            view,
            interval(item.auc, item.auc_low, item.auc_high),
            interval(item.spearman, item.spearman_low, item.spearman_high, signed=True),
            p_value(item.p),
            p_value(p),
        )
    print_table(table, console)


class _Rows:
    """Geometry rows by set, measure and space."""

    def __init__(self, rows: Sequence[GeometryRow]):
        self._rows: dict[tuple[str, str, str], list[GeometryRow]] = {}
        for row in rows:
            if row.index is None:
                self._rows.setdefault((row.name, row.measure, row.space), []).append(row)

    def names(self, measure: str) -> list[str]:
        """Names of the sets that have a measure."""
        return list(dict.fromkeys(name for name, found, _ in self._rows if found == measure))

    def by_slot(self, name: str, measure: str, space: str) -> list[GeometryRow]:
        """The rows of single slots; empty if the measure is missing."""
        return [r for r in self._rows.get((name, measure, space), []) if r.slot is not None]

    def all_slots(self, name: str, measure: str, space: str) -> GeometryRow:
        """The row of all slots together."""
        return next(r for r in self._rows[name, measure, space] if r.slot is None)

    def cell(self, name: str, measure: str, space: str) -> str:
        """The value of all slots together, with the slots' range; `-` if the measure is missing."""
        rows = self._rows.get((name, measure, space), [])
        values = [row.estimate for row in rows if row.slot is not None]
        whole = next((row.estimate for row in rows if row.slot is None), None)
        if whole is None:  # a step has no row of all slots
            whole = sum(values) / len(values) if values else None
        if whole is None or math.isnan(whole):
            return "-"
        if not values:
            return _short(whole)
        return f"{_short(whole)} ({_short(min(values))} to {_short(max(values))})"


def _short(value: float) -> str:
    """Two decimals, without a leading zero; one decimal from 10 on."""
    if abs(value) >= 10:
        return f"{value:.1f}"
    text = f"{round(value, 2) + 0.0:.2f}"  # no -0.00
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _z(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _in_family(test: RankTest, tests: Sequence[RankTest]) -> float | None:
    """The p of one of several tests after Holm over all of them."""
    return holm([other.p for other in tests])[list(tests).index(test)]


def _table(title: str, columns: Sequence[str], console: Console) -> Table:
    """An empty table. Its title is printed at once; rich would break it at the table's width."""
    console.print(escape(title), style="italic", highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    return table
