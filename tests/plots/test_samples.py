"""Samples drawn: images in their own pixels, boxes where they are, faults in their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.plots.samples import LONGEST_SIDE, MOST_IMAGES, plot_sample, samples_figure
from lantern_probe.plots.style import save_figure
from lantern_probe.tasks import Sample

GREY = np.full((100, 200, 3), 90, dtype=np.uint8)


def texts(ax: Axes) -> str:
    return " ".join(text.get_text() for text in ax.texts).replace("\n", " ")


def test_boxes_are_drawn_in_pixels_of_the_first_image(ax: Axes) -> None:
    sample = Sample("1", (GREY, GREY), "what ?", boxes=((10, 20, 60, 50), (0, 0, 200, 100)))
    plot_sample(sample, ax)
    assert [(p.get_xy(), p.get_width(), p.get_height()) for p in ax.patches] == [
        ((10, 20), 50, 30),
        ((0, 0), 200, 100),
    ]
    assert ax.images[0].get_extent() == [0, 200, 100, 0]
    second = plot_sample(sample, image=1)
    assert not second.patches and second.images


def test_a_large_image_is_made_smaller_and_keeps_its_pixels(ax: Axes) -> None:
    large = Sample("1", (np.zeros((40, 4000, 3), dtype=np.uint8),), "what ?")
    plot_sample(large, ax)
    assert ax.images[0].get_array().shape[1] == LONGEST_SIDE
    assert ax.images[0].get_extent() == [0, 4000, 40, 0]


def test_an_image_that_cannot_be_read_gives_its_message(ax: Axes, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    plot_sample(Sample("1", (str(tmp_path / "bad.png"),), "what ?", boxes=((0, 0, 9, 9),)), ax)
    assert "is not an image" in texts(ax) and not ax.patches and not ax.images
    assert "no image" in texts(plot_sample(Sample("1", (), "what ?")))


def test_a_figure_has_a_row_per_sample_and_a_column_per_image(tmp_path: Path) -> None:
    samples = [
        Sample("$one", (GREY,), "costs $5 or $6\x1b " * 40, answer="$a", options=("$a", "b")),
        Sample("two", (GREY, GREY, "gone.png"), "what ?"),
    ]
    figure = samples_figure(samples)
    assert len(figure.axes) == 6
    heading = figure.axes[0].get_title(loc="left")
    assert heading.startswith("$one\ncosts $5") and heading.endswith("...\nright answer: $a")
    assert "right answer: not known" in figure.axes[3].get_title(loc="left")
    save_figure(figure, tmp_path / "samples.png")  # and none of it is taken for mathematics
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > picture.height


def test_of_many_images_the_first_are_drawn() -> None:
    figure = samples_figure([Sample("1", (GREY,) * (MOST_IMAGES + 3), "what ?")])
    assert len(figure.axes) == MOST_IMAGES
    assert f"the first {MOST_IMAGES} of {MOST_IMAGES + 3}" in figure.axes[0].get_title(loc="left")


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(LanternError, match="no samples to draw"):
        samples_figure([])
