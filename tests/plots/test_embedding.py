"""Drawn embeddings keep points with their values."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.geometry.projection import embed
from lantern_probe.plots.embedding import interactive_embedding, plot_embedding
from lantern_probe.records.run import Run
from lantern_probe.records.store import ShardFolder, Store
from lantern_probe.tasks.scenes import COLORS


@pytest.fixture
def ax():
    return Figure().subplots()


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_classes_named_like_colours_have_these_colours(ax) -> None:
    points = np.arange(10.0).reshape(5, 2)
    plot_embedding(points, ["red", "blue", None, "red", "mauve"], ax, "color")
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
    plot_embedding(np.zeros((25, 2)), values, ax, "name")
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
    plot_embedding(np.zeros((4, 2)), values, ax, "cell")
    assert legend(ax) == shown


def test_other_numbers_have_a_colour_bar() -> None:
    figure = Figure()
    ax = figure.subplots()
    points = np.arange(8.0).reshape(4, 2)
    plot_embedding(points, [0.5, float("nan"), 2.0, 1.0], ax, "box_x")
    np.testing.assert_array_equal(ax.collections[0].get_array(), [0.5, 2, 1])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), points[[0, 2, 3]])
    assert [one.get_ylabel() for one in figure.axes] == ["", "box_x"]
    assert legend(ax) == ["no value (1)"]
    figure.canvas.draw()
    many = Figure()
    plot_embedding(np.zeros((11, 2)), range(11), many.subplots(), "n")
    assert len(many.axes) == 2
    with pytest.raises(LanternError, match="3 values for 4 points"):
        plot_embedding(points, [1, 2, 3], ax, "box_x")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Ten samples; the last has no latent block."""
    config = {"sites": ["latent@slot", "vision@image-mean"]}
    generator = torch.manual_seed(0)
    latents = torch.randn(10, 3, 4, generator=generator)
    latents[9] = torch.nan
    image = torch.randn(10, 1, 4, generator=generator)
    with Run.open(tmp_path, config) as run:
        shard = ShardFolder(run).write(
            list("abcdefghij"), {"latent@slot": latents, "vision@image-mean": image}
        )
        run.append_many(
            [
                {
                    "sample": name, "condition": "own", "status": "ok", "shard": shard,
                    "position": i, "gold": ["red", "blue"][i % 2], "box_x": i / 10,
                    "prompt": f"a question of its own, {i}", "blocks": 1, "missing": [],
                }
                for i, name in enumerate("abcdefghij")
            ]
        )  # fmt: skip
    return Store(tmp_path)


def test_the_view_follows_its_lists(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    drawn: list[np.ndarray] = []

    def noted(points, values, ax, name):
        drawn.append(points)
        original = ax.set_title
        ax.set_title = lambda text, **more: (titles.append(text), original(text, **more))[1]
        return plot_embedding(points, values, ax, name)

    monkeypatch.setattr("lantern_probe.plots.embedding.plot_embedding", noted)
    choices, more, picture = interactive_embedding(store).children
    (site, slot), (attribute, method) = choices.children, more.children
    assert attribute.options == ("gold", "box_x"), "no column that is constant or an id"
    assert method.options == ("pca", "umap")
    assert [label for label, _ in slot.options] == ["mean of slots", "slot 0", "slot 1", "slot 2"]
    assert titles[-1].startswith("latent@slot, mean of slots: pca, ")
    assert titles[-1].endswith("of the variance\nn = 9, 1 without the site")
    latents = store.array("latent@slot").double()[:9]
    np.testing.assert_allclose(drawn[-1], embed(latents.mean(1)))

    first = picture.value
    slot.value = 2
    np.testing.assert_allclose(drawn[-1], embed(latents[:, 2]))
    assert picture.value != first and bytes(picture.value).startswith(b"\x89PNG")
    before, count = picture.value, len(drawn)
    attribute.value = "box_x"
    assert picture.value != before and len(drawn) == count + 1
    site.value = "vision@image-mean"
    assert len(slot.options) == 2 and slot.label == "mean of slots"
    assert len(drawn) == count + 2, "a change is drawn once"
    assert titles[-1].endswith("n = 10")
    np.testing.assert_allclose(drawn[-1], embed(store.array("vision@image-mean")[:, 0]))


def test_the_view_is_a_picture(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "view.png"
    file.write_bytes(interactive_embedding(store, attribute="box_x").children[-1].value)
    with Image.open(file) as image:
        assert image.width > 400


def test_the_view_refuses_what_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for given_names, match in (
        ({"site": "residual.0@slot"}, r"no site 'residual.0@slot' .* latent@slot"),
        ({"attribute": "shape"}, r"no attribute 'shape' .* gold, box_x"),
        ({"method": "tsne"}, r"no embedding 'tsne' .* pca, umap"),
    ):
        with pytest.raises(LanternError, match=match):
            interactive_embedding(store, **given_names)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(LanternError, match=r"pip install 'lantern-probe\[notebooks\]'"):
        interactive_embedding(store)
