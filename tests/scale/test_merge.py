"""The merge: what does not belong together, or is not whole, is refused by name."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.merge_shards import Config, main
from lantern_probe.errors import LanternError
from lantern_probe.records.run import Run
from lantern_probe.records.work import Division
from lantern_probe.scale.merge import find_parts, merge

from .counting import KEPT, run_shard, run_shards, run_whole


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "run.json").read_text())
    change(manifest)
    (folder / "run.json").write_text(json.dumps(manifest))


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        place = manifest
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return change


def cut_line(folder: Path, number: int, times: int = 0) -> None:
    lines = (folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
    lines[number : number + 1] = [lines[number]] * times
    (folder / "rows.jsonl").write_bytes(b"".join(lines))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    run_shards(tmp_path / "parts", 3, 21)
    return tmp_path / "parts"


COMMIT = {"commit": "0" * 40, "dirty": False}


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("another pool, own_latents/clean", put("pools", KEPT, value=["f" * 64])),
        ("rows of 2 pools", put("pools", KEPT, value=["a", "b"])),
        ("other conditions: ", put("conditions", value=["alone", "pooled", "zeros"])),
        ("commit: .*000000000000", put("git", value=COMMIT)),
        ("commit: ", put("resumed", value=[{"git": COMMIT}])),
        ("code.sha256", put("made_with", "code", "sha256", value="0")),
        ("versions.torch", put("made_with", "versions", "torch", value="0.1")),
        ("packages: numpy", put("packages", "numpy", value="0.1")),
        ("threads: 1 there, 8 here", put("threads", value=8)),
        ("edited by hand", put("config", value={"seed": 2})),
        ("samples of a block: 5 and 4", put("division", "block", value=5)),
        ("order of the samples", put("division", "order", value="x")),
        ("samples: 22 and 21", put("division", "samples", value=22)),
        ("number of shards: 4 and 3", put("division", "count", value=4)),
        ("shard 0/3 is there twice", put("division", "index", value=0)),
        ("other conditions, samples or passes", put("division", "passes", value=2)),
        ("is not complete: it is still running, or was killed", put("status", value="running")),
        ("waited for other shards", put("status", value="waiting")),
        ("it ended as 'failed'", put("status", value="failed")),
        ("is no shard", put("division", value=None)),
        ("is not one of a shard", put("division", value={})),
        ("is not one of a shard", put("division", "block", value=0)),
    ],
)
def test_a_shard_with_another_record_is_refused(
    words: str, change: Callable[[dict[str, Any]], None], parts: Path, tmp_path: Path
) -> None:
    edit(parts / "shard-1-of-3", change)
    before = contents(parts)
    with pytest.raises(LanternError, match=words) as caught:
        merge(find_parts([parts]), tmp_path / "whole")
    assert "shard" in str(caught.value)
    assert contents(parts) == before and not (tmp_path / "whole").exists()


def test_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    run_shards(tmp_path / "one", 2, 8)
    run_shards(tmp_path / "two", 2, 8, config={"seed": 7})
    given = [tmp_path / "one" / "shard-0-of-2", tmp_path / "two" / "shard-1-of-2"]
    with pytest.raises(LanternError, match="settings: seed: 1 there, 7 here"):
        merge(given, tmp_path / "whole")


def test_missing_and_doubled_parts_are_named(parts: Path, tmp_path: Path) -> None:
    some = find_parts([parts])
    with pytest.raises(LanternError, match="shard 1/3 is missing: run .* --shard 1/3"):
        merge([some[0], some[2]], tmp_path / "whole")
    with pytest.raises(LanternError, match="is given twice"):
        find_parts([*some, some[1]])
    shutil.copytree(some[1], tmp_path / "copy")
    with pytest.raises(LanternError, match=r"shard 1/3 is there twice: .*copy"):
        merge([*some, tmp_path / "copy"], tmp_path / "whole")


@pytest.mark.parametrize("by_name", [True, False])
def test_rows_that_are_missing_doubled_or_strange_are_named(
    by_name: bool, parts: Path, tmp_path: Path
) -> None:
    folder, other = parts / "shard-1-of-3", parts / "shard-2-of-3"
    given = [parts / f"shard-{n}-of-3" for n in range(3)] if by_name else [parts]
    whole = (folder / "rows.jsonl").read_bytes()
    cut_line(folder, 2)
    with pytest.raises(LanternError, match="no row for sample 's6', condition 'alone'"):
        merge(find_parts(given), tmp_path / "whole")
    (folder / "rows.jsonl").write_bytes(whole)
    cut_line(folder, 2, times=2)
    with pytest.raises(LanternError, match="line 4: a second row for sample 's6'"):
        merge(find_parts(given), tmp_path / "whole")
    foreign = (other / "rows.jsonl").read_bytes().splitlines(keepends=True)[0]
    (folder / "rows.jsonl").write_bytes(whole + foreign)
    with pytest.raises(LanternError, match="sample 's8' belongs to another shard"):
        merge(find_parts(given), tmp_path / "whole")
    (folder / "rows.jsonl").write_bytes(whole[:-5])
    with pytest.raises(LanternError, match="no row for sample"):
        merge(find_parts(given), tmp_path / "whole")
    (folder / "rows.jsonl").write_bytes(whole)
    assert merge(find_parts(given), tmp_path / "whole") == 42


def test_samples_that_differ_are_named(parts: Path, tmp_path: Path) -> None:
    file = parts / "shard-1-of-3" / "samples.jsonl"
    whole = file.read_text()
    lines = whole.splitlines(keepends=True)
    for text, words in (
        (whole.replace("question 3 ?", "question 33 ?"), "sample 's3' has another content"),
        ("".join(lines[:-1]), "sample 's20' is in"),
        ("".join([*lines[1:], lines[0]]), "another order"),
        (whole + lines[0].replace("s0", "s99"), "sample 's99' is in"),
    ):
        file.write_text(text)
        with pytest.raises(LanternError, match=words):
            merge(find_parts([parts]), tmp_path / "whole")


def test_places_that_are_no_shards_or_no_output_are_named(parts: Path, tmp_path: Path) -> None:
    run_whole(tmp_path / "alone", 8)
    (tmp_path / "models").mkdir()
    shutil.copytree(parts, tmp_path / "models" / "faithful")
    for given, words in (
        ([], "give the folder that holds the shards"),
        ([tmp_path / "nowhere"], "there is no folder"),
        ([tmp_path / "alone" / "own_latents"], "is no shard, and holds none"),
        ([tmp_path / "models"], r"several runs: give one, such as '.*faithful'"),
    ):
        with pytest.raises(LanternError, match=words):
            find_parts(given)
    with pytest.raises(LanternError, match="is no shard: it was run as a whole"):
        merge([tmp_path / "alone"], tmp_path / "whole")
    some = find_parts([parts])
    for output, words in (
        (tmp_path / "alone", "is there and not empty"),
        (some[0], "lies in the shard"),
        (some[0] / "inside", "lies in the shard"),
        (parts / "shard-0-of-3" / "run.json" / "x", "lies in the shard"),
    ):
        with pytest.raises(LanternError, match=words):
            merge(some, output)
    (tmp_path / "empty").mkdir()
    assert merge(some, tmp_path / "empty") == 42


def test_a_merged_run_is_gone_on_with_and_says_from_where_it_comes(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(parts)
    assert main(Config((parts,), tmp_path / "whole")) == 0
    assert re.search(r"42 rows of 3 shards", " ".join(capsys.readouterr().out.split()))
    assert contents(parts) == before
    manifest = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert manifest["status"] == "complete" and manifest["rows"] == 42
    assert [part["rows"] for part in manifest["merged"]["shards"]] == [16, 16, 10]
    assert "division" not in manifest and "ready" not in manifest
    engine = run_whole(tmp_path / "whole", 21)
    assert engine.seen == []
    engine = run_whole(tmp_path / "whole", 24)  # more samples: the kept latents are there
    assert engine.seen[0] == tuple((f"s{n}", 0) for n in range(20, 24))


def test_an_allowed_difference_is_taken(parts: Path, tmp_path: Path) -> None:
    edit(parts / "shard-1-of-3", put("threads", value=8))
    assert merge(find_parts([parts]), tmp_path / "whole", ["threads"]) == 42


def test_a_merge_never_pads(tmp_path: Path) -> None:
    """A shard without samples is a shard, with no rows."""
    folders = run_shards(tmp_path / "parts", 9, 5)
    assert sum(not (f / "rows.jsonl").read_bytes() for f in folders) == 7
    assert merge(folders, tmp_path / "whole") == 10


KILLED = """
import sys, time
from pathlib import Path
from lantern_probe.records.run import Run
from lantern_probe.scale import merge
append = Run.append_many
def slow(run, rows):
    append(run, rows)
    print("wrote", flush=True)
    time.sleep(60)
Run.append_many = slow
merge.ROWS_TOGETHER = 7
merge.merge(merge.find_parts([Path(sys.argv[1])]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_merge_that_is_killed_leaves_the_shards_and_is_made_again(
    parts: Path, tmp_path: Path
) -> None:
    before, output = contents(parts), tmp_path / "whole"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(parts), str(output)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"wrote\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert contents(parts) == before and not output.exists()
    assert merge(find_parts([parts]), output) == 42
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "whole"}


def test_a_shard_being_written_is_not_merged(parts: Path, tmp_path: Path) -> None:
    with (
        Run.open(parts / "shard-1-of-3", {"seed": 1}),
        pytest.raises(LanternError, match="still running"),
    ):
        merge(find_parts([parts]), tmp_path / "whole")
    run_shard(parts, Division(1, 3), 21, ready=True)
    assert merge(find_parts([parts]), tmp_path / "whole") == 42
