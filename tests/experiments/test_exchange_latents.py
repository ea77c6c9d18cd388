"""`python -m experiments.exchange_latents` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from experiments.console import WIDTH

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def exchange(command: Command) -> Command:
    return partial(command, "exchange_latents")


def test_exchange_mediation_and_slots_in_one_run(exchange: Command, tmp_path: Path):
    arguments = ("--model", "faithful", "--samples", 8, "--subsets", 1, "--output", tmp_path)
    done = exchange(*arguments)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((tmp_path / "exchange.json").read_text())
    rates = {item["condition"]: item["donor_rate"]["estimate"] for item in record["exchanges"]}
    assert rates["twin"] == 1 and rates["self-swap"] == 0
    assert record["mediation"]["share"]["estimate"] > 0.9
    tests = {item["condition"]: item for item in record["exchanges"]}
    assert tests["self-swap"]["lift_test"] is tests["self-swap"]["margin_holm_p"] is None
    # 8 pairs that all follow, each as one; the family are five exchanges, or four effects.
    for test in (
        tests["twin"]["lift_test"],
        tests["twin"]["margin_test"],
        record["mediation"]["tests"]["tie"],
    ):
        assert (test["n"], test["clusters"], test["p"], test["method"]) == (16, 8, 1 / 128, "exact")
    assert tests["twin"]["lift_holm_p"] == 5 / 128
    assert record["mediation"]["holm_p"]["te"] == 4 / 128
    text = " ".join(done.stdout.split())
    for said in (
        "exchange n donor's answer lift p Holm as before",
        "exchange n margin, nats p Holm",
        "effect nats of the gold log-odds p Holm",
        "self-swap 16 .000 [.000, .411] .000 [-.411, .411] - -",
        "p: sign-flip test that it is 0",
    ):
        assert said in text
    wide = [line for line in done.stdout.splitlines() if len(line) > WIDTH]
    assert all(str(tmp_path) in line for line in wide)
    shares = [s for s in record["slots"] if s["measure"] == "donor"]
    assert [s["frozen"] for s in shares] == [True] * 8 + [False] * 8
    for variant in (shares[:8], shares[8:]):
        assert abs(sum(s["shapley"]["estimate"] for s in variant) - 1) < 1e-9
    assert "later slots frozen)" in text
    assert "later slots re-rolled, so a share includes what they copy)" in text
    with Image.open(tmp_path / "exchange.png") as picture:
        assert picture.size[0] > 1000
    # The table holds the named exchanges, and not the 255 sets of slots.
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary) == 7
    again = exchange(*arguments)
    assert again.returncode == 0 and json.loads((tmp_path / "exchange.json").read_text()) == [
        record
    ]


def test_twins_by_corruption_mediate_without_a_known_answer(exchange: Command, tmp_path: Path):
    done = exchange(
        *("--model", "bypass", "--samples", 6, "--twin", "black-box", "--output", tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((tmp_path / "exchange.json").read_text())
    mediation = record["mediation"]
    assert mediation["n"] == 6 and mediation["te"]["estimate"] < 0
    assert record["slots"] == []
