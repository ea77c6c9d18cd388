"""Figures of probes hold what the rows hold, controls included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lantern_probe.errors import LanternError
from lantern_probe.plots.probing import (
    FIELDS,
    plot_layers_by_slot,
    plot_scores_by_slot,
    probe_figure,
)
from lantern_probe.probing.site_scores import ProbeSettings, make_target, probe_row, score_site

SITES = ("residual.0@slot", "residual.1@slot", "residual.10@slot", "latent@slot")


def make_row(site: str, slot: int | None, **changes: Any) -> dict[str, Any]:
    """A row whose score is known from its place."""
    score = 0.1 * SITES.index(site) + 0.01 * (slot or 0) + 0.4 if site in SITES else 0.9
    row = {
        "site": site, "slot": slot, "target": "color", "kind": "class", "n": 60, "images": 50,
        "score": score, "low": score - 0.1, "high": score + 0.05, "majority": 0.2,
        "question": 0.25, "image_mean": 0.3, "untrained": 0.15, "distractor": 0.12,
        "control": 0.1, "selectivity": score - 0.1,
    }  # fmt: skip
    return row | changes


def make_rows(slots: int = 3, **changes: Any) -> list[dict[str, Any]]:
    return [make_row(site, slot, **changes) for slot in range(slots) for site in SITES]


@pytest.fixture
def ax():
    return Figure().subplots()


def cells(ax) -> np.ma.MaskedArray:
    return ax.images[0].get_array()


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_map_has_the_latents_below_the_layers_in_order(ax) -> None:
    rows = [
        *make_rows(),
        make_row("oracle:latent@slot", 1),
        make_row("residual.0@answer-start", None),
    ]
    assert plot_layers_by_slot(rows, ax) is ax
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["oracle latent", "latent", "0", "1", "10"]
    bottom, top = ax.get_ylim()
    assert bottom < top, "the first line is the lowest"
    np.testing.assert_allclose(cells(ax)[1:, 2], [0.72, 0.42, 0.52, 0.62])
    np.testing.assert_array_equal(cells(ax).mask[0], [True, False, True])


@settings(max_examples=20)
@given(layers=st.integers(1, 40), slots=st.integers(1, 20), field=st.sampled_from(list(FIELDS)))
def test_a_map_of_any_size_shows_every_value_where_it_belongs(layers, slots, field) -> None:
    rows = [
        make_row(f"residual.{layer}@slot", slot, **{field: layer + slot / 100})
        for layer in reversed(range(layers))
        for slot in range(slots)
    ]
    ax = plot_layers_by_slot(rows, Figure().subplots(), field=field, vmax=float(layers))
    expected = np.add.outer(np.arange(layers), np.arange(slots) / 100)
    np.testing.assert_allclose(cells(ax), expected)
    assert ax.images[0].get_clim() == (0, layers)


def test_a_control_that_is_missing_is_no_zero(ax) -> None:
    plot_layers_by_slot(make_rows(distractor=None), ax, field="distractor")
    assert cells(ax).mask.all() and texts(ax) == ["none"]
    other = Figure().subplots()
    plot_layers_by_slot(make_rows(distractor=0.0), other, field="distractor")
    assert not np.ma.is_masked(cells(other)) and texts(other) == []


def test_curves_are_of_the_latents_and_the_best_layer(ax) -> None:
    rows = make_rows()
    plot_scores_by_slot(rows, ax)
    assert legend(ax) == ["latent", "layer 10, best of 3", "other object", "untrained model"]
    curves = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(curves["latent"], [0.7, 0.71, 0.72])
    np.testing.assert_allclose(curves["layer 10, best of 3"], [0.6, 0.61, 0.62])
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [0.6, 0.77])
    assert texts(ax) == ["majority 0.20", "question only 0.25", "image mean 0.30"]
    flat = [line.get_ydata()[0] for line in ax.lines if list(line.get_xdata()) == [0, 1]]
    assert flat == [0.2, 0.25, 0.3]
    dotted = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted == [0.12, 0.15, 0.12, 0.15]


def test_names_beside_the_axes_keep_apart_and_inside(ax) -> None:
    plot_scores_by_slot(make_rows(majority=1.0, question=1.0, image_mean=0.99), ax)
    heights = sorted(text.xyann[1] for text in ax.texts)
    assert min(np.diff(heights)) > 0.09 and heights[-1] <= ax.get_ylim()[1]


def test_curves_leave_out_what_nobody_scored(ax) -> None:
    rows = make_rows(untrained=None, distractor=None, question=None, score=float("nan"))
    plot_scores_by_slot(rows, ax)
    assert legend(ax) == ["latent"]
    assert texts(ax) == ["majority 0.20", "image mean 0.30"]


def test_the_figure_has_one_scale_for_the_probe_and_every_control() -> None:
    figure = probe_figure([*make_rows(), *make_rows(target="shape", score=0.0)], "color", "tiny")
    maps = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in maps] == list(FIELDS.values())
    assert {ax.images[0].get_clim() for ax in maps} == {(0.0, 1.0)}
    assert maps[0].images[0].get_array().min() == pytest.approx(0.4), "rows of shape stay out"
    bar = maps[0].images[0].colorbar
    assert texts(bar.ax) == ["majority 0.20", "question only 0.25", "image mean 0.30"]
    assert bar.extend == "neither"
    assert figure.get_suptitle() == "tiny: color, 60 samples of 50 images"
    figure.canvas.draw()


def test_the_figure_says_what_is_missing_or_clipped() -> None:
    rows = make_rows(kind="value", majority=0.0, question=None, image_mean=-0.2, untrained=None)
    rows[0].update(score=-0.5, low=-0.7, high=-0.4)
    rows[4].update(distractor=float("nan"))
    figure = probe_figure(rows, "color", "tiny")
    maps = [ax for ax in figure.axes if ax.images]
    bar = maps[0].images[0].colorbar
    assert bar.extend == "min" and bar.ax.get_ylabel() == "R²; below 0: as 0"
    assert texts(bar.ax) == ["image mean -0.20"] and bar.ax.lines[0].get_ydata()[0] == 0
    assert texts(maps[2]) == ["none"]
    assert figure.get_suptitle() == (
        "tiny: color, 60 samples of 50 images; no score of question only; grey: no score"
    )
    figure.canvas.draw()


def test_a_block_of_one_slot_can_be_drawn() -> None:
    rows = [make_row(site, None) for site in SITES]
    figure = probe_figure(rows, "color", "tiny")
    assert cells(figure.axes[0]).shape == (4, 1)
    figure.canvas.draw()


def test_rows_of_a_real_probe_can_be_drawn() -> None:
    """The names of a row's columns are those that the figure reads."""
    truth = ["red", "blue"] * 20
    questions = [f"question {i // 4}" for i in range(40)]
    target = make_target("color", truth, range(40), questions, ProbeSettings(permutations=0))
    features = torch.randn(40, 4, generator=torch.manual_seed(0))
    features[:, 0] += torch.tensor([5.0, -5.0]).repeat(20)
    given_scores = {"question": 0.5, "image_mean": 0.5, "untrained": None, "distractor": None}
    row = probe_row("latent@slot", 0, target, score_site(features, target), given_scores)
    figure = probe_figure([row], "color", "tiny")
    assert cells(figure.axes[0])[0, 0] == row["score"] > 0.9
    assert cells(figure.axes[3])[0, 0] == row["control"]


def test_what_cannot_be_drawn_is_refused(ax) -> None:
    with pytest.raises(LanternError, match="no probe of target 'cell'; there are rows of color"):
        probe_figure(make_rows(), "cell", "tiny")
    with pytest.raises(LanternError, match="site at the slots"):
        plot_scores_by_slot([make_row("residual.0@answer-start", None)], ax)
    with pytest.raises(LanternError, match=r"rows of color, shape: give those of one"):
        plot_layers_by_slot([*make_rows(), *make_rows(target="shape")], ax)
