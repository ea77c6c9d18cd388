"""`python -m experiments.knock_out` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def knock_out(command: Command) -> Command:
    return partial(command, "knock_out")


def test_the_way_of_a_faithful_model_goes_through_its_slots(knock_out: Command, tmp_path: Path):
    cuts = ("after->slot", "after->slot:random=1", "after->image", "zeros")
    arguments = ("--model", "faithful", "--samples", 24, "--conditions", "own", *cuts)
    done = knock_out(*arguments, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    found = {s["condition"]: s for s in json.loads((tmp_path / "summary.json").read_text())}
    assert found["own"]["accuracy"] == 1 and found["after->image"]["ci_low"] > 0.7
    assert found["after->slot"]["ci_high"] < 0.5 and found["zeros"]["ci_high"] < 0.5
    assert found["after->slot:random=1"]["ci_low"] > 0.5
    # Nothing of the longest label or its figures is cut off.
    assert "after->slot:random=1" in done.stdout and "…" not in done.stdout
