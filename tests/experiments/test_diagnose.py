"""`python -m experiments.diagnose` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from experiments.diagnose import fitting_pairs

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


@pytest.mark.slow
def test_the_evidence_can_be_left_out_and_made_later(command, tmp_path):
    arguments = ["--model", "faithful", "--samples", "20", "--output", str(tmp_path)]
    done = command("diagnose", *arguments, "--evidence", "decisive")
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "card.json").read_text())
    assert not any(line.startswith("knockout") for line in first["supporting"])
    again = command("diagnose", *arguments)
    assert again.returncode == 0, again.stderr
    card = json.loads((tmp_path / "card.json").read_text())
    added = card["supporting"][len(first["supporting"]) :]
    names = [line.partition(":")[0] for line in added]
    assert names == ["knockout", "probe", "geometry", "retrieval"]
    assert {**card, "supporting": first["supporting"]} == first
    other = command("diagnose", *arguments, "--high", "0.7")
    assert other.returncode != 0
    assert "high: 0.8 there, 0.7 here" in " ".join(other.stderr.split())


def test_minutes_cover_the_evidence_on_the_first_pairs():
    assert fitting_pairs(100, 0.0) == 100
    assert fitting_pairs(44, 0.375) == 32  # all pairs have evidence
    assert fitting_pairs(88, 0.375) == 64
    assert fitting_pairs(124, 0.375) == 100  # 64 of them have
