"""Committed pools: they are what the results beside them, and the tables in the pages, are of."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from experiments.evaluate_readings import expected, load_pool, record
from lantern_probe.analysis.calibration import calibrate

ROOT = Path(__file__).parents[2]
POOLS = Path(__file__).parent / "pools"
TABLES = sorted(POOLS.glob("*/*.csv.gz"))
SPLITS = sorted({table.parent.name for table in TABLES})


def results(split: str) -> list[dict[str, Any]]:
    return json.loads((POOLS / split / "readings.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_of_one_seed_and_small(split: str) -> None:
    tables = [table for table in TABLES if table.parent.name == split]
    assert split in ("development", "test")
    assert sum(table.stat().st_size for table in tables) <= 5e6
    names = {table.name.removesuffix(".csv.gz") for table in tables}
    assert {name.endswith("-1") for name in names} == {split == "test"}
    assert {one["name"] for one in results(split)} == names


@pytest.mark.parametrize("split", SPLITS)
def test_results_are_counted_over_all_evaluations(split: str) -> None:
    for one in results(split):
        assert one["draws"] >= 200 and sum(one["readings"].values()) == one["draws"]
        assert one["hits"] + one["undecided"] + one["wrong"] == one["draws"]
    assert {one["n"] for one in results(split)} == {32, 64, 128, 256, 512}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_evaluations_of_a_pool_come_out_again(table: Path) -> None:
    """The smallest size, in one mixture where there are several."""
    pool = load_pool(table)
    kept = next(one for one in results(table.parent.name) if one["name"] == pool.name)
    share = None if kept["share"] is None else 1 - kept["share"]
    assert pool.pairs == kept["pool"] and kept["n"] == 32
    found = calibrate(pool, kept["n"], draws=kept["draws"], share=share)
    right = expected(pool.name, None if share is None else pool.truth(share))
    assert record(found, right, pool.pairs) == kept


def test_the_pages_show_the_results() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "readings.py"), run_name="docs")
    for path, lines in made["PAGES"].items():
        text = path.read_text(encoding="utf-8")
        assert made["page"](path, lines()) == text, "run `python docs/readings.py`"
