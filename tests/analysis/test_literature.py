"""Published figures: what the data file says, and what is made of it beside measured ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import norm

from lantern_probe.analysis.literature.accuracies import compare_accuracies
from lantern_probe.analysis.literature.figures import (
    ALL,
    MARKS,
    published_figure,
    published_figures,
)
from lantern_probe.analysis.literature.ranks import chance_of, compare_retrieval
from lantern_probe.errors import LanternError
from lantern_probe.interventions import CONDITIONS
from lantern_probe.plots.literature import accuracy_figure, retrieval_figure
from lantern_probe.records.rows import Row
from lantern_probe.stats import mcnemar, wilson
from lantern_probe.stats.score import independent_difference
from lantern_probe.tasks import TASKS

FIGURES = list(published_figures().values())
each_figure = pytest.mark.parametrize("figure", FIGURES, ids=[figure.name for figure in FIGURES])


def rows_of(answers: str, categories: Sequence[str] = ("x",), condition: str = "own") -> list[Row]:
    """A row per letter: r right, w wrong, ? unparsed."""
    return [
        {
            "sample": str(i),
            "condition": condition,
            "status": "ok",
            "gold": "A",
            "answer": {"r": "A", "w": "B", "?": None}[answer],
            "correct": answer == "r",
            "emitted": True,
            "cluster": str(i),
            "category": categories[i % len(categories)],
            "logprobs": None,
        }
        for i, answer in enumerate(answers)
    ]


@each_figure
def test_every_figure_says_what_it_is_and_how_we_know(figure: Any) -> None:
    assert figure.mark in MARKS and figure.source and figure.title and figure.shows
    assert set(figure.conditions) <= set(CONDITIONS)
    assert all(0 <= value.low <= value.high <= 1 for value in figure.values)
    assert all(pair.first in figure.conditions for pair in figure.flips)
    assert all(pair.second in figure.conditions for pair in figure.flips)
    assert (figure.retrieval is not None) == (figure.kind == "retrieval")
    assert figure.stand_in is None or figure.stand_in[1] in TASKS
    assert figure.stand_in or figure.records
    assert not figure.flips or figure.flips_mark in MARKS


def test_the_published_accuracies_of_sft_agree_with_the_published_flips() -> None:
    """Differences of accuracies rounded to .001 each are within .001 of (b - c) / n."""
    figure = published_figure("sft-viscot")
    shares = {value.condition: value.low for value in figure.values}
    for pair in figure.flips:
        from_flips = (pair.b - pair.c) / figure.n[ALL]
        assert abs(shares[pair.first] - shares[pair.second] - from_flips) < 0.001 + 1e-9


@pytest.mark.parametrize("name", ["sft-blink", "sft-vstar"])
def test_the_published_averages_are_those_of_their_parts_to_within_two_thousandths(
    name: str,
) -> None:
    """Not to the last digit, as they would be by the counts; the figures' notes say so."""
    figure = published_figure(name)
    assert sum(n for split, n in figure.n.items() if split != ALL) == figure.n[ALL]
    by_place = {(value.condition, value.split): value for value in figure.values}
    for condition in figure.conditions:
        parts = [by_place[condition, split].count for split in figure.splits if split != ALL]
        off = by_place[condition, ALL].low - sum(parts) / figure.n[ALL]
        assert abs(off) < 0.002
        assert "by the counts of" in figure.note


@pytest.mark.parametrize(
    ("name", "pairs"), [("lvr7b-viscot", 15), ("lvr7b-blink", 6), ("lvr7b-vstar", 6)]
)
def test_the_counts_of_lvr_agree_with_their_flips(name: str, pairs: int) -> None:
    figure = published_figure(name)
    right = {v.condition: v.count for v in figure.values if v.measure == "accuracy"}
    assert len(figure.flips) == pairs
    for pair in figure.flips:
        assert right[pair.first] - right[pair.second] == pair.b - pair.c


@pytest.mark.parametrize(
    ("name", "z"), [("retrieval-sft", -3.3), ("retrieval-rl", -2.0), ("retrieval-sft-1200", -6.7)]
)
def test_the_rank_test_of_the_published_mean_ranks(name: str, z: float) -> None:
    """The values of docs/methods.md, Published figures to reproduce, to the digit given there."""
    found = compare_retrieval(published_figure(name), record(8), query="own").published_test
    assert found.z == pytest.approx(z, abs=0.05)


def test_published_values_inside_and_outside_of_what_is_measured() -> None:
    figure = published_figure("tetris-bottleneck")
    own, oracle, zeros = "r" * 33 + "w" * 67, "r" * 50 + "w" * 50, "r" * 42 + "w" * 58
    rows = {"own": rows_of(own), "oracle": rows_of(oracle), "zeros": rows_of(zeros)}
    found = compare_accuracies(figure, rows | {"mask": rows_of(own)})
    agrees = {line.published.condition: line.agrees for line in found.lines}
    # zeros was published as .25 to .34, of which the interval of .42 holds a part.
    assert agrees == {"own": True, "oracle": False, "zeros": True}
    measured = {line.published.condition: line.measured for line in found.lines}
    assert (measured["own"].count, measured["own"].n) == (33, 100)
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    assert set(pairs) == {("own", "oracle"), ("own", "zeros")}
    assert not pairs["own", "oracle"].agrees  # -.53 published, -.17 here
    zeros_pair = pairs["own", "zeros"]
    assert (zeros_pair.low, zeros_pair.high) == pytest.approx((-0.01, 0.08))
    assert zeros_pair.flips is None and zeros_pair.p is None


def test_splits_are_told_by_category_and_missing_conditions_are_said() -> None:
    figure = published_figure("sft-vstar")
    categories = ("direct_attributes", "relative_position")
    found = compare_accuracies(figure, {"own": rows_of("rw" * 20, categories)})
    measured = {
        line.published.split: line.measured
        for line in found.lines
        if line.published.condition == "own"
    }
    assert [measured[split].estimate for split in (ALL, *categories)] == [0.5, 1, 0]
    rest = [line for line in found.lines if line.published.condition != "own"]
    assert len(rest) == 6 and all(line.measured is line.agrees is None for line in rest)
    assert all(pair.measured is pair.agrees is None for pair in found.pairs)
    assert found.notes[0] == "not measured: skip, random-box"
    failed = [row | {"status": "failed", "correct": None} for row in rows_of("rr")]
    again = compare_accuracies(figure, {"own": rows_of("rw"), "random-box": failed})
    assert again.notes[0] == "not measured: skip, random-box"


def test_format_and_content_are_apart() -> None:
    figure = published_figure("lvr7b-viscot")
    rows = {name: rows_of("rrrr") for name in figure.conditions}
    rows["own"] = rows_of("rw??")
    found = compare_accuracies(figure, rows)
    own = {
        line.published.measure: line.measured
        for line in found.lines
        if line.published.condition == "own"
    }
    assert (own["accuracy"].count, own["accuracy"].n) == (1, 4)
    assert (own["unparsed"].count, own["unparsed"].n) == (2, 4)
    assert (own["jointly parsed"].count, own["jointly parsed"].n) == (1, 2)
    # Without one of the conditions these would be other samples.
    del rows["zeros"]
    found = compare_accuracies(figure, rows)
    joint = [line for line in found.lines if line.published.measure == "jointly parsed"]
    assert len(joint) == 6 and all(line.measured is line.agrees is None for line in joint)


def test_samples_without_a_block_are_counted_and_left_out_beside() -> None:
    figure = published_figure("tetris-bottleneck")
    rows = {name: rows_of("rrww") for name in figure.conditions}
    rows = {
        name: [row | {"emitted": row["sample"] in "02"} for row in some]
        for name, some in rows.items()
    }
    found = compare_accuracies(figure, rows)
    assert (found.samples, found.without_block) == (4, 2)
    for line in found.lines:
        assert (line.measured.count, line.measured.n) == (2, 4)
        assert (line.with_block.count, line.with_block.n) == (1, 2)


def test_only_40_samples_give_the_figures_of_tetris() -> None:
    figure = published_figure("tetris")
    shares = [value.low for value in figure.values]
    fit = [n for n in range(1, 51) if all(round(round(s * n) / n, 3) == s for s in shares)]
    assert fit == [40] == [figure.n[ALL]]


def test_records_that_are_the_published_ones_agree_only_if_they_are_equal() -> None:
    """Two records of 191 that differ by one answer agree as independent samples do, not as one."""
    figure = published_figure("lvr7b-vstar")
    answers = {"own": "r" * 154, "skip": "r" * 145, "noise": "r" * 155, "zeros": "r" * 153}
    rows = {name: rows_of(right.ljust(191, "w")) for name, right in answers.items()}
    loose = compare_accuracies(figure, rows)
    exact = compare_accuracies(figure, rows, same=True)

    def of(found: Any) -> list[bool]:
        return [line.agrees for line in found.lines if line.published.measure == "accuracy"]

    assert of(loose) == [True] * 4 and of(exact) == [True, True, True, False]
    assert not any(pair.agrees for pair in exact.pairs)  # 9:0, not 12:3


def test_published_flips_are_tested_as_published() -> None:
    figure = published_figure("sft-viscot")
    rows = {name: rows_of("rw" * 30) for name in figure.conditions}
    found = compare_accuracies(figure, rows)
    best = next(pair for pair in found.pairs if pair.second == "random-box" and pair.flips.b == 33)
    assert best.p == mcnemar(33, 16).p == pytest.approx(0.021, abs=5e-4)
    assert best.holm_p == pytest.approx(0.21, abs=5e-3)
    assert len(found.pairs) == 10 and all(pair.measured.n == 60 for pair in found.pairs)


def test_rows_of_another_figure_are_refused() -> None:
    with pytest.raises(LanternError, match="under none of these, only under mask"):
        compare_accuracies(published_figure("tetris"), {"mask": rows_of("rw")})
    with pytest.raises(LanternError, match="no figure 'nothing'; there are sft-viscot"):
        published_figure("nothing")


def record(n: int, seed: int = 0) -> dict[str, Any]:
    """What map_latents writes of n samples whose ranks are random."""
    ranks = np.random.default_rng(seed).permutation(n) + 1.0
    test = {"estimate": ranks.mean(), "chance": (n + 1) / 2, "z": 0.0, "p": 1.0, "p_better": 0.5}
    recall = {str(k): float((ranks <= k).mean()) for k in (1, 5, 10)}
    view = {"view": "pooled", "n": n, "ranks": ranks.tolist(), "recall": recall}
    view["mean_rank"] = test | {"method": "planted"}
    view["mrr"] = {"estimate": float((1 / ranks).mean())}
    alike = {"view": "pooled", "n": 0, "place": None}
    return {
        "model": "planted",
        "images": list(range(n)),
        "among_all": {"own": [view]},
        "among_alike": {"own": [alike]},
    }


def test_retrieval_lines_are_the_ranks_and_agree_only_at_the_same_n() -> None:
    figure = published_figure("retrieval-sft")
    same = compare_retrieval(figure, record(300), query="own")
    lines = {line.measure: line for line in same.lines}
    assert list(lines) == ["R@1", "R@5", "R@10", "mean rank", "MRR"]
    assert lines["R@5"].measured == pytest.approx(5 / 300)
    assert lines["R@5"].low < 5 / 300 < lines["R@5"].high
    assert lines["mean rank"].measured == lines["mean rank"].chance == 150.5
    assert lines["MRR"].measured == pytest.approx(lines["MRR"].chance)
    # 134.0 is 3.3 standard errors from 150.5, and 2.3 of a difference of two such means.
    assert lines["mean rank"].agrees is False
    assert all(line.agrees is not None for line in same.lines)
    assert lines["R@10"].published_p == pytest.approx(0.025, abs=5e-4)
    assert same.among_alike is None
    other = compare_retrieval(figure, record(200), query="own")
    assert all(line.agrees is None and line.n == 200 for line in other.lines)


def test_a_second_sample_of_one_truth_agrees_with_the_published_retrieval_at_its_level() -> None:
    """Two independent samples of ranks: figures agree in 95 %, by one interval alone in 83 %."""
    figure = published_figure("retrieval-sft")
    assert figure.retrieval is not None
    rng = np.random.default_rng(0)
    agreed: dict[str, list[bool]] = {}
    inside: list[bool] = []
    for _ in range(120):
        mine, told = (1 + np.floor(300 * rng.random(300) ** 1.5) for _ in range(2))
        published = dataclasses.replace(
            figure.retrieval,
            recall={k: float((told <= k).mean()) for k in figure.retrieval.recall},
            mean_rank=float(told.mean()),
            mrr=float((1 / told).mean()),
        )
        view = record(300)
        pooled = view["among_all"]["own"][0]
        pooled |= {"ranks": mine.tolist(), "mrr": {"estimate": float((1 / mine).mean())}}
        pooled["recall"] = {str(k): float((mine <= k).mean()) for k in (1, 5, 10)}
        other = dataclasses.replace(figure, retrieval=published)
        for line in compare_retrieval(other, view, query="own").lines:
            assert line.agrees is not None
            agreed.setdefault(line.measure, []).append(line.agrees)
            inside.append(line.low <= line.published <= line.high)
    assert all(np.mean(told) > 0.88 for told in agreed.values()), agreed
    assert np.mean(inside) < 0.9


@pytest.mark.parametrize(
    ("name", "z"), [("retrieval-sft", 1.9), ("retrieval-rl", 0.7), ("retrieval-sft-1200", 3.1)]
)
def test_published_mean_reciprocal_ranks_are_tested(name: str, z: float) -> None:
    found = compare_retrieval(published_figure(name), record(300), query="own")
    (mrr,) = [line for line in found.lines if line.measure == "MRR"]
    assert norm.isf(mrr.published_p) == pytest.approx(z, abs=0.06)


def test_tied_ranks_take_the_mean_reciprocal_of_the_record() -> None:
    tied = record(300)
    view = tied["among_all"]["own"][0]
    view["ranks"] = [150.5] * 300
    view["mrr"] = {"estimate": chance_of("MRR", 300)}
    found = compare_retrieval(published_figure("retrieval-sft"), tied, query="own")
    (mrr,) = [line for line in found.lines if line.measure == "MRR"]
    assert mrr.measured == pytest.approx(chance_of("MRR", 300))


@pytest.mark.parametrize("n", [191, 300, 1200])
def test_two_measurements_of_one_truth_agree_as_often_as_they_should(n: int) -> None:
    """2,000 pairs of samples of one truth; Monte Carlo 99.9 % below .95, and not far above."""
    rng = np.random.default_rng(n)
    hits = 0
    for one, two in rng.binomial(n, 0.6, size=(2000, 2)).tolist():
        pair = [(w.estimate, w.low, w.high) for w in (wilson(one, n), wilson(two, n))]
        low, high = independent_difference(pair[0], pair[1])
        hits += low <= 0 <= high
    assert 0.95 - 3.3 * (0.95 * 0.05 / 2000) ** 0.5 <= hits / 2000 <= 0.975


def test_a_record_that_lacks_something_names_it() -> None:
    with pytest.raises(LanternError, match="lacks 'teacher-forced'"):
        compare_retrieval(published_figure("retrieval-sft"), record(9), query="teacher-forced")
    bare = record(9)
    del bare["images"]
    with pytest.raises(LanternError, match=r"lacks 'images'.*map_latents"):
        compare_retrieval(published_figure("retrieval-sft"), bare, query="own")


@given(n=st.integers(1, 200))
def test_chance_is_the_mean_over_all_ranks(n: int) -> None:
    ranks = np.arange(1, n + 1)
    assert chance_of("mean rank", n) == pytest.approx(ranks.mean())
    assert chance_of("MRR", n) == pytest.approx((1 / ranks).mean())
    if n >= 5:
        assert chance_of("R@5", n) == pytest.approx((ranks <= 5).mean())


@each_figure
def test_every_figure_can_be_drawn(figure: Any) -> None:
    drawn: Figure
    if figure.kind == "retrieval":
        found = compare_retrieval(figure, record(figure.n[ALL]), query="own")
        drawn = retrieval_figure(figure, [found, found], f"{figure.title}\n{figure.source}")
        assert len(drawn.axes) == 2
    else:
        rows = {name: rows_of("rrw" * 10) for name in figure.conditions}
        found = compare_accuracies(figure, rows)
        drawn = accuracy_figure(found, f"{figure.title}\n{figure.source}", {"the ceiling": 1.0})
        shown = [ax.get_xlabel() for ax in drawn.axes]
        assert shown[0] == "accuracy" and shown[-1].startswith("difference")
        assert ("unparsed" in shown) == (figure.name == "lvr7b-viscot")
        labels = {label.get_text() for label in drawn.axes[0].get_yticklabels()}
        assert labels == set(figure.conditions)
    drawn.canvas.draw()
    edge = drawn.bbox.width
    for text in drawn.texts:  # heading and legend
        extent = text.get_window_extent()
        assert extent.x0 >= 0 and extent.x1 <= edge, text.get_text()
