"""Figures of triggers, fed states and an exchange's controls hold the numbers they are given."""

from __future__ import annotations

from lantern_probe.analysis.crossed import CELLS, Crossed
from lantern_probe.analysis.fed_states import MEASURES, FedState
from lantern_probe.analysis.swap_controls import SwapShift
from lantern_probe.analysis.triggers import TriggerEffect, Triggers
from lantern_probe.plots.controls import plot_crossed, plot_swap_shifts
from lantern_probe.plots.fed_states import fed_states_figure, plot_norm_regime
from lantern_probe.plots.triggers import plot_triggers, triggers_figure
from lantern_probe.stats import fisher_exact, wilson


def dots(ax, axis: str = "x") -> list[float]:
    return [getattr(line, f"get_{axis}data")()[0] for line in ax.lines if line.get_marker() == "o"]


def names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def test_cells_are_drawn_from_the_top_in_their_order(difference, ax) -> None:
    cells = tuple(difference(share) for share in (1.0, 0.2, 0.9, 0.1))
    plot_crossed(Crossed("tiny", 30, 0, cells, ()), ax)
    assert dots(ax) == [0.1, 0.9, 0.2, 1.0]
    assert names(ax) == list(reversed(CELLS))
    assert ax.get_title() == "tiny, n = 30"


def test_shifts_are_drawn_signed_and_absolute(difference, ax) -> None:
    def shift(condition: str, signed: float, absolute: float) -> SwapShift:
        means = (difference(signed), difference(absolute))
        return SwapShift("tiny", condition, "direct", 9, *means, None, None, None)

    plot_swap_shifts([shift("twin", -4.0, 5.0), shift("self-swap", 0.0, 0.1)], ax)
    assert dots(ax) == [0.0, 0.1, -4.0, 5.0]
    assert names(ax) == ["self-swap, direct", "twin, direct"]
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"signed", "absolute"}


def test_effects_of_a_block_are_points_and_empty_contrasts_are_left_out(difference, ax) -> None:
    effects = (
        TriggerEffect("all samples", "force", "ban", 40, difference(0.5), None, None),
        TriggerEffect("texts without a block", "force", "own", 0, difference(0.0), None, None),
    )
    fisher = fisher_exact(34, 38, 82, 37)
    shares = (wilson(72, 191), wilson(34, 72), wilson(82, 119))
    found = Triggers("tiny", 191, *shares, fisher, 191, effects)
    plot_triggers(found, ax)
    assert dots(ax) == [50.0]
    assert "72 of 191" in ax.get_title() and "p = 0.0037" in ax.get_title()
    assert len(triggers_figure([found, found]).axes) == 2


def test_norms_are_drawn_by_slot_and_states_without_length_are_left_out(difference, ax) -> None:
    text, image, cosine = MEASURES
    found = [
        *(
            FedState("tiny", "own", text, slot, difference(mean))
            for slot, mean in ((0, 17.0), (1, 0.0))
        ),
        FedState("tiny", "own", text, None, difference(9.0)),
        FedState("tiny", "own", image, 0, difference(1.5)),
        FedState("tiny", "own", cosine, 1, difference(-0.2)),
    ]
    plot_norm_regime(found, ax)
    assert dots(ax, "y") == [17.0, 1.5] and ax.get_yscale() == "log"
    above, below = fed_states_figure(found).axes
    assert dots(above, "y") == [17.0, 1.5] and dots(below, "y") == [-0.2]
    assert above.get_title() == "tiny: own, n = 40"
