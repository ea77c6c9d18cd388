"""Attention as a picture; every function draws on the axes it is given and returns them."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL.Image import Image
from torch import Tensor

from lantern_probe.analysis.attention import AttentionMean
from lantern_probe.plots.style import ACCENT, INK, SOFT
from lantern_probe.tasks.sample import Box
from lantern_probe.vocabulary import ATTENTION_QUERIES


def plot_attention_over_image(
    image: Image,
    attention: Float[Tensor, "height width"],
    ax: Axes,
    boxes: Sequence[Box] = (),
) -> Axes:
    """The image in grey, and over it the attention that each of its tokens gets.

    Colour and opacity both grow with the attention, from 0 to the map's largest value: a map
    shows where the attention is, not how much there is; its title says how much.

    Args:
        image: As stored; the processor stretches it over the token grid, and so does this.
        attention: See `attention.image_maps`; of one layer, head and query, or a mean of them.
        ax: Where to draw.
        boxes: Outlined, in pixels of the image.
    """
    width, height = image.size
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
        frame = Rectangle((left, upper), right - left, lower - upper, fill=False, ec=ACCENT, lw=1.5)
        ax.add_patch(frame)
    ax.set_title(f"{weights.sum():.1%} of the attention")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def attention_figure(found: Sequence[AttentionMean]) -> Figure:
    """Mass on the image and enrichment of the box by layer, one line per group of queries."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    colors = dict(zip(ATTENTION_QUERIES, (SOFT, INK, "#2a9d8f", ACCENT), strict=True))
    for ax, measure in zip(figure.subplots(1, 2), ("mass:image", "enrichment"), strict=True):
        for query in ATTENTION_QUERIES:
            some = [f for f in found if (f.query, f.measure) == (query, measure)]
            lines = [(f.layer, f.mean) for f in some if f.layer is not None]
            if not lines:
                continue
            x = [layer for layer, _ in lines]
            low, high = [m.low for _, m in lines], [m.high for _, m in lines]
            ax.fill_between(x, low, high, color=colors[query], alpha=0.2, lw=0)
            label = str(query).replace("_", " ")
            ax.plot(x, [m.estimate for _, m in lines], "o-", ms=3, color=colors[query], label=label)
        if measure == "enrichment":
            ax.axhline(1, color=SOFT, lw=0.8, ls=":", zorder=0)
        ax.set_xlabel("layer")
        ax.set_ylabel("attention on the image" if ":" in measure else "box over a mean window")
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    n = max(f.mean.n for f in found)
    figure.suptitle(f"{found[0].model}, n = {n}, 95 % intervals", fontsize=9)
    return figure
