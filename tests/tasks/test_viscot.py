"""The reader of the official multiple-choice file: what it takes, finds and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.crops import region
from lantern_probe.tasks.viscot import viscot

LINE = {
    "question": "What is white?",
    "options": ["A. Water", "B. a Bird", "C. Grass", "D. Sky"],
    "answer": "B",
    "img_path": "/mnt/cluster/lantern/v7w/v7w_1.jpg",
    "bbox": [[131.0, 131.0, 451.0, 325.0]],
}
PACKED = LINE | {"options": ["A. Water B. Bird C. Grass D. Sky"]}


def write(folder: Path, *lines: dict[str, Any] | str) -> Path:
    path = folder / "test.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in LINE.items() if name != field}


def test_a_line_of_the_official_file(tmp_path: Path) -> None:
    (sample,) = viscot(write(tmp_path, LINE | {"dataset": "v7w", "hard": True, "tags": ["x"]}))
    assert sample.id == "test-1"
    assert sample.question == "What is white?"
    assert sample.prompt == "What is white?\nOptions:\nA. Water\nB. a Bird\nC. Grass\nD. Sky"
    assert sample.options == ("Water", "a Bird", "Grass", "Sky")
    assert sample.candidates == ("A", "B", "C", "D")
    assert sample.answer == "B"
    assert sample.lettered
    assert sample.boxes == ((131.0, 131.0, 451.0, 325.0),)
    assert sample.attributes == {"dataset": "v7w", "hard": True}


@pytest.mark.parametrize(
    ("options", "bare"),
    [
        (["A) 1", "B) 2"], ("1", "2")),
        (["(A) a cat", "(B) a dog", "(C) A. Lincoln"], ("a cat", "a dog", "A. Lincoln")),
        (["A: woman", "B: man"], ("woman", "man")),
        (["A.x", "b. y "], ("x", "y")),
        ([f"{chr(65 + i)}. {i}" for i in range(26)], tuple(map(str, range(26)))),
    ],
)
def test_options_lose_their_letters(
    tmp_path: Path, options: list[str], bare: tuple[str, ...]
) -> None:
    (sample,) = viscot(write(tmp_path, LINE | {"options": options}))
    assert sample.options == bare
    assert sample.text.endswith("\nOptions:\n" + "\n".join(options))


@pytest.mark.parametrize("answer", ["B", "b", "(B)", " B ", "B.", "B. a Bird", "B) other", "[b]"])
def test_answers_are_brought_to_their_letter(tmp_path: Path, answer: str) -> None:
    assert viscot(write(tmp_path, LINE | {"answer": answer}))[0].answer == "B"


@pytest.mark.parametrize(
    ("field", "value", "boxes"),
    [
        ("bbox", [1, 2, 3, 4], ((1.0, 2.0, 3.0, 4.0),)),
        ("bboxs", [[1, 2, 3, 4], [0, 0, 9, 9.5]], ((1.0, 2.0, 3.0, 4.0), (0.0, 0.0, 9.0, 9.5))),
        ("bbox", [], ()),
        ("bbox", None, ()),
    ],
)
def test_boxes(
    tmp_path: Path, field: str, value: Any, boxes: tuple[tuple[float, ...], ...]
) -> None:
    (sample,) = viscot(write(tmp_path, without("bbox") | {field: value}))
    assert sample.boxes == boxes


def test_images_are_found_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "images"
    places = ["mnt/cluster/lantern/v7w/1.jpg", "v7w/2.jpg", "3.jpg"]
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(root / place)
    elsewhere = tmp_path / "elsewhere.png"
    Image.new("RGB", (4, 3)).save(elsewhere)
    (tmp_path / "v7w").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "v7w" / "4.jpg")
    images = [f"/mnt/cluster/lantern/v7w/{i}.jpg" for i in (1, 2, 3)] + ["v7w/2.jpg"]
    lines = [LINE | {"img_path": image} for image in [*images, str(elsewhere)]]
    lines += [without("img_path") | {"image": "v7w/2.jpg"}]
    lines += [without("img_path") | {"image_path": "/x/3.jpg"}]
    samples = viscot(write(tmp_path, *lines), root)
    expected = [*(root / place for place in places), root / places[1], elsewhere]
    expected += [root / places[1], root / places[2]]
    assert [sample.images[0] for sample in samples] == expected
    for sample in samples:
        assert sample.open_images()[0].size == (4, 3)
    beside = viscot(write(tmp_path, LINE | {"img_path": "/mnt/v7w/4.jpg"}))
    assert beside[0].images == (tmp_path / "v7w" / "4.jpg",)


@pytest.mark.parametrize("image", ["/mnt/x/1.jpg", "a\0b.jpg", "x" * 5000, "../1.jpg", "/"])
def test_an_image_that_is_nowhere_fails_its_own_sample(tmp_path: Path, image: str) -> None:
    (sample,) = viscot(write(tmp_path, LINE | {"img_path": image}), tmp_path / "pictures")
    with pytest.raises(LanternError, match=r"test-1"):
        sample.open_images()


def test_the_missing_image_is_named_below_the_root(tmp_path: Path) -> None:
    (sample,) = viscot(write(tmp_path, LINE), tmp_path / "pictures")
    with pytest.raises(
        LanternError, match="no image at '.*/pictures/mnt/cluster/lantern/v7w/v7w_1"
    ):
        sample.open_images()
    (sample,) = viscot(write(tmp_path, LINE | {"img_path": "https://x.org/1.jpg"}))
    with pytest.raises(LanternError, match="URL"):
        sample.open_images()


def test_ids_come_from_the_file_only_if_they_identify(tmp_path: Path) -> None:
    def ids(*fields: dict[str, Any], limit: int | None = None) -> list[str]:
        path = write(tmp_path, *(LINE | field for field in fields))
        return [sample.id for sample in viscot(path, limit=limit)]

    assert ids({"id": "x"}, {"id": 7}) == ["x", "7"]
    assert ids({"question_id": 1}, {"question_id": 2}) == ["1", "2"]
    assert ids({"id": 1, "question_id": "p"}, {"id": 1, "question_id": "q"}) == ["p", "q"]
    assert ids({"id": "x"}, {"id": "x"}) == ["test-1", "test-2"]
    assert ids({"id": 1}, {"id": "1"}) == ["test-1", "test-2"]
    assert ids({"id": "x"}, {}) == ["test-1", "test-2"]
    assert ids({"id": ""}, {"id": None}) == ["test-1", "test-2"]
    assert ids({"id": "x"}, {"id": "y"}, {"id": "x"}, limit=1) == ["test-1"]


def test_empty_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    text = json.dumps(LINE | {"question": "白？"}, ensure_ascii=False)
    path.write_bytes(f"\ufeff{text}\r\n\r\n  \n{text}".encode())
    assert [sample.id for sample in viscot(path)] == ["test-1", "test-4"]
    assert viscot(path)[0].question == "白？"


def test_lines_that_are_no_multiple_choice_can_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, LINE, PACKED, LINE | {"answer": "A, B"}, LINE, LINE)
    with pytest.raises(LanternError, match=r"line 2: .*2 to 26 texts, not 1.*malformed='skip'"):
        viscot(path)
    assert [sample.id for sample in viscot(path, limit=1)] == ["test-1"]
    assert not caplog.records
    kept = viscot(path, limit=2, malformed="skip")
    assert [sample.id for sample in kept] == ["test-1", "test-4"]
    assert "left out 2 rows that cannot be used" in caplog.text
    with pytest.raises(LanternError, match="no samples"):
        viscot(write(tmp_path, PACKED), malformed="skip")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        *((without(name), f"'{name}' is missing") for name in ("question", "options", "answer")),
        (without("img_path"), "'img_path' is missing"),
        (LINE | {"question": " "}, "'question' must be a text"),
        (LINE | {"answer": 1}, "'answer' must be a text, not 1"),
        (LINE | {"answer": "E"}, "'answer' must be one of the letters ABCD, not 'E'"),
        (LINE | {"answer": "Bird"}, "'answer' must be one of"),
        (LINE | {"img_path": None}, "'img_path' must be a text"),
        (LINE | {"options": "A. x"}, "'options' must be a list of texts"),
        (LINE | {"options": ["A. x", 2]}, "'options' must be a list of texts"),
        (LINE | {"options": ["A. x", "y"]}, "'options' has 'y' where 'B"),
        (LINE | {"options": ["A. x", "C. y"]}, "'options' has 'C. y' where 'B"),
        (LINE | {"options": ["A. x", "B. "]}, "'options' has 'B. ' where 'B"),
        (LINE | {"options": [f"{i}" for i in range(27)]}, "2 to 26 texts, not 27"),
        (LINE | {"bbox": [1, 2, 3]}, "'bbox' needs 4 finite numbers"),
        (LINE | {"bbox": [[1, 2, 3, 4], [1, 2, 3, "4"]]}, "'bbox' needs 4 finite numbers"),
        (LINE | {"bbox": [[1, 2, 3, 4], 5]}, "'bbox' needs 4 finite numbers"),
        (LINE | {"bbox": [1, 2, float("nan"), 4]}, "'bbox' needs 4 finite numbers"),
        (LINE | {"bbox": [1, 2, 3, True]}, "'bbox' needs 4 finite numbers"),
        (LINE | {"bbox": "1 2 3 4"}, "'bbox' must be a list"),
        ("{'question': 1}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "a list where an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: dict[str, Any] | str, problem: str) -> None:
    path = write(tmp_path, LINE, line)
    with pytest.raises(LanternError, match=rf"test\.jsonl, line 2: .*{problem}"):
        viscot(path)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match=r"cannot read '.*gone\.jsonl': No such file"):
        viscot(tmp_path / "gone.jsonl")
    with pytest.raises(LanternError, match="cannot read"):
        viscot(tmp_path)
    for empty in ("", "\n \n", "\ufeff"):
        with pytest.raises(LanternError, match="no rows in it"):
            viscot(write(tmp_path, empty))
    (tmp_path / "test.jsonl").write_bytes(json.dumps(LINE).encode() + b"\n\xff\xfe")
    with pytest.raises(LanternError, match="line 2: not UTF-8 .*save it as UTF-8"):
        viscot(tmp_path / "test.jsonl")
    with pytest.raises(LanternError, match="limit"):
        viscot(write(tmp_path, LINE), limit=0)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted({*LINE, "bboxs", "id"})), VALUES)
def test_any_value_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any
) -> None:
    path = write(tmp_path_factory.getbasetemp(), LINE | {field: value})
    try:
        outcome = f"{len(viscot(path))} sample"
    except LanternError as error:
        outcome = str(error)
    assert outcome == "1 sample" or "line 1: the field '" in outcome or "0 to 1" in outcome


def test_options_without_letters_get_them_and_empty_boxes_wait_for_the_crop(tmp_path: Path):
    line = LINE | {"options": ["a dog", "the cat"], "answer": "B", "bbox": [50, 50, 20, 60]}
    (tmp_path / "data.jsonl").write_text(json.dumps(line))
    (sample,) = viscot(tmp_path / "data.jsonl")
    assert sample.options == ("a dog", "the cat") and sample.answer == "B"
    assert sample.text.endswith("Options:\nA. a dog\nB. the cat")
    assert sample.boxes == ((50, 50, 20, 60),)
    with pytest.raises(LanternError, match="has no area inside an image"):
        region((300, 200), sample.boxes[0])
