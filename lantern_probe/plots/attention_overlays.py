"""Attention of several samples and roles, drawn over their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from PIL.Image import Image

from lantern_probe.plots.attention import plot_attention_over_image
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Role

if TYPE_CHECKING:
    from torch import Tensor


def overlay_figure(overlays: Sequence[tuple[Sample, Role, Image, Tensor]]) -> Figure:
    """Draw a row of panels per sample and a column per role, each titled with the attention's sum.

    Args:
        overlays: Sample, role, image and attention over the tokens of the image, [height, width],
            as `capture.attention_rows.overlays` returns them; at least one.
    """
    samples = list(dict.fromkeys(sample.id for sample, *_ in overlays))
    roles = list(dict.fromkeys(role for _, role, *_ in overlays))
    size = (2.4 * len(roles), 2.5 * len(samples))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(samples), len(roles), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for sample, role, image, attention in overlays:
        ax = axes[samples.index(sample.id), roles.index(role)]
        plot_attention_over_image(image, attention, ax, boxes=sample.boxes[:1])
        share = float(attention.sum())
        ax.set_title(f"{role.replace('_', ' ')}: {share:.2f} on the image", fontsize=8)
    return figure
