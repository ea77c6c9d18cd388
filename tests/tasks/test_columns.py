"""Columns and fields: usual names, names as given, and no choice among two."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.tasks.columns import match_columns, parse_fields

BASE = ("question", "image")


@pytest.mark.parametrize(
    ("columns", "field", "found"),
    [
        (("Question ID", *BASE), "id", ("Question ID",)),
        (("index", "A", "B", "C", "E", *BASE), "options", ("A", "B", "C")),
        (("option_a", "option_b", *BASE), "options", ("option_a", "option_b")),
        (("Choice1", "Choice2", *BASE), "options", ("Choice1", "Choice2")),
        (("question", "image_2", "image_1"), "images", ("image_1", "image_2")),
        (("question", "img0", "img1"), "images", ("img0", "img1")),
        (("index", "image_path", *BASE), "images", ("image",)),
        (("l2-category", "category", *BASE), "category", ("category",)),
        (("Correct Answer", *BASE), "answer", ("Correct Answer",)),
        (("a", *BASE), "options", None),
    ],
)
def test_usual_names_are_found_in_any_spelling(
    columns: tuple[str, ...], field: str, found: tuple[str, ...] | None
) -> None:
    assert match_columns(columns, {}, "data").get(field) == found


@pytest.mark.parametrize(
    ("columns", "given", "said"),
    [
        (("id", "index", *BASE), {}, "'id' and 'index' have usual names of id.*--fields id=COLUMN"),
        (("options", "A", "B", *BASE), {}, "'options' and 'A,B' have usual names of options"),
        (("image_path", *BASE), {}, "'image_path' and 'image' have usual names of images"),
        (BASE, {"answer": "gold"}, "no column 'gold' for answer .*there are question, image"),
        (BASE, {"answer": "question,image"}, "gives answer 2 columns"),
        (BASE, {"question": "image", "images": "image"}, "'image' to question and images"),
        (("image",), {}, "no column has the question; there are image"),
        (("question",), {}, "no column has the image; there are question"),
        (("messages", "image"), {}, "'messages' holds a chat, and a question is asked in one turn"),
        (("question", "video"), {}, "'video' holds videos, and questions are asked about images"),
    ],
)
def test_what_cannot_be_matched_is_named(
    columns: tuple[str, ...], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(LanternError, match=said):
        match_columns(columns, given, "data")


def test_given_columns_come_before_usual_names_and_none_leaves_a_field_out() -> None:
    columns = ("id", "index", "options", "x, y", "z", *BASE)
    given = parse_fields(["id=index", "options=", "answer=x, y"])
    assert match_columns(columns, given, "data") == {
        "question": ("question",),
        "answer": ("x, y",),
        "images": ("image",),
        "id": ("index",),
    }
    assert match_columns(columns[1:], {"options": "x, y"}, "data")["options"] == ("x, y",)
    assert match_columns(columns, {"options": ["id", "z"], "id": "index"}, "data")["options"] == (
        "id",
        "z",
    )
    assert match_columns(columns, parse_fields(["options=id,z", "id=index"]), "d")["options"] == (
        "id",
        "z",
    )


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["question"], "not of the form FIELD=COLUMN"),
        (["colour=x"], "no field 'colour'; there are question, options"),
        (["id=a", "id=b"], "id is given twice"),
    ],
)
def test_fields_that_are_none_are_refused(texts: list[str], said: str) -> None:
    with pytest.raises(LanternError, match=f"--fields: .*{said}"):
        parse_fields(texts)
