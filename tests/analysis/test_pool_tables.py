"""Tables of pools: they hold what estimands read, and nothing that cannot be read is accepted."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.analysis.pair_units import pair_units
from lantern_probe.analysis.pool_tables import COLUMNS, read_pool, write_pool
from lantern_probe.errors import LanternError


def row(sample: str, condition: str, answer: str | None, **more: Any) -> dict[str, Any]:
    twin = {"a": "b", "b": "a"}[sample]
    right = {"a": "red", "b": "blue"}
    return {
        "sample": sample,
        "condition": condition,
        "status": "ok",
        "emitted": True,
        "answer": answer,
        "gold": right[sample],
        "correct": answer == right[sample],
        "cluster": "image",
        "category": "colour, asked",
        "donor": twin if condition.startswith("twin") else None,
        "donor_answer": right[twin] if condition.startswith("twin") else None,
        "logprobs": {"red": -0.1, "blue": -2.5},
    } | more


def pair() -> list[dict[str, Any]]:
    """A pair of twins whose answers follow the exchange in one direction."""
    return [
        row(sample, condition, "red" if sample == "a" else None if condition == "ban" else "blue")
        for condition in CONDITIONS
        for sample in ("a", "b")
    ]


def test_a_table_gives_the_estimands_of_the_rows(tmp_path: Path):
    rows = pair()
    rows[4] |= {"answer": "blue", "correct": False}  # a follows b
    path = tmp_path / "one.csv.gz"
    assert write_pool(rows, path) == len(rows)
    assert pair_units(read_pool(path)) == pair_units(rows)
    assert pair_units(rows)["follows"]["a", "b"].gain == 0.5
    found = {(one["sample"], one["condition"]): one for one in read_pool(path)}
    assert found["b", "ban"]["answer"] is None
    assert found["a", "own"]["likelihood"] == pytest.approx(0.917)


def test_equal_rows_make_equal_files_in_any_order(tmp_path: Path):
    first, second = tmp_path / "one.csv.gz", tmp_path / "two.csv.gz"
    write_pool(pair(), first)
    write_pool(pair()[::-1], second)
    assert first.read_bytes() == second.read_bytes()


def test_a_row_without_a_block_and_a_failed_row_do_not_count(tmp_path: Path):
    rows = [*pair(), {"sample": "c", "condition": "own", "status": "failed", "error": "?"}]
    rows[0] |= {"emitted": False}
    path = tmp_path / "one.csv.gz"
    assert write_pool(rows, path) == len(rows) - 1
    assert pair_units(read_pool(path)) == pair_units(rows)


def test_a_run_without_twins_makes_no_pool(tmp_path: Path):
    with pytest.raises(LanternError, match="no exchange between twins"):
        write_pool([row("a", "own", "red")], tmp_path / "one.csv.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "is no table of a pool"),
        (gzip.compress(b"a,b\n1,2\n"), "first line is not sample,twin"),
        (gzip.compress(b""), "first line is not"),
        (gzip.compress(",".join(COLUMNS).encode() + b"\na,b,c,,own,1,x\n"), "line 2"),
        (gzip.compress(",".join(COLUMNS).encode() + b"\na,b,c,,own,yes,x,y,0.1\n"), "line 2"),
        (gzip.compress(",".join(COLUMNS).encode() + 2 * b"\na,b,c,,own,1,x,y,.1"), "line 3"),
        (gzip.compress(",".join(COLUMNS).encode() + b"\na,b,c,,own,1,x,y,high\n"), "'high'"),
        (gzip.compress(b"sample")[:-4], "is no table of a pool"),
    ],
)
def test_what_is_no_table_is_refused_by_its_name(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "broken.csv.gz"
    path.write_bytes(content)
    with pytest.raises(LanternError, match=message) as refused:
        read_pool(path)
    assert "broken.csv.gz" in str(refused.value)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(LanternError, match="there is no table"):
        read_pool(tmp_path / "gone.csv.gz")
