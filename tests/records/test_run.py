"""Runs on disk: resuming, repairing, refusing, and what a kill or a full disk leaves."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.records import run as records
from lantern_probe.records.json_files import to_plain
from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.records.run import Run

CONFIG = {"model": {"name": "tiny", "dtype": "float32"}, "conditions": ("own", "zeros"), "seed": 3}
ROOT = Path(records.__file__).parents[2]


def row(sample: str, condition: str = "own", **more: Any) -> dict[str, Any]:
    return {"sample": sample, "condition": condition, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "run"


def filled(folder: Path, n: int = 3) -> Path:
    with Run.open(folder, CONFIG) as run:
        run.append_many(row(f"s{i}", text=f"é\u2028\n{i}") for i in range(n))
    return folder


def test_a_run_says_what_is_needed_to_repeat_it(folder: Path) -> None:
    with Run.open(folder, CONFIG) as run:
        started = read_manifest(folder)
        run.append(row("a"))
    assert started["status"] == "running"
    assert {"git", "packages", "python", "platform", "created"} <= started.keys()
    assert started["packages"]["torch"] == torch.__version__.split("+")[0]
    assert started["command"] == sys.orig_argv
    assert started["seed"] == 3
    assert started["config"] == to_plain(CONFIG, "config")
    ended = read_manifest(folder)
    assert (ended["status"], ended["rows"]) == ("complete", 1)


def test_a_run_of_the_same_configuration_is_resumed(folder: Path) -> None:
    filled(folder)
    reordered = dict(reversed(CONFIG.items())) | {"conditions": ["own", "zeros"]}
    with Run.open(folder, reordered) as run:
        assert read_manifest(folder)["status"] == "running"
        assert run.done() == {("s0", "own"), ("s1", "own"), ("s2", "own")}
        assert run.done(("condition",)) == {("own",)}
        assert run.has("s1", "own")
        assert not run.has("s1", "zeros")
        run.append(row("s1", "zeros"))
    assert [r["sample"] for r in read_rows(folder)] == ["s0", "s1", "s2", "s1"]
    assert read_rows(folder)[1]["text"] == "é\u2028\n1"
    assert len(read_manifest(folder)["resumed"]) == 1


def test_another_configuration_is_refused_by_the_keys_that_differ(folder: Path) -> None:
    filled(folder)
    before = (folder / "run.json").read_bytes()
    other = {"model": {"name": "tiny", "dtype": "bfloat16"}, "conditions": ["own"], "limit": 5}
    with pytest.raises(LanternError) as caught:
        Run.open(folder, other)
    message = str(caught.value)
    assert "model.dtype: 'float32' there, 'bfloat16' here" in message
    assert "limit: absent there, 5 here" in message
    assert "seed: 3 there, absent here" in message
    assert "conditions" in message
    assert "name" not in message
    assert "--output" in message
    assert "--overwrite" in message
    assert (folder / "run.json").read_bytes() == before
    Run.open(folder, CONFIG).close()  # the refusal has not kept the lock


def test_overwrite_starts_again_and_leaves_other_files(folder: Path) -> None:
    filled(folder)
    (folder / "figure.png").write_bytes(b"x")
    with Run.open(folder, {"seed": 4}, overwrite=True) as run:
        assert run.rows() == []
    assert (folder / "figure.png").exists()
    assert read_manifest(folder)["config"] == {"seed": 4}
    (folder / "run.json").write_text("{")
    Run.open(folder, CONFIG, overwrite=True).close()


def test_a_folder_of_other_files_is_not_touched(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(LanternError, match=r"thesis\.tex.*--output"):
            Run.open(folder, CONFIG, overwrite=overwrite)
    assert [p.name for p in folder.iterdir()] == ["thesis.tex"]


def test_what_a_killed_start_leaves_is_no_obstacle(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ".run.json.77.tmp").write_text('{"form')
    Run.open(folder, CONFIG).close()
    assert {p.name for p in folder.iterdir()} == {".lock", "run.json", "rows.jsonl"}


def test_a_torn_line_is_cut_at_every_byte(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(folder)
    monkeypatch.setattr(records, "provenance", dict)  # asks git, and is not what is tested
    data = (folder / "rows.jsonl").read_bytes()
    for size in range(len(data) + 1):
        (folder / "rows.jsonl").write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        assert len(read_rows(folder)) == whole  # a reader passes over it
        run = Run.open(folder, CONFIG)
        assert len(run.done()) == whole
        run.append(row("new"))
        run.close()
        assert [r["sample"] for r in read_rows(folder)] == [*["s0", "s1", "s2"][:whole], "new"]


WRITER = """
import sys
from pathlib import Path
from lantern_probe.records import Run
with Run.open(sys.argv[1], {"seed": 0}) as run:
    for i in range(10**6):
        if not run.has(f"s{i}", "own"):
            run.append({"sample": f"s{i}", "condition": "own", "text": "x" * (i * 37 % 3000)})
            print(i, flush=True)
"""


def writer(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


@pytest.fixture
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = writer(folder)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_run_killed_again_and_again_loses_nothing_it_confirmed(folder: Path) -> None:
    pause = random.Random(0)
    confirmed = -1
    for _ in range(4):
        process = writer(folder)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert int(first) > confirmed
        time.sleep(pause.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        confirmed = int(([first, *process.communicate()[0].splitlines()])[-1])
        Run.open(folder, {"seed": 0}).close()
        samples = [r["sample"] for r in read_rows(folder)]
        assert samples == [f"s{i}" for i in range(len(samples))]
        assert len(samples) > confirmed
        assert read_manifest(folder)["status"] == "running"


def test_a_second_process_is_refused_while_the_first_lives(
    folder: Path, running: subprocess.Popen[str]
) -> None:
    with pytest.raises(LanternError, match=f"process {running.pid} on .*--output"):
        Run.open(folder, {"seed": 0})
    read_rows(folder)  # readers need no lock
    running.kill()
    running.wait()
    Run.open(folder, {"seed": 0}).close()


def test_a_second_opening_here_is_refused_until_the_first_is_closed(folder: Path) -> None:
    run = Run.open(folder, CONFIG)
    with pytest.raises(LanternError, match=f"process {os.getpid()}"):
        Run.open(folder, CONFIG)
    run.close()
    run.close()
    with pytest.raises(LanternError, match="closed"):
        run.append(row("a"))
    Run.open(folder, CONFIG).close()


def test_rows_are_unique_and_named(folder: Path) -> None:
    with Run.open(folder, CONFIG) as run:
        run.append(row("a"))
        with pytest.raises(LanternError, match="'a', condition 'own' is already"):
            run.append(row("a"))
        with pytest.raises(LanternError, match="'b'.*already"):
            run.append_many([row("b"), row("c"), row("b")])
        for nameless in ({"sample": "a"}, row("a", condition=None), row("a", condition=1.5)):  # type: ignore[misc]
            with pytest.raises(LanternError, match="needs a 'sample' and a 'condition'"):
                run.append(nameless)
        run.append_many([])
    assert [r["sample"] for r in read_rows(folder)] == ["a"]


def test_failed_rows_are_done_unless_they_are_to_be_retried(folder: Path) -> None:
    with Run.open(folder, CONFIG) as run:
        run.append_many([row("a"), row("b", status="failed", error="no image"), row("c")])
    with Run.open(folder, CONFIG) as run:
        assert run.has("b", "own")
    with Run.open(folder, CONFIG, retry_failed=True) as run:
        assert not run.has("b", "own")
        run.append(row("b", status="ok"))
    assert [r["sample"] for r in read_rows(folder)] == ["a", "c", "b"]


def test_leaving_says_how_it_went(folder: Path) -> None:
    for error, status in ((ValueError("boom"), "failed"), (KeyboardInterrupt(), "interrupted")):
        with pytest.raises(type(error)), Run.open(folder, CONFIG):
            raise error
        assert read_manifest(folder)["status"] == status
    assert "KeyboardInterrupt" in read_manifest(folder)["error"]
    with Run.open(folder, CONFIG) as run:
        run.finish("partial")
    manifest = read_manifest(folder)
    assert manifest["status"] == "partial"
    assert "error" not in manifest


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"sample": "s1", "cond', "line 2: corrupt"),
        (b"\x00\x00", "line 2: corrupt"),
        (b"\xff", "line 2: corrupt"),
        (b"", "line 2: corrupt"),
        (b"[1]", "line 2: corrupt .not an object"),
        (b"[" * 100_000, "line 2: corrupt"),
        (b'{"sample": "s1", "condition": NaN}', "line 2: corrupt .NaN"),
        (b'{"sample": "s1"}', "line 2: a row needs"),
        (b'{"sample": "s0", "condition": "own"}', "line 2: a second row for sample 's0'"),
    ],
)
def test_a_corrupt_line_is_named_and_left(folder: Path, line: bytes, problem: str) -> None:
    path = filled(folder) / "rows.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], line, *lines[2:]]))
    before = path.read_bytes()
    with pytest.raises(LanternError, match=f"{path}, {problem}"):
        Run.open(folder, CONFIG)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{\n"format": 1,\n', "line 3: not valid JSON"),
        ("", "line 1: not valid JSON"),
        ("\x00", "line 1: not valid JSON"),
        ("[]", "not the record of a run"),
        ('{"format": 99, "config": {}}', "format 99.*update"),
    ],
)
def test_a_corrupt_manifest_is_named(folder: Path, text: str, problem: str) -> None:
    (filled(folder) / "run.json").write_text(text)
    for use in (lambda: Run.open(folder, CONFIG), lambda: read_rows(folder)):
        with pytest.raises(LanternError, match=f"run.json.*{problem}"):
            use()


def test_readers_name_a_folder_without_a_run(folder: Path) -> None:
    with pytest.raises(LanternError, match="holds no run"):
        read_rows(folder)


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(LanternError, match=f"'{place}': a file stands where"):
            Run.open(place, CONFIG)


def test_a_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(LanternError, match=f"'{folder}': Read-only file system"):
        Run.open(folder, CONFIG)


def test_a_disk_that_fills_up_costs_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(folder, CONFIG)
    run.append(row("a"))
    before = (folder / "rows.jsonl").read_bytes()
    really_write, room = os.write, 30

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = really_write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(LanternError, match=f"'{folder}': No space left.*make room"):
        run.append_many([row("b"), row("c")])
    assert (folder / "rows.jsonl").read_bytes() == before
    room = 10_000
    run.append_many([row("b"), row("c")])
    run.close()
    assert [r["sample"] for r in read_rows(folder)] == ["a", "b", "c"]


def test_a_roll_back_that_fails_is_made_up_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(folder, CONFIG)
    run.append(row("a"))

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        patched.setattr(os, "ftruncate", fail)
        with pytest.raises(LanternError, match="Input/output error"):
            run.append(row("b"))
    assert not run.has("b", "own")
    run.append(row("b", again=True))
    run.close()
    assert read_rows(folder)[1:] == [row("b", again=True)]


# A limit on the size of files is the nearest to a full disk that needs no disk: the kernel takes
# a part of the line, then refuses.
LIMITED = """
import resource, sys
from lantern_probe.errors import LanternError
from lantern_probe.records import Run
run = Run.open(sys.argv[1], {"seed": 0})
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    for i in range(100):
        run.append({"sample": i, "condition": "own", "text": "x" * 300})
except LanternError as error:
    print(len(run.rows()), error)
"""


def test_the_kernel_refusing_half_a_line_costs_no_row(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)], capture_output=True, text=True, cwd=ROOT
    )
    assert "File too large" in done.stdout, done.stderr
    assert len(read_rows(folder)) == int(done.stdout.split()[0]) > 5
    assert (folder / "rows.jsonl").read_bytes().endswith(b"\n")


def test_a_device_that_is_full(tmp_path: Path) -> None:
    filled(tmp_path / "run")
    (tmp_path / "run" / "rows.jsonl").unlink()
    (tmp_path / "run" / "rows.jsonl").symlink_to(os.devnull)
    run = Run.open(tmp_path / "run", CONFIG)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, run._rows.fileno())
    os.close(full)
    with pytest.raises(LanternError, match="No space left"):
        run.append(row("a"))
    assert not run.has("a", "own")
    run.close()


def test_what_json_cannot_hold_is_named(folder: Path) -> None:
    with (
        Run.open(folder, CONFIG) as run,
        pytest.raises(LanternError, match=r"row\.x\[1\] is a bytes"),
    ):
        run.append(row("a", x=[1, b"raw"]))


@pytest.mark.parametrize("fault", ["deleted", "replaced", "folder deleted"])
def test_rows_taken_away_under_a_run_stop_it(fault: str, tmp_path: Path):
    """An open file outlives its name; rows written to it would be lost without a word."""
    folder = tmp_path / "run"
    run = Run.open(folder, {})
    run.append({"sample": "a", "condition": "own"})
    rows = folder / "rows.jsonl"
    if fault == "folder deleted":
        shutil.rmtree(folder)
    elif fault == "deleted":
        rows.unlink()
    else:  # as most editors do
        shutil.copy(rows, folder / "new")
        (folder / "new").replace(rows)
    with pytest.raises(LanternError, match="was deleted or replaced while the run was going on"):
        run.append({"sample": "b", "condition": "own"})
    run.close()
    with Run.open(folder, {}) as again:
        assert again.has("a", "own") == (fault == "replaced")
        again.append({"sample": "b", "condition": "own"})


def test_passes_of_one_condition_are_rows_of_their_own(tmp_path: Path) -> None:
    row = {"sample": "a", "condition": "own", "status": "ok"}
    with Run.open(tmp_path, {}) as run:
        run.append_many([{**row, "pass": number} for number in range(3)])
        assert run.has("a", "own", 2) and not run.has("a", "own", 3)
        assert run.done() == {("a", "own")}
        with pytest.raises(LanternError, match="sample 'a', condition 'own', pass 2 is already"):
            run.append({**row, "pass": 2})
        with pytest.raises(LanternError, match="condition 'own' is already"):
            run.append(row)  # a greedy row is a row of the first pass
    with Run.open(tmp_path, {}) as run:
        assert run.has("a", "own", 2) and len(run.rows()) == 3


@pytest.mark.parametrize("number", [-1, 1.5, "0", True, None])
def test_a_pass_that_is_no_index_is_refused(tmp_path: Path, number: Any) -> None:
    with (
        Run.open(tmp_path, {}) as run,
        pytest.raises(LanternError, match="'pass' of a row is a whole number from 0 on"),
    ):
        run.append({"sample": "a", "condition": "own", "status": "ok", "pass": number})


def test_failed_passes_alone_are_retried(tmp_path: Path) -> None:
    row = {"sample": "a", "condition": "own"}
    with Run.open(tmp_path, {}) as run:
        run.append({**row, "pass": 0, "status": "ok"})
        run.append({**row, "pass": 1, "status": "failed"})
    with Run.open(tmp_path, {}, retry_failed=True) as run:
        assert run.has("a", "own", 0) and not run.has("a", "own", 1)


def test_failed_rows_of_a_condition_can_be_forgotten_while_the_run_is_open(folder: Path) -> None:
    failed = {"status": "failed", "error": "no answer"}
    with Run.open(folder, CONFIG) as run:
        run.append_many([row("a", status="ok"), row("b", **failed), row("b", "served", **failed)])
        run.forget_failed(["served"])
        assert run.has("b", "own") and not run.has("b", "served")
        run.forget_failed(["served"])
        run.append(row("b", "served", status="ok"))
    found = [(r["sample"], r["condition"], r["status"]) for r in read_rows(folder)]
    assert found == [("a", "own", "ok"), ("b", "own", "failed"), ("b", "served", "ok")]
