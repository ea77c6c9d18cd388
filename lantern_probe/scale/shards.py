"""Shards: which part of the samples a process runs, by a flag or by its place in a Slurm array."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.records.engines import Key
from lantern_probe.records.rows import MANIFEST, part_name, read_manifest
from lantern_probe.records.work import Division
from lantern_probe.tasks.sample import Sample

PARTS = "shard-*-of-*"
"""Pattern of the folders of shards in an output."""

WHOLE = "none"
"""Value of `--shard` with which a task of a Slurm array runs all samples."""

FACT = "division"
"""Entry of `run.json` that says which part of the samples a run has."""

_ARRAY = "SLURM_ARRAY_TASK_"


def parse_shard(text: str) -> Division:
    """Read a part of the samples, as in `0/4`.

    Args:
        text: Index (0-based) and number of parts.

    Raises:
        LanternError: it is not written i/n, or there is no such part.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if index >= count:
        raise LanternError(f"--shard takes i/n with i from 0 to n - 1, such as 0/4, not {text!r}")
    return Division(index, count)


def array_shard(environment: Mapping[str, str]) -> Division | None:
    """The part that belongs to this task of a Slurm array; None outside an array.

    Args:
        environment: Variables of the environment.

    Raises:
        LanternError: the variables are no numbers, or the array has gaps, so that the place of a
            task in it cannot be told.
    """
    if not environment.get(f"{_ARRAY}ID", "").strip():
        return None
    way = "give --shard i/n, or --shard none to run all samples in this task"
    found = {}
    for name, default in (("ID", ""), ("MIN", ""), ("MAX", ""), ("COUNT", ""), ("STEP", "1")):
        text = environment.get(f"{_ARRAY}{name}", "").strip() or default
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
            said = f"is {text!r}" if text else "is not set"
            raise LanternError(f"{_ARRAY}{name} {said}, and {_ARRAY}ID is set: {way}")
        found[name] = int(text)
    step, first, last, count = (found[name] for name in ("STEP", "MIN", "MAX", "COUNT"))
    place, rest = divmod(found["ID"] - first, max(1, step))
    if step < 1 or rest or not 0 <= place < count or (last - first) // step + 1 != count:
        raise LanternError(
            f"this Slurm array is not whole: {count} tasks from {first} to {last} in steps of "
            f"{step}, and this is task {found['ID']}; submit it as --array=0-{max(0, count - 1)}, "
            f"or {way}"
        )
    return Division(place, count)


def shard_of(text: str | None, environment: Mapping[str, str]) -> Division | None:
    """The part of the samples that a process runs; None for all.

    Args:
        text: Value of `--shard`; None where it was not given.
        environment: Variables of the environment.

    Raises:
        LanternError: as for `parse_shard` and `array_shard`.
    """
    if text is None:
        return array_shard(environment)
    return None if text == WHOLE else parse_shard(text)


def shard_folder(output: Path, division: Division) -> Path:
    """The folder of a part.

    Args:
        output: Folder that holds all parts.
        division: The part.
    """
    return output / part_name(division.index, division.count)


def refuse_other_divisions(output: Path, division: Division | None) -> None:
    """Refuse an output that holds the parts of another division, or a whole run.

    Args:
        output: Folder that holds all parts.
        division: The part that is to be run; None for all samples.

    Raises:
        LanternError: naming a folder.
    """
    parts = sorted(path.parent.name for path in output.glob(f"{PARTS}/{MANIFEST}"))
    if division is None:
        if parts:
            raise LanternError(
                f"'{output}' holds parts of a run ({parts[0]}); merge them with merge_shards, or "
                "give another --output"
            )
        return
    if (output / MANIFEST).exists():
        raise LanternError(
            f"'{output}' holds a whole run, which cannot be divided; give another --output"
        )
    others = [name for name in parts if name.rpartition("-of-")[2] != str(division.count)]
    if others:
        raise LanternError(
            f"'{output}' holds {others[0]}, of another division than --shard {division}; give "
            f"--shard i/{others[0].rpartition('-of-')[2]}, or another --output (a Slurm array is "
            "divided by its number of tasks: requeue a task in place of submitting a part of it)"
        )


def samples_of(samples: Sequence[Sample], block: int, division: Division) -> set[str]:
    """Ids of the samples of a part.

    Args:
        samples: All samples, in order.
        block: Samples between two cuts.
        division: The part.
    """
    return {
        sample.id
        for place, sample in enumerate(samples)
        if place // block % division.count == division.index
    }


def division_fact(
    division: Division,
    block: int,
    samples: Sequence[Sample],
    stages: Sequence[Sequence[str]],
    wanted: Collection[Key],
) -> dict[str, Any]:
    """Describe the part of a run, for `run.json`.

    Args:
        division: The part.
        block: Samples between two cuts.
        samples: All samples, in order.
        stages: Conditions of the stages, in the order in which they run.
        wanted: Keys of the rows of all parts.
    """
    digest = hashlib.sha256("\0".join(sample.id for sample in samples).encode()).hexdigest()
    asked: dict[str, int] = Counter(label for _, label, number in wanted if not number)
    return {
        "index": division.index,
        "count": division.count,
        "block": block,
        "samples": len(samples),
        "order": digest,
        "stages": [list(labels) for labels in stages],
        "asked": dict(sorted(asked.items())),
        "passes": 1 + max((number for _, _, number in wanted), default=0),
    }


def refuse_changed_division(
    folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
    """Refuse to go on with a part whose samples or cuts would be others.

    Args:
        folder: Folder of the part.
        there: Its division as recorded; empty for a new one.
        here: The division of this start.

    Raises:
        LanternError: naming what differs.
    """
    names = {"block": "samples of a block", "samples": "samples", "order": "order of the samples"}
    for name, words in names.items():
        if there and there.get(name) != here[name]:
            raise LanternError(
                f"'{folder}' is part of a run that is cut otherwise ({words}: "
                f"{there.get(name)!s:.12} there, {here[name]!s:.12} here), since the conditions, "
                "--batch-rows or the samples have changed; merge its parts and go on with the "
                "merged run, or give another --output"
            )


def parts_of(output: Path, division: Division) -> list[Path]:
    """The folders of all parts.

    Args:
        output: Folder that holds them.
        division: One of the parts.
    """
    return [output / part_name(index, division.count) for index in range(division.count)]


def parts_late(output: Path, division: Division, folders: Collection[str]) -> list[str]:
    """Names of the other parts whose tensors are not all there yet.

    Args:
        output: Folder that holds all parts.
        division: This part, which is ready.
        folders: Folders of tensors that are needed.

    Raises:
        LanternError: a manifest is corrupt.
    """
    late = []
    for index, folder in enumerate(parts_of(output, division)):
        manifest = read_manifest(folder) if (folder / MANIFEST).exists() else {}
        if index != division.index and not {*folders} <= {*manifest.get("ready", ())}:
            late.append(folder.name)
    return late
