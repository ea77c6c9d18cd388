"""Figures of activation patching: recovery by layer and slot, and by layer and role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.patching import PatchEffect
from lantern_probe.errors import LanternError
from lantern_probe.plots.style import INK, axes_or_new, new_figure
from lantern_probe.vocabulary import LAYERED, PATCH_ROLES

Columns = Literal["slot", "role"]

INPUT = "in"
"""Name of the row of the embedding, which is the first layer's input."""

PANELS: tuple[tuple[Columns, str], ...] = (
    ("slot", "denoise"),
    ("slot", "noise"),
    ("role", "denoise"),
    ("role", "noise"),
)
"""Columns and direction of each panel of a line of `patching_figure`."""


def plot_recovery(
    effects: Sequence[PatchEffect],
    ax: Axes | None = None,
    *,
    component: str = "residual",
    direction: str = "denoise",
    columns: Columns = "slot",
) -> Axes:
    """Draw recovery as a heat map over layers, the first at the bottom: -1 (blue) to 1 (red).

    Recovery is the mean shift of the logit difference over the mean difference of the two runs: 0
    as if nothing had been patched, 1 as if everything had. Below the layers of `residual` is the
    embedding (`in`), where it was patched. A cell is empty where nothing was measured, or where
    the two runs may not differ. Shams are left out.

        >>> from lantern_probe.analysis.patching import summarize
        >>> row = {"condition": "residual.0@slot", "status": "ok", "component": "residual"}
        >>> row |= {"layer": 0, "role": "slot", "slot": None, "sham": False, "gold": "red"}
        >>> row |= {"direction": "noise", "foil": "blue", "base_answer": "red", "answer": "blue"}
        >>> row |= {"base": 4.0, "patched": -5.0, "donor_value": -5.0}
        >>> effects = summarize([row | {"sample": s, "cluster": s} for s in "abcde"], model="tiny")
        >>> plot_recovery(effects, direction="noise").images[0].get_array().tolist()
        [[1.0]]

    Args:
        effects: Cells of one model, as `analysis.patching.summarize` returns them.
        ax: Axes to draw on; those of a new figure by default.
        component: `residual` (default), `attention` or `mlp`.
        direction: `denoise` (clean patched into corrupted, default) or `noise` (the reverse).
        columns: `slot` (default) for each slot alone, then `all` slots; `role` for all positions
            of each role.

    Raises:
        LanternError: there is no such effect.
    """
    found = _effects(effects, component, direction, columns)
    if not found:
        raise LanternError(f"no {columns} with {component} patched, {direction}, to draw")
    layers = sorted({_layer(e) for e in found})
    names = _names(found, columns)
    ax = axes_or_new(ax, 2.2 + 0.45 * len(names), 1.6 + 0.3 * len(layers))
    cells = {(_layer(e), _column(e, columns)): e for e in found}
    values = np.full((len(layers), len(names)), np.nan)
    for row, layer in enumerate(layers):
        for column, name in enumerate(names):
            effect = cells.get((layer, name))
            if effect is None or not effect.recovery.defined:
                continue
            value = values[row, column] = effect.recovery.estimate
            color = "white" if abs(value) > 0.6 else INK
            text = f"{round(value, 2) + 0:.2f}"
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    image = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="auto")
    ax.set_xticks(range(len(names)), names)
    if columns == "role":
        for label in ax.get_xticklabels():
            label.set(rotation=30, ha="right")
    ax.set_yticks(range(len(layers)), [INPUT if n < 0 else str(n) for n in layers])
    ax.set_xlabel(columns)
    ax.set_ylabel("layer")
    ax.set_title(f"{component}, {direction}, n = {max(e.n for e in found)}", fontsize=9)
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="recovery")
    return ax


def patching_figure(results: Sequence[Sequence[PatchEffect]]) -> Figure:
    """Draw recovery by layer and slot, and by layer and role, in both directions side by side.

    A line is a model and component; models and components are below one another. Panels of slots
    stay empty where no slot was patched.

    Args:
        results: Cells of each model, as `analysis.patching.summarize` returns them.
    """
    lines = []
    for effects in results:
        present = {e.component for e in effects}
        for component in LAYERED:
            if component in present or (component == "residual" and "embedding" in present):
                lines.append((effects, component))
    figure = new_figure(20, 2.9 * len(lines))
    panels = figure.subplots(len(lines), 4, squeeze=False)
    for (effects, component), axes in zip(lines, panels, strict=True):
        for ax, (columns, direction) in zip(axes, PANELS, strict=True):
            if columns == "slot" and not any(e.role == "slot" for e in effects):
                ax.set_axis_off()
                continue
            plot_recovery(effects, ax, component=component, direction=direction, columns=columns)
            ax.set_title(f"{effects[0].model}: {ax.get_title()}", fontsize=9)
    return figure


def _effects(
    effects: Sequence[PatchEffect], component: str, direction: str, columns: Columns
) -> list[PatchEffect]:
    """The effects of one map; the residual stream has the embedding as its lowest layer."""
    shown = (component, "embedding") if component == "residual" else (component,)
    found = [e for e in effects if e.direction == direction and e.component in shown and not e.sham]
    if columns == "slot":
        return [e for e in found if e.role == "slot"]
    return [e for e in found if e.slot is None]


def _layer(effect: PatchEffect) -> int:
    """The layer, and -1 for the embedding."""
    return -1 if effect.layer is None else effect.layer


def _names(effects: Sequence[PatchEffect], columns: Columns) -> list[str]:
    """Names of the columns from left to right."""
    if columns == "role":
        return [role for role in PATCH_ROLES if any(e.role == role for e in effects)]
    singles = sorted({e.slot for e in effects if e.slot is not None})
    return [*map(str, singles), *(["all"] if any(e.slot is None for e in effects) else [])]


def _column(effect: PatchEffect, columns: Columns) -> str:
    if columns == "role":
        return effect.role
    return "all" if effect.slot is None else str(effect.slot)
