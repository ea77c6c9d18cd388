"""Maps of recovery have each effect in its cell."""

from __future__ import annotations

import numpy as np
import pytest

from lantern_probe.analysis.patching import PatchEffect
from lantern_probe.errors import LanternError
from lantern_probe.plots.patching import patching_figure, plot_recovery


@pytest.fixture
def effects(difference, ratio) -> list[PatchEffect]:
    """Recovery 1 for the embedding, then 0.1 per layer, a quarter for single slots."""

    def effect(component, layer, role, slot, value, direction="denoise", **changes) -> PatchEffect:
        label = f"{component}@{role}"
        shift, test = difference(value), (None, None)
        defined = changes.pop("defined", True)
        sham = changes.pop("sham", False)
        return PatchEffect(
            *("tiny", label, direction, component, layer, role, slot, sham, 40, 0, shift, *test),
            *(ratio(value, defined), shift, 1.0),
        )

    return [
        effect("embedding", None, "slot", None, 1.0),
        *(effect("residual", i, "slot", None, i / 10) for i in (10, 2, 0)),
        *(effect("residual", i, "slot", 1, i / 40) for i in (0, 2)),
        effect("residual", 10, "slot", 1, 9.0, defined=False),
        effect("residual", 0, "slot", 1, 9.0, sham=True),
        effect("residual", 0, "box", None, -0.5),
        effect("mlp", 0, "box", None, 0.25, "noise"),
    ]


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_layers_go_up_from_the_embedding_and_slots_right_to_all(effects, ax) -> None:
    assert plot_recovery(effects, ax) is ax
    assert ticks(ax.yaxis) == ["in", "0", "2", "10"]
    assert ticks(ax.xaxis) == ["1", "all"]
    image = ax.images[0]
    assert image.get_array().tolist() == [[None, 1], [0, 0], [0.05, 0.2], [None, 1]]
    assert image.get_clim() == (-1, 1) and image.colorbar.ax.get_ylabel() == "recovery"
    assert ax.get_ylim()[0] < ax.get_ylim()[1], "the first line is the lowest"
    said = {text.get_position(): text.get_text() for text in ax.texts}
    assert len(said) == 6 and said[1, 2] == "0.20"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("slot", "layer")
    assert ax.get_title() == "residual, denoise, n = 40"


def test_roles_have_all_their_positions(effects) -> None:
    ax = plot_recovery(effects, columns="role")
    assert ticks(ax.xaxis) == ["box", "slot"]
    np.testing.assert_allclose(ax.images[0].get_array()[1].tolist(), [-0.5, 0])
    other = plot_recovery(effects, component="mlp", direction="noise", columns="role")
    assert other.images[0].get_array().tolist() == [[0.25]]
    assert other.figure is not ax.figure
    with pytest.raises(LanternError, match="no slot with attention patched, denoise, to draw"):
        plot_recovery(effects, component="attention")


def test_the_figure_has_a_line_for_each_model_and_component(effects) -> None:
    both = [e for e in effects if e.component != "mlp"]
    both += [e.__class__(**vars(e) | {"direction": "noise"}) for e in both]
    boxes = [e for e in both if e.role == "box"]
    figure = patching_figure([both, boxes])
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == [
        f"tiny: residual, {direction}, n = 40" for direction in ("denoise", "noise") * 3
    ]
    hidden = [ax for ax in figure.axes if not ax.axison]
    assert len(hidden) == 2, "the second model has no patch at the slots"
