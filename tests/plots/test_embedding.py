"""Points keep their values: colours, legends and colour bars are those of the attribute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lantern_probe.errors import LanternError
from lantern_probe.geometry.projection import embed
from lantern_probe.plots.embedding import embedding_figure, plot_embedding
from lantern_probe.records.run import Run
from lantern_probe.records.store import ShardFolder, Store
from lantern_probe.tasks.scenes import COLORS


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_classes_named_like_colours_have_these_colours(ax) -> None:
    points = np.arange(10.0).reshape(5, 2)
    plot_embedding(points, ["red", "blue", None, "red", "mauve"], "color", ax)
    assert legend(ax) == ["blue (1)", "mauve (1)", "red (2)", "no value (1)"]
    blue, mauve, red, ring = ax.collections
    np.testing.assert_array_equal(red.get_offsets(), points[[0, 3]])
    np.testing.assert_array_equal(ring.get_offsets(), points[[2]])
    for drawn, name in ((blue, "blue"), (red, "red")):
        np.testing.assert_allclose(drawn.get_facecolor()[0, :3] * 255, COLORS[name])
    assert to_rgb(mauve.get_facecolor()[0]) not in [
        to_rgb(c.get_facecolor()[0]) for c in (blue, red)
    ]


def test_many_classes_share_other(ax) -> None:
    values = [f"class {i:02}" for i in range(12)] * 2 + ["class 11"]
    plot_embedding(np.zeros((25, 2)), values, "name", ax)
    assert legend(ax)[9:] == ["class 11 (3)", "other (4)"] and len(legend(ax)) == 11


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 10, 9, 0], ["0 (2)", "9 (1)", "10 (1)"]),
        ([True, False, True, True], ["False (1)", "True (3)"]),
        (np.array([1.0, np.nan, 2.0, 2.0]), ["1.0 (1)", "2.0 (2)", "no value (1)"]),
        ([None] * 4, ["no value (4)"]),
    ],
)
def test_few_whole_numbers_are_classes(values, shown: list[str], ax) -> None:
    plot_embedding(np.zeros((4, 2)), values, "cell", ax)
    assert legend(ax) == shown


def test_other_numbers_have_a_colour_bar() -> None:
    figure = Figure()
    ax = figure.subplots()
    points = np.arange(8.0).reshape(4, 2)
    plot_embedding(points, [0.5, float("nan"), 2.0, 1.0], "box_x", ax)
    np.testing.assert_array_equal(ax.collections[0].get_array(), [0.5, 2, 1])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), points[[0, 2, 3]])
    assert [one.get_ylabel() for one in figure.axes] == ["", "box_x"]
    assert legend(ax) == ["no value (1)"]
    figure.canvas.draw()
    many = Figure()
    plot_embedding(np.zeros((11, 2)), range(11), "n", many.subplots())
    assert len(many.axes) == 2
    with pytest.raises(LanternError, match="3 values for 4 points"):
        plot_embedding(points, [1, 2, 3], "box_x", ax)


def test_without_axes_points_are_on_a_new_figure() -> None:
    ax = plot_embedding(np.eye(2), ["red", "blue"], "colour")
    assert legend(ax) == ["blue (1)", "red (1)"]
    assert ax.get_legend().get_title().get_text() == "colour"
    assert ax.figure is not plot_embedding(np.eye(2), ["red", "blue"], "colour").figure


def test_the_figure_leaves_out_samples_without_a_block(tmp_path: Path) -> None:
    latents = torch.randn(5, 3, 4, generator=torch.manual_seed(0))
    latents[1] = torch.nan
    names, golds = list("abcde"), ["red", "red", "blue", "blue", "red"]
    with Run.open(tmp_path, {"sites": ["latent@slot"]}) as run:
        shard = ShardFolder(run).write(names, {"latent@slot": latents})
        row = {"condition": "own", "status": "ok", "shard": shard, "blocks": 1, "missing": []}
        run.append_many(
            [
                row | {"sample": name, "position": i, "gold": gold, "box_x": i / 10}
                for i, (name, gold) in enumerate(zip(names, golds, strict=True))
            ]
        )
    figure = embedding_figure(Store(tmp_path), ["gold", "box_x"], "tiny")
    assert figure.get_suptitle() == "tiny: own latents, PCA, n = 4"
    classes, numbers, bar = figure.axes
    assert legend(classes) == ["blue (2)", "red (2)"]
    assert bar.get_ylabel() == "box_x"
    points = embed(latents[[0, 2, 3, 4]].mean(1))
    np.testing.assert_allclose(numbers.collections[0].get_offsets(), points)
    np.testing.assert_array_equal(numbers.collections[0].get_array(), [0, 0.2, 0.3, 0.4])
