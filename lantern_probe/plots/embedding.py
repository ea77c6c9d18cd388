"""Figures of activations in the plane: points from PCA or UMAP, coloured by an attribute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.errors import LanternError
from lantern_probe.plots.style import SOFT, axes_or_new, bare, new_figure
from lantern_probe.tasks.scenes import COLORS

if TYPE_CHECKING:
    from lantern_probe.records.store import Store

CLASSES = 10
"""Number of classes with a colour of their own; the rarest of more are drawn as `other`."""

WIDTH = 28
"""Number of characters of a class in a legend; longer names lose their middle."""

DOT: dict[str, Any] = {"s": 16, "lw": 0}
"""Size of a point in square points, and width of its edge."""


def plot_embedding(
    points: Float[np.ndarray, "n 2"],
    values: Sequence[Any] | np.ndarray,
    name: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw points of the plane, coloured by an attribute of each.

    Texts, truth values and up to 10 different whole numbers are classes, with a legend that counts
    them; other numbers get a colour bar. Classes named like a colour of the scenes task have that
    colour. Points without a value are grey rings.

        >>> import numpy as np
        >>> points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> ax = plot_embedding(points, ["red", "blue", "red"], "colour")
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['blue (1)', 'red (2)']

    Args:
        points: Places of the points, as `geometry.projection.embed` returns them.
        values: Attribute of each point; None or NaN where it has none.
        name: Name of the attribute, for the legend or the colour bar.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there are not as many values as points.
    """
    from pandas import isna  # loads for a while

    if len(values) != len(points):
        raise LanternError(f"{name}: {len(values)} values for {len(points)} points")
    ax = axes_or_new(ax, 5.6, 3.6)
    given = [None if isna(value) else value for value in values]
    known = np.array([value is not None for value in given], dtype=bool)
    continuous = _continuous(given)
    if continuous:
        numbers = [float(value) for value in given if value is not None]
        drawn = ax.scatter(points[known, 0], points[known, 1], c=numbers, cmap="viridis", **DOT)
        ax.figure.colorbar(drawn, ax=ax, label=name)
    else:
        _draw_classes(points, given, known, ax)
    if not known.all():
        ring = DOT | {"lw": 0.8, "facecolors": "none", "edgecolors": SOFT}
        label = f"no value ({(~known).sum()})"
        ax.scatter(points[~known, 0], points[~known, 1], label=label, zorder=0, **ring)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            title=None if continuous else name, frameon=False, fontsize=8, title_fontsize=8,
            markerscale=1.3, loc="lower left" if continuous else "upper left",
            bbox_to_anchor=(0, 1) if continuous else (1, 1),
        )  # fmt: skip
    ax.set_aspect("equal", "datalim")
    ax.tick_params(labelsize=8)
    return bare(ax)


def embedding_figure(store: Store, names: Sequence[str], model: str) -> Figure:
    """Draw the own latents, mean over the slots, along their first two principal axes.

    Args:
        store: Capture with the site `latent@slot`; samples without a whole block are left out.
        names: Columns to colour the points by, one panel each.
        model: Name of the model, for the title.
    """
    from lantern_probe.geometry.projection import embed  # loads torch

    latents = store.array("latent@slot").mean(1)
    whole = latents.isfinite().all(1)
    points = embed(latents[whole])
    figure = new_figure(4.6 * len(names), 3.6)
    for name, ax in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        values = [v for v, good in zip(store.column(name), whole.tolist(), strict=True) if good]
        plot_embedding(points, values, name, ax)
    figure.suptitle(f"{model}: own latents, PCA, n = {int(whole.sum())}", fontsize=9)
    return figure


def _draw_classes(
    points: Float[np.ndarray, "n 2"], values: Sequence[Any], known: Bool[np.ndarray, " n"], ax: Axes
) -> None:
    def draw(here: Bool[np.ndarray, " n"], name: str, color: str) -> None:
        label = f"{name} ({here.sum()})"
        ax.scatter(points[here, 0], points[here, 1], color=color, label=label, **DOT)

    rest = known.copy()
    for number, value in enumerate(_classes(values)):
        text = str(value)
        here = np.array([one == value for one in values], dtype=bool)
        rest &= ~here
        color = "#{:02x}{:02x}{:02x}".format(*COLORS[text]) if text in COLORS else f"C{number}"
        draw(here, text if len(text) <= WIDTH else f"{text[:10]} … {text[13 - WIDTH :]}", color)
    if rest.any():
        draw(rest, "other", SOFT)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _continuous(values: Sequence[Any]) -> bool:
    """True for numbers that are too many, or too fine, for a legend."""
    known = {value for value in values if value is not None}
    if not known or not all(_is_number(value) for value in known):
        return False
    return len(known) > CLASSES or any(not float(value).is_integer() for value in known)


def _classes(values: Sequence[Any]) -> list[Any]:
    """The most frequent classes, sorted by number or by name."""
    counts = Counter(value for value in values if value is not None)
    kept = sorted(counts, key=lambda value: (-counts[value], str(value)))[:CLASSES]
    return sorted(kept) if all(map(_is_number, kept)) else sorted(kept, key=str)
