"""`python -m experiments.evaluate_readings` as a user runs it, and its right readings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.evaluate_readings import expected
from lantern_probe.errors import LanternError

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_a_pool_of_bypass_is_read_or_undecided_and_never_wrong(command: Command, tmp_path: Path):
    conditions = ("own", "self-swap", "twin", "twin-oracle", "oracle", "mask", "skip", "ban")
    pool = tmp_path / "pool"
    made = command(
        "exchange_latents", "--model", "bypass", "--samples", 24, "--subsets", 0,
        "--output", pool, "--conditions", *conditions,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    output = tmp_path / "new"
    done = command("evaluate_readings", pool, "--n", 256, "--draws", 3, "--output", output)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((output / "readings.json").read_text())
    assert (record["hits"], record["undecided"], record["wrong"]) == (3, 0, 0)
    assert (record["right"], record["pool"], record["n"]) == (["bypass"], 24, 256)
    assert "bypass" in done.stdout


@pytest.mark.parametrize(
    ("model", "truth", "readings"),
    [
        ("ordered-seed1", None, ("faithful",)),
        ("vanilla", None, ("redundant",)),
        ("partial", {"follows": 0.5, "sees": 1.0}, ("partial",)),
        ("partial", {"follows": 0.8, "sees": 1.0}, ("faithful", "partial")),
        ("partial", {"follows": 0.9, "sees": 1.0}, ("faithful",)),
        ("partial", {"follows": 0.0, "sees": 1.0}, ("bypass",)),
        ("weak", {"follows": 1.0, "sees": 0.5}, ("weak",)),
        ("weak", {"follows": 1.0, "sees": 0.9}, ("faithful",)),
        ("weak-seed1", {"sees": 0.0}, ("collapsed",)),
    ],
)
def test_right_readings_follow_the_methods(model: str, truth, readings):
    assert expected(model, truth) == readings


def test_an_unknown_organism_is_refused():
    with pytest.raises(LanternError, match="'mine'"):
        expected("mine", None)
