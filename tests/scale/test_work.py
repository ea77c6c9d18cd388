"""Units of work: where they are cut, what a kill leaves, and a sample that raises fails alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.records.work import Collector, Division, Task, block_size, cut, run_task
from lantern_probe.records.writer import Writer, carry_out

from .counting import KEPT, Counting, questions, run_whole


def test_parts_hold_every_unit_once_and_are_cut_as_the_whole_is() -> None:
    samples = questions(21)
    for size in (1, 3, 4, 32):
        engine = Counting(samples, size)
        whole = list(cut(engine, samples, size))
        assert [unit for chunk in whole for unit in chunk] == [(s.id, 0) for s in samples]
        for count in (1, 2, 3, 4, 30):
            parts = [list(cut(engine, samples, size, Division(i, count))) for i in range(count)]
            assert sorted(chunk for part in parts for chunk in part) == sorted(whole)


def test_engines_of_other_sizes_share_the_ends_of_blocks() -> None:
    samples = questions(21)
    large, small = Counting(samples, 8), Counting(samples[:11], 3)
    block = block_size([large, small])
    assert block == 8
    chunks = [[key for key, _ in chunk] for chunk in cut(small, samples, block)]
    assert [len(chunk) for chunk in chunks] == [3, 3, 2, 3] and chunks[3][0] == "s8"


def test_a_sample_that_raises_fails_alone_with_type_message_and_frames(tmp_path: Path) -> None:
    run_whole(tmp_path / "run", 10, bad={"s5": RuntimeError("no such pixel")})
    rows = {(row["sample"], row["condition"]): row for row in read_rows(tmp_path / "run")}
    assert len(rows) == 20
    failed = [key for key, row in rows.items() if row["status"] == "failed"]
    assert failed == [("s5", "alone"), ("s5", "pooled")]
    error = rows["s5", "alone"]["error"]
    assert error.startswith("RuntimeError: no such pixel (in ") and "counting.py" in error
    assert rows["s0", "alone"]["together"] == ["s0", "s1", "s2", "s3"]


def test_a_chunk_of_which_no_sample_can_be_run_ends_the_run(tmp_path: Path) -> None:
    bad: dict[str, Exception] = {f"s{n}": LanternError("no such layer") for n in range(4)}
    with pytest.raises(LanternError, match="no such layer"):
        run_whole(tmp_path / "run", 8, bad=bad)
    with pytest.raises(RuntimeError, match="CUDA error"):
        run_whole(tmp_path / "gpu", 8, bad={"s2": RuntimeError("CUDA error: out of order")})


def test_a_full_disk_is_no_fault_of_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Run, rows: object) -> None:
        raise LanternError("cannot use the disk")

    monkeypatch.setattr(Run, "append_many", refuse)
    with pytest.raises(LanternError, match="cannot use the disk"):
        run_whole(tmp_path / "run", 8)


def test_a_chunk_of_which_a_kill_left_a_part_is_run_together_again(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run_whole(whole, 10)
    lines = (whole / "rows.jsonl").read_bytes().splitlines(keepends=True)
    for left in (1, 5, 13):
        (whole / "rows.jsonl").write_bytes(b"".join(lines[:left]))
        engine = run_whole(whole, 10)
        assert (whole / "rows.jsonl").read_bytes() == b"".join(lines)
        assert all(len(units) in (2, 4) for units in engine.seen)


def test_tensors_that_are_lost_are_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_whole(folder, 10)
    first = (folder / "rows.jsonl").read_bytes()
    files = sorted((folder / KEPT).iterdir())
    files[0].unlink()
    files[1].write_bytes(b"torn")
    kept = [line for line in first.splitlines(keepends=True) if b"pooled" not in line]
    (folder / "rows.jsonl").write_bytes(b"".join(kept))
    run_whole(folder, 10)
    assert (folder / "rows.jsonl").read_bytes() == first


def test_tensors_of_another_run_in_the_folder_do_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_whole(folder, 10)
    with Run.open(folder, {"seed": 2}, overwrite=True) as run:
        engine = Counting(run.register(questions(4)))
        carry_out(Writer(run, engine.samples, 4), [engine])
    assert {row["total"] for row in read_rows(folder) if "total" in row} == {36.0}


def test_the_pool_of_a_run_is_recorded_and_a_retried_failure_shows(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    engine = run_whole(folder, 6, bad={"s3": ValueError("late")})
    with Run.open(folder, {"seed": 1}) as run:
        assert len(run.manifest["pools"]["own_latents/clean"]) == 1
    with Run.open(folder, {"seed": 1}, retry_failed=True) as run:
        engine = Counting(run.register(questions(6)))
        carry_out(Writer(run, engine.samples, 4), [engine])
        assert len(run.manifest["pools"]["own_latents/clean"]) == 2
    # A sample that failed was never run with the others, and they are not run again.
    assert engine.seen[0] == (("s0", 0), ("s1", 0), ("s2", 0), ("s3", 0))


def test_a_chunk_needs_no_folder() -> None:
    engine, sink = Counting(questions(4)), Collector(done={("s1", "alone", 0)})
    run_task(engine, Task(0, (("s0", 0), ("s1", 0))), sink)
    assert [row["sample"] for row in sink.rows] == ["s0"]
    assert next(iter(sink.tensors.values())).keys() == {"s0", "s1"}
