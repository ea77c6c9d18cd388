"""Figures hold what the rows hold."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from lantern_probe.errors import LanternError
from lantern_probe.geometry import GeometryRow, VectorSet, geometry_rows
from lantern_probe.plots.geometry import (
    plot_alignment,
    plot_by_slot,
    plot_cosine_matrix,
    plot_cosines,
    plot_effective_ranks,
    plot_ranks,
    plot_spectrum,
)


@pytest.fixture(scope="module")
def rows() -> list[GeometryRow]:
    own, oracle = np.random.default_rng(0).standard_normal((2, 20, 3, 6))
    tokens = VectorSet.of("tokens", own[:, 0] + 1)
    return geometry_rows(VectorSet.of("own", own), VectorSet.of("oracle", oracle), [tokens])


@pytest.fixture
def ax():
    return Figure().subplots()


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_cosines_by_slot(rows: list[GeometryRow], ax) -> None:
    assert plot_cosines(rows, ax) is ax
    assert labels(ax) == [
        "own: cosine between samples",
        "own: cosine between slots",
        "oracle: cosine between samples",
        "oracle: cosine between slots",
        "tokens: cosine between samples",
    ]
    shown = [
        row.estimate for row in rows
        if (row.name, row.measure, row.space) == ("own", "cosine between samples", "raw")
        and row.slot is not None
    ]  # fmt: skip
    np.testing.assert_allclose(ax.lines[0].get_ydata(), shown)


def test_the_other_figures_draw_every_set(rows: list[GeometryRow], ax) -> None:
    assert len(plot_effective_ranks(rows, ax).lines) == 6
    assert labels(plot_alignment(rows, Figure().subplots())) == [
        "own, oracle: debiased linear CKA", "own, oracle: RSA", "own, oracle: USP",
    ]  # fmt: skip
    assert labels(plot_by_slot(rows, ["norm"], "raw", Figure().subplots())) == [
        "own",
        "oracle",
        "tokens",
    ]
    for slot in (None, 1):
        assert labels(plot_spectrum(rows, Figure().subplots(), slot=slot)) == [
            "own",
            "oracle",
            "tokens",
        ]
    Figure().canvas.draw()


def test_the_matrix_of_slots(rows: list[GeometryRow], ax) -> None:
    plot_cosine_matrix(rows, "own", ax)
    values = ax.images[0].get_array()
    assert values.shape == (3, 3)
    np.testing.assert_allclose(np.diagonal(values), 1, atol=1e-5)
    other = Figure().subplots()
    plot_cosine_matrix(
        rows, "own, oracle", other, measure="slot cosine to own oracle", space="centred"
    )
    assert (other.get_ylabel(), other.get_xlabel()) == ("own slot", "oracle slot")


def test_the_histogram_of_ranks_counts_all_of_them(ax) -> None:
    ranks = np.array([1.0, 1, 2.5, 7, 10])
    plot_ranks(ranks, 10, ax, bins=5)
    assert [bar.get_height() for bar in ax.patches[:5]] == [2, 1, 0, 1, 1]
    with pytest.raises(LanternError, match="between 1 and 5"):
        plot_ranks(ranks, 5, ax)


def test_collapsed_latents_can_be_drawn(ax) -> None:
    collapsed = VectorSet.of("own", np.ones((10, 2, 3)))
    rows = geometry_rows(collapsed, collapsed)
    plot_cosines(rows, ax, space="centred")
    plot_effective_ranks(rows, Figure().subplots())
    figure = Figure()
    plot_cosine_matrix(rows, "own", figure.subplots(), space="whitened")
    figure.canvas.draw()
    with pytest.raises(LanternError, match="variance share"):
        plot_spectrum(rows, Figure().subplots())


def test_a_figure_without_rows_is_refused(ax) -> None:
    with pytest.raises(LanternError, match="no row with cosine between samples"):
        plot_cosines([], ax)
    with pytest.raises(LanternError, match="slot cosine of own"):
        plot_cosine_matrix([], "own", ax)
