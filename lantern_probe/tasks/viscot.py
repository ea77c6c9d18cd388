"""VisCoT as multiple choice: the JSON lines file of the LanteRn evaluation (arXiv 2603.25629).

A line is an object with `question`, `options` (texts with their letters: "A. a cat", "A) a cat"),
`answer`, `img_path` and `bbox`. The form is that of the two files in repository
GuilhermeViveiros/LanteRn at commit 454b0ba; see docs/methods.md, The official system.
"""

from __future__ import annotations

import logging
import os
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import in_pixels, written_boxes
from lantern_probe.tasks.fields import Entry, Skipped, json_lines, passing
from lantern_probe.tasks.files import json_values, valid_text
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.vocabulary import BoxUnit

_LETTERED = re.compile(r"\s*[(\[]?([A-Za-z])\s*[).:\]]+(.*)", re.DOTALL)
_LETTER_ALONE = re.compile(r"\s*([A-Za-z])\s*")
_IDS = ("id", "question_id")
_IMAGES = ("img_path", "image", "image_path")
_BOXES = ("bbox", "bboxs")
_READ = ("question", "options", "answer", *_IDS, *_IMAGES, *_BOXES)

_log = logging.getLogger(__name__)


def viscot(
    path: str | Path,
    image_root: str | Path | None = None,
    limit: int | None = None,
    *,
    malformed: Literal["raise", "skip"] = "raise",
    boxes: BoxUnit = "xyxy",
) -> list[Sample]:
    """Read a VisCoT multiple-choice file.

    The prompt is that of the official evaluation: the question, "Options:" and the options as
    written in the file. The answer is reduced to its letter: "B. text" and "(b)" give "B". (The
    official evaluation compares the raw string.)

    Args:
        path: JSON lines file, UTF-8.
        image_root: Folder in which to look for images that do not exist at the path in the file.
            Tried are the whole path under this folder, then the path without its first folder,
            without its first two, and so on, since official files name folders of another machine.
            None (default) takes the file's own folder.
        limit: Most samples to read, from the start; None (default) reads all. Ids do not depend on
            it.
        malformed: Treatment of a line that cannot be used: no JSON object, options that are not 2
            to 26 texts in the order of their letters, an answer that is not one of them, a box that
            is not four numbers. `raise` (default) stops; `skip` leaves it out, with a warning that
            counts such lines. Of the official test file's 5,591 lines, 522 have all options in one
            text (the official loader leaves them out) and one has two answers.
        boxes: Form of the boxes in the file: `xyxy` (default: left, top, right, bottom in pixels),
            `xywh` (left, top, width, height) or `polygon`; with `-1`, `-100` or `-1000` they count
            the image's sides as that number, are converted, and that is said. A file all of whose
            boxes show another form is refused.

    Returns:
        Lettered samples. Ids are the field `id` or `question_id` if all lines have one and no
        two are the same, else `<file stem>-<line number>`. Boxes are those of the file, and are not
        checked against the image before it is opened. Other fields that are a text, a number or a
        truth value become attributes.

    Raises:
        LanternError: a file or field cannot be used, or there is no sample; the message names the
            file, the line and the field. A missing image raises when its sample is opened.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise LanternError(f"the limit on samples must be at least 1, not {limit}")
    if malformed not in ("raise", "skip"):
        raise LanternError(f"malformed is 'raise' or 'skip', not {malformed!r}")
    root = path.parent if image_root is None else Path(image_root)
    skipped = Skipped() if malformed == "skip" else None
    rows = json_lines(path, skipped)
    ids, numbered = _ids(rows, path.stem)
    samples: list[Sample] = []
    for row, name in zip(rows, ids, strict=True):
        if len(samples) == limit:
            break
        with passing(skipped):
            try:
                sample = _sample(row.fields, name, root, boxes)
            except LanternError as error:
                raise row.error(str(error)) from None
            samples.append(replace(sample, numbered=numbered))
    if skipped is not None:
        skipped.say(str(path))
    if not samples:
        raise LanternError(f"{path}: no samples in it")
    return in_pixels(samples, boxes, str(path), _log.warning)


def is_viscot(path: Path) -> bool:
    """True if a file looks like VisCoT multiple choice, or like no table that can be read.

    Its first object has a question, a letter as answer, a list of options, and the image as
    `img_path`; or as `image` or `image_path`, if the options have their letters before them.

    Args:
        path: The file.
    """
    if path.suffix.lower() in (".csv", ".tsv", ".parquet"):
        return False
    try:
        rows = (value for _, _, value in json_values(path) if isinstance(value, dict))
        first = next(rows, None)
    except LanternError:
        return False
    if first is None:
        return True
    if not all(name in first for name in ("question", "options", "answer")):
        return False
    options, answer = first["options"], first["answer"]
    letter = isinstance(answer, str) and (
        _LETTERED.match(answer) or _LETTER_ALONE.fullmatch(answer)
    )
    texts = isinstance(options, list) and all(isinstance(option, str) for option in options)
    if not letter or not texts:
        return False
    lettered = options and all(_LETTERED.fullmatch(option) for option in options)
    return "img_path" in first or bool(lettered and any(name in first for name in _IMAGES))


def _ids(rows: Sequence[Entry], stem: str) -> tuple[list[str], bool]:
    """Name every line, and say whether the names are only line numbers."""
    for field in _IDS:
        values = [row.fields.get(field) for row in rows]
        if all(isinstance(value, str | int) and value != "" for value in values):
            names = [str(value) for value in values]
            if len(set(names)) == len(names):
                return [valid_text(name) for name in names], False
    return [f"{stem}-{row.number}" for row in rows], True


def _sample(line: Mapping[str, Any], name: str, root: Path, form: BoxUnit) -> Sample:
    question = _text(line, "question")
    image = _text(line, *_IMAGES)
    raw_options, options = _options(line)
    rest = {field: value for field, value in line.items() if field not in _READ}
    return Sample(
        id=name,
        images=(find_image(image, root),),
        question=question,
        options=options,
        answer=_answer(line, len(options)),
        boxes=_boxes(line, form),
        attributes={
            valid_text(field): valid_text(value) if isinstance(value, str) else value
            for field, value in rest.items()
            if isinstance(value, str | int | float)
        },
        lettered=True,
        prompt="\n".join([question, "Options:", *raw_options]),
    )


def _text(line: Mapping[str, Any], *names: str) -> str:
    """Text of the first field that exists; it must not be empty."""
    field = next((name for name in names if name in line), names[0])
    if field not in line:
        raise LanternError(f"the field '{field}' is missing")
    value = line[field]
    if not isinstance(value, str) or not value.strip():
        raise LanternError(f"the field '{field}' must be a text, not {value!r:.80}")
    return value


def _options(line: Mapping[str, Any]) -> tuple[list[str], tuple[str, ...]]:
    """Options as written in the file, and without their letters."""
    if "options" not in line:
        raise LanternError("the field 'options' is missing")
    raw = line["options"]
    if not isinstance(raw, list) or not all(isinstance(option, str) for option in raw):
        raise LanternError(f"the field 'options' must be a list of texts, not {raw!r:.80}")
    if not 2 <= len(raw) <= 26:
        raise LanternError(
            f"the field 'options' must have 2 to 26 texts, not {len(raw)}: {raw!r:.80}"
        )
    if all(option.strip() and not _LETTERED.fullmatch(option) for option in raw):
        # The answer is a letter, so options without letters are given them in order.
        texts = [option.strip() for option in raw]
        marked = zip(string.ascii_uppercase, texts, strict=False)
        return [f"{letter}. {text}" for letter, text in marked], tuple(texts)
    options = []
    for letter, option in zip(string.ascii_uppercase, raw, strict=False):
        match = _LETTERED.fullmatch(option)
        if not match or match.group(1).upper() != letter or not match.group(2).strip():
            raise LanternError(
                f"the field 'options' has {option!r:.80} where '{letter}. ...' is expected"
            )
        options.append(match.group(2).strip())
    return raw, tuple(options)


def _answer(line: Mapping[str, Any], options: int) -> str:
    answer = _text(line, "answer")
    match = _LETTERED.fullmatch(answer) or _LETTER_ALONE.fullmatch(answer)
    letter = match.group(1).upper() if match else ""
    if not letter or letter not in string.ascii_uppercase[:options]:
        raise LanternError(
            f"the field 'answer' must be one of the letters {string.ascii_uppercase[:options]}, "
            f"not {answer!r:.80}"
        )
    return letter


def _boxes(line: Mapping[str, Any], form: BoxUnit) -> tuple[Box, ...]:
    """Boxes of a line, which has one box, a list of boxes, or none."""
    field = next((name for name in _BOXES if line.get(name)), None)
    # An empty region raises when it is cropped, so that it fails its own sample and not the file.
    return () if field is None else written_boxes(line[field], form, field)


def find_image(image: str, root: Path) -> str | Path:
    """Path of an image under a folder; if there is none, the first path at which it was looked for.

    Args:
        image: Path as a file has it, which may name folders of another machine.
        root: Folder under which to look, with fewer and fewer of the path's first folders.
    """
    if "://" in image:
        return image  # refused with its own message when the sample is opened
    if Path(image).is_absolute() and os.path.isfile(image):  # noqa: PTH113 (never raises)
        return Path(image)
    parts = [part for part in Path(image).parts if part != Path(image).anchor]
    places = [root.joinpath(*parts[start:]) for start in range(len(parts))]
    found = (place for place in places if os.path.isfile(place))  # noqa: PTH113
    return next(found, places[0] if places else root / image)
