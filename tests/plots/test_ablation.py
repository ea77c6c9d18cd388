"""Figures of an ablation hold the summaries' numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lantern_probe.analysis.ablation import ConditionSummary
from lantern_probe.plots.ablation import ablation_figure, plot_accuracy
from lantern_probe.plots.style import ACCENT, INK
from lantern_probe.stats import wilson


def summary(condition: str, right: int, n: int = 40, donors: int | None = None) -> ConditionSummary:
    return ConditionSummary(
        model="tiny", condition=condition, samples=n, failed=0, n=n, accuracy=wilson(right, n),
        truncated=wilson(0, n), unparsed=0, chance=0.25, difference=None, mcnemar=None, holm_p=None,
        emission=wilson(n, n), accuracy_all=wilson(right, n), by_parser={},
        likelihood=wilson(min(right + 1, n), n), p_gold=None,
        donor=None if donors is None else wilson(donors, n),
    )  # fmt: skip


def names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def marks(ax, marker: str, face: str) -> list[tuple[float, float]]:
    return [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in ax.lines
        if (line.get_marker(), line.get_markerfacecolor()) == (marker, face)
    ]


def test_every_condition_has_its_accuracy_interval_and_other_readings(ax) -> None:
    found = [summary("own", 36), summary("zeros", 10), summary("swap", 8, donors=30)]
    assert plot_accuracy(found, ax) is ax
    assert names(ax) == ["swap", "zeros", "own"], "the first is at the top"
    assert marks(ax, "o", INK) == [(0.9, 2)]
    assert marks(ax, "o", ACCENT) == [(0.2, 0), (0.25, 1)]
    assert marks(ax, "o", "none") == [(9 / 40, 0), (11 / 40, 1), (37 / 40, 2)]
    assert marks(ax, "D", INK) == [(0.75, 0)]
    spans = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    for one in found:
        assert (one.accuracy.low, one.accuracy.high) in spans
    upright = {line.get_linestyle(): line.get_xdata()[0] for line in ax.lines}
    assert upright["--"] == 0.9 and upright[":"] == 0.25
    assert ax.get_xlabel() == "accuracy (95 % Wilson interval)"
    assert ax.get_title() == "tiny, n = 40"


def test_without_axes_a_new_figure_grows_with_the_conditions() -> None:
    few = plot_accuracy([summary("own", 30)])
    many = plot_accuracy([summary("own", 30), *(summary(f"noise:seed={i}", 9) for i in range(9))])
    assert names(few) == ["own"] and len(names(many)) == 10
    assert many.figure.get_figheight() > few.figure.get_figheight() + 2


def test_conditions_without_samples_are_left_out_and_cut_texts_are_told() -> None:
    cut = replace(summary("zeros", 10), truncated=wilson(4, 40))
    old = replace(summary("skip", 10), truncated=None)
    ax = plot_accuracy([summary("own", 0, n=0), cut, old])
    assert names(ax) == ["skip", "zeros"]
    assert [(text.get_text(), text.xy[1]) for text in ax.texts] == [("10% cut off", 1)]
    assert plot_accuracy([]).get_title() == "no sample ran"


@pytest.mark.parametrize("models", [1, 3])
def test_names_of_conditions_leave_every_panel_its_label(models: int) -> None:
    found = [summary("own", 30), summary("gaussian:scale=1,seed=0,blocks=0", 9)]
    figure = ablation_figure([found] * models)
    assert [ax.get_title() for ax in figure.axes] == ["tiny, n = 40"] * models
    figure._repr_png_()  # which lays it out
    edge = 0.0
    for ax in figure.axes:
        label, whole = ax.xaxis.label.get_window_extent(), ax.get_tightbbox()
        assert label.x0 >= edge and label.x1 <= figure.bbox.width
        edge = whole.x1
