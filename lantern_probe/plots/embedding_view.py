"""A view of a capture for Jupyter: activations in the plane, chosen from lists."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from lantern_probe.errors import LanternError
from lantern_probe.plots.embedding import plot_embedding
from lantern_probe.plots.style import new_figure

if TYPE_CHECKING:
    from lantern_probe.records.store import Store

POOLED = -1
"""Value of the list of slots that stands for the mean over all slots."""

_BOOKKEEPING = ("sample", "condition", "status", "shard", "position", "text", "cluster")


def interactive_embedding(
    store: Store,
    site: str = "latent@slot",
    attribute: str = "gold",
    method: str = "pca",
    seed: int = 0,
) -> Any:
    """Make a view for Jupyter, with lists to choose site, slot, attribute and embedding from.

    Samples without the site (no latent block) are left out and counted in the title. Points are
    computed once for each choice of site, slot and embedding. It needs ipywidgets; `embed` and
    `plot_embedding` make the same picture without.

    Args:
        store: Capture to show.
        site: Site shown first.
        attribute: Column of the store that colours the points at first.
        method: Embedding shown first, `pca` or `umap`.
        seed: Seed of the embedding.

    Returns:
        An `ipywidgets.VBox`: the lists, then the picture.

    Raises:
        LanternError: ipywidgets is not installed, or the store has no such site or column.
    """
    from lantern_probe.geometry.projection import METHODS  # loads torch

    try:
        widgets: Any = importlib.import_module("ipywidgets")
    except ImportError:
        raise LanternError(
            "interactive_embedding needs ipywidgets: pip install 'lantern-probe[notebooks]'; "
            "embed and plot_embedding make the same picture without it"
        ) from None
    columns = _columns(store)
    for value, there, what in (
        (site, store.sites, "site"),
        (attribute, columns, "attribute"),
        (method, METHODS, "embedding"),
    ):
        if value not in there:
            raise LanternError(f"no {what} {value!r} to show; there are {', '.join(there)}")
    points = _Points(store, seed)
    view = _View(
        points,
        sites=widgets.Dropdown(options=store.sites, value=site, description="site"),
        slots=widgets.Dropdown(options=points.slots(site), value=POOLED, description="slot"),
        attributes=widgets.Dropdown(options=columns, value=attribute, description="colour"),
        methods=widgets.Dropdown(options=list(METHODS), value=method, description="embedding"),
        picture=widgets.Image(format="png"),
    )
    view.connect()
    return widgets.VBox(
        [
            widgets.HBox([view.sites, view.slots]),
            widgets.HBox([view.attributes, view.methods]),
            view.picture,
        ]
    )


class _Points:
    """Points of a store in the plane, each computed once; activations of one site are held."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.seed = store, seed
        self._held: tuple[str, np.ndarray] | None = None
        self._found: dict[tuple[str, int, str], tuple[np.ndarray, np.ndarray, str]] = {}

    def activations(self, site: str) -> Float[np.ndarray, "samples slots dim"]:
        if self._held is None or self._held[0] != site:
            self._held = site, self.store.array(site).double().numpy()
        return self._held[1]

    def slots(self, site: str) -> list[tuple[str, int]]:
        """Options of the list of slots: names with values."""
        count = self.activations(site).shape[1]
        return [("mean of slots", POOLED), *((f"slot {k}", k) for k in range(count))]

    def of(
        self, site: str, slot: int, method: str
    ) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " samples"], str]:
        """The points, the samples that have one, and a remark for the title."""
        key = (site, slot, method)
        if key not in self._found:
            self._found[key] = self._compute(*key)
        return self._found[key]

    def _compute(
        self, site: str, slot: int, method: str
    ) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " samples"], str]:
        from lantern_probe.geometry.projection import embed, explained_variance

        found = self.activations(site)
        chosen = found.mean(1) if slot == POOLED else found[:, slot]
        whole = np.isfinite(chosen).all(1)
        if not whole.any():
            raise LanternError(f"no sample has the site {site!r} at this slot")
        said = ""
        if method == "pca":
            first, second = explained_variance(chosen[whole], self.seed)
            said = f", {first:.0%} + {second:.0%} of the variance"
        return embed(chosen[whole], method, self.seed), whole, said


class _View:
    """The lists and the picture of one view; a change of a list draws the picture once."""

    def __init__(
        self,
        points: _Points,
        *,
        sites: Any,
        slots: Any,
        attributes: Any,
        methods: Any,
        picture: Any,
    ) -> None:
        self.points = points
        self.sites, self.slots = sites, slots
        self.attributes, self.methods = attributes, methods
        self.picture = picture

    def connect(self) -> None:
        """Draw, now and whenever a list changes."""
        self.sites.observe(self._change_site, "value")
        for chooser in (self.slots, self.attributes, self.methods):
            chooser.observe(self._draw, "value")
        self._draw()

    def _draw(self, _: Any = None) -> None:
        places, whole, said = self.points.of(self.sites.value, self.slots.value, self.methods.value)
        figure = new_figure(7.2, 4.8)
        values = self.points.store.column(self.attributes.value)[whole]
        ax = plot_embedding(places, values, self.attributes.value, figure.subplots())
        missing = f", {(~whole).sum()} without the site" if not whole.all() else ""
        title = f"{self.sites.value}, {self.slots.label}: {self.methods.value}{said}"
        ax.set_title(f"{title}\nn = {whole.sum()}{missing}", fontsize=9)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110)
        self.picture.value = file.getvalue()

    def _change_site(self, _: Any) -> None:
        options = self.points.slots(self.sites.value)
        if list(self.slots.options) != options:
            kept = self.slots.value if self.slots.value < len(options) - 1 else POOLED
            # Without this, each of the two settings would draw.
            self.slots.unobserve(self._draw, "value")
            self.slots.options = options
            self.slots.value = kept
            self.slots.observe(self._draw, "value")
        self._draw()


def _columns(store: Store) -> list[str]:
    """Columns worth a colour: two values or more, and no text that every sample has alone."""
    found = []
    for name in dict.fromkeys(key for row in store.samples for key in row):
        values = [row.get(name) for row in store.samples]
        known = [value for value in values if isinstance(value, str | int | float)]
        alone = len(set(known)) == len(known) and any(isinstance(value, str) for value in known)
        if name not in _BOOKKEEPING and len(set(known)) > 1 and not alone:
            found.append(name)
    return found
