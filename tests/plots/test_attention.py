"""Attention is drawn where it is, and its means by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lantern_probe.analysis.attention import AttentionMean
from lantern_probe.errors import LanternError
from lantern_probe.plots.attention import (
    attention_figure,
    plot_attention_by_layer,
    plot_attention_over_image,
)


@pytest.fixture
def found(difference) -> list[AttentionMean]:
    """Attention 0.1 per layer for slots, 0.2 for answers; the box only where answers look."""
    return [
        AttentionMean("tiny", query, measure, layer, difference(step * (layer or 0)))
        for query, step in (("slot", 0.1), ("answer", 0.2))
        for measure in ("mass:image", "enrichment", "entropy")
        for layer in (None, 0, 1, 2)
        if (query, measure) != ("slot", "enrichment")
    ]


def test_the_overlay_has_the_attention_in_the_places_of_the_tokens(ax) -> None:
    attention = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 0.2]], dtype=torch.bfloat16)
    image = Image.new("RGB", (90, 60))
    box = (30.0, 0.0, 60.0, 30.0)
    assert plot_attention_over_image(image, attention, ax, boxes=[box]) is ax
    below, above = ax.get_images()
    assert above.get_extent() == below.get_extent() == [0, 90, 60, 0]
    np.testing.assert_allclose(above.get_array(), attention.float())
    np.testing.assert_allclose(above.get_alpha(), 0.75 * attention.float() / 0.2, atol=1e-3)
    (frame,) = ax.patches
    assert frame.get_bbox().extents.tolist() == list(box)
    assert ax.get_title() == "30.0% of the attention"


def test_without_axes_the_overlay_has_the_shape_of_the_image() -> None:
    ax = plot_attention_over_image(Image.new("L", (100, 50)), torch.zeros(2, 4))
    width, height = ax.figure.get_size_inches()
    assert height < 0.7 * width and not ax.patches
    assert ax.get_title() == "0.0% of the attention"


def test_lines_are_the_means_by_layer_of_each_group_of_queries(found, ax) -> None:
    assert plot_attention_by_layer(found, "mass:image", ax) is ax
    curves = {line.get_label(): line for line in ax.lines}
    assert list(curves) == ["slot", "answer"]
    np.testing.assert_allclose(curves["slot"].get_ydata(), [0, 0.1, 0.2])
    np.testing.assert_allclose(curves["answer"].get_xdata(), [0, 1, 2])
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [-0.1, 0.4])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("layer", "attention on the image")


def test_enrichment_has_a_line_at_no_preference(found) -> None:
    ax = plot_attention_by_layer(found, "enrichment")
    assert [line.get_label() for line in ax.lines][:1] == ["answer"]
    assert list(ax.lines[-1].get_ydata()) == [1, 1] and ax.lines[-1].get_linestyle() == ":"
    assert plot_attention_by_layer(found, "entropy").get_ylabel() == "entropy"
    with pytest.raises(LanternError, match="'percentile'; there are mass:image, entropy, enri"):
        plot_attention_by_layer(found, "percentile")


def test_the_figure_has_a_panel_for_each_measure_there_is(found) -> None:
    figure = attention_figure(found)
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "attention on the image", "box over a mean window",
    ]  # fmt: skip
    assert [ax.get_legend() is not None for ax in figure.axes] == [True, False]
    assert figure.get_suptitle() == "tiny, n = 40, 95 % intervals"
    assert len(attention_figure([f for f in found if f.measure == "mass:image"]).axes) == 1
    with pytest.raises(LanternError, match="no mean of mass:image or enrichment"):
        attention_figure([f for f in found if f.measure == "entropy"])
