"""Overlays of a run: named layers of maps, by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lantern_probe.errors import LanternError
from lantern_probe.records.overlays import OVERLAYS, read_overlays, write_overlay


def test_maps_are_read_as_they_were_written(tmp_path: Path) -> None:
    maps = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    write_overlay(tmp_path, "attention", {"an id / with ...": (["slot 0", "answer"], maps)})
    (layer,) = read_overlays(tmp_path)
    found = layer.maps("an id / with ...")
    assert layer.name == "attention" and layer.maps("another") is None
    assert found is not None and found[0] == ["slot 0", "answer"]
    np.testing.assert_array_equal(found[1], maps)


def test_maps_without_names_are_numbered(tmp_path: Path) -> None:
    (tmp_path / OVERLAYS).mkdir()
    path = tmp_path / OVERLAYS / "lens.safetensors"
    save_file({"s": np.full((2, 1, 1), np.nan, np.float32), "flat": np.zeros(3)}, path)
    (layer,) = read_overlays(tmp_path)
    found = layer.maps("s")
    assert found is not None and found[0] == ["map 0", "map 1"] and not found[1].any()
    assert layer.maps("flat") is None


def test_a_file_that_is_no_layer_is_refused_by_name(tmp_path: Path) -> None:
    assert read_overlays(tmp_path) == []
    (tmp_path / OVERLAYS).mkdir()
    (tmp_path / OVERLAYS / "x.safetensors").write_bytes(b"no")
    with pytest.raises(LanternError, match="x.safetensors: not a layer of overlays"):
        read_overlays(tmp_path)
