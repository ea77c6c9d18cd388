"""`python -m experiments.evaluate_readings` as a user runs it, and its right readings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.evaluate_readings import expected
from experiments.tables.readings import bound_of_organisms, columns, confusion, totals, verdict
from lantern_probe.analysis.estimands import ABOUT
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
    written = command("write_pools", pool, "--output", tmp_path / "pools")
    assert written.returncode == 0, written.stderr
    of_table = []
    for source in (pool, tmp_path / "pools" / "bypass.csv.gz", tmp_path / "pools"):
        output = tmp_path / "new"
        done = command("evaluate_readings", source, "--n", 256, "--draws", 3, "--output", output)
        assert done.returncode == 0, done.stderr
        (record,) = json.loads((output / "readings.json").read_text())
        assert (record["hits"], record["undecided"], record["wrong"]) == (3, 0, 0)
        assert (record["right"], record["pool"], record["n"]) == (["bypass"], 24, 256)
        assert "bypass" in done.stdout
        of_table.append((output / "coverage.csv").read_text())
    assert of_table[0] == of_table[1] == of_table[2]
    assert {line.split(",")[3] for line in of_table[0].splitlines()[1:]} <= set(ABOUT)


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


def cell(name: str, right: list[str], readings: dict[str, int], n: int = 256) -> dict[str, Any]:
    """A cell as readings.json has it."""
    hits = sum(readings.get(word, 0) for word in right)
    draws, undecided = sum(readings.values()), readings.get("undecided", 0)
    counts = {"draws": draws, "hits": hits, "undecided": undecided}
    return {"name": name, "right": right, "readings": readings, "n": n, **counts} | {
        "wrong": draws - hits - undecided
    }


CELLS = [
    cell("partial-1", ["partial"], {"partial": 8, "undecided": 2}),
    cell("partial-1", ["faithful", "partial"], {"faithful": 3, "partial": 7}),
    cell("bypass-1", ["bypass"], {"bypass": 9, "collapsed": 1}),
    cell("bypass-1", ["bypass"], {"undecided": 10}, n=64),
]


def test_a_confusion_matrix_counts_evaluations_of_one_size():
    found = confusion(CELLS, 256)
    assert found["faithful or partial"] == {"faithful": 3, "partial": 7}
    assert found["bypass"] == {"bypass": 9, "collapsed": 1}
    assert columns(found) == ["bypass", "collapsed", "faithful", "partial", "undecided"]
    assert totals(CELLS, 256) == {"draws": 30, "hits": 27, "undecided": 2, "wrong": 1}


def test_the_bound_of_wrong_readings_counts_organisms_and_not_draws():
    # One of two organisms: the exact upper 95 % bound of the share is the root of .95.
    assert bound_of_organisms(CELLS, 256) == (1, 2, pytest.approx(0.95**0.5))
    # None of one: 1 - .05.
    assert bound_of_organisms(CELLS, 64) == (0, 1, pytest.approx(0.95))
    assert "1 of 30 evaluations are read wrong" in verdict(CELLS, 256)
    assert "1 of 2 have a wrong reading" in verdict(CELLS, 256)
