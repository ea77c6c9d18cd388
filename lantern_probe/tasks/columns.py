"""Columns of a table matched to the fields of a sample, by their usual names or as they are given.

A column is never chosen among several that would do: that is refused, and both are named.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence

from lantern_probe.errors import LanternError

USUAL = {
    "question": ("question", "query", "problem"),
    "options": ("options", "choices", "answer_choices", "candidates"),
    "answer": (
        *("answer", "answers", "label", "gold", "target", "ground_truth", "gt_answer"),
        *("correct_answer", "correct_option", "correct_choice"),
    ),
    "images": (
        *("image", "images", "img", "imgs", "picture", "img_path", "img_paths"),
        *("image_path", "image_paths", "image_file", "image_files", "file_name", "file_names"),
    ),
    "boxes": ("bbox", "bboxs", "bboxes", "box", "boxes", "bounding_box", "bounding_boxes"),
    "category": ("category",),
    "cluster": ("cluster", "cluster_id", "group", "group_id", "pair", "pair_id"),
    "twin": ("twin", "twin_id"),
    "id": ("id", "index", "idx", "question_id", "qid", "sample_id", "uid"),
    "hint": ("hint",),
}
"""Usual names of the columns of each field; case, spaces and hyphens make no difference."""

FIELDS = tuple(USUAL)
"""Fields of a sample that a column can hold."""

SEVERAL = ("options", "images")
"""Fields that may be spread over several columns."""

_OPTION_FAMILIES = ("", "option", "options", "choice", "opt")

_IMAGE_FAMILIES = ("image", "images", "img", "image_path", "img_path")

_CHATS = ("messages", "conversations", "conversation", "turns", "chat", "dialog", "dialogue")

_VIDEOS = ("video", "videos", "video_path", "video_file", "video_id", "clip")

Matched = Mapping[str, tuple[str, ...]]
"""Names of the columns of each field that has any."""


def parse_fields(given: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read fields as they are given: `question=Q`, `options=A,B,C`, `boxes=` for none.

    Args:
        given: One text for each field.

    Raises:
        LanternError: a text is not of that form, or names no field or one twice.
    """
    fields: dict[str, tuple[str, ...]] = {}
    for text in given:
        name, equals, columns = text.partition("=")
        if not equals:
            raise LanternError(f"--fields: {text!r} is not of the form FIELD=COLUMN")
        if name not in FIELDS:
            raise LanternError(f"--fields: no field {name!r}; there are {', '.join(FIELDS)}")
        if name in fields:
            raise LanternError(f"--fields: {name} is given twice")
        fields[name] = (columns,) if columns else ()
    return fields


def match_columns(
    columns: Sequence[str], given: Mapping[str, str | Sequence[str]], where: str
) -> dict[str, tuple[str, ...]]:
    """Match the columns of a table to fields.

    Args:
        columns: Names of the columns.
        given: Columns of fields, which come before the usual names. No column for a field leaves it
            out. One name with commas that is no column itself is the names of several.
        where: Name of the table, for messages.

    Raises:
        LanternError: a column that is given is not there, two columns have the usual name of one
            field, or no column has a question or an image.
    """
    matched: dict[str, tuple[str, ...]] = {}
    for field in FIELDS:
        if field in given:
            found = _given(field, given[field], columns, where)
        else:
            taken = {name for names in given.values() for name in _listed(names)}
            found = _usual(field, [name for name in columns if name not in taken], where)
        if found:
            matched[field] = found
    used: dict[str, str] = {}
    for field, names in matched.items():
        for name in names:
            if name in used:
                raise LanternError(f"{where}: --fields gives {name!r} to {used[name]} and {field}")
            used[name] = field
    _refuse_other_data(columns, matched, where)
    return matched


def _listed(names: str | Sequence[str]) -> list[str]:
    names = [names] if isinstance(names, str) else list(names)
    return [*names, *(part.strip() for name in names for part in name.split(","))]


def _given(
    field: str, names: str | Sequence[str], columns: Sequence[str], where: str
) -> tuple[str, ...]:
    names = [names] if isinstance(names, str) else list(names)
    if len(names) == 1 and names[0] not in columns:
        names = [part.strip() for part in names[0].split(",") if part.strip()]
    for name in names:
        if name not in columns:
            raise LanternError(
                f"{where}: no column {name!r} for {field} (--fields); there are "
                f"{', '.join(columns)}"
            )
    if len(names) > 1 and field not in SEVERAL:
        raise LanternError(f"{where}: --fields gives {field} {len(names)} columns; it has one")
    return tuple(names)


def _usual(field: str, columns: Sequence[str], where: str) -> tuple[str, ...]:
    keys = {name: _key(name) for name in columns}
    found: list[tuple[str, ...]] = [(name,) for name, key in keys.items() if key in USUAL[field]]
    if field == "options":
        found += _families(keys, _OPTION_FAMILIES, letters=True, least=2)
    if field == "images":
        found += _families(keys, _IMAGE_FAMILIES, letters=False, least=1)
        # The table of VLMEvalKit: the file to which the image in the other column is written.
        if {("image",), ("image_path",)} <= {*found} and "index" in keys.values():
            found.remove(("image_path",))
    if len(found) > 1:
        names = " and ".join(repr(",".join(names)) for names in found)
        raise LanternError(
            f"{where}: the columns {names} have usual names of {field}; say which by "
            f"--fields {field}=COLUMN"
        )
    return found[0] if found else ()


def _families(
    keys: Mapping[str, str], families: Sequence[str], *, letters: bool, least: int
) -> list[tuple[str, ...]]:
    """Columns that are numbered or lettered in a row, such as A, B, C or image_1, image_2."""
    found = []
    by_key = {key.replace("_", ""): name for name, key in keys.items()}
    for family in families:
        stem = family.replace("_", "")
        runs = [list(string.ascii_lowercase)] if letters else []
        if stem:
            runs += [[str(number) for number in range(first, first + 26)] for first in (0, 1)]
        for run in runs:
            names = []
            for ending in run:
                if stem + ending not in by_key:
                    break
                names.append(by_key[stem + ending])
            if len(names) >= least and tuple(names) not in found:
                found.append(tuple(names))
                break
    return found


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _refuse_other_data(columns: Sequence[str], matched: Matched, where: str) -> None:
    """Refuse chats, videos, and tables without questions or images."""
    known = {_key(name): name for name in columns}
    there = ", ".join(columns)
    if "question" not in matched:
        chat = next((known[name] for name in _CHATS if name in known), None)
        if chat is not None:
            raise LanternError(
                f"{where}: the column {chat!r} holds a chat, and a question is asked in one turn; "
                "write its question, answer and image into columns of their own"
            )
        raise LanternError(
            f"{where}: no column has the question; there are {there}. Say which by "
            "--fields question=COLUMN"
        )
    if "images" not in matched:
        video = next((known[name] for name in _VIDEOS if name in known), None)
        if video is not None:
            raise LanternError(
                f"{where}: the column {video!r} holds videos, and questions are asked about "
                "images only; write single frames as images"
            )
        raise LanternError(
            f"{where}: no column has the image; there are {there}. Say which by "
            "--fields images=COLUMN"
        )
