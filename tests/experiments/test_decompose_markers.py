"""`python -m experiments.decompose_markers` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def decompose(command: Command) -> Command:
    return partial(command, "decompose_markers")


def test_the_gain_of_a_faithful_model_is_content_and_that_of_a_bypass_is_none(
    decompose: Command, tmp_path: Path
):
    done = decompose(
        *("--model", "faithful", "bypass", "--samples", 48, "--output", tmp_path / "out"),
        *("--conditions", "own", "zeros", "skip", "ban", "direct"),
    )
    assert done.returncode == 0, done.stderr
    gains = json.loads((tmp_path / "out" / "gains.json").read_text())
    retained = {(g["model"], g["condition"]): g["retained"] for g in gains}
    assert retained["faithful", "own"]["estimate"] == 1
    for condition in ("zeros", "skip", "ban"):
        found = retained["faithful", condition]
        assert found["defined"] and found["high"] < 0.3
    assert not retained["bypass", "own"]["defined"]
    assert "no share of it is reported (not given: its denominator" in " ".join(done.stdout.split())
    with Image.open(tmp_path / "out" / "gains.png") as picture:
        assert picture.size[0] > 400
