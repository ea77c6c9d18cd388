"""Kills, full disks, Ctrl-C, second writers and broken files, met through the command line.

These take some fifty starts of the command, which is imported once and then forked: see forks.py.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.tasks.scenes import scenes

ROOT = Path(__file__).parents[2]


class Forks:
    """Starts the command, in forks of a process that has imported it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = 0
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forks.py")],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, **wish: Any) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, *arguments: Any, **wish: Any) -> Child:
        self.started += 1
        streams = [str(self.folder / f"{self.started}.{name}") for name in ("out", "err")]
        return Child(self, self.ask(arguments=[*map(str, arguments)], streams=streams, **wish))

    def run(self, *arguments: Any, **wish: Any) -> Child:
        """One that is waited for."""
        child = self.start(*arguments, **wish)
        child.wait()
        return child


class Child:
    """One process, from its start to what it left on its streams."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.forks, self.pid, self.number = forks, pid, forks.started
        self.status: int | None = None

    def send(self, number: signal.Signals) -> None:
        assert self.status is None  # until it is waited for, its id is not given to another
        os.kill(self.pid, number)

    def wait(self) -> int:
        self.status = self.forks.ask(wait=self.pid)
        return self.status

    @property
    def out(self) -> str:
        return (self.forks.folder / f"{self.number}.out").read_text()

    @property
    def err(self) -> str:
        return (self.forks.folder / f"{self.number}.err").read_text()

    @property
    def error(self) -> str:
        """The one line it said before it ended with status 2."""
        lines = self.err.splitlines()
        assert self.status == 2 and len(lines) == 1 and lines[0].startswith("error: "), self.err
        return lines[0]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("streams"))
    with forks.process:
        yield forks
        forks.process.kill()


ARGUMENTS = (
    "--model", "faithful", "--samples", 24, "--batch-rows", 8,
    "--conditions", "zeros", "swap", "noise-matched",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert forks.run(*ARGUMENTS, "--output", folder).status == 0
    return folder


def whole_lines(folder: Path) -> bytes:
    """The rows on disk; not what is torn, or still being written."""
    path = folder / "rows.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def wait_for(condition: Callable[[], bool]) -> None:
    hopeless = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < hopeless
        time.sleep(0.002)


def alike(found: Any, wanted: Any) -> bool:
    """Equal, but for rounding: rows decoded in other batches round differently."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(alike(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(alike, found, wanted))
    return found == (
        pytest.approx(wanted, rel=1e-5, abs=1e-4) if isinstance(wanted, float) else wanted
    )


def assert_same(folder: Path, expected: Path) -> None:
    """Two complete runs: the same rows in any order, the same summary."""
    rows, wanted = (read_rows(place) for place in (folder, expected))
    assert len(rows) == len(wanted)
    by_key = {(row["sample"], row["condition"]): row for row in rows}
    for row in wanted:
        found = by_key.pop((row["sample"], row["condition"]))
        assert alike(found, row), (found, row)
    assert not by_key
    summary, other = (json.loads((p / "summary.json").read_text()) for p in (folder, expected))
    assert len(summary) == len(other)
    assert all(map(alike, summary, other))
    assert read_manifest(folder)["status"] == read_manifest(expected)["status"] == "complete"


# -- kills ---------------------------------------------------------------------


@pytest.mark.slow
def test_twenty_kills_cost_no_row(forks: Forks, tmp_path: Path):
    arguments = (*ARGUMENTS, "--samples", 48)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    assert forks.run(*arguments, "--output", whole).status == 0
    whole_rows = whole_lines(whole)
    total, size = whole_rows.count(b"\n"), len(whole_rows)
    draw = random.Random(7)
    confirmed = b""
    torn = grew = incomplete = 0
    phases = set()
    renames = iter((2, 1, 1, 1))  # own latents while they are made, then run.json
    for number in range(20):
        match number % 5:
            case 0:  # while it starts
                wish, growth, pause = {}, 0, draw.uniform(0, 0.6)
            case 1:
                wish = {"die_at": ("replace", next(renames))}
            case 2:
                wish = {"die_at": ("write", draw.randint(1, 2), draw.uniform(0.05, 0.95))}
            case _:
                # A part of what is left, so that it always grows this far and is not done by then.
                left = size - len(confirmed)
                growth, pause = draw.randint(left // 12, left // 6), draw.uniform(0, 0.02)
                wish = {}
        child = forks.start(*arguments, "--output", folder, **wish)
        if not wish:
            grown = len(confirmed) + growth
            wait_for(lambda goal=grown: len(whole_lines(folder)) >= goal)  # type: ignore[misc]
            time.sleep(pause)
            child.send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, child.err
        found = whole_lines(folder)
        assert found.startswith(confirmed)
        torn += (folder / "rows.jsonl").exists() and (folder / "rows.jsonl").read_bytes() != found
        grew += len(found) > len(confirmed)
        incomplete += found.count(b"\n") < total
        phases.add((b'"own"' in found, b'"swap"' in found))
        confirmed = found
    # That the kills hit every phase: if this fails, the sizes above are wrong.
    assert phases == {(False, False), (True, False), (True, True)}
    assert torn >= 3 and grew >= 10 and incomplete >= 15
    assert forks.run(*arguments, "--output", folder).status == 0
    assert whole_lines(folder).startswith(confirmed)
    assert_same(folder, whole)


# -- what the system refuses ---------------------------------------------------


def test_a_full_disk_costs_no_row(forks: Forks, undisturbed: Path, tmp_path: Path):
    """Limits on the size of a file are a full disk to the process: a part is taken, then none."""
    run = (*ARGUMENTS, "--output", tmp_path / "run")
    assert f"'{tmp_path / 'run' / 'run.json'}': File too" in forks.run(*run, file_size=500).error
    # Small batches, so that the latents of a batch fit and the rows run into the limit.
    full = forks.run(*run, "--batch-rows", 2, file_size=20_000)
    assert f"'{tmp_path / 'run'}': File too large" in full.error
    rows = whole_lines(tmp_path / "run")
    assert 18_000 < len(rows) <= 20_000
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == rows
    assert read_manifest(tmp_path / "run")["status"] == "failed"
    # Large ones, so that the latents do.
    full = forks.run(*run, "--batch-rows", 64, file_size=24_000)
    assert f"'{tmp_path / 'run' / 'own_latents'}" in full.error and "too large" in full.error
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == rows
    assert forks.run(*run).status == 0
    assert whole_lines(tmp_path / "run").startswith(rows)
    assert_same(tmp_path / "run", undisturbed)


def test_a_folder_under_a_file(forks: Forks, tmp_path: Path):
    (tmp_path / "file").touch()
    child = forks.run(*ARGUMENTS, "--output", tmp_path / "file" / "run")
    assert f"'{tmp_path / 'file' / 'run'}': a file stands where a folder is needed" in child.error


def test_a_read_only_folder(forks: Forks, undisturbed: Path, tmp_path: Path):
    empty, run = tmp_path / "empty", tmp_path / "run"
    empty.mkdir()
    shutil.copytree(undisturbed, run)
    for folder in (empty, run):
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        for path in (folder, *before):
            path.chmod(0o555)
        if os.access(folder, os.W_OK):
            pytest.skip("permissions do not bind this user; see the folder under a file")
        error = forks.run(*ARGUMENTS, "--output", folder).error
        for path in (folder, *before):
            path.chmod(0o755)
        assert f"'{folder}': Permission denied" in error
        assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# -- other people, other wishes ------------------------------------------------


def test_a_second_process_is_sent_away_and_harms_nothing(
    forks: Forks, undisturbed: Path, tmp_path: Path
):
    run = (*ARGUMENTS, "--output", tmp_path / "run")
    first = forks.start(*run)
    wait_for(lambda: whole_lines(tmp_path / "run").count(b"\n") >= 8)
    first.send(signal.SIGSTOP)
    try:
        before = {
            path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()
        }
        for more in ((), ("--overwrite",), ("--seed", 1)):
            second = forks.run(*run, *more)
            assert f"'{tmp_path / 'run'}' is being written by process {first.pid} " in second.error
            assert "--output" in second.error
        assert before == {path: path.read_bytes() for path in before}
    finally:
        first.send(signal.SIGCONT)
    assert first.wait() == 0
    assert_same(tmp_path / "run", undisturbed)


def test_a_changed_setting_is_named(forks: Forks, undisturbed: Path):
    before = {
        p: p.read_bytes() for p in undisturbed.rglob("*") if p.is_file() and p.name != ".lock"
    }
    changes = {
        "seed: 0 there, 1 here": ("--seed", 1),
        "parser: 'default' there, 'official' here": ("--parser", "official"),
        "max_new_tokens: None there, 40 here": ("--max-new-tokens", 40),
        "data: 'scenes' there, 'scenes-grey' here": ("--task", "scenes-grey"),
        "model: 'faithful' there, 'bypass' here": ("--model", "bypass"),
    }
    for message, change in changes.items():
        error = forks.run(*ARGUMENTS, "--output", undisturbed, *change).error
        assert message in error and "--overwrite" in error
        for other in changes.keys() - {message}:  # another model has other weights, too
            assert other.split(":")[0] + ": " not in error
    assert before == {path: path.read_bytes() for path in before}


# -- interruption --------------------------------------------------------------


def test_ctrl_c_at_any_phase(forks: Forks, undisturbed: Path, tmp_path: Path):
    folder, manifest = tmp_path / "run", tmp_path / "run" / "run.json"
    phases: dict[str, Callable[[], bool]] = {
        "started": lambda: b'"conditions"' in manifest.read_bytes() if manifest.exists() else False,
        "first pass": lambda: b'"own"' in whole_lines(folder),
        "second pass": lambda: b'"zeros"' in whole_lines(folder),
    }
    rows = b""
    for phase, reached in phases.items():
        child = forks.start(*ARGUMENTS, "--batch-rows", 4, "--output", folder)
        wait_for(reached)
        child.send(signal.SIGINT)
        assert child.wait() == 130, (phase, child.err)
        assert child.err.splitlines() == ["interrupted; what was recorded so far is kept"]
        assert read_manifest(folder)["status"] == "interrupted"
        assert (folder / "rows.jsonl").read_bytes().startswith(rows)
        rows = whole_lines(folder)
    assert 0 < rows.count(b"\n") < 24 * 4
    assert forks.run(*ARGUMENTS, "--output", folder).status == 0
    assert_same(folder, undisturbed)


# -- broken files --------------------------------------------------------------


def test_a_corrupt_row_is_named_and_can_be_deleted(forks: Forks, undisturbed: Path, tmp_path: Path):
    run = (*ARGUMENTS, "--output", tmp_path / "run")
    assert forks.run(*run).status == 0
    path = tmp_path / "run" / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    corrupt = [*lines[:41], lines[41][:100] + b"\0\0\0" + lines[41][103:], *lines[42:]]
    path.write_bytes(b"".join(corrupt))
    assert f"{path}, line 42: corrupt" in forks.run(*run).error
    assert path.read_bytes() == b"".join(corrupt)
    path.write_bytes(b"".join(lines[:41] + lines[42:]))  # as the message says
    assert forks.run(*run).status == 0
    assert len(read_manifest(tmp_path / "run")["resumed"]) == 1
    assert_same(tmp_path / "run", undisturbed)


def test_broken_images_fail_alone_and_are_run_once_mended(forks: Forks, tmp_path: Path):
    images, data = tmp_path / "images", tmp_path / "data.jsonl"
    images.mkdir()
    lines = []
    for number, scene in enumerate(scenes(8, seed=71)):
        scene.open_images()[0].save(images / f"{number}.png")
        colors = [scene.answer, *[c for c in scene.options if c != scene.answer][:3]]
        lines.append(
            {
                "question": scene.question,
                "options": [f"{letter}. {c}" for letter, c in zip("ABCD", colors, strict=True)],
                "answer": "A",
                "img_path": f"{number}.png",
                "bbox": list(scene.boxes[0]),
            }
        )
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ("--model", "faithful", "--data", data, "--conditions", "zeros", "swap")
    arguments = (*arguments, "--image-root", images, "--output")
    assert forks.run(*arguments, tmp_path / "whole").status == 0

    good = {path: path.read_bytes() for path in sorted(images.iterdir())}
    empty, page, flipped, cut, gone, *others = good
    empty.write_bytes(b"")
    page.write_text("<html>404 Not Found</html>")
    middle = len(good[flipped]) // 2
    flipped.write_bytes(good[flipped][:middle] + b"\xff\x00\xff" + good[flipped][middle + 3 :])
    cut.write_bytes(good[cut][:middle])
    gone.unlink()
    some = forks.run(*arguments, tmp_path / "run")
    assert some.status == 0 and "15 rows failed" in some.out, some.err
    rows = read_rows(tmp_path / "run")
    assert len(rows) == 8 * 3
    for number, path in enumerate(good, start=1):
        of_sample = [row for row in rows if row["sample"] == f"data-{number}"]
        if path in others:
            assert {row["status"] for row in of_sample} == {"ok"}
        else:
            assert all(str(path) in row["error"] for row in of_sample)

    for path in others:
        path.unlink()
    none = forks.run(*arguments, tmp_path / "nothing")
    assert none.status == 1 and "no sample could be run" in none.out, none.err

    for path, content in good.items():
        path.write_bytes(content)
    for place in ("run", "nothing"):
        assert forks.run(*arguments, tmp_path / place, "--retry-failed").status == 0
    rows = read_rows(tmp_path / "run")  # its first donors were drawn among fewer samples
    assert len(rows) == 8 * 3 and {row["status"] for row in rows} == {"ok"}
    assert_same(tmp_path / "nothing", tmp_path / "whole")
    data.write_text(data.read_text().replace('"answer": "A"', '"answer": "B"', 1))
    edited = forks.run(*arguments, tmp_path / "run")
    assert "sample 'data-1' is not the one that this run recorded" in edited.error
