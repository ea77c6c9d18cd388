"""V*: multiple choice about small objects in large photographs (arXiv 2312.14135).

There are 191 questions: 115 of `direct_attributes`, with four options, and 76 of
`relative_position`, with two. The benchmark as its authors publish it (repository
craigwu/vstar_bench on the Hub, and the evaluation in penghao-wu/vstar) has two forms side by side.
This module reads either:

- `direct_attributes/NAME.jpg` with `direct_attributes/NAME.json`, and the same for the other
  category. The JSON object has `target_object` (names), `bbox` (one [x, y, width, height] in
  pixels for each), `question` and `options`, of which the *first* is right.
- `test_questions.jsonl`, one object a line: `image` (a path in the folder), `text` (the question,
  a line "(A) ..." for each option, and a closing instruction), `category`, `question_id` and
  `label` (a letter).
"""

from __future__ import annotations

import logging
import os
import re
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import four_numbers, in_pixels
from lantern_probe.tasks.fields import Entry, Skipped, hub_rows, json_lines, json_object, passing
from lantern_probe.tasks.files import valid_text
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.vocabulary import BoxUnit

CATEGORIES = ("direct_attributes", "relative_position")
"""Categories of questions, which are also the names of their folders."""
QUESTIONS = "test_questions.jsonl"
"""Name of the file with all questions."""
SPLIT = "test"
"""Name of the only split on the Hub."""
INSTRUCTION = "Answer with the option's letter from the given choices directly."
"""Sentence at the end of every `text`; the LanteRn evaluation removes it, and so does `vstar`."""

_log = logging.getLogger(__name__)

T = TypeVar("T")

_OPTION = re.compile(r"^\(([A-Z])\)[ \t]*(\S.*?)\s*$", re.MULTILINE)


def vstar(
    folder: str | Path | None = None,
    *,
    hub: str | None = None,
    seed: int = 0,
    malformed: Literal["raise", "skip"] = "raise",
    boxes: BoxUnit = "xywh",
) -> list[Sample]:
    """Read the questions of V*.

    The prompt is that of the LanteRn evaluation (arXiv 2603.25629): the question and a line
    "(A) ..." for each option. With `test_questions.jsonl`, or from the Hub, options have the
    published letters. Without the file, options are shown in an order drawn from (seed, sample id),
    because the right one comes first in the other files. Results are then not comparable with those
    of the published letters.

    Args:
        folder: Folder with a copy of the benchmark. `test_questions.jsonl` is used if it exists.
        hub: Repository on the Hub, in place of a folder, whose rows hold the images themselves,
            such as "lmms-lab/vstar-bench". It needs the package `datasets`, and may download.
        seed: Seed of the order of the options where it is drawn, default 0.
        malformed: `raise` (default) stops at a row that cannot be used; `skip` leaves such rows out
            and says how many.
        boxes: Form of the boxes in the files: `xywh` (default: left, top, width, height in pixels,
            as published), or `xywh-1`, `xywh-100`, `xywh-1000` of the image's sides.

    Returns:
        Lettered samples with the attribute `category`. Ids are `question_id`, or
        "direct_attributes/NAME" without `test_questions.jsonl`. With a JSON file beside the image,
        `boxes` are its boxes, and the attribute `targets` has the name of each box's object. Rows
        of the Hub have neither, and their images stay in memory.

    Raises:
        LanternError: a file or field cannot be used; the message names the file, the line or row,
            and the field. A missing image raises when its sample is opened.
    """
    if (folder is None) == (hub is None):
        raise LanternError("V*: give either a folder or, with hub=, a repository on the Hub")
    if seed < 0:
        raise LanternError(f"V*: the seed must not be negative, not {seed}")
    if not boxes.startswith("xywh"):
        raise LanternError(
            f"V*: its boxes are left, top, width, height, so boxes (--boxes) is xywh, xywh-1, "
            f"xywh-100 or xywh-1000, not {boxes}"
        )
    skipped = Skipped() if malformed == "skip" else None
    if hub is not None:
        where = hub
        found = _made(hub_rows(hub, None, SPLIT), lambda row: _given(row, None), skipped)
    else:
        root = Path(str(folder))
        where = str(root)
        if not root.is_dir():
            raise LanternError(f"V*: no folder '{root}'; a repository on the Hub is named by hub=")
        if (root / QUESTIONS).is_file():
            rows = json_lines(root / QUESTIONS, skipped)
            found = _made(rows, lambda row: _given(row, root), skipped)
        else:
            files = [
                (path, category)
                for category in CATEGORIES
                for path in sorted((root / category).glob("*.json"))
            ]
            found = _made(files, lambda file: _annotated(*file, seed), skipped)
            if not files:
                raise LanternError(
                    f"'{root}' has neither {QUESTIONS} nor NAME.json files in "
                    f"{' or '.join(CATEGORIES)}; give the folder of a copy of craigwu/vstar_bench"
                )
    if skipped is not None:
        skipped.say(where)
    if not found:
        raise LanternError(f"{where}: no samples in it")
    return in_pixels(found, boxes, where, _log.warning)


def _made(
    sources: Iterable[T], make: Callable[[T], tuple[Entry, Sample]], skipped: Skipped | None
) -> list[Sample]:
    """Make the samples of rows or files, whose ids must differ."""
    samples: dict[str, Sample] = {}
    for source in sources:
        with passing(skipped):
            row, sample = make(source)
            if sample.id in samples:
                raise row.error(f"the field 'question_id' is {sample.id!r}, as in an earlier row")
            samples[sample.id] = sample
    return list(samples.values())


def _given(row: Entry, root: Path | None) -> tuple[Entry, Sample]:
    """Make a sample of a line of `test_questions.jsonl`, or of a row of the Hub."""
    text = row.text("text").split(INSTRUCTION)[0].strip()
    marked = list(_OPTION.finditer(text))
    letters = string.ascii_uppercase[: len(marked)]
    question = text[: marked[0].start()].strip() if marked else ""
    if len(marked) < 2 or not question or "".join(match.group(1) for match in marked) != letters:
        raise row.error(
            "the field 'text' must be a question and at least two lines '(A) ...', '(B) ...', "
            f"not {text!r:.80}"
        )
    name = row.field("question_id")
    if not isinstance(name, str | int) or name == "":
        raise row.error(f"the field 'question_id' must be a text or a number, not {name!r:.80}")
    image = row.image("image", root)
    attributes: dict[str, Any] = {"category": row.text("category")}
    boxes: tuple[Box, ...] = ()
    beside = image.with_suffix(".json") if isinstance(image, Path) else None
    if beside is not None and os.path.isfile(beside):  # noqa: PTH113 (never raises)
        boxes, attributes["targets"] = _regions(json_object(beside))
    sample = Sample(
        id=valid_text(str(name)),
        images=(image,),
        question=question,
        options=tuple(match.group(2) for match in marked),
        answer=row.letter("label", letters),
        boxes=boxes,
        attributes=attributes,
        lettered=True,
        prompt=text,
    )
    return row, sample


def _annotated(path: Path, category: str, seed: int) -> tuple[Entry, Sample]:
    """Make a sample of NAME.json, whose first option is right, and the image beside it."""
    row = json_object(path)
    texts = row.texts("options", at_least=2)
    name = f"{category}/{path.stem}"
    order = np.random.default_rng([seed, *name.encode()]).permutation(len(texts)).tolist()
    options = tuple(texts[index] for index in order)
    lettered = zip(string.ascii_uppercase, options, strict=False)
    question = row.text("question").strip()
    boxes, targets = _regions(row)
    sample = Sample(
        id=name,
        images=(_beside(path),),
        question=question,
        options=options,
        answer=string.ascii_uppercase[order.index(0)],
        boxes=boxes,
        attributes={"category": category, "targets": targets},
        lettered=True,
        prompt="\n".join([question, *(f"({letter}) {option}" for letter, option in lettered)]),
    )
    return row, sample


def _beside(path: Path) -> Path:
    """Path of the image of NAME.json: the other file of that name, in any format."""
    named = (file for file in sorted(path.parent.iterdir()) if file.stem == path.stem)
    return next((file for file in named if file.suffix != ".json"), path.with_suffix(".jpg"))


def _regions(row: Entry) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    """Boxes of the targets as written, and the name of the object in each."""
    targets, boxes = row.texts("target_object", at_least=1), row.field("bbox")
    if not isinstance(boxes, list) or len(boxes) != len(targets):
        raise row.error(
            f"the field 'bbox' must be a list of {len(targets)} boxes, one for each target_object, "
            f"not {boxes!r:.80}"
        )
    return tuple(_box(row, box) for box in boxes), targets


def _box(row: Entry, box: Any) -> Box:
    try:
        return four_numbers(box)
    except LanternError as error:
        raise row.error(str(error)) from None
