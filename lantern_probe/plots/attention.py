"""Figures of attention: over an image, and by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL.Image import Image

from lantern_probe.analysis.attention import AttentionMean
from lantern_probe.errors import LanternError
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    TEAL,
    axes_or_new,
    bare,
    new_figure,
    whole_ticks,
)
from lantern_probe.tasks.sample import Box
from lantern_probe.vocabulary import ATTENTION_QUERIES

if TYPE_CHECKING:
    from torch import Tensor

LABELS = {"mass:image": "attention on the image", "enrichment": "box over a mean window"}
"""Names of measures on an axis; other measures keep their own."""


def plot_attention_over_image(
    image: Image,
    attention: Float[Tensor, "height width"],
    ax: Axes | None = None,
    *,
    boxes: Sequence[Box] = (),
) -> Axes:
    """Draw an image in grey and, over it, the attention that each of its tokens gets.

    Colour and opacity both grow with the attention, from 0 to the largest value of the map. So
    the map shows the places of attention and the title its amount, the sum over the map.

        >>> import PIL.Image, torch
        >>> picture, attention = PIL.Image.new("RGB", (84, 84)), torch.eye(3) / 10
        >>> plot_attention_over_image(picture, attention).get_title()
        '30.0% of the attention'

    Args:
        image: Image as it is stored; it is stretched over the token grid, as by the processor.
        attention: Attention on each image token, in the rows and columns of the token grid, as
            `capture.attention_measures.image_maps` returns it for one layer, head and query. A
            mean of several is as good.
        ax: Axes to draw on; those of a new figure by default.
        boxes: Boxes to outline in teal, in pixels of the image; none by default.
    """
    width, height = image.size
    ax = axes_or_new(ax, 4.0, 0.4 + 4.0 * height / width)
    extent = (0.0, float(width), float(height), 0.0)
    weights = attention.detach().float().cpu().numpy()
    top = float(weights.max()) or 1.0
    ax.imshow(image.convert("L"), cmap="gray", extent=extent, vmin=0, vmax=255)
    ax.imshow(
        weights,
        cmap="inferno",
        extent=extent,
        vmin=0,
        vmax=top,
        alpha=0.75 * weights / top,
        interpolation="nearest",
    )
    for left, upper, right, lower in boxes:
        frame = Rectangle((left, upper), right - left, lower - upper, fill=False, ec=TEAL, lw=2)
        ax.add_patch(frame)
    ax.set_title(f"{weights.sum():.1%} of the attention")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def plot_attention_by_layer(
    found: Sequence[AttentionMean], measure: str, ax: Axes | None = None
) -> Axes:
    """Draw one measure of attention over the layers, a line per group of queries.

    A line is the mean over the samples and its band the 95 % bootstrap interval. Grey: the marker
    before the block; dark: the slots; teal: the marker after it; red: the answer. For
    `enrichment`, a dotted line at 1 marks no preference for the evidence box.

    Args:
        found: Means of one model, as `analysis.attention.summarize` returns them.
        measure: Measure to draw, such as `mass:image` or `enrichment`.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there is no mean of this measure in a layer.
    """
    mine = [f for f in found if f.measure == measure and f.layer is not None]
    if not mine:
        there = ", ".join(dict.fromkeys(f.measure for f in found)) or "none"
        raise LanternError(f"no attention by layer of measure {measure!r}; there are {there}")
    ax = axes_or_new(ax)
    for query, color in zip(ATTENTION_QUERIES, (SOFT, INK, TEAL, ACCENT), strict=True):
        some = [f for f in mine if f.query == query]
        if not some:
            continue
        x = [f.layer for f in some if f.layer is not None]
        low, high = [f.mean.low for f in some], [f.mean.high for f in some]
        ax.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
        label = str(query).replace("_", " ")
        ax.plot(x, [f.mean.estimate for f in some], "o-", ms=3, color=color, label=label)
    if measure == "enrichment":
        ax.axhline(1, color=SOFT, lw=0.8, ls=":", zorder=0)
    whole_ticks(ax)
    ax.set_xlabel("layer")
    ax.set_ylabel(LABELS.get(measure, measure))
    ax.legend(frameon=False, fontsize=8)
    return bare(ax)


def attention_figure(found: Sequence[AttentionMean]) -> Figure:
    """Draw the attention on the image and the enrichment of the evidence box, by layer.

    Each panel is a `plot_attention_by_layer`; a measure without values leaves its panel out.

    Args:
        found: Means of one model, as `analysis.attention.summarize` returns them.

    Raises:
        LanternError: there is a value of neither measure.
    """
    shown = [name for name in LABELS if any(f.measure == name for f in found)]
    if not shown:
        raise LanternError(f"no attention to draw: no mean of {' or '.join(LABELS)}")
    figure = new_figure(4.0 * len(shown), 3)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for measure, ax in zip(shown, axes, strict=True):
        plot_attention_by_layer(found, measure, ax)
    for ax in axes[1:]:
        ax.get_legend().remove()
    n = max(f.mean.n for f in found)
    figure.suptitle(f"{found[0].model}, n = {n}, 95 % intervals", fontsize=9)
    return figure
