"""BLINK, two of its sub-tasks: multiple choice about one image (arXiv 2404.12390).

Answers are published for the validation split: 122 questions of `Object_Localization` and 143 of
`Spatial_Relation`. A row has `idx` ("val_Object_Localization_1"), `sub_task`, `question`,
`choices` (texts without letters), `answer` ("(A)") and `image_1` to `image_4`, null without an
image (repository BLINK-Benchmark/BLINK on the Hub).
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from pathlib import Path

from lantern_probe.errors import LanternError
from lantern_probe.tasks.fields import Entry, hub_rows, json_lines, parquet_rows
from lantern_probe.tasks.json_rows import LeftOut, Malformed, valid_text
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
    malformed: Malformed = "raise",
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
        malformed: Treatment of a line or row that cannot be used, or whose `idx` occurred before:
            `raise` (default) stops; `skip` leaves it out, with a warning that counts such lines.

    Returns:
        Lettered samples whose ids are `idx`, with the sub-task as the attribute `category`. Images
        of Parquet files and of the Hub stay in memory, turned upright as the official evaluation
        sees them; those of image files are shown as stored, and an EXIF orientation is said.

    Raises:
        LanternError: a file or field cannot be used; the message names the file, the line or row,
            and the field. A missing image raises when its sample is opened.
    """
    if (folder is None) == (hub is None):
        raise LanternError("BLINK: give either a folder or, with hub=, a repository on the Hub")
    root = None if folder is None else Path(folder)
    if root is not None and not root.is_dir():
        raise LanternError(f"BLINK: no folder '{root}'; a repository on the Hub is named by hub=")
    samples: dict[str, Sample] = {}
    for sub_task in sub_tasks:
        for rows, left_out in _rows(root, hub, sub_task, malformed):
            for row in rows:
                try:
                    sample = _sample(row, sub_task, root)
                    if sample.id in samples:
                        raise row.error(f"the field 'idx' is {sample.id!r}, as in an earlier row")
                    samples[sample.id] = sample
                except LanternError as error:
                    left_out.add(row.number, error)
            left_out.report()
    if not samples:
        raise LanternError(f"BLINK: no samples in '{root or hub}'")
    return list(samples.values())


def _rows(
    root: Path | None, hub: str | None, sub_task: str, malformed: Malformed
) -> Iterator[tuple[list[Entry], LeftOut]]:
    """The rows of each file of a sub-task, and what takes those that cannot be used."""
    if root is None:
        rows = hub_rows(str(hub), sub_task, SPLIT)
        yield rows, LeftOut(f"{hub} {sub_task} {SPLIT}", malformed, "row")
        return
    shards = sorted(root.glob(f"{sub_task}/{SPLIT}-*.parquet"))
    for shard in shards:
        yield parquet_rows(shard), LeftOut(str(shard), malformed, "row")
    lines = root / f"{sub_task}.jsonl"
    if not shards and lines.is_file():
        left_out = LeftOut(str(lines), malformed)
        yield json_lines(lines, left_out), left_out
    elif not shards:
        raise LanternError(
            f"'{root}' has neither {sub_task}/{SPLIT}-*.parquet nor {sub_task}.jsonl; give the "
            "folder of a copy of BLINK-Benchmark/BLINK"
        )


def _sample(row: Entry, sub_task: str, root: Path | None) -> Sample:
    question, choices = row.text("question"), row.texts("choices", at_least=2)
    letters = string.ascii_uppercase[: len(choices)]
    there = [name for name in _IMAGES if row.fields.get(name) is not None] or _IMAGES[:1]
    lines = [f"{letter}. {choice}\n" for letter, choice in zip(letters, choices, strict=True)]
    return Sample(
        id=valid_text(row.text("idx")),
        images=tuple(row.image(name, root) for name in there),
        question=question,
        options=choices,
        answer=row.letter("answer", letters),
        attributes={"category": sub_task},
        lettered=True,
        prompt=f"{question}\nOptions:\n{''.join(lines)}",
    )
