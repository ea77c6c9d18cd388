"""Figures of sensitivity hold the fractions of each slot and of the references."""

from __future__ import annotations

import pytest

from lantern_probe.analysis.sensitivity import Sensitivity
from lantern_probe.errors import LanternError
from lantern_probe.plots.sensitivity import plot_sensitivity, sensitivity_figure


@pytest.fixture
def found(difference, ratio) -> list[Sensitivity]:
    """Under `blur` slot k moves by k tenths, under `grey` nothing is defined but the reference."""
    moved = difference(0.1)
    return [
        *(
            Sensitivity("tiny", "blur", "latent@slot", slot, moved, ratio((slot or 0) / 10))
            for slot in (None, 0, 1, 2)
        ),
        Sensitivity("tiny", "blur", "vision@image-mean", None, moved, ratio(0.75)),
        Sensitivity("tiny", "blur", "vision@box", None, moved, ratio(0.0, False)),
        Sensitivity("tiny", "blur", "residual.3@slot", 1, moved, ratio(0.9)),
        Sensitivity("tiny", "grey", "latent@slot", 0, moved, ratio(0.0, False)),
        Sensitivity("tiny", "grey", "vision@image-mean", None, moved, ratio(0.5)),
    ]


def dots(ax) -> list[tuple[float, float]]:
    return [
        (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() == "o"
    ]


def references(ax) -> dict[str, float]:
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    return {line.get_label(): line.get_ydata()[0] for line in dashed}


def test_dots_are_the_slots_and_dashed_lines_the_references(found, ax) -> None:
    assert plot_sensitivity(found, "blur", ax) is ax
    for one in (ax, plot_sensitivity(found, "blur")):
        assert dots(one) == [(0, 0), (1, 0.1), (2, 0.2)]
        assert list(one.lines[2].get_ydata()) == pytest.approx([0, 0.3])
        assert references(one) == {"image-mean": 0.75}
        assert [text.get_text() for text in one.get_legend().get_texts()] == ["image-mean"]
        assert (one.get_title(), one.get_xlabel()) == ("blur", "slot")
    with pytest.raises(LanternError, match="no sensitivity to 'noise' to draw; there are blur, gr"):
        plot_sensitivity(found, "noise")


def test_the_figure_has_a_panel_for_each_change_and_one_legend(found) -> None:
    figure = sensitivity_figure(found)
    assert [ax.get_title() for ax in figure.axes] == ["blur", "grey"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["moved / between samples", ""]
    assert dots(figure.axes[1]) == [] and references(figure.axes[1]) == {"image-mean": 0.5}
    assert all(ax.get_legend() is None for ax in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["image-mean"]
    assert figure.get_suptitle() == "tiny, n = 40; dots: latents, 95 % intervals"
