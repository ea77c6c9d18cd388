"""`python -m experiments.read_slots` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from lantern_probe.records.overlays import read_overlays

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def read_slots(command: Command) -> Command:
    return partial(command, "read_slots")


def test_words_and_places_are_read_shown_and_drawn(read_slots: Command, tmp_path: Path):
    arguments = ("--model", "faithful", "--samples", 40, "--conditions", "own", "zeros")
    done = read_slots(*arguments, "--maps", 2, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    words = json.loads((tmp_path / "words.json").read_text())
    latent = {
        one["condition"]: one["mean"]
        for one in words
        if one["mean"]["site"] == "latent@slot" and one["mean"]["slot"] is None
    }
    assert latent["own"]["p"] == 0.001
    # Zeros are the same vector everywhere, so that no permutation differs.
    assert latent["zeros"]["p"] == 1.0
    places = json.loads((tmp_path / "places.json").read_text())
    own = [one["mean"] for one in places if one["condition"] == "own"]
    assert {(one["measure"], one["centred"]) for one in own} == {
        (measure, centred) for measure in ("percentile", "pointing") for centred in (False, True)
    }
    folder = tmp_path / "faithful" / "own"
    for name in ("words_answer.png", "maps.png"):
        with Image.open(folder / name) as picture:
            assert picture.size[0] > 500
    rows = (folder / "rows.jsonl").read_text()
    (layer,) = read_overlays(folder)
    shapes = {found[1].shape for row in rows.splitlines()
              if (found := layer.maps(json.loads(row)["sample"])) is not None}  # fmt: skip
    assert layer.name == "cosine" and {shape[0] for shape in shapes} == {8}
    again = read_slots(*arguments, "--maps", 0, "--output", tmp_path)
    assert again.returncode == 0 and (folder / "rows.jsonl").read_text() == rows
    assert json.loads((tmp_path / "words.json").read_text()) == words


def test_a_target_is_an_attribute_that_is_an_option(read_slots: Command, tmp_path: Path):
    done = read_slots(
        *("--model", "bypass", "--samples", 12, "--maps", 0, "--output", tmp_path),
        *("--targets", "distractor_color"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bypass" / "own" / "words_distractor_color.png").is_file()
    done = read_slots("--model", "bypass", "--targets", "shape", "--output", tmp_path / "b")
    assert done.returncode == 2
    assert "no captured sample has options among which 'shape'" in done.stderr
