"""Figures of readouts: words by layer and slot, and where the slots point in an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL.Image import Image

from lantern_probe.analysis.word_readouts import WordMean
from lantern_probe.errors import LanternError
from lantern_probe.plots.style import ACCENT, INK, SOFT, TEAL, axes_or_new, new_figure
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor


def plot_ranks_by_slot(
    sites: Sequence[str], ranks: Float[np.ndarray, "layers slots"], ax: Axes | None = None
) -> Axes:
    """Draw the median rank of a text by layer and slot, dark for the first places.

    Args:
        sites: Labels of the sites, the latents first.
        ranks: Median ranks in the whole vocabulary, 1 for the first.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there is nothing to draw.
    """
    if not ranks.size:
        raise LanternError("there are no ranks to draw")
    ax = axes_or_new(ax, 1.6 + 0.5 * ranks.shape[1], 1.2 + 0.32 * len(sites))
    top = max(2.0, float(np.nanmax(ranks)))
    shown = ax.imshow(ranks, aspect="auto", cmap="viridis", norm=LogNorm(1, top), origin="lower")
    if ranks.size <= 320:
        for (row, slot), rank in np.ndenumerate(ranks):
            if np.isfinite(rank):
                light = np.log(rank) < 0.5 * np.log(top)
                ax.text(
                    slot,
                    row,
                    f"{rank:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if light else INK,
                )
    ax.set_yticks(range(len(sites)), [_short(site) for site in sites], fontsize=8)
    ax.set_xticks(range(ranks.shape[1]))
    ax.set_xlabel("slot")
    ax.figure.colorbar(shown, ax=ax, label="median rank")
    return ax


def _short(site: str) -> str:
    component, _, role = site.partition("@")
    name = component.replace("residual.", "layer ")
    return name if component == "latent" else f"{name}, {role}"


def plot_words(means: Sequence[WordMean], ax: Axes | None = None) -> Axes:
    """Draw the mean of every site with its interval, beside other samples' vectors.

    Dark: the own vectors; red: those of other samples, about the same text; grey: a random head,
    where it was read; dotted: chance.

    Args:
        means: Means of one model and target over all slots, one per site.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there is nothing to draw.
    """
    whole = [one for one in means if one.slot is None]
    if not whole:
        raise LanternError("there are no readouts to draw")
    ax = axes_or_new(ax, 5.2, 0.8 + 0.24 * len(whole))
    for row, one in enumerate(whole):
        ax.plot([one.mean.low, one.mean.high], [row, row], color=INK, lw=1.6)
        ax.plot(one.mean.estimate, row, "o", ms=4, color=INK, label="own" if not row else None)
        if one.other is not None:
            label = "other samples'" if not row else None
            ax.plot(one.other, row, "D", ms=3.5, color=ACCENT, label=label)
        if one.untrained is not None:
            ax.plot(one.untrained, row, "s", ms=3.5, color=SOFT, label="random head")
    ax.axvline(whole[0].chance, color=SOFT, lw=0.9, ls=":", zorder=0)
    ax.set_yticks(range(len(whole)), [_short(one.site) for one in whole], fontsize=7)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.7, len(whole) - 0.3)
    ax.set_xlabel("probability of the text among the options")
    ax.legend(fontsize=7, loc="lower right", frameon=False)
    return ax


def words_figure(
    means: Sequence[WordMean],
    sites: Sequence[str],
    ranks: Float[np.ndarray, "layers slots"],
    title: str,
) -> Figure:
    """Draw the means of all sites beside the median ranks by layer and slot.

    Args:
        means: Means of one model and target over all slots.
        sites: Labels of the sites of the ranks.
        ranks: Median ranks.
        title: Title of the figure.

    Raises:
        LanternError: there is nothing to draw.
    """
    rows = max(len([one for one in means if one.slot is None]), len(sites))
    figure = new_figure(11, 1.4 + 0.26 * rows)
    left, right = figure.subplots(1, 2)
    plot_words(means, left)
    plot_ranks_by_slot(sites, ranks, right)
    figure.suptitle(title, fontsize=10)
    return figure


def slot_maps_figure(pictures: Sequence[tuple[Sample, Image, Tensor]], *, centred: bool) -> Figure:
    """Draw where the slots point: a row per sample, the image first, then a map for each slot.

    A map shows the cosine of the slot's latent to every image token, on one scale for all. The
    teal frame is the evidence box, the red one the nearest token.

    Args:
        pictures: Sample, its image, and cosines of every slot to the tokens, [slots, height,
            width].
        centred: True for centred cosines, as the scale's label says.

    Raises:
        LanternError: there is nothing to draw.
    """
    if not pictures:
        raise LanternError("no sample has a map of its slots to draw")
    slots = max(len(maps) for *_, maps in pictures)
    figure = new_figure(1.25 * (slots + 1) + 0.8, 1.5 * len(pictures) + 0.3)
    axes = figure.subplots(len(pictures), slots + 1, squeeze=False)
    low = min(float(maps.min()) for *_, maps in pictures)
    high = max(float(maps.max()) for *_, maps in pictures)
    shown = None
    for row, (sample, image, maps) in zip(axes, pictures, strict=True):
        width, height = image.size
        for index, ax in enumerate(row):
            ax.set_xticks([])
            ax.set_yticks([])
            if index == 0:
                ax.imshow(image)
                ax.set_title(sample.question[:34], fontsize=6)
            elif index > len(maps):
                ax.axis("off")
                continue
            else:
                one = maps[index - 1].float().cpu().numpy()
                extent = (0.0, float(width), float(height), 0.0)
                shown = ax.imshow(one, extent=extent, cmap="magma", vmin=low, vmax=high)
                ax.set_title(f"slot {index - 1}", fontsize=7)
                top, left = np.unravel_index(int(one.argmax()), one.shape)
                cell = (width / one.shape[1], height / one.shape[0])
                place = (float(left) * cell[0], float(top) * cell[1])
                ax.add_patch(Rectangle(place, *cell, fill=False, ec=ACCENT, lw=1.2))
            for x0, y0, x1, y1 in sample.boxes[:1]:
                frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=TEAL, lw=1.4)
                ax.add_patch(frame)
    if shown is not None:
        label = "cosine, centred" if centred else "cosine"
        figure.colorbar(shown, ax=axes, label=label, shrink=0.7)
    return figure
