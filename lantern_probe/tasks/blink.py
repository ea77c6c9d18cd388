"""BLINK, two of its sub-tasks: multiple choice about one image (arXiv 2404.12390).

Answers are published for the validation split: 122 questions of `Object_Localization` and 143 of
`Spatial_Relation`. A row has `idx` ("val_Object_Localization_1"), `sub_task`, `question`,
`choices` (texts without letters), `answer` ("(A)") and `image_1` to `image_4`, null without an
image (repository BLINK-Benchmark/BLINK on the Hub).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lantern_probe.errors import LanternError
from lantern_probe.tasks.fields import (
    Entry,
    Skipped,
    hub_rows,
    json_lines,
    parquet_rows,
    passing,
)
from lantern_probe.tasks.sample import Sample

SUB_TASKS = ("Object_Localization", "Spatial_Relation")
"""Sub-tasks of the LanteRn evaluation (docs/methods.md, The official system)."""
SPLIT = "val"
"""Name of the split with published answers."""
_IMAGES = ("image_1", "image_2", "image_3", "image_4")


def blink(
    folder: str | Path | None = None,
    *,
    hub: str | None = None,
    sub_tasks: Sequence[str] = SUB_TASKS,
    malformed: Literal["raise", "skip"] = "raise",
) -> list[Sample]:
    """Read the validation questions of BLINK's sub-tasks.

    The prompt is that of the LanteRn evaluation (arXiv 2603.25629): the question, "Options:" and a
    line for each option, such as "A. yes", with a line break after the last one too. BLINK marks no
    regions, so the samples have no boxes.

    Args:
        folder: Folder with a copy of the repository, in which each sub-task has Parquet files
            `SUB_TASK/val-*.parquet` (they need the package `pyarrow`). Or a folder with an export
            `SUB_TASK.jsonl`, one row a line, whose images are paths in the folder.
        hub: Repository on the Hub, in place of a folder, such as "BLINK-Benchmark/BLINK". It needs
            the package `datasets`, and may download.
        sub_tasks: Sub-tasks to read, in this order; by default both.
        malformed: `raise` (default) stops at a row that cannot be used; `skip` leaves such rows out
            and says how many.

    Returns:
        Lettered samples whose ids are `idx`, with the sub-task as the attribute `category`. Images
        of Parquet files and of the Hub stay in memory.

    Raises:
        LanternError: a file or field cannot be used; the message names the file, the line or row,
            and the field. A missing image raises when its sample is opened.
    """
    if (folder is None) == (hub is None):
        raise LanternError("BLINK: give either a folder or, with hub=, a repository on the Hub")
    root = None if folder is None else Path(folder)
    if root is not None and not root.is_dir():
        raise LanternError(f"BLINK: no folder '{root}'; a repository on the Hub is named by hub=")
    skipped = Skipped() if malformed == "skip" else None
    samples: dict[str, Sample] = {}
    for sub_task in sub_tasks:
        for row in (
            hub_rows(str(hub), sub_task, SPLIT) if root is None else _local(root, sub_task, skipped)
        ):
            with passing(skipped):
                sample = _sample(row, sub_task, root)
                if sample.id in samples:
                    raise row.error(f"the field 'idx' is {sample.id!r}, as in an earlier row")
                samples[sample.id] = sample
    if skipped is not None:
        skipped.say(str(hub if root is None else root))
    if not samples:
        raise LanternError(f"{hub if root is None else root}: no samples in it")
    return list(samples.values())


def _local(root: Path, sub_task: str, skipped: Skipped | None) -> list[Entry]:
    shards = sorted(root.glob(f"{sub_task}/{SPLIT}-*.parquet"))
    if shards:
        return [row for shard in shards for row in parquet_rows(shard)]
    lines = root / f"{sub_task}.jsonl"
    if lines.is_file():
        return json_lines(lines, skipped)
    raise LanternError(
        f"'{root}' has neither {sub_task}/{SPLIT}-*.parquet nor {sub_task}.jsonl; give the folder "
        "of a copy of BLINK-Benchmark/BLINK"
    )


def _sample(row: Entry, sub_task: str, root: Path | None) -> Sample:
    question, choices = row.text("question"), row.texts("choices", at_least=2)
    letters = string.ascii_uppercase[: len(choices)]
    there = [name for name in _IMAGES if row.fields.get(name) is not None] or _IMAGES[:1]
    lines = [f"{letter}. {choice}\n" for letter, choice in zip(letters, choices, strict=True)]
    return Sample(
        id=row.text("idx"),
        images=tuple(row.image(name, root) for name in there),
        question=question,
        options=choices,
        answer=row.letter("answer", letters),
        attributes={"category": sub_task},
        lettered=True,
        prompt=f"{question}\nOptions:\n{''.join(lines)}",
    )
