"""Two-dimensional pictures of activations: PCA, UMAP (arXiv:1802.03426), and a view for Jupyter."""

from __future__ import annotations

import functools
import importlib
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.errors import LanternError
from lantern_probe.geometry.projection import METHODS, embed, explained_variance
from lantern_probe.plots.style import SOFT
from lantern_probe.records.store import Store
from lantern_probe.tasks.scenes import COLORS

CLASSES = 10
"""Classes that get a colour of their own; the rarest of more are shown as `other`."""


WIDTH = 28
"""Characters of a class in a legend."""


POOLED = -1
"""In place of a slot: the mean over all of them."""


_BOOKKEEPING = ("sample", "condition", "status", "shard", "position", "text", "cluster")


def plot_embedding(
    points: Float[np.ndarray, "n 2"], values: Sequence[Any] | np.ndarray, ax: Axes, name: str
) -> Axes:
    """Points coloured by an attribute.

    Texts, truth values and up to 10 different whole numbers are classes, with a legend that counts
    them; other numbers get a colour bar. Classes named like a colour of the scenes task have that
    colour. Points without a value are grey rings.

    Args:
        points: From `embed`.
        values: One per point; None or NaN where there is none.
        ax: To draw on.
        name: Of the attribute.

    Raises:
        LanternError: there are not as many values as points.
    """
    if len(values) != len(points):
        raise LanternError(f"{name}: {len(values)} values for {len(points)} points")
    given = [None if pd.isna(value) else value for value in values]
    known = np.array([value is not None for value in given], dtype=bool)
    x, y = points.T
    dots: dict[str, Any] = {"s": 16, "lw": 0}
    if _continuous(given):
        numbers = [float(value) for value in given if value is not None]
        drawn = ax.scatter(x[known], y[known], c=numbers, s=16, lw=0, cmap="viridis")
        ax.figure.colorbar(drawn, ax=ax, label=name)
    else:
        classes = _classes(given)
        rest = known.copy()
        for number, value in enumerate(classes):
            text = str(value)
            here = np.array([one == value for one in given], dtype=bool)
            rest &= ~here
            color = "#{:02x}{:02x}{:02x}".format(*COLORS[text]) if text in COLORS else f"C{number}"
            short = text if len(text) <= WIDTH else f"{text[:10]} … {text[13 - WIDTH :]}"
            ax.scatter(x[here], y[here], color=color, label=f"{short} ({here.sum()})", **dots)
        if rest.any():
            ax.scatter(x[rest], y[rest], color=SOFT, label=f"other ({rest.sum()})", **dots)
    if not known.all():
        ring: dict[str, Any] = {"s": 16, "lw": 0.8, "facecolors": "none", "edgecolors": SOFT}
        ax.scatter(x[~known], y[~known], label=f"no value ({(~known).sum()})", zorder=0, **ring)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            title=name, frameon=False, fontsize=8, title_fontsize=8, markerscale=1.3,
            loc="lower left" if _continuous(given) else "upper left",
            bbox_to_anchor=(0, 1) if _continuous(given) else (1, 1),
        )  # fmt: skip
    ax.set_aspect("equal", "datalim")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    return ax


def embedding_figure(store: Store, names: Sequence[str], model: str) -> Figure:
    """The own latents, mean over the slots, along their first two principal axes.

    Args:
        store: A capture with `latent@slot`; samples without a whole block are left out.
        names: Columns to colour by, one panel each.
        model: For the title.
    """
    latents = store.array("latent@slot").mean(1)
    whole = latents.isfinite().all(1)
    points = embed(latents[whole])
    figure = Figure(figsize=(4.6 * len(names), 3.6), layout="constrained")
    for name, ax in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        values = [v for v, good in zip(store.column(name), whole.tolist(), strict=True) if good]
        plot_embedding(points, values, ax, name)
    figure.suptitle(f"{model}: own latents, PCA, n = {int(whole.sum())}", fontsize=9)
    return figure


def interactive_embedding(
    store: Store,
    site: str = "latent@slot",
    attribute: str = "gold",
    method: str = "pca",
    seed: int = 0,
) -> Any:
    """A view for Jupyter: choose site, slot, attribute and embedding from lists.

    Samples without the site (no latent block) are left out and counted in the title. Points are
    computed once for each choice of site, slot and embedding.

    Args:
        store: A capture.
        site: Shown first, as are the next two.
        attribute: A column of the store.
        method: `pca` or `umap`.
        seed: Of the embedding.

    Returns:
        An `ipywidgets.VBox`: the lists, then the picture.

    Raises:
        LanternError: ipywidgets is not installed, or the store has no such site or column.
    """
    try:
        widgets: Any = importlib.import_module("ipywidgets")
    except ImportError:
        raise LanternError(
            "interactive_embedding needs ipywidgets: pip install 'lantern-probe[notebooks]'; "
            "embed and embedding_axes make the same picture without it"
        ) from None
    columns = _columns(store)
    for value, there, what in (
        (site, store.sites, "site"),
        (attribute, columns, "attribute"),
        (method, METHODS, "embedding"),
    ):
        if value not in there:
            raise LanternError(f"no {what} {value!r} to show; there are {', '.join(there)}")

    @functools.lru_cache(maxsize=1)
    def activations(label: str) -> Float[np.ndarray, "samples slots dim"]:
        return store.array(label).double().numpy()

    @functools.cache
    def points(label: str, slot: int, way: str) -> tuple[Any, Any, str]:
        found = activations(label)
        chosen = found.mean(1) if slot == POOLED else found[:, slot]
        whole = np.isfinite(chosen).all(1)
        if not whole.any():
            raise LanternError(f"no sample has the site {label!r} at this slot")
        said = ""
        if way == "pca":
            first, second = explained_variance(chosen[whole], seed)
            said = f", {first:.0%} + {second:.0%} of the variance"
        return embed(chosen[whole], way, seed), whole, said

    def slots_of(label: str) -> list[tuple[str, int]]:
        count = activations(label).shape[1]
        return [("mean of slots", POOLED), *((f"slot {k}", k) for k in range(count))]

    sites = widgets.Dropdown(options=store.sites, value=site, description="site")
    slots = widgets.Dropdown(options=slots_of(site), value=POOLED, description="slot")
    attributes = widgets.Dropdown(options=columns, value=attribute, description="colour")
    methods = widgets.Dropdown(options=list(METHODS), value=method, description="embedding")
    picture = widgets.Image(format="png")

    def draw(_: Any = None) -> None:
        places, whole, said = points(sites.value, slots.value, methods.value)
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        values = store.column(attributes.value)[whole]
        ax = plot_embedding(places, values, figure.subplots(), attributes.value)
        missing = f", {(~whole).sum()} without the site" if not whole.all() else ""
        ax.set_title(
            f"{sites.value}, {slots.label}: {methods.value}{said}\nn = {whole.sum()}{missing}",
            fontsize=9,
        )
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110)
        picture.value = file.getvalue()

    def change_site(_: Any) -> None:
        options = slots_of(sites.value)
        if list(slots.options) != options:
            kept = slots.value if slots.value < len(options) - 1 else POOLED
            slots.unobserve(draw, "value")
            slots.options = options
            slots.value = kept
            slots.observe(draw, "value")
        draw()

    sites.observe(change_site, "value")
    for chooser in (slots, attributes, methods):
        chooser.observe(draw, "value")
    draw()
    return widgets.VBox(
        [widgets.HBox([sites, slots]), widgets.HBox([attributes, methods]), picture]
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _continuous(values: Sequence[Any]) -> bool:
    """Whether these are numbers that a legend cannot list."""
    known = {value for value in values if value is not None}
    if not known or not all(_is_number(value) for value in known):
        return False
    return len(known) > CLASSES or any(not float(value).is_integer() for value in known)


def _classes(values: Sequence[Any]) -> list[Any]:
    """The most frequent ones, in order."""
    counts = Counter(value for value in values if value is not None)
    kept = sorted(counts, key=lambda value: (-counts[value], str(value)))[:CLASSES]
    return sorted(kept) if all(map(_is_number, kept)) else sorted(kept, key=str)


def _columns(store: Store) -> list[str]:
    """Columns that say something: two values or more, and no text that every sample has alone."""
    found = []
    for name in dict.fromkeys(key for row in store.samples for key in row):
        values = [row.get(name) for row in store.samples]
        known = [value for value in values if isinstance(value, str | int | float)]
        alone = len(set(known)) == len(known) and any(isinstance(value, str) for value in known)
        if name not in _BOOKKEEPING and len(set(known)) > 1 and not alone:
            found.append(name)
    return found
