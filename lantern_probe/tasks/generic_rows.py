"""One row of any table made into a sample."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import written_boxes
from lantern_probe.tasks.columns import Matched
from lantern_probe.tasks.fields import Entry, Skipped, passing
from lantern_probe.tasks.files import valid_text
from lantern_probe.tasks.free_text import YES_NO, check_right_answer
from lantern_probe.tasks.prompts import (
    IN_WORDS,
    LETTERED,
    OPEN,
    parse_template,
    placed_images,
    written_as,
)
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.tasks.tables import Table, is_missing
from lantern_probe.tasks.text_tables import typed_column
from lantern_probe.tasks.twins import TWIN
from lantern_probe.tasks.written_images import read_images
from lantern_probe.tasks.written_options import (
    index_form,
    literal,
    read_answer,
    read_options,
)
from lantern_probe.vocabulary import AnswerForm, BoxUnit, Match, OptionStyle

_DEFAULTS = {"letters": LETTERED, "words": IN_WORDS, "open": OPEN}

_NOT_ATTRIBUTES = ("question", "options", "answer", "images", "boxes", "id", "hint")
"""Fields whose columns are no attributes of a sample."""


def written_ids(
    table: Table, matched: Matched, skipped: Skipped | None
) -> tuple[list[str | None], bool]:
    """The id of every row, None for a row that is left out; and True if ids are only numbers.

    Args:
        table: The table.
        matched: Columns of the fields.
        skipped: Takes the rows whose ids are missing or used before; None to stop at the first.

    Raises:
        LanternError: an id is missing, no text or whole number, or used before.
    """
    if "id" not in matched:
        stem = Path(table.where).stem if table.folder is not None else "row"
        return [f"{stem}-{row.number}" for row in table.rows], True
    (column,) = matched["id"]
    seen: dict[str, str] = {}
    ids: list[str | None] = []
    for row in table.rows:
        ids.append(None)
        with passing(skipped):
            name = _id(row, column)
            if name in seen:
                raise row.error(f"the id {name!r} in '{column}' is that of {seen[name]} too")
            seen[name] = row.where
            ids[-1] = name
    return ids, False


def _id(row: Entry, column: str) -> str:
    value = row.fields.get(column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers of a column that has an empty cell
    if is_missing(value) or isinstance(value, bool) or not isinstance(value, str | int):
        what = "empty" if is_missing(value) else f"{value!r:.40}, no text or whole number"
        raise row.error(f"the id in '{column}' is {what}; --fields id= numbers the rows")
    if not str(value).strip() or str(value).strip().lower() == "nan":
        raise row.error(f"the id in '{column}' is {value!r}; --fields id= numbers the rows")
    return valid_text(str(value).strip())


def answer_form(table: Table, matched: Matched) -> AnswerForm | None:
    """The form of the answers to options, where a column shows it; None for letters or texts.

    Numbers are told by where they count from. In a table with the columns A, B and so on, answers
    that are all letters are the names of these columns.

    Args:
        table: The table.
        matched: Columns of the fields.

    Raises:
        LanternError: nothing says from where the numbers count.
    """
    if "answer" not in matched or "options" not in matched:
        return None
    answers, options = [], []
    for row in table.rows:
        try:
            texts = read_options([row.fields.get(name) for name in matched["options"]])
        except LanternError:
            continue  # said when the row is read
        if texts:
            answers.append(row.fields.get(matched["answer"][0]))
            options.append(texts)
    known = [answer for answer in answers if not _is_empty(answer)]
    named = all(len(name.strip()) == 1 for name in matched["options"])
    letters = string.ascii_letters
    if named and known and all(isinstance(a, str) and a.strip() in [*letters] for a in known):
        return "letter"
    try:
        return index_form(answers, options)
    except LanternError as error:
        raise LanternError(f"{table.where}, column '{matched['answer'][0]}': {error}") from None


class RowReader:
    """Reader of rows, with what holds for all rows of a table.

    Args:
        table: The table.
        matched: Columns of the fields.
        ids: Id of every row.
        root: Folder to which image paths are relative.
        prompt: Template of the prompt; None for the default of each kind of question.
        style: Form of the options; None for letters, and words for yes and no.
        match: Comparison of free texts; None for `normalised`, and options for yes and no.
        form: Form of the answers to options; None for letters or texts.
        boxes: Form of the boxes.

    Raises:
        LanternError: the template cannot be used.
    """

    def __init__(
        self,
        table: Table,
        matched: Matched,
        ids: Sequence[str | None],
        root: Path | None,
        prompt: str | None,
        style: OptionStyle | None,
        match: Match | None,
        form: AnswerForm | None,
        boxes: BoxUnit | None,
    ) -> None:
        self.table, self.matched, self.root, self.style = table, matched, root, style
        self.asked = prompt is not None
        self.match, self.form, self.boxes = match, form, boxes
        self.templates = {
            kind: parse_template(
                _default(kind, matched) if prompt is None else prompt, table.columns
            )
            for kind in _DEFAULTS
        }
        self.images = {
            name: [row.fields.get(column) for column in matched["images"]]
            for row, name in zip(table.rows, ids, strict=True)
            if name is not None and "id" in matched
        }
        answers = [row.fields.get(name) for row in table.rows for name in matched.get("answer", ())]
        self.graded = any(not _is_empty(answer) for answer in answers)
        used = {name for field in _NOT_ATTRIBUTES for name in matched.get(field, ())}
        self.attributes = {
            name: typed_column([row.fields.get(name) for row in table.rows])
            if table.texts and name not in matched.get("twin", ())
            else [row.fields.get(name) for row in table.rows]
            for name in table.columns
            if name not in used
        }
        self.position = {id(row): place for place, row in enumerate(table.rows)}

    def sample(self, row: Entry, name: str) -> Sample:
        """Make the sample of a row.

        Args:
            row: The row.
            name: Id of the sample.

        Raises:
            LanternError: a cell of the row cannot be used.
        """
        question = self._question(row)
        options, right, texts, match = self._answered(row)
        made = options is YES_NO
        kind = (self.style or ("words" if made else "letters")) if options else "open"
        if kind == "words":
            _check_differ(options)
        cells = [row.fields.get(column) for column in self.matched["images"]]
        images = read_images(cells, self.root, self.images)
        shown = () if made and kind == "words" and not self.asked else options
        prompt, interleaved = placed_images(self._prompt(row, question, shown, kind), len(images))
        answer = texts[0] if texts else None
        if right is not None:
            answer = string.ascii_uppercase[right] if kind == "letters" else options[right]
        return Sample(
            id=name,
            images=images,
            question=question,
            options=options,
            answer=answer,
            boxes=self._boxes(row),
            attributes=self._attributes(row),
            lettered=kind == "letters",
            prompt=prompt,
            match=match,
            accepted=texts[1:],
            interleaved=interleaved,
        )

    def _cell(self, row: Entry, field: str) -> Any:
        column = self.matched.get(field, ("",))[0]
        value = row.fields.get(column)
        return None if _is_empty(value) else value

    def _question(self, row: Entry) -> str:
        value = self._cell(row, "question")
        column = self.matched["question"][0]
        if isinstance(value, list | tuple | Mapping):
            raise LanternError(
                f"the question in '{column}' is a chat of {len(value)} turns, and a question is "
                "asked in one; write its text"
            )
        if not isinstance(value, str):
            raise LanternError(f"the question in '{column}' must be a text, not {value!r:.60}")
        return value

    def _answered(self, row: Entry) -> tuple[tuple[str, ...], int | None, tuple[str, ...], Match]:
        """Options and the index of the right one; or right texts, and how they are compared."""
        options: tuple[str, ...] = ()
        if "options" in self.matched:
            options = read_options([row.fields.get(name) for name in self.matched["options"]])
        answer = self._cell(row, "answer")
        if answer is None:
            if self.graded:
                raise LanternError(f"the answer in '{self.matched['answer'][0]}' is empty")
            return options, None, (), self.match or "normalised"
        if options:
            return options, read_answer(answer, options, self.form), (), "exact"
        texts = _texts(answer)
        if self.match is None and len({text.casefold() for text in texts}) == 1:
            word = texts[0].rstrip(".").casefold()
            if word in YES_NO:
                return YES_NO, YES_NO.index(word), (), "exact"
        match = self.match or "normalised"
        for text in texts:
            check_right_answer(text, match)
        return (), None, tuple(dict.fromkeys(texts)), match

    def _prompt(self, row: Entry, question: str, options: tuple[str, ...], kind: str) -> str:
        template = self.templates[kind]
        style: OptionStyle = "letters" if kind == "letters" else "words"
        values = {
            "question": question,
            "options": written_as(options, style),
            "hint": _shown(self._cell(row, "hint"), "hint"),
        }
        for place in template.places - values.keys():
            values[place] = _shown(row.fields.get(place), place)
        return template.filled(values)

    def _boxes(self, row: Entry) -> tuple[Box, ...]:
        value = self._cell(row, "boxes")
        if value is None or self.boxes is None:
            return ()
        column = self.matched["boxes"][0]
        boxes = written_boxes(
            _lists(literal(value) if isinstance(value, str) else value), self.boxes, column
        )
        for box in boxes:
            sized = self.boxes.startswith("xywh")
            if (min(box[2:]) <= 0) if sized else (box[2] <= box[0] or box[3] <= box[1]):
                other = self.boxes.replace("xyxy", "xywh")
                way = "" if sized or other == self.boxes else f"; is it {other}? (--boxes {other})"
                raise LanternError(
                    f"the box {list(box)} in '{column}' has no area as {self.boxes}{way}"
                )
        return boxes

    def _attributes(self, row: Entry) -> dict[str, Any]:
        place = self.position[id(row)]
        named = {
            self.matched[field][0]: field
            for field in ("category", "cluster", TWIN)
            if field in self.matched
        }
        found = {}
        for column, values in self.attributes.items():
            value = values[place]
            if not _is_empty(value) and isinstance(value, str | int | float):
                plain = valid_text(value) if isinstance(value, str) else value
                found[named.get(column, valid_text(column))] = plain
        if "twin" in self.matched and TWIN in found:
            twin = found[TWIN]
            whole = isinstance(twin, float) and twin.is_integer()
            found[TWIN] = str(int(twin) if whole else twin).strip()
        return found


def kind_of(sample: Sample) -> str:
    """The kind of a question: `letters`, `words`, or `open` without options.

    Args:
        sample: The sample.
    """
    return ("letters" if sample.lettered else "words") if sample.options else "open"


def _default(kind: str, matched: Matched) -> str:
    return ("{hint}\n" if "hint" in matched else "") + _DEFAULTS[kind]


def _is_empty(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _shown(value: Any, place: str) -> str:
    if _is_empty(value):
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise LanternError(f"the cell of '{place}' is no text for the prompt: {value!r:.60}")


def _texts(answer: Any) -> list[str]:
    """The right texts of an open question: one, or a list of those that count."""
    if isinstance(answer, str) and answer.strip().startswith("["):
        try:
            answer = literal(answer.strip())
        except LanternError:
            return [answer.strip()]
    given = answer if isinstance(answer, list | tuple) else [answer]
    texts = []
    for text in given:
        if isinstance(text, bool) or not isinstance(text, str | int | float) or _is_empty(text):
            raise LanternError(f"the answer must be a text or a number, not {text!r:.60}")
        whole = isinstance(text, float) and text.is_integer()
        texts.append(str(int(text) if whole else text).strip())
    if not texts:
        raise LanternError("the answer is an empty list")
    return texts


def _check_differ(options: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for option in options:
        key = " ".join(option.casefold().split())
        if key in seen:
            raise LanternError(
                f"the options {seen[key]!r} and {option!r} are the same text, and the answer is "
                "read as one (--options letters tells them apart)"
            )
        seen[key] = option
