"""Figures of exchanges and mediation hold the summaries' numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lantern_probe.analysis.exchange import Exchange
from lantern_probe.analysis.mediation import Interaction, Mediation
from lantern_probe.analysis.slot_shares import SlotShare
from lantern_probe.plots.exchange import (
    plot_donor_rates,
    plot_donor_rates_by_count,
    plot_effects,
    plot_slot_shares,
)
from lantern_probe.plots.style import ACCENT, INK, SOFT


def dots(ax) -> list:
    return [line for line in ax.lines if line.get_marker() == "o"]


def names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


@pytest.fixture
def items(difference) -> list[Exchange]:
    zero = difference(0.0)
    return [
        Exchange("tiny", name, 40, difference(rate), zero, zero, None, 0, None, None, None, None)
        for name, rate in (("twin", 0.75), ("self-swap", 0.25))
    ]


def test_donor_rates_have_intervals_and_a_grey_sham(items, ax) -> None:
    assert plot_donor_rates(items, ax) is ax
    assert names(ax) == ["self-swap", "twin"]
    assert [dot.get_xdata()[0] for dot in dots(ax)] == [0.25, 0.75]
    assert [dot.get_markerfacecolor() for dot in dots(ax)] == [SOFT, ACCENT]
    assert list(ax.lines[2].get_xdata()) == pytest.approx([0.65, 0.95])
    assert names(plot_donor_rates(items)) == names(ax)
    assert ax.get_title() == "tiny, n = 40"


def test_rates_by_count_are_the_mean_and_the_range(ax) -> None:
    rates = [np.array([0.0]), np.array([0.0, 0.5]), np.array([1.0])]
    assert plot_donor_rates_by_count([0, 1, 2], rates, ax) is ax
    for one in (ax, plot_donor_rates_by_count([0, 1, 2], rates)):
        assert list(one.lines[0].get_ydata()) == [0, 0.25, 1]
        band = one.collections[0].get_paths()[0].vertices
        assert sorted(band[band[:, 0] == 1, 1])[:: len(band[band[:, 0] == 1]) - 1] == [0, 0.5]
        assert (one.get_xlabel(), one.get_ylabel()) == ("slots exchanged", "donor's answer")


@pytest.mark.parametrize(
    ("measure", "label"), [("donor", "donor's answer"), ("margin", "margin, nats")]
)
def test_slots_have_three_shares_each(difference, ax, measure: str, label: str) -> None:
    shares = [
        SlotShare("tiny", slot, measure, *map(difference, (0.1 + slot, 0.2 + slot, 0.3 + slot)))
        for slot in range(3)
    ]
    assert plot_slot_shares(shares, ax) is ax
    heights = [dot.get_ydata()[0] for dot in dots(ax)]
    assert heights == pytest.approx([0.1, 1.1, 2.1, 0.2, 1.2, 2.2, 0.3, 1.3, 2.3])
    assert [round(dot.get_xdata()[0]) for dot in dots(ax)] == [0, 1, 2] * 3
    assert list(ax.lines[0].get_ydata()) == pytest.approx([0, 0.3])
    alone = plot_slot_shares(shares)
    for one in (ax, alone):
        legend = [text.get_text() for text in one.get_legend().get_texts()]
        assert legend == ["alone", "left out", "shapley"]
        assert one.get_ylabel() == label


@pytest.mark.parametrize(
    ("defined", "said"),
    [(True, "n = 40; TIE / TE = 0.90 [0.80, 1.10]"), (False, "n = 40; TE may be zero: no share")],
)
def test_effects_are_in_nats_from_the_total_down(difference, ratio, ax, defined, said) -> None:
    te, nie, nde, tie = map(difference, (-4.0, -3.5, -0.5, -3.0))
    share = ratio(0.9, defined)
    inter = Interaction(te, None)
    item = Mediation("tiny", "twin", 40, 0, te, nie, nde, tie, share, share, {}, {}, inter)
    assert plot_effects(item, ax) is ax
    for one in (ax, plot_effects(item)):
        assert names(one) == ["TIE", "NDE", "NIE", "TE"]
        assert [dot.get_xdata()[0] for dot in dots(one)] == [-3, -0.5, -3.5, -4]
        assert [dot.get_markerfacecolor() for dot in dots(one)] == [ACCENT] * 3 + [INK]
        assert one.get_title() == said
