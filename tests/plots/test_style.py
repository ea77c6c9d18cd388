"""The style: axes appear where none are given, and marks stand where they were put."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    axes_or_new,
    bare,
    draw_interval,
    legend_below,
    name_lines,
    new_figure,
    save_figure,
    whole_ticks,
)


def test_axes_are_those_given_or_of_a_new_figure_of_the_size_asked_for(ax) -> None:
    assert axes_or_new(ax, 1, 1) is ax
    new = axes_or_new(None, 3, 2)
    assert tuple(new.figure.get_size_inches()) == (3, 2)


def test_pyplot_does_not_hold_new_figures() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    new_figure(1, 1)
    assert plt.get_fignums() == before


def test_a_new_figure_shows_itself_as_a_picture() -> None:
    figure = new_figure(3, 2)
    figure.subplots().plot([0, 1])
    with Image.open(io.BytesIO(figure._repr_png_())) as image:
        assert image.size == (300, 200)


def test_a_bare_frame_keeps_the_axes_with_values(ax) -> None:
    bare(ax)
    assert [name for name, line in ax.spines.items() if line.get_visible()] == ["left", "bottom"]
    bare(ax, "left")
    assert [name for name, line in ax.spines.items() if line.get_visible()] == ["bottom"]


def test_intervals_lie_or_stand(ax) -> None:
    draw_interval(ax, 3, 0.5, 0.25, 1, color=INK)
    draw_interval(ax, 7, 0.5, 0.25, 1, color=ACCENT, upright=True, filled=False, label="slot")
    line, dot, upright, ring = ax.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.25, 1], [3, 3])
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([0.5], [3])
    assert (list(upright.get_xdata()), list(upright.get_ydata())) == ([7, 7], [0.25, 1])
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([7], [0.5])
    assert (dot.get_markerfacecolor(), ring.get_markerfacecolor()) == (INK, "white")
    assert ax.get_legend_handles_labels()[1] == ["slot"]


def test_named_lines_are_all_in_sight(ax) -> None:
    name_lines(ax, ["zeros", "own"])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["zeros", "own"]
    bottom, top = ax.get_ylim()
    assert bottom < 0 and top > 1


@pytest.mark.parametrize("slots", [1, 3, 8, 64])
def test_slots_have_whole_numbers(ax, slots: int) -> None:
    ax.plot(range(slots), range(slots), "o")
    whole_ticks(ax)
    ticks = ax.get_xticks()
    assert all(float(tick).is_integer() for tick in ticks) and 1 <= len(ticks) <= 12


def test_a_legend_below_covers_neither_lines_nor_labels() -> None:
    ax = axes_or_new(None)
    ax.plot([0, 1], label="own")
    ax.set_xlabel("slot")
    legend_below(ax)
    ax.figure._repr_png_()  # which lays it out
    legend = ax.get_legend().get_window_extent()
    assert legend.y1 <= ax.xaxis.label.get_window_extent().y0
    assert legend.y0 >= 0


def test_a_figure_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    save_figure(figure, tmp_path / "a.png", dpi=50)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (100, 50)
    save_figure(figure, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(LanternError, match=r"cannot write the figure '.*gone.*a.png'"):
        save_figure(figure, tmp_path / "gone" / "a.png")
