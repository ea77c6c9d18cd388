"""`python -m experiments.probe_latents` as a user runs it: decodable, with controls, and used?"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[str]]

SMALL = ("--sites", "latent@slot", "--targets", "color", "--permutations", 19, "--controls", 1)


@pytest.fixture
def probe(command: Command) -> Command:
    return partial(command, "probe_latents")


@pytest.mark.slow
def test_the_truths_of_the_organisms(probe: Command, tmp_path: Path):
    """faithful and bypass alike decodable, only faithful uses it; collapsed only from an oracle."""
    arguments = ("--samples", 80, *SMALL, "--output", tmp_path)
    done = probe(*arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "probes.json").read_text())
    assert len(rows) == 3 * 2 * 2 * 8  # models, own and oracle, target and distractor, slots

    def scores(model: str, site: str, target: str = "color") -> list[dict[str, Any]]:
        return [r for r in rows if (r["model"], r["site"], r["target"]) == (model, site, target)]

    for model in ("faithful", "bypass"):
        for row in scores(model, "latent@slot"):
            controls = [
                row[k] for k in ("question", "distractor", "untrained", "control", "majority")
            ]
            assert row["low"] > max(controls) and row["p"] == row["p_family"] == 1 / 20
            assert row["bits"] < row["uniform_bits"]
    for row in scores("collapsed", "latent@slot"):
        # No better than another object's colour, whose own interval it lies in.
        (other,) = (
            r
            for r in scores("collapsed", "latent@slot", "distractor_color")
            if r["slot"] == row["slot"]
        )
        assert row["low"] <= other["high"] and row["score"] < 0.45
    assert all(row["low"] > 0.9 for row in scores("collapsed", "oracle:latent@slot"))
    for model, used in (("faithful", True), ("bypass", False)):
        (found,) = (
            s
            for s in json.loads((tmp_path / model / "erasure" / "summary.json").read_text())
            if s["condition"] == "erase:attribute=color"
        )
        assert found["ci_high"] < 0.4 if used else found["ci_low"] > 0.9
    for name in ("color.png", "latents.png"):
        with Image.open(tmp_path / "faithful" / name) as picture:
            assert picture.size[0] > 600
    assert "decodable, and used?" in done.stdout and "…" not in done.stdout


def test_a_run_goes_on_and_errors_are_clear(probe: Command, tmp_path: Path):
    arguments = ("--model", "faithful", "--samples", 40, *SMALL, "--no-erase")
    done = probe(*arguments, "--output", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    rows = tmp_path / "a" / "faithful" / "probes" / "rows.jsonl"
    whole = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(whole[:10]))
    assert probe(*arguments, "--output", tmp_path / "a").returncode == 0
    again = rows.read_text().splitlines(keepends=True)
    assert sorted(again) == sorted(whole)
    done = probe(*arguments, "--targets", "blocks", "--output", tmp_path / "a")
    message = "target 'blocks': a probe needs two classes"
    assert done.returncode == 2 and message in done.stderr, done.stderr
