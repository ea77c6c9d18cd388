"""`python -m experiments.patch_latents` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from experiments.console import WIDTH
from experiments.patch_latents import Config, wanted_cells
from lantern_probe.errors import LanternError
from lantern_probe.tasks.scenes import scenes
from lantern_probe.tasks.twins import unrelated_pairs

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def patch(command: Command) -> Command:
    return partial(command, "patch_latents")


def test_a_sweep_is_run_shown_drawn_and_extended(patch: Command, tmp_path: Path):
    small = ("--model", "faithful", "--samples", 5, "--output", tmp_path, "--layers", "3")
    done = patch(*small, "--components", "residual", "--roles", "answer-start")
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 10 * 2  # ten runs; the cell and its sham
    done = patch(*small, "--components", "embedding", "residual", "--roles", "slot", "answer-start")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rows.jsonl").read_text().splitlines()[: len(rows)] == rows
    assert "faithful: recovery, up to 5 samples in each direction" in done.stdout
    effects = {
        (e["condition"], e["direction"]): e
        for e in json.loads((tmp_path / "patching.json").read_text())
    }
    assert len(effects) == 2 * (4 + 2 * 8 + 4)
    for direction in ("denoise", "noise"):
        assert effects["embedding@slot", direction]["flips"]["estimate"] == 1
        assert abs(effects["residual.3@answer-start", direction]["recovery"]["estimate"] - 1) < 1e-4
        assert effects["residual.3@slot", direction]["largest"] == 0
        assert effects["embedding@slot:sham", direction]["largest"] == 0
        assert effects["embedding@slot:sham", direction]["shift_test"] is None
        # Five pairs, all the same way; the family are 4 cells and 2 x 8 slots.
        test = effects["embedding@slot", direction]["shift_test"]
        assert (test["n"], test["p"], test["method"]) == (5, 1 / 16, "exact")
        assert effects["embedding@slot", direction]["shift_holm_p"] == 1
    assert "Holm over 20 cells\n" in done.stdout
    assert "Holm: p of the sign-flip test" in " ".join(done.stdout.split())
    wide = [line for line in done.stdout.splitlines() if len(line) > WIDTH]
    assert all(str(tmp_path) in line for line in wide)
    with Image.open(tmp_path / "patching.png") as picture:
        assert picture.size[0] > 1000


def test_pairs_that_cannot_be_compared_are_counted(patch: Command, tmp_path: Path):
    """A black box calls for no colour: the donor's answer is what its run prefers."""
    done = patch(
        *("--model", "bypass", "--samples", 4, "--twin", "black-box", "--output", tmp_path),
        *("--components", "embedding", "--roles", "box", "--max-new-tokens", "40"),
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    left = {row["sample"] for row in rows if row["status"] != "ok"}
    assert left
    assert f"{len(left)} of 8 samples are left out" in done.stdout
    assert {row["status"] for row in rows} == {"ok", "left out"}


def test_errors_say_what_there_is():
    for config, message in (
        (Config(components=()), "--components: there is nothing to patch"),
        (Config(layers="9"), "no layer 9; the model has layers 0 to 3"),
        (Config(layers="two"), "no layers 'two'; write 3, 0"),
    ):
        with pytest.raises(LanternError, match=message):
            wanted_cells(config, layers=4, slots=8)


def test_unrelated_pairs_have_other_answers():
    samples = scenes(12, 1)
    pairs = unrelated_pairs(samples)
    assert len(pairs) == 12 and {s.id for s in pairs} == {s.id for s in samples}
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert one.answer != other.answer == one.attributes["twin_answer"]
        assert one.attributes["pair"] == other.attributes["pair"] == one.id
        assert (one.attributes["twin"], other.attributes["twin"]) == (other.id, one.id)
    with pytest.raises(LanternError, match="different answers"):
        unrelated_pairs(samples[:1])
