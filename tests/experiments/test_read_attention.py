"""`python -m experiments.read_attention` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lantern_probe.records.overlays import read_overlays

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def read_attention(command: Command) -> Command:
    return partial(command, "read_attention")


def test_masses_add_up_and_the_first_latent_looks_at_the_evidence(
    read_attention: Command, tmp_path: Path
):
    arguments = ("--model", "faithful", "--samples", 10, "--overlays", 2, "--output", tmp_path)
    done = read_attention(*arguments)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "faithful" / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 10
    for row in rows:
        assert set(row["attention"]) == {"lvr_start", "slot", "lvr_end", "answer"}
        for group in row["attention"].values():
            layers = zip(*group["mass"].values(), strict=True)
            assert all(abs(sum(masses) - 1) < 1e-4 for masses in layers)
            assert all(0 <= p <= 1 for p in group["percentile"])
    means = {
        (m["query"], m["measure"]): m["mean"]
        for m in json.loads((tmp_path / "attention.json").read_text())
        if m["layer"] is None
    }
    assert means["lvr_start", "enrichment"]["low"] > 1.5
    assert means["answer", "mass:slot"]["low"] > 0
    for name in ("layers.png", "overlays.png"):
        with Image.open(tmp_path / "faithful" / name) as picture:
            assert picture.size[0] > 500
    # The map of a slot sums to its attention on the image, so their mean is the row's.
    (layer,) = read_overlays(tmp_path / "faithful")
    for row in rows[:2]:
        names, maps = layer.maps(row["sample"]) or ([], np.zeros(0))
        assert names == ["lvr_start", *(f"slot {slot}" for slot in range(8)), "answer"]
        on_image = np.mean(row["attention"]["slot"]["mass"]["image"])
        np.testing.assert_allclose(maps[1:9].sum((1, 2)).mean(), on_image, rtol=1e-3)
    assert layer.maps(rows[2]["sample"]) is None
    # Given again, nothing is run twice; more samples are added.
    assert read_attention(*arguments).returncode == 0
    assert len(file.read_text().splitlines()) == 10
    assert read_attention(*arguments[:2], "--samples", 12, "--output", tmp_path).returncode == 0
    assert len(file.read_text().splitlines()) == 12
