"""`python -m experiments.read_triggers`, and the audits of other commands, as a user runs them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_faithful_block_has_an_effect_and_that_of_a_bypass_none(command: Command, tmp_path: Path):
    out = tmp_path / "out"
    done = command(
        *("read_triggers", "--model", "faithful", "bypass", "--samples", 24, "--output", out)
    )
    assert done.returncode == 0, done.stderr
    faithful, bypass = json.loads((out / "triggers.json").read_text())
    assert faithful["effects"][0]["difference"]["low"] > 0.5
    assert bypass["effects"][0]["difference"]["estimate"] == 0
    assert faithful["effects"][2]["n"] == 0 and faithful["emission"]["estimate"] == 1
    assert "there is nothing endogenous to find" in done.stdout
    lines = [json.loads(line) for line in (out / "discordant.jsonl").read_text().splitlines()]
    assert lines and all(line["model"] == "faithful" for line in lines)
    assert all(line["first_condition"] == "force" and line["second_text"] for line in lines)
    with Image.open(out / "triggers.png") as picture:
        assert picture.size[0] > 400


def test_an_ablation_shows_the_norms_of_what_was_fed(command: Command, tmp_path: Path):
    out = tmp_path / "out"
    done = command(
        *("ablate_latents", "--model", "faithful", "--samples", 12, "--output", out),
        *("--conditions", "own", "rescale", "pause"),
    )
    assert done.returncode == 0, done.stderr
    assert "states fed under own, n = 12" in done.stdout
    found = json.loads((out / "fed_states.json").read_text())
    means = {(f["condition"], f["measure"], f["slot"]): f["mean"]["estimate"] for f in found}
    assert abs(means["rescale", "norm over text", 3] - 1) < 1e-4
    assert means["own", "norm over text", 3] > 10 > means["pause", "norm over text", 3] > 0
    assert (out / "fed_states.png").exists() and (out / "discordant.jsonl").exists()


def test_an_exchange_crosses_image_and_latents(command: Command, tmp_path: Path):
    out = tmp_path / "out"
    done = command(
        *("exchange_latents", "--model", "faithful", "--samples", 10, "--twin", "black-box"),
        *("--subsets", 0, "--output", out),
    )
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((out / "exchange.json").read_text())
    clean, under_clean, under_box, both = (c["estimate"] for c in record["crossed"]["cells"])
    assert clean == 1 and under_box > 0.8 and under_clean < 0.5 and both < 0.5
    assert {swap["direction"] for swap in record["swaps"]} == {"direct"}
    assert "random-pair" in {swap["condition"] for swap in record["swaps"]}
    assert (out / "controls.png").exists()
