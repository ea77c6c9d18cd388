"""Figures of readouts show what they are given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from lantern_probe.analysis.word_readouts import WordMean
from lantern_probe.errors import LanternError
from lantern_probe.plots.readouts import (
    plot_ranks_by_slot,
    plot_words,
    slot_maps_figure,
    words_figure,
)
from lantern_probe.stats import Difference
from lantern_probe.tasks import load_task


def mean(site: str, value: float, difference: Callable[[float], Difference]) -> WordMean:
    return WordMean(
        "m", site, "answer", None, difference(value), 0.5, 0.125, 0.1, None, 0.2, 0.01, 0.02, 999,
        3.0, 0.1,
    )  # fmt: skip


def test_ranks_are_written_into_their_cells(ax: Axes):
    plot_ranks_by_slot(["latent@slot", "residual.0@slot"], np.array([[1.0, 30.0], [7.0, 4.0]]), ax)
    assert [text.get_text() for text in ax.texts] == ["1", "30", "7", "4"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["latent", "layer 0, slot"]


def test_means_are_drawn_beside_their_controls(ax: Axes, difference: Callable[[float], Difference]):
    plot_words([mean("latent@slot", 0.4, difference), mean("residual.1@slot", 0.6, difference)], ax)
    drawn = [line.get_xdata() for line in ax.lines]
    assert any(np.allclose(x, [0.3, 0.6]) for x in drawn if len(x) == 2)
    assert ax.get_xlabel() == "probability of the text among the options"


def test_a_figure_of_maps_has_a_panel_for_every_slot():
    sample = load_task("scenes", 1)[0]
    figure = slot_maps_figure(
        [(sample, sample.open_images()[0], torch.rand(8, 3, 3))], centred=True
    )
    assert [ax.get_title() for ax in figure.axes[1:9]] == [f"slot {k}" for k in range(8)]
    assert figure.axes[-1].get_ylabel() == "cosine, centred"


def test_nothing_to_draw_is_said(difference: Callable[[float], Difference]):
    with pytest.raises(LanternError, match="no ranks to draw"):
        plot_ranks_by_slot([], np.zeros((0, 0)))
    with pytest.raises(LanternError, match="no readouts to draw"):
        plot_words([])
    with pytest.raises(LanternError, match="no sample has a map"):
        slot_maps_figure([], centred=False)
    one = [mean("latent@slot", 0.4, difference)]
    assert len(words_figure(one, ["latent@slot"], np.ones((1, 2)), "title").axes) == 3
