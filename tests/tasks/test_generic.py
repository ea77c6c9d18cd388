"""Tables of any layout as samples: what is matched, asked, graded, and what is refused by row."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.answers import parse_answer
from lantern_probe.tasks.generic import read_data, read_samples
from lantern_probe.tasks.twins import given_pairs

ROW = {"question": "which?", "image": "a.png", "options": ["cat", "dog"], "answer": "B"}


@pytest.fixture(autouse=True)
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)


def read(*rows: dict[str, Any], **how: Any) -> Any:
    return read_samples(list(rows), image_root=".", **how)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in ROW.items() if name not in names}


def test_letters_are_asked_in_the_official_style() -> None:
    (sample,) = read(ROW | {"category": "c", "shape": "round", "n": 3, "tags": ["x"]})
    assert sample.text == "which?\nOptions:\nA. cat\nB. dog"
    assert (sample.lettered, sample.answer, sample.candidates) == (True, "B", ("A", "B"))
    assert dict(sample.attributes) == {"category": "c", "shape": "round", "n": 3}
    assert sample.id == "row-1" and sample.numbered


def test_words_are_asked_and_answered_as_words() -> None:
    (sample,) = read(ROW, options="words")
    assert sample.text == "which?\ncat\ndog" and sample.answer == "dog" and not sample.lettered
    assert read(ROW, options="words", prompt="{question}")[0].text == "which?"
    with pytest.raises(LanternError, match="row 1: the options 'Cat' and 'cat' are the same text"):
        read(ROW | {"options": ["Cat", "cat"]}, options="words")


def test_answers_name_the_columns_of_options_even_if_texts_are_letters_too() -> None:
    row = without("options") | {"A": "b", "B": "a"}
    assert read(row | {"answer": "A"}, row | {"answer": "B"})[0].answer == "A"
    with pytest.raises(LanternError, match="--answers letter or text says which"):
        read(ROW | {"options": ["b", "a"], "answer": "A"})


def test_equal_texts_with_letters_keep_the_answer_s_letter() -> None:
    assert read(ROW | {"options": ["Cat", "Cat"]})[0].answer == "B"


def test_a_hint_comes_before_the_question_where_there_is_one() -> None:
    first, second = read(ROW | {"hint": "look left"}, ROW | {"hint": None})
    assert first.text.startswith("look left\nwhich?\nOptions:\n")
    assert second.text.startswith("which?\nOptions:\n")


def test_a_template_may_name_columns_and_data_may_have_braces() -> None:
    row = ROW | {"question": "{x} {0.y} %s?", "place": "{options}"}
    (sample,) = read(row, prompt="In {place}: {question}\\n{options}")
    assert sample.text == "In {options}: {x} {0.y} %s?\nA. cat\nB. dog"


def test_yes_and_no_are_read_as_whole_words() -> None:
    row = without("options") | {"answer": "Yes."}
    (sample,) = read(row)
    assert (sample.options, sample.answer, sample.text) == (("yes", "no"), "yes", "which?")
    assert parse_answer("<answer>Yes, it is.</answer>", sample) == "yes"
    assert parse_answer("<answer>No, it is not</answer>", sample) == "no"
    assert parse_answer("<answer>yesterday</answer>", sample) is None
    (plain,) = read(row, match="exact")
    assert (plain.options, plain.answer, plain.match) == ((), "Yes.", "exact")


def test_open_questions_take_any_of_a_list_of_right_answers() -> None:
    (sample,) = read(without("options") | {"answer": "['3', 'three apples']"})
    assert (sample.answer, sample.accepted, sample.match) == ("3", ("three apples",), "normalised")
    (number,) = read(without("options") | {"answer": 3.0}, match="numeric")
    assert parse_answer("<answer>There are 3.</answer>", number) == "3"
    with pytest.raises(LanternError, match="row 1: .*exactly one number"):
        read(without("options") | {"answer": "many"}, match="numeric")


def test_questions_without_answers_and_mixed_with_open_ones_are_read() -> None:
    assert read(without("answer"))[0].answer is None
    choice, free = read(ROW, ROW | {"options": [], "answer": "a cow"})
    assert (choice.answer, free.answer, free.options) == ("B", "a cow", ())


def test_images_stand_where_the_text_has_marks(tmp_path: Path) -> None:
    row = without("options", "image") | {"image_1": "a.png", "image_2": "a.png", "image_3": None}
    (sample,) = read(row | {"question": "is <image> like <image>?"})
    assert len(sample.images) == 2 and sample.interleaved
    assert not read(row)[0].interleaved
    with pytest.raises(LanternError, match="row 1: the prompt has 1 marks <image> for 2 images"):
        read(row | {"question": "<image>"})


@pytest.mark.parametrize(
    ("value", "form", "box"),
    [
        ([20, 10, 60, 40], "xyxy", (20, 10, 60, 40)),
        ([20, 10, 40, 30], "xywh", (20, 10, 60, 40)),
        ("[[0.1, 0.1, 0.3, 0.4]]", "xyxy-1", (20, 10, 60, 40)),
        ((100, 100, 200, 300), "xywh-1000", (20, 10, 60, 40)),
        ([[20, 10], [60, 20], [30, 40]], "polygon", (20, 10, 60, 40)),
        ([0.1, 0.1, 0.3, 0.2, 0.15, 0.4], "polygon-1", (20, 10, 60, 40)),
        ([[100, 100, 300, 200, 150, 400]], "polygon-1000", (20, 10, 60, 40)),
    ],
)
def test_boxes_are_read_in_the_form_that_is_said(value: Any, form: Any, box: Any) -> None:
    (sample,) = read(ROW | {"bbox": value}, boxes=form)
    assert sample.boxes == (pytest.approx(box),)


def test_several_boxes_and_none(tmp_path: Path) -> None:
    first, second = read(
        ROW | {"bbox": [[0, 0, 9, 9], [1, 1, 5, 5]]}, ROW | {"bbox": []}, boxes="xyxy"
    )
    assert len(first.boxes) == 2 and second.boxes == ()


@pytest.mark.parametrize(
    ("change", "how", "said"),
    [
        ({"bbox": [0, 0, 9, 9]}, {}, r"'bbox' has boxes, and it is not said .*\(--boxes\) xyxy"),
        ({}, {"boxes": "xyxy"}, "no column has boxes; .*--fields boxes=COLUMN"),
        ({"bbox": [50, 50, 9, 9]}, {"boxes": "xyxy"}, r"is it xywh\? \(--boxes xywh\)"),
        ({"bbox": [0, 0, 0.5, 0.5]}, {"boxes": "xyxy"}, "--boxes xyxy-1"),
        ({"bbox": [0, 0, 5, 5]}, {"boxes": "xyxy-1"}, "are not xyxy-1"),
        ({"bbox": [0, 0, 5]}, {"boxes": "xyxy"}, "4 finite numbers"),
        ({"bbox": [120, 50, 190, 90]}, {"boxes": "xywh"}, "read as xywh, .* 1 of 1 .* far beyond"),
        ({"bbox": [0, 0, 999, 999]}, {"boxes": "xyxy"}, "read as xyxy, .* far beyond"),
        ({"bbox": [[0, 0], [5, 5]]}, {"boxes": "polygon"}, "3 or more points"),
        ({"bbox": {"x": 1}}, {"boxes": "xyxy"}, "must be a list"),
        ({"question": " "}, {}, "the question in 'question' must be a text"),
        ({"question": [{"role": "user"}] * 3}, {}, "a chat of 3 turns"),
        ({"image": None}, {}, "there is no image"),
        ({"image": "a.mp4"}, {}, "is a video"),
        ({"options": None}, {}, "the options are empty"),
        ({"answer": "C"}, {}, "neither one of the letters AB"),
        ({"id": float("nan")}, {}, "the id in 'id' is empty; --fields id= numbers"),
        ({"id": 1.5}, {}, "the id in 'id' is 1.5, no text"),
        ({"id": "NaN"}, {}, "the id in 'id' is 'NaN'"),
        ({"tags": ["x"]}, {"prompt": "{tags} {question}"}, "no text for the prompt"),
        ({"answer": 1}, {}, "count from 0 or from 1"),
        ({}, {"limit": 0}, "at least 1, not 0"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    change: dict[str, Any], how: dict[str, Any], said: str
) -> None:
    with pytest.raises(LanternError, match=said) as caught:
        read(ROW | change, **how)
    assert "\n" not in str(caught.value)


def test_rows_that_cannot_be_used_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [ROW | {"id": 1}, ROW | {"id": 1}, ROW | {"id": None}, ROW | {"id": 2, "answer": None}]
    with pytest.raises(LanternError, match="row 2: the id '1' in 'id' is that of the list, row 1"):
        read(*rows)
    with caplog.at_level(logging.WARNING):
        reading = read_data(rows, image_root=".", malformed="skip")
    assert [sample.id for sample in reading.samples] == ["1"] and reading.skipped == 3
    assert "left out 3 rows" in caplog.text and "rows left out 3" in reading.lines()[1]


def test_ids_of_a_column_with_gaps_stay_whole_numbers() -> None:
    assert [s.id for s in read(ROW | {"id": 1.0}, ROW | {"id": 7.0})] == ["1", "7"]


def test_twins_are_one_cluster_and_pairs() -> None:
    rows = [
        ROW | {"id": i, "twin": twin, "answer": "AB"[i % 2]}
        for i, twin in enumerate([1, None, 3, 2, None])
    ]
    samples = read(*rows)
    assert [s.cluster for s in samples[:4]] == ["0", "0", "2", "2"]
    assert samples[0].attributes["twin_answer"] == "B" and "pair" not in samples[4].attributes
    pairs = given_pairs(samples)
    assert [(s.id, s.attributes["twin"]) for s in pairs] == [
        *(("0", "1"), ("1", "0"), ("2", "3"), ("3", "2"))
    ]
    with pytest.raises(LanternError, match="the twin '9' of sample '0' is not among the samples"):
        read(ROW | {"id": 0, "twin": 9})
    with pytest.raises(LanternError, match="is that sample itself"):
        read(ROW | {"id": 0, "twin": 0})


def test_a_column_of_clusters_is_the_cluster() -> None:
    assert [s.cluster for s in read(ROW | {"group": 0}, ROW | {"group": "x"})] == ["0", "x"]


def test_how_it_was_read_is_recorded() -> None:
    Path("d.jsonl").write_text(json.dumps(ROW))
    reading = read_data("d.jsonl")
    assert reading.settings() == {
        "columns": {
            "question": ["question"],
            "options": ["options"],
            "answer": ["answer"],
            "images": ["image"],
        },
        "prompts": {
            "letters": "{question}\nOptions:\n{options}",
            "words": "{question}\n{options}",
            "open": "{question}",
        },
        "options": None,
        "answers": None,
        "match": "normalised",
        "boxes": None,
        "clusters": "image",
    }
    assert "question = question, options = options" in reading.lines()[0]
    assert reading.samples[0].id == "d-1"
