"""The part of a process: by flag, and by its place in Slurm arrays of odd shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows
from lantern_probe.records.work import Division
from lantern_probe.scale.merge import merge
from lantern_probe.scale.shards import (
    array_shard,
    parse_shard,
    refuse_changed_division,
    refuse_other_divisions,
    shard_of,
)

from .counting import run_shard, run_shards, run_whole


def array(task: object, first: object, last: object, count: object, step: object = 1) -> dict:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_a_part_is_written_i_of_n() -> None:
    assert parse_shard("0/4") == Division(0, 4) and parse_shard("11/12") == Division(11, 12)
    for text in ("4/4", "-1/4", "1", "1/0", "0/0", "one", "1/4/2", "", " 0/4", "٣/٤"):
        with pytest.raises(LanternError, match="i from 0 to n - 1"):
            parse_shard(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (array(0, 0, 3, 4), Division(0, 4)),
        (array(3, 0, 3, 4), Division(3, 4)),
        (array(1, 1, 4, 4), Division(0, 4)),
        (array(7, 5, 8, 4), Division(2, 4)),
        (array(6, 0, 6, 4, step=2), Division(3, 4)),
        (array(4, 1, 9, 3, step=3), Division(1, 3)),
        (array(9, 9, 9, 1), Division(0, 1)),
        (array(2, 0, 3, 4, step=""), Division(2, 4)),
    ],
)
def test_a_whole_array_gives_every_task_its_part(
    environment: dict[str, str], expected: Division
) -> None:
    assert array_shard(environment) == expected == shard_of(None, environment)


def test_outside_an_array_and_by_a_flag_the_array_does_not_count() -> None:
    assert array_shard({}) is None
    assert array_shard({"SLURM_ARRAY_TASK_ID": "", "SLURM_ARRAY_TASK_COUNT": ""}) is None
    inside = array(0, 0, 5, 3)
    assert shard_of("1/2", inside) == Division(1, 2)
    assert shard_of("none", inside) is None


@pytest.mark.parametrize(
    "environment",
    [
        array(0, 0, 5, 3),  # --array=0,2,5
        array(5, 0, 5, 3),
        array(1, 0, 6, 4, step=2),
        array(9, 0, 3, 4),
        array(0, 0, 3, 4, step=0),
        array("x", 0, 3, 4),
        array(0, 0, 3, ""),
        array(0, "", 3, 4),
        {"SLURM_ARRAY_TASK_ID": "0"},
    ],
)
def test_an_array_with_gaps_is_refused_with_a_way_out(environment: dict[str, str]) -> None:
    with pytest.raises(LanternError, match=r"--shard i/n, or --shard none"):
        array_shard(environment)


def test_another_division_in_the_output_is_refused(tmp_path: Path) -> None:
    run_shards(tmp_path / "parts", 3, 8)
    refuse_other_divisions(tmp_path / "parts", Division(0, 3))
    with pytest.raises(LanternError, match=r"shard-0-of-3, of another division than --shard 0/1"):
        refuse_other_divisions(tmp_path / "parts", Division(0, 1))
    with pytest.raises(LanternError, match="holds parts of a run"):
        refuse_other_divisions(tmp_path / "parts", None)
    run_whole(tmp_path / "whole", 8)
    with pytest.raises(LanternError, match="holds a whole run"):
        refuse_other_divisions(tmp_path / "whole", Division(0, 3))
    refuse_other_divisions(tmp_path / "whole", None)


def test_other_cuts_of_a_part_are_refused(tmp_path: Path) -> None:
    there = {"block": 8, "samples": 21, "order": "a"}
    refuse_changed_division(tmp_path, there, there)
    refuse_changed_division(tmp_path, {}, there)
    for change in ({"block": 4}, {"samples": 20}, {"order": "b"}):
        with pytest.raises(LanternError, match="is cut otherwise"):
            refuse_changed_division(tmp_path, there, there | change)


@pytest.mark.parametrize("number", [2, 3, 4, 9])
def test_shards_put_together_are_one_run_to_the_byte(number: int, tmp_path: Path) -> None:
    run_whole(tmp_path / "whole", 21)
    folders = run_shards(tmp_path / "parts", number, 21)
    assert merge(folders, tmp_path / "merged") == 42
    rows = (tmp_path / "merged" / "rows.jsonl").read_bytes()
    assert rows == (tmp_path / "whole" / "rows.jsonl").read_bytes()


def test_a_second_stage_waits_for_the_first_of_all_shards(tmp_path: Path) -> None:
    run_shard(tmp_path, Division(0, 2), 8, ready=False)
    rows = read_rows(tmp_path / "shard-0-of-2")
    assert {row["condition"] for row in rows} == {"alone"}
