"""The parts of a run, put together: what belongs to one run, whole and once, or a refusal by name.

The sources are only read. What is made is made beside the output, and takes its place in one step.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError, named
from lantern_probe.records.json_files import explained
from lantern_probe.records.provenance import now
from lantern_probe.records.rows import MANIFEST, ROWS_FILE, Row, key_of, lines_in, read_manifest
from lantern_probe.records.run import Run
from lantern_probe.records.run_folder import locked
from lantern_probe.records.samples import SAMPLES_FILE
from lantern_probe.records.work import Division
from lantern_probe.scale.agreement import refuse_other_pools, refuse_strangers
from lantern_probe.scale.shards import FACT, PARTS

SHARDS = "shards"
"""Folder of captured activations (`records.store.SHARDS`)."""

ROWS_TOGETHER = 4096
"""Rows that are written in one piece."""


@dataclass(frozen=True)
class Part:
    """One part of a run.

    Attributes:
        folder: Folder of the part.
        manifest: Content of its `run.json`.
        rows: Its rows, in the order written.
        samples: Records of all samples of the run, by id, in order.
    """

    folder: Path
    manifest: Row
    rows: Sequence[Row]
    samples: Mapping[str, Row]

    @property
    def division(self) -> Division:
        """Place of the part among all."""
        return Division(self.manifest[FACT]["index"], self.manifest[FACT]["count"])


def find_parts(runs: Sequence[Path]) -> list[Path]:
    """Find the folders of parts that were given: each by name, or a folder that holds them.

    Args:
        runs: Folders.

    Raises:
        LanternError: a folder does not exist, holds no parts, or is given twice.
    """
    if not runs:
        raise LanternError("give the folder that holds the shards, or each shard by name")
    found: list[Path] = []
    for run in runs:
        if not run.is_dir():
            raise LanternError(f"there is no folder '{run}'")
        with explained(run):
            inside = sorted(path.parent for path in run.glob(f"{PARTS}/{MANIFEST}"))
            deeper = sorted({path.parents[1] for path in run.glob(f"*/{PARTS}/{MANIFEST}")})
        if (run / MANIFEST).exists():
            found.append(run)
        elif inside:
            found += inside
        elif deeper:
            raise LanternError(
                f"'{run}' holds the shards of several runs: give one, such as '{deeper[0]}'"
            )
        else:
            raise LanternError(f"'{run}' is no shard, and holds none")
    places = Counter(path.resolve() for path in found)
    for place, times in places.items():
        if times > 1:
            raise LanternError(f"'{place}' is given twice; give every shard once")
    return found


def read_part(folder: Path) -> Part:
    """Read a part, and refuse one that is not whole.

    Args:
        folder: Folder of the part.

    Raises:
        LanternError: it is no part, has not ended, or a file is missing or corrupt.
    """
    manifest = read_manifest(folder)
    fact = manifest.get(FACT)
    if not isinstance(fact, dict):
        raise LanternError(f"'{folder}' is no shard: it was run as a whole, by itself")
    try:
        Division(int(fact["index"]), int(fact["count"]))
        known = [fact[name] for name in ("block", "samples", "order", "stages", "asked", "passes")]
        if not isinstance(known[0], int) or known[0] < 1:
            raise ValueError("block")
    except (KeyError, TypeError, ValueError):
        raise LanternError(
            f"{folder / MANIFEST}: its entry '{FACT}' is not one of a shard; restore the file"
        ) from None
    status = manifest.get("status")
    if status != "complete":
        why = {
            "running": "it is still running, or was killed",
            "waiting": "its conditions on the own latents of all samples waited for other shards",
        }.get(str(status), f"it ended as {status!r}")
        raise LanternError(
            f"'{folder}' (shard {fact['index']}/{fact['count']}) is not complete: {why}; start its "
            "command again, then merge"
        )
    samples = {str(record["id"]): record for record in lines_in(folder / SAMPLES_FILE)}
    return Part(folder, manifest, lines_in(folder / ROWS_FILE), samples)


def refuse_missing_parts(parts: Sequence[Part]) -> None:
    """Refuse parts of several divisions, a part that is there twice, or one that is missing.

    Args:
        parts: The parts.

    Raises:
        LanternError: naming the part.
    """
    first = parts[0]
    seen: dict[int, Path] = {}
    for part in parts:
        there, here = first.manifest[FACT], part.manifest[FACT]
        names = {
            "count": "number of shards", "block": "samples of a block", "samples": "samples",
            "order": "order of the samples",
        }  # fmt: skip
        for name, words in names.items():
            if there[name] != here[name]:
                raise LanternError(
                    f"'{part.folder}' is of another division than '{first.folder}' ({words}: "
                    f"{here[name]!s:.12} and {there[name]!s:.12}); give the shards of one"
                )
        index = part.division.index
        if index in seen:
            raise LanternError(
                f"shard {part.division} is there twice: '{seen[index]}' and '{part.folder}'; give "
                "one of them"
            )
        seen[index] = part.folder
    count = first.division.count
    if missing := [f"{index}/{count}" for index in range(count) if index not in seen]:
        raise LanternError(
            f"shard {named(missing)} is missing: run the command with --shard {missing[0]}, or "
            "give its folder too"
        )


def refuse_missing_rows(part: Part) -> None:
    """Refuse a part that lacks a row, or has one of a sample of another part.

    Args:
        part: The part.

    Raises:
        LanternError: naming sample and condition.
    """
    fact, ids = part.manifest[FACT], list(part.samples)
    again = "start its command again, then merge"
    if len(ids) < fact["samples"]:
        raise LanternError(
            f"{part.folder / SAMPLES_FILE}: {len(ids)} of {fact['samples']} samples; {again}"
        )
    own = {
        key for place, key in enumerate(ids[: fact["samples"]])
        if place // fact["block"] % fact["count"] == fact["index"]
    }  # fmt: skip
    # Those that cannot be run at all, such as samples without a twin.
    lost = {*ids[fact["samples"] :]} if fact["index"] == 0 else set()
    there: set[tuple[Any, ...]] = set()
    for number, row in enumerate(part.rows, start=1):
        key = key_of(row)
        if key in there:
            raise LanternError(
                f"{part.folder / ROWS_FILE}, line {number}: a second row for sample {key[0]!r}, "
                f"condition {key[1]!r}"
            )
        there.add(key)
        if key[0] not in own | lost:
            raise LanternError(
                f"{part.folder / ROWS_FILE}, line {number}: sample {key[0]!r} belongs to another "
                "shard"
            )
    for label, first in fact["asked"].items():
        for sample in ids[:first]:
            for number in range(fact["passes"]):
                if sample in own and (sample, label, number) not in there:
                    raise LanternError(
                        f"'{part.folder}' (shard {part.division}) has no row for sample "
                        f"{sample!r}, condition {label!r}; {again}"
                    )


def check_parts(folders: Sequence[Path], allowed: Sequence[str] = ()) -> list[Part]:
    """Read parts, and refuse by name what does not belong together or is not whole.

    Args:
        folders: Folders of the parts.
        allowed: Names of parts of a record that may differ, such as `decoding`; none by default.

    Returns:
        The parts, by index.

    Raises:
        LanternError: naming what is wrong, and with which shard.
    """
    parts = [read_part(folder) for folder in folders]
    refuse_missing_parts(parts)
    parts.sort(key=lambda part: part.division.index)
    for part in parts:
        refuse_strangers(parts[0], part, allowed)
    refuse_other_pools(parts)
    for part in parts:
        refuse_missing_rows(part)
    return parts


def merged_rows(parts: Sequence[Part]) -> list[Row]:
    """The rows of all parts in the order in which one process writes them.

    Args:
        parts: The parts.
    """
    fact = parts[0].manifest[FACT]
    rank = {label: n for n, labels in reversed([*enumerate(fact["stages"])]) for label in labels}
    place = {key: number for number, key in enumerate(parts[0].samples)}
    count = fact["samples"]

    def order(row: Row) -> tuple[int, int]:
        at = place[row["sample"]]
        if at >= count:  # of samples that cannot be run at all
            return (-1, 0)
        return (rank.get(row["condition"], len(rank)), at // fact["block"])

    return sorted((row for part in parts for row in part.rows), key=order)


def merge(folders: Sequence[Path], output: Path, allowed: Sequence[str] = ()) -> int:
    """Put the parts of a run together.

    Args:
        folders: Folders of the parts.
        output: Folder of the whole run; new or empty.
        allowed: Names of parts of a record that may differ; none by default.

    Returns:
        Number of rows.

    Raises:
        LanternError: naming what does not belong together, or an output that cannot be used.
    """
    refuse_output(folders, output)
    parts = check_parts(folders, allowed)
    rows = merged_rows(parts)
    whole = output.resolve()
    place = whole.with_name(f".{whole.name}.merging")
    with explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():  # of a merge that was killed, unless it is still going on
            locked(place).close()
            shutil.rmtree(place)
    try:
        _write(parts, rows, place)
        with explained(output):
            place.replace(whole)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return len(rows)


def refuse_output(folders: Sequence[Path], output: Path) -> None:
    """Refuse an output that holds something, or lies in a source.

    Args:
        folders: Folders of the parts.
        output: The output.

    Raises:
        LanternError: naming it.
    """
    here = output.resolve()
    for folder in folders:
        if here == folder.resolve() or folder.resolve() in here.parents:
            raise LanternError(f"--output '{output}' lies in the shard '{folder}'; give another")
    with explained(output):
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise LanternError(f"--output '{output}' is there and not empty; give a new folder")


def _write(parts: Sequence[Part], rows: Sequence[Row], place: Path) -> None:
    first = parts[0].manifest
    with Run.open(place, first["config"]) as run:
        merging = {name: run.manifest[name] for name in ("command", "git", "packages", "created")}
        kept = sorted({folder for part in parts for folder in part.manifest.get("kept", ())})
        for part in parts:
            _copy_tensors(part, [*kept, SHARDS], place)
        shutil.copyfile(parts[0].folder / SAMPLES_FILE, place / SAMPLES_FILE)
        left_out = (FACT, "ready", "status", "finished", "rows")
        run.manifest.clear()
        run.manifest |= {name: fact for name, fact in first.items() if name not in left_out}
        sources = [
            {**_summary(part), "index": part.division.index, "count": part.division.count}
            for part in parts
        ]  # fmt: skip
        run.note(status="running", merged={**merging, "at": now(), "shards": sources})
        if kept:
            run.note(kept=kept)
        for start in range(0, len(rows), ROWS_TOGETHER):
            run.append_many(rows[start : start + ROWS_TOGETHER])


def _summary(part: Part) -> dict[str, Any]:
    return {
        "folder": str(part.folder),
        "rows": len(part.rows),
        **{name: part.manifest.get(name) for name in ("created", "finished", "platform")},
    }


def _copy_tensors(part: Part, folders: Sequence[str], place: Path) -> None:
    named_files = {row["shard"] for row in part.rows if row.get("shard")}
    for folder in folders:
        source = part.folder / folder
        with explained(source):
            files = sorted(source.glob("*.safetensors")) if source.is_dir() else []
        there = {file.name for file in files}
        if folder == SHARDS and (missing := named_files - there):
            raise LanternError(
                f"'{source / min(missing)}' is missing, and rows of the shard name it; put it "
                "back, or delete those rows and start the command of the shard again"
            )
        for file in files:
            if folder == SHARDS and file.name not in named_files:
                continue  # of a kill between a file and its rows
            _copy(file, place / folder / file.name)


def _copy(source: Path, target: Path) -> None:
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as read, target.open("wb") as written:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())
