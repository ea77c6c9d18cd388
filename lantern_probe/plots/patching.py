"""Figures of activation patching, from its summaries alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.patching import PatchEffect
from lantern_probe.errors import LanternError
from lantern_probe.plots.style import INK
from lantern_probe.vocabulary import LAYERED, PATCH_ROLES

INPUT = "in"
"""How the row of the embedding, the first layer's input, is called."""


def plot_recovery(
    effects: Sequence[PatchEffect],
    ax: Axes,
    *,
    component: str,
    direction: str,
    columns: Literal["slot", "role"],
) -> Axes:
    """Recovery as a heat map over layers, the first at the bottom: -1 (blue) to 1 (red).

    Below the layers of `residual` stands the embedding, where it was patched. A cell is empty
    where nothing was measured, or where the two runs may not differ.

    Args:
        effects: Of one model.
        ax: To draw on.
        component: Of `PATCHED`.
        direction: Of `DIRECTIONS`.
        columns: `slot`: each slot alone, then all; `role`: all positions of each role.

    Raises:
        LanternError: there is no such effect.
    """
    shown = (component, "embedding") if component == "residual" else (component,)
    found = [e for e in effects if e.direction == direction and e.component in shown]
    found = [e for e in found if not e.sham and (columns == "slot" or e.slot is None)]
    found = [e for e in found if columns == "role" or e.role == "slot"]
    if not found:
        raise LanternError(f"no {columns} with {component} patched, {direction}, to draw")
    layers = sorted({-1 if e.layer is None else e.layer for e in found})
    cells = {(-1 if e.layer is None else e.layer, _column(e, columns)): e for e in found}
    if columns == "slot":
        singles = sorted({e.slot for e in found if e.slot is not None})
        names = [*map(str, singles), *(["all"] if any(e.slot is None for e in found) else [])]
    else:
        names = [role for role in PATCH_ROLES if any(e.role == role for e in found)]
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


def _column(effect: PatchEffect, columns: str) -> str:
    if columns == "role":
        return effect.role
    return "all" if effect.slot is None else str(effect.slot)


PANELS: tuple[tuple[Literal["slot", "role"], str], ...] = (
    ("slot", "denoise"),
    ("slot", "noise"),
    ("role", "denoise"),
    ("role", "noise"),
)


def patching_figure(results: Sequence[Sequence[PatchEffect]]) -> Figure:
    """Layer x slot and layer x role, both directions side by side; models and components below
    one another."""
    lines = []
    for effects in results:
        present = {e.component for e in effects}
        for component in LAYERED:
            if component in present or (component == "residual" and "embedding" in present):
                lines.append((effects, component))
    figure = Figure(figsize=(20, 2.9 * len(lines)), layout="constrained")
    panels = figure.subplots(len(lines), 4, squeeze=False)
    for (effects, component), axes in zip(lines, panels, strict=True):
        for ax, (columns, direction) in zip(axes, PANELS, strict=True):
            if columns == "slot" and not any(e.role == "slot" for e in effects):
                ax.set_axis_off()
                continue
            plot_recovery(effects, ax, component=component, direction=direction, columns=columns)
            ax.set_title(f"{effects[0].model}: {ax.get_title()}", fontsize=9)
    return figure
