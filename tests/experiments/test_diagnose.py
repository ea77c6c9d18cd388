"""`python -m experiments.diagnose` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_a_card_ends_the_run_and_a_second_start_repeats_it(command: Command, tmp_path: Path):
    arguments = ("--model", "bypass", "--samples", 24, "--output", tmp_path)
    done = command("diagnose", *arguments)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["format"], card["model"], card["reading"]) == (1, "bypass", "undecided")
    assert card["expected"] == "bypass" and card["n_deciding"] > 24
    assert card["estimates"]["follows"]["value"] == 0
    assert card["settings"]["delta"] == 0.05
    text = " ".join(done.stdout.split())
    assert text.index("follows 24") < text.index("reading: undecided")
    assert "pairs would decide" in text
    with Image.open(tmp_path / "card.png") as picture:
        assert picture.size[0] > 300
    rows = (tmp_path / "rows.jsonl").read_bytes()
    again = command("diagnose", *arguments)
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "card.json").read_text()) == card
    assert (tmp_path / "rows.jsonl").read_bytes() == rows
