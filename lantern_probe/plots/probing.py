"""Figures of probes with their controls, from the rows of a probing run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from lantern_probe.errors import LanternError
from lantern_probe.plots.style import ACCENT, INK, SOFT, TEAL, axes_or_new, bare, new_figure

ProbeRow = Mapping[str, Any]
"""One probe of one target at one site and slot, as `probing.site_scores.probe_row` makes it."""

FIELDS = {
    "score": "probe",
    "distractor": "other object",
    "untrained": "untrained model",
    "control": "control task",
    "selectivity": "selectivity",
}
"""Fields with a value per layer and slot, and their names on figures."""

MARKS = {"majority": "majority", "question": "question only", "image_mean": "image mean"}
"""Fields that are the same for every layer and slot, and their names on figures."""

NOTHING = "#dcdcdc"
"""Colour of a cell without a score, far from every colour of the scale."""


def plot_layers_by_slot(
    rows: Sequence[ProbeRow],
    ax: Axes | None = None,
    *,
    field: str = "score",
    vmin: float = 0.0,
    vmax: float = 1.0,
) -> Axes:
    """Draw one field over layers and slots as a heat map, the first layer at the bottom.

    Below the first layer are the latents fed at the slots (`latent@slot`), then any other site of
    the slots. Values outside the scale have the colour of its end; cells without a value are grey.
    The map is `ax.images[0]`. A new figure gets a colour bar; on given axes it is the caller's.

        >>> row = {"target": "colour", "slot": 0, "kind": "class"}
        >>> rows = [row | {"site": f"residual.{i}@slot", "score": 0.5 + i / 4} for i in (0, 1)]
        >>> ax = plot_layers_by_slot(rows)
        >>> ax.images[0].get_array().tolist()
        [[0.5], [0.75]]

    Args:
        rows: Probes of one target and model, as `probing.site_scores.probe_row` makes them; sites
            elsewhere than at the slots are left out.
        ax: Axes to draw on; those of a new figure by default.
        field: Field to draw, one of `FIELDS`: `score` (default), `distractor`, `untrained`,
            `control` or `selectivity`.
        vmin: Value at the lower end of the colour scale.
        vmax: Value at the upper end of the colour scale.

    Raises:
        LanternError: there is no row of the slots, or there are rows of several targets.
    """
    found = _of_slots(rows)
    sites = _sites(found)
    alone = ax is None
    ax = axes_or_new(ax, 3.6, min(max(1.2 + 0.24 * len(sites), 2.4), 9.0))
    cells = _cells(found, sites, field)
    colors = colormaps["viridis"].with_extremes(bad=NOTHING)
    image = ax.imshow(np.ma.masked_invalid(cells), colors, vmin=vmin, vmax=vmax, aspect="auto")
    if alone:
        ax.figure.colorbar(image, ax=ax, label=_metric(found[0], False))
    if np.isnan(cells).all():
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", va="center", color=INK)
    ax.invert_yaxis()
    ax.set_title(FIELDS.get(field, field), fontsize=9)
    slots = cells.shape[1]
    ax.set_xticks(range(0, slots, -(-slots // 16)))
    names = [_short(site) for site in sites]
    layers = sum(name.isdigit() for name in names)
    every = max(1, -(-layers // 24))
    shown = [i for i, n in enumerate(names) if not n.isdigit() or int(n) % every == 0]
    ax.set_yticks(shown, [names[i] for i in shown])
    if 0 < layers < len(names):
        # Layers are last: the gap parts them from what is not in the residual stream.
        ax.axhline(len(names) - layers - 0.5, color="white", lw=3)
    ax.tick_params(length=0, labelsize=8)
    ax.set_xlabel("slot", fontsize=8)
    ax.set_ylabel("layer", fontsize=8)
    return bare(ax, "left", "bottom")


def plot_scores_by_slot(rows: Sequence[ProbeRow], ax: Axes | None = None) -> Axes:
    """Draw the score over the slots, with 95 % bands: of the latents, and of the best layer.

    Bands are of each slot by itself, from repeated folds, and the figure says so: the choice of the
    best of the slots is not in them.
    The best layer has the largest mean score over the slots. It is chosen on the same scores, so
    its curve is optimistic. Dotted lines of a curve's colour are its controls: a crossed line the
    other object (x) or the untrained model (+). Horizontal lines are scores that need no latents.
    The score is the accuracy of a class, or R² of a value; R² below 0 is drawn as 0.

    Args:
        rows: Probes of one target and model, as `probing.site_scores.probe_row` makes them; sites
            elsewhere than at the slots are left out.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there is no row of the slots, or there are rows of several targets.
    """
    found = _of_slots(rows)
    ax = axes_or_new(ax, 7.0, 2.8)
    curves = _curves(found)
    clipped = False
    controls: dict[str, Line2D] = {}
    for number, (site, name, color) in enumerate(curves):
        raw = {f: _cells(found, [site], f)[0] for f in ("score", "low", "high", *_DOTTED)}
        clipped |= any((line < 0).any() for line in raw.values())
        values = {field: np.clip(line, 0, None) for field, line in raw.items()}
        # Equal curves stay visible around each other.
        size = 4 + 2 * (len(curves) - 1 - number)
        controls |= _draw_curve(values, name, color, size, ax)
    slots = _cells(found, _sites(found), "score").shape[1]
    ax.set_xticks(range(0, slots, -(-slots // 16)))
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("slot (bands: 95 % of each slot by itself)")
    ax.set_ylabel(_metric(found[0], clipped))
    _mark(ax, _marks(found[0]), SOFT, 0.09)
    handles = [*ax.get_legend_handles_labels()[0], *controls.values()]
    ax.legend(
        handles=handles, frameon=False, fontsize=8, ncols=len(handles), loc="lower left",
        bbox_to_anchor=(0, 1), borderaxespad=0,
    )  # fmt: skip
    return bare(ax)


def probe_figure(rows: Sequence[ProbeRow], target: str, model: str) -> Figure:
    """Draw a target's probe and all its controls over layers and slots, on one colour scale.

    The colour bar has lines at the majority class and at the scores from the question alone and
    from the mean of the image. Under the maps is `plot_scores_by_slot`.

    Args:
        rows: Probes of one model, as `probing.site_scores.probe_row` makes them.
        target: Target to draw; rows of other targets are left out.
        model: Name of the model, for the title.

    Raises:
        LanternError: there is no row of this target at the slots.
    """
    mine = [row for row in rows if row["target"] == target]
    if not mine:
        there = ", ".join(dict.fromkeys(str(row["target"]) for row in rows)) or "none"
        raise LanternError(f"no probe of target {target!r}; there are rows of {there}")
    found = _of_slots(mine)
    lines = len(_sites(found))
    height = min(max(1.2 + 0.24 * lines, 2.4), 9.0)
    figure = new_figure(2 + 1.9 * len(FIELDS), height + 2.8)
    panels: Any = figure.subfigures(2, 1, height_ratios=(height, 2.4))
    above, below = panels
    axes = above.subplots(1, len(FIELDS), sharey=True)
    for ax, field in zip(axes, FIELDS, strict=True):
        plot_layers_by_slot(found, ax, field=field)
        ax.label_outer()
    clipped = any((row.get(field) or 0) < 0 for row in found for field in FIELDS)
    bar = above.colorbar(
        axes[0].images[0], ax=list(axes), aspect=5 * height, extend="min" if clipped else "neither"
    )
    bar.set_label(_metric(found[0], clipped), fontsize=8)
    bar.ax.yaxis.set_label_position("left")
    bar.ax.yaxis.set_ticks_position("left")
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    grey = any(np.ma.is_masked(ax.images[0].get_array()) for ax in axes)
    marks = _marks(found[0])
    _mark(bar.ax, marks, ACCENT, 0.16 / (height - 0.8))
    plot_scores_by_slot(found, below.subplots())
    first = found[0]
    missing = [name for name in MARKS.values() if name not in marks and name != "majority"]
    figure.suptitle(
        f"{model}: {target}, {first['n']} samples of {first['images']} images"
        + "".join(f"; no score of {name}" for name in missing)
        + ("; grey: no score" if grey else ""),
        fontsize=11,
    )
    return figure


_FED = {"latent@slot": INK, "oracle:latent@slot": TEAL}
"""Sites of what is fed at the slots, with their colours."""

_DOTTED = {"distractor": "x", "untrained": "+"}
"""Controls drawn as dotted curves, with their markers."""


def _curves(rows: Sequence[ProbeRow]) -> list[tuple[str, str, str]]:
    """Site, name and colour of each curve: what is fed at the slots, then the best layer."""
    sites = _sites(rows)
    means = {
        site: np.nanmean(scores)
        for site, scores in zip(sites, _cells(rows, sites, "score"), strict=True)
        if _short(site).isdigit() and not np.isnan(scores).all()
    }
    curves = [(site, _short(site), color) for site, color in _FED.items() if site in sites]
    if means:
        best = max(means, key=means.__getitem__)
        curves.append((best, f"layer {_short(best)}, best of {len(means)}", ACCENT))
    return curves


def _draw_curve(
    values: Mapping[str, np.ndarray], name: str, color: str, size: float, ax: Axes
) -> dict[str, Line2D]:
    """Draw a curve, its band and its controls; the controls' entries for the legend."""
    x = np.arange(len(values["score"]))
    ax.fill_between(x, values["low"], values["high"], color=color, alpha=0.2, lw=0)
    ax.vlines(x, values["low"], values["high"], color=color, lw=1)
    ax.plot(x, values["score"], "o-", color=color, ms=size, lw=1.6, label=name)
    entries = {}
    for field, marker in _DOTTED.items():
        if not np.isnan(values[field]).all():
            look: dict[str, Any] = {"ls": ":", "marker": marker, "ms": 4}
            ax.plot(x, values[field], color=color, lw=1, **look)
            entries[field] = Line2D([], [], color=SOFT, label=FIELDS[field], **look)
    return entries


def _of_slots(rows: Sequence[ProbeRow]) -> list[ProbeRow]:
    found = [row for row in rows if row["site"].endswith("@slot")]
    if not found:
        raise LanternError("no probe of a site at the slots to draw, such as residual.0@slot")
    targets = sorted({row["target"] for row in found})
    if len(targets) > 1:
        raise LanternError(f"rows of {', '.join(targets)}: give those of one target")
    return found


def _sites(rows: Sequence[ProbeRow]) -> list[str]:
    """Sites from the bottom up: others, what is fed, then the residual stream by layer."""
    names = dict.fromkeys(row["site"] for row in rows)
    fed = list(_FED)[::-1]

    def place(site: str) -> tuple[int, int, str]:
        if _short(site).isdigit():
            return len(fed), int(_short(site)), site
        rest = re.sub(r"\d+", lambda number: f"{int(number[0]):06d}", site)
        return (fed.index(site) if site in fed else -1), 0, rest

    return sorted(names, key=place)


def _short(site: str) -> str:
    """The number of a layer of the residual stream, or the name of another site."""
    name = site.removesuffix("@slot").replace(":", " ")
    return name.removeprefix("residual.")


def _cells(
    rows: Sequence[ProbeRow], sites: Sequence[str], field: str
) -> Float[np.ndarray, "sites slots"]:
    """Values of a field, NaN where there is none. A block of one slot has rows without a slot."""
    slots = 1 + max(row["slot"] or 0 for row in rows)
    cells = np.full((len(sites), slots), np.nan)
    for row in rows:
        if row["site"] in sites and row.get(field) is not None:
            cells[sites.index(row["site"]), row["slot"] or 0] = row[field]
    return cells


def _metric(row: ProbeRow, clipped: bool) -> str:
    metric = "accuracy" if row["kind"] == "class" else "R²"
    return f"{metric}; below 0: as 0" if clipped else metric


def _marks(row: ProbeRow) -> dict[str, float]:
    """Scores that need no latents. Predicting the mean of values has R² 0, so it gets no mark."""
    return {
        name: row[field]
        for field, name in MARKS.items()
        if row.get(field) is not None and not (field == "majority" and row["kind"] == "value")
    }


def _mark(ax: Axes, marks: Mapping[str, float], color: str, gap: float) -> None:
    """Draw horizontal lines with their names at the right, at least `gap` of the height apart."""
    low, high = ax.get_ylim()
    lines = {
        name: min(max(marks[name], 0.0), high) for name in sorted(marks, key=marks.__getitem__)
    }
    heights: list[float] = []
    for line in lines.values():
        heights.append(max(line, heights[-1] + gap * (high - low)) if heights else line)
    over = max([0.0, *(height - high for height in heights)])
    at = ax.get_yaxis_transform()
    beside = at + ScaledTranslation(16 / 72, 0, ax.figure.dpi_scale_trans)
    arrow = {"arrowstyle": "-", "color": SOFT, "lw": 0.7, "shrinkA": 0, "shrinkB": 0}
    for (name, line), height in zip(lines.items(), heights, strict=True):
        # Above bands and the bar's colours, below curves.
        ax.axhline(line, color=color, lw=1.2, zorder=1.5)
        ax.annotate(
            f"{name} {marks[name]:.2f}", (1, line), (1, height - over), xycoords=at,
            textcoords=beside, va="center", fontsize=8, color=INK, annotation_clip=False,
            arrowprops={**arrow, "relpos": (0, 0.5)},
        )  # fmt: skip
