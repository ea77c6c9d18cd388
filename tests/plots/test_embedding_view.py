"""The view in Jupyter follows its lists."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.geometry.projection import embed
from lantern_probe.plots.embedding import plot_embedding
from lantern_probe.plots.embedding_view import interactive_embedding
from lantern_probe.records.run import Run
from lantern_probe.records.store import ShardFolder, Store


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

    def noted(points, values, name, ax):
        drawn.append(points)
        original = ax.set_title
        ax.set_title = lambda text, **more: (titles.append(text), original(text, **more))[1]
        return plot_embedding(points, values, name, ax)

    monkeypatch.setattr("lantern_probe.plots.embedding_view.plot_embedding", noted)
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
