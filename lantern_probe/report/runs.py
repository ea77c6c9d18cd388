"""Runs as a report reads them: their folders, manifests, rows and samples, finished or not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError, named
from lantern_probe.records.json_files import explained
from lantern_probe.records.rows import (
    MANIFEST,
    ROWS_FILE,
    Row,
    lines_in,
    read_manifest,
    rows_in,
    unique_keys,
)
from lantern_probe.records.samples import SAMPLES_FILE

DEEP = ("*", "*/*", "*/*/*")
"""Patterns of the folders in which the runs of one output lie."""

MOST_RUNS = 200
"""Most runs on one page."""


@dataclass(frozen=True)
class ReportRun:
    """One run, or the parts of one that several processes wrote."""

    name: str
    """Name on the page, unique among its runs."""
    folders: tuple[Path, ...]
    """Folder of the run, or of each of its parts."""
    home: Path
    """Folder of the run, or the folder that its parts share."""
    manifest: Mapping[str, Any]
    """`run.json`, of the first part."""
    rows: Sequence[Row]
    """Rows, in the order in which they were written."""
    samples: Mapping[str, Mapping[str, Any]]
    """Lines of `samples.jsonl` by id; rows may name others."""
    notes: Sequence[str] = field(default=())
    """Sentences on the state of the files."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """`config` of `run.json`."""
        found: Mapping[str, Any] = self.manifest["config"]
        return found

    @property
    def status(self) -> str:
        """`status` of `run.json`, or `unknown`."""
        return str(self.manifest.get("status") or "unknown")


def run_places(given: Sequence[str | Path]) -> list[tuple[Path, tuple[Path, ...]]]:
    """Find the folders of runs: those given, the parts of one, or all runs inside an output.

    Args:
        given: Folders.

    Returns:
        For each run its folder, and the folders of its parts (itself, where it has none).

    Raises:
        LanternError: a folder is missing or holds no run, or there are too many runs.
    """
    found: dict[Path, tuple[Path, ...]] = {}
    for folder in map(Path, given):
        with explained(folder):
            if not folder.exists():
                raise LanternError(f"there is no run '{folder}': no such folder")
            if not folder.is_dir():
                raise LanternError(f"'{folder}' is a file; give the folder of a run")
            inside = [*_runs_in(folder)]
        if not inside:
            raise LanternError(f"'{folder}' holds no run: there is no {MANIFEST} in it")
        found |= {home: parts for home, parts in inside if home.resolve() not in _resolved(found)}
    if len(found) > MOST_RUNS:
        raise LanternError(
            f"there are {len(found)} runs ({named([*map(str, found)], 3)}), and a page holds up to "
            f"{MOST_RUNS}; name some of them"
        )
    return [*found.items()]


def _resolved(found: Mapping[Path, Any]) -> set[Path]:
    return {folder.resolve() for folder in found}


def _runs_in(folder: Path) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    if (folder / MANIFEST).is_file():
        yield folder, (folder,)
        return
    if parts := _parts(folder):
        yield folder, parts
        return
    taken: list[Path] = []
    for depth in DEEP:
        for inner in sorted(path for path in folder.glob(depth) if path.is_dir()):
            if any(inner.is_relative_to(one) for one in taken):
                continue
            parts = (inner,) if (inner / MANIFEST).is_file() else _parts(inner)
            if parts:
                taken.append(inner)
                yield inner, parts


def _parts(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.parent for path in folder.glob(f"shard-*-of-*/{MANIFEST}")))


def names_of(homes: Sequence[Path]) -> list[str]:
    """Short names of run folders, unique: the part of each path that they do not share.

    Args:
        homes: Folders of runs.
    """
    whole = [home.resolve() for home in homes]
    if len(whole) == 1:
        return [whole[0].name or str(whole[0])]
    common = Path(os.path.commonpath(whole))
    return [str(path.relative_to(common)) if path != common else path.name for path in whole]


def read_run(name: str, home: Path, folders: Sequence[Path]) -> ReportRun:
    """Read a run, finished or still being written, without locking it.

    Args:
        name: Name on the page.
        home: Folder of the run.
        folders: Folder of the run, or of each of its parts.

    Raises:
        LanternError: a file is corrupt or of a newer version, or parts hold the same row.
    """
    rows: list[Row] = []
    samples: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    keys: set[tuple[Any, ...]] = set()
    manifests = [read_manifest(folder) for folder in folders]
    for folder in folders:
        some = rows_in(folder / ROWS_FILE)
        own = unique_keys(folder / ROWS_FILE, some)
        if again := keys & own:
            raise LanternError(
                f"{folder / ROWS_FILE}: sample {next(iter(again))[0]!r} is in another part of the "
                "run too; delete one of the two parts"
            )
        keys |= own
        rows += some
        samples |= _samples_in(folder / SAMPLES_FILE)
        notes += [note for file in (ROWS_FILE, SAMPLES_FILE) for note in _torn(folder / file)]
    for row in rows:
        row["sample"], row["condition"] = str(row["sample"]), str(row["condition"])
    return ReportRun(name, (*folders,), home, manifests[0], rows, samples, notes)


def _samples_in(path: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for number, record in enumerate(lines_in(path), start=1):
        if "id" not in record:
            raise LanternError(f"{path}, line {number}: a sample without 'id'; restore the file")
        found[str(record["id"])] = record
    return found


def _torn(path: Path) -> list[str]:
    with explained(path):
        if not path.is_file() or not path.stat().st_size:
            return []
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            whole = file.read(1) == b"\n"
    if whole:
        return []
    return [
        f"The last line of {path.name} is cut off, by a kill or by a run that is writing; it is "
        "left out."
    ]
