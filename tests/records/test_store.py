"""Activations on disk: one order, nothing lost, nothing doubled, damage named."""

from __future__ import annotations

import random
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import part_name
from lantern_probe.records.run import Run
from lantern_probe.records.store import ShardFolder, Store, check_room, describe
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

SITES = ["residual.0@slot", "mlp.1@answer-start"]
CONFIG = {"sites": SITES, "model": "any"}


def values(sample: str) -> dict[str, torch.Tensor]:
    """Activations that say whose they are."""
    number = float(sample.split("-")[-1])
    return {SITES[0]: torch.full((8, 4), number), SITES[1]: torch.full((1, 4), -number)}


def write(folder: Path, batches: list[list[str]], config: Any = None, **more: Any) -> None:
    with Run.open(folder, CONFIG if config is None else config) as run:
        shards = ShardFolder(run)
        for batch in batches:
            stacked = {site: torch.stack([values(s)[site] for s in batch]) for site in SITES}
            shard = shards.write(batch, stacked)
            run.append_many(
                {
                    "sample": sample,
                    "condition": "own",
                    "status": "ok",
                    "shard": shard,
                    "position": position,
                    "missing": [],
                    **more,
                }
                for position, sample in enumerate(batch)
            )


def check(store: Store, numbers: list[int]) -> None:
    assert [row["sample"] for row in store.samples] == [f"scene-{n}" for n in numbers]
    assert len(store) == len(numbers) and store.sites == SITES
    slots, answer = store.array(SITES[0]), store.array(SITES[1])
    assert slots.shape == (len(numbers), 8, 4) and answer.shape == (len(numbers), 1, 4)
    assert slots[:, 3, 2].tolist() == numbers and answer[:, 0, 1].tolist() == [-n for n in numbers]


def names(numbers: list[int]) -> list[str]:
    return [f"scene-{number}" for number in numbers]


def test_one_order_whatever_was_written_when(tmp_path: Path):
    order = list(range(23))
    random.Random(4).shuffle(order)
    write(tmp_path, [names(order[:9]), names(order[9:10]), names(order[10:20])])
    write(tmp_path, [names(order[20:])])  # more of the same, later
    store = Store(tmp_path)
    check(store, list(range(23)))
    assert list(store.frame()["sample"]) == list(store.column("sample")) == names(list(range(23)))


def test_parts_are_read_as_one_and_each_sample_once(tmp_path: Path):
    for index in range(3):
        write(tmp_path / part_name(index, 3), [names(list(range(index, 10, 3)))])
    check(Store(tmp_path), list(range(10)))
    check(Store(tmp_path / part_name(1, 3)), [1, 4, 7])
    # Another division over more samples, and a run in the folder itself.
    write(tmp_path / part_name(0, 2), [names([0, 2, 10, 12])])
    shutil.copytree(tmp_path / part_name(1, 3), tmp_path / "own", dirs_exist_ok=True)
    for file in (tmp_path / "own").iterdir():
        file.rename(tmp_path / file.name)
    check(Store(tmp_path), [*range(11), 12])
    write(tmp_path / part_name(1, 2), [names([1])], {**CONFIG, "model": "other"})
    with pytest.raises(LanternError, match="different settings"):
        Store(tmp_path)


def test_what_no_row_names_is_removed_when_a_capture_goes_on(tmp_path: Path):
    write(tmp_path, [names([0, 1])])
    shards = tmp_path / "shards"
    kept = {file.name: file.read_bytes() for file in shards.iterdir()}
    (shards / "0123456789abcdef.safetensors").write_bytes(b"killed before its rows")
    (shards / ".0123456789abcdef.safetensors.7.tmp").write_bytes(b"killed while writing")
    check(Store(tmp_path), [0, 1])
    write(tmp_path, [names([2])])
    assert len(list(shards.iterdir())) == 2
    assert all((shards / name).read_bytes() == data for name, data in kept.items())
    check(Store(tmp_path), [0, 1, 2])
    with Run.open(tmp_path, CONFIG, overwrite=True) as run:
        ShardFolder(run)
    assert list(shards.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "other"])
def test_a_damaged_shard_is_named_and_the_rest_can_be_saved(tmp_path: Path, damage: str):
    write(tmp_path, [names([0, 1]), names([2])])
    row = Store(tmp_path).samples[0]
    file = tmp_path / "shards" / row["shard"]
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"truncated": data[:-8], "empty": b"", "other": b"x" * 400}[damage])
    store = Store(tmp_path)  # the index is whole
    with pytest.raises(LanternError) as caught:
        store.array(SITES[0])
    assert file.name in str(caught.value) and "rows.jsonl" in str(caught.value)
    # The way out that is named.
    rows = tmp_path / "rows.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(line for line in lines if file.name not in line))
    write(tmp_path, [names([0, 1])])
    check(Store(tmp_path), [0, 1, 2])


def test_what_is_not_there_is_said_with_what_there_is(tmp_path: Path):
    with pytest.raises(LanternError, match="holds no run"):
        Store(tmp_path / "nowhere")
    with Run.open(tmp_path / "ablation", {"experiment": "ablate_latents"}):
        pass
    with pytest.raises(LanternError, match="no captured activations"):
        Store(tmp_path / "ablation")
    write(tmp_path / "run", [names([0])], color="red")
    store = Store(tmp_path / "run")
    with pytest.raises(LanternError, match=r"no site 'latent@slot'.*residual.0@slot, mlp.1"):
        store.array("latent@slot")
    with pytest.raises(LanternError, match=r"no column 'colour'; there are sample.*color"):
        store.column("colour")
    with Run.open(tmp_path / "none", CONFIG) as run:
        run.append({"sample": "a", "condition": "own", "status": "failed", "error": "no image"})
    with pytest.raises(LanternError, match="no sample"):
        Store(tmp_path / "none").array(SITES[0])


def test_values_keep_their_type_and_a_column_its_holes(tmp_path: Path):
    with Run.open(tmp_path, CONFIG) as run:
        half = {site: found[None].bfloat16() for site, found in values("scene-3").items()}
        half[SITES[1]][:] = torch.nan
        shard = ShardFolder(run).write(["a"], half)
        row = {"sample": "a", "condition": "own", "status": "ok", "shard": shard, "position": 0}
        run.append({**row, "missing": [SITES[1]], "box_x": None, "cell": 4, "color": "red"})
        shard = ShardFolder(run).write(["b"], half)
        run.append({**row, "sample": "b", "shard": shard, "missing": [], "box_x": 0.5, "cell": 2})
    store = Store(tmp_path)
    assert store.array(SITES[0]).dtype == torch.bfloat16
    assert bool(store.array(SITES[1]).isnan().all())
    assert store.column("cell").tolist() == [4, 2]
    assert np.isnan(store.column("box_x")[0]) and store.column("box_x")[1] == 0.5
    assert store.column("color")[0] == "red"
    assert list(store.column("missing")) == [[SITES[1]], []]


def test_what_is_known_about_a_sample_becomes_columns():
    for sample in scenes(12, seed=8):
        row = describe(sample, {"sample": sample.id, "text": "said"})
        assert row["prompt"] == sample.text
        assert (row["color"], row["shape"]) == (sample.answer, sample.attributes["shape"])
        left, top, right, bottom = sample.boxes[0]
        assert row["box_x"] * 84 == pytest.approx((left + right) / 2)
        assert row["box_y"] * 84 == pytest.approx((top + bottom) / 2)
        assert row["box_width"] * 84 == pytest.approx(right - left)
        assert row["box_height"] * 84 == pytest.approx(bottom - top)
        first = next(o for o in sample.attributes["objects"] if o["shape"] != row["shape"])
        assert all(row[f"distractor_{key}"] == first[key] for key in ("color", "shape", "cell"))
        assert "objects" not in row
    same = describe(replace(sample, id="again"), {})
    assert same["cluster"] == row["cluster"] != describe(scenes(1, seed=9)[0], {})["cluster"]

    plain = Sample(
        id="a",
        images=(Image.new("RGB", (200, 100)),),
        question="who ?",
        attributes={"source": "web", "text": "a word", "tags": ["x"], "hard": True},
    )
    row = describe(plain, {"sample": "a", "text": "said"})
    assert row["source"] == "web" and row["hard"] is True and "tags" not in row
    assert row["text"] == "said" and row["attribute_text"] == "a word"
    assert row["box_x"] is None and not any(name.startswith("distractor") for name in row)
    wide = describe(replace(plain, boxes=((50, 0, 150, 50),)), {})
    assert [wide[f"box_{k}"] for k in ("x", "y", "width", "height")] == [0.5, 0.25, 0.5, 0.5]


def test_a_disk_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "not" / "there" / "yet"
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**9))
    assert check_room(folder, 7 * 10**8) == 10**9
    with pytest.raises(LanternError, match=r"take 900.0 MB.*1.0 GB free") as caught:
        check_room(folder, 9 * 10**8)
    assert str(folder) in str(caught.value)
    assert not folder.exists()
