"""V* in both of its forms: letters, boxes, order, and what is refused and how."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.crops import crop_box
from lantern_probe.tasks.vstar import INSTRUCTION, vstar

NOTE: dict[str, Any] = {
    "target_object": ["glove"],
    "bbox": [[56, 14, 15, 10]],
    "question": "What is the material of the glove?",
    "options": [f"The glove is {what}." for what in ("rubber", "cotton", "kevlar", "leather")],
}
PLACES: dict[str, Any] = {
    "target_object": ["dog", "bench"],
    "bbox": [[1, 2, 3, 4], [10, 20, 5, 5.5]],
    "question": "Is the dog left or right of the bench?",
    "options": ["Left.", "Right."],
}
LINE: dict[str, Any] = {
    "image": "direct_attributes/sa_1.jpg",
    "text": "What is the material of the glove?\n(A) rubber\n(B) cotton\n(C) kevlar\n(D) leather\n"
    + INSTRUCTION,
    "category": "direct_attributes",
    "question_id": "0",
    "label": "C",
}


def write(folder: Path, note: Any = NOTE, name: str = "direct_attributes/sa_1") -> Path:
    path = folder / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(note if isinstance(note, str) else json.dumps(note), encoding="utf-8")
    Image.new("RGB", (100, 60)).save(path.with_suffix(".jpg"))
    return folder


def write_lines(folder: Path, *lines: Any) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "test_questions.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder


def test_images_with_their_notes(tmp_path: Path) -> None:
    write(tmp_path, PLACES, "relative_position/sa_2")
    first, second = vstar(write(tmp_path))
    assert (first.id, second.id) == ("direct_attributes/sa_1", "relative_position/sa_2")
    assert first.attributes == {"category": "direct_attributes", "targets": ("glove",)}
    assert second.attributes == {"category": "relative_position", "targets": ("dog", "bench")}
    assert first.boxes == ((56.0, 14.0, 71.0, 24.0),)
    assert second.boxes == ((1.0, 2.0, 4.0, 6.0), (10.0, 20.0, 15.0, 25.5))
    assert first.lettered and first.candidates == ("A", "B", "C", "D")
    assert second.candidates == ("A", "B")
    image = first.open_images()[0]
    assert crop_box(image.size, first.boxes[0]) == (54, 13, 72, 25)


def test_the_letter_follows_the_right_option(tmp_path: Path) -> None:
    """The first option of a file is right; shown first, its letter would always be A."""
    for index in range(40):
        write(tmp_path, NOTE | {"question": f"{index}?"}, f"direct_attributes/sa_{index}")
    samples = vstar(tmp_path)
    assert len(samples) == 40
    for sample in samples:
        assert sample.options["ABCD".index(str(sample.answer))] == "The glove is rubber."
        assert sorted(sample.options) == sorted(NOTE["options"])
        lines = [f"({a}) {text}" for a, text in zip("ABCD", sample.options, strict=True)]
        assert sample.text == "\n".join([sample.question, *lines])
    assert set(Counter(sample.answer for sample in samples)) == set("ABCD")


def test_the_order_depends_on_seed_and_id_only(tmp_path: Path) -> None:
    for index in range(20):
        write(tmp_path, NOTE, f"direct_attributes/sa_{index}")
    before = {sample.id: sample.options for sample in vstar(tmp_path)}
    assert {sample.id: sample.options for sample in vstar(tmp_path, seed=1)} != before
    (tmp_path / "direct_attributes" / "sa_0.json").unlink()
    after = {sample.id: sample.options for sample in vstar(tmp_path)}
    assert before == after | {"direct_attributes/sa_0": before["direct_attributes/sa_0"]}


def test_given_letters_are_kept_and_boxes_found(tmp_path: Path) -> None:
    write_lines(write(tmp_path), LINE)
    for seed in (0, 1):
        (sample,) = vstar(tmp_path, seed=seed)
        assert sample.id == "0"
        assert sample.answer == "C"
        assert sample.options == ("rubber", "cotton", "kevlar", "leather")
        assert sample.question == "What is the material of the glove?"
        assert sample.prompt == LINE["text"].removesuffix(f"\n{INSTRUCTION}")
        assert sample.boxes == ((56.0, 14.0, 71.0, 24.0),)
        assert sample.attributes == {"category": "direct_attributes", "targets": ("glove",)}
        assert sample.open_images()[0].size == (100, 60)


def test_lines_without_notes_have_no_boxes(tmp_path: Path) -> None:
    two = LINE | {
        "text": "Left or right?\n(A) left\n(B) right",
        "question_id": 190,
        "label": "(b)",
        "category": "relative_position",
    }
    (sample,) = vstar(write_lines(tmp_path, two))
    assert (sample.id, sample.answer, sample.options) == ("190", "B", ("left", "right"))
    assert sample.boxes == () and sample.attributes == {"category": "relative_position"}


def test_a_missing_image_fails_its_sample_only(tmp_path: Path) -> None:
    write(tmp_path, NOTE, "direct_attributes/sa_2")
    (write(tmp_path) / "direct_attributes" / "sa_1.jpg").unlink()
    bad, good = vstar(tmp_path)
    assert good.open_images()
    with pytest.raises(LanternError, match=r"'direct_attributes/sa_1'.*no image.*sa_1\.jpg"):
        bad.open_images()
    write_lines(tmp_path, LINE, LINE | {"question_id": "1", "image": "direct_attributes/sa_2.jpg"})
    bad, good = vstar(tmp_path)
    assert good.open_images()
    with pytest.raises(LanternError, match=r"'0'.*no image.*sa_1\.jpg"):
        bad.open_images()


def test_an_image_in_any_format_belongs_to_its_note(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "direct_attributes" / "sa_1.jpg").rename(tmp_path / "direct_attributes/sa_1.JPEG")
    assert vstar(tmp_path)[0].open_images()[0].size == (100, 60)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", ""),
        ("options", ["only one"]),
        ("options", "A B"),
        ("target_object", []),
        ("target_object", "glove"),
        ("bbox", [1, 2, 3, 4]),
        ("bbox", [[1, 2, 3]]),
        ("bbox", [[1, 2, 3, None]]),
        ("bbox", [[1, 2, 3, float("inf")]]),
        ("bbox", [[1, 2, 3, 4], [1, 2, 3, 4]]),
    ],
)
def test_a_bad_field_of_a_note_is_named_with_its_file(
    tmp_path: Path, field: str, value: Any
) -> None:
    write(tmp_path, NOTE | {field: value})
    with pytest.raises(LanternError) as caught:
        vstar(tmp_path)
    note = tmp_path / "direct_attributes" / "sa_1.json"
    assert str(caught.value).startswith(f"{note}: the field '{field}'")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "What?"),
        ("text", "What? (A) in (B) line"),
        ("text", "What?\n(A) first\n(C) third"),
        ("text", "What?\n(A) only one"),
        ("text", "(A) no\n(B) question"),
        ("label", "E"),
        ("label", 1),
        ("image", None),
        ("category", ""),
        ("question_id", None),
    ],
)
def test_a_bad_field_of_a_line_is_named_with_file_and_line(
    tmp_path: Path, field: str, value: Any
) -> None:
    write_lines(tmp_path, LINE, LINE | {"question_id": "1"} | {field: value})
    with pytest.raises(LanternError) as caught:
        vstar(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'test_questions.jsonl'}, line 2: the field '{field}'")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match=r"neither test_questions\.jsonl nor NAME\.json"):
        vstar(tmp_path)
    with pytest.raises(LanternError, match=r"sa_1\.json: not valid JSON"):
        vstar(write(tmp_path, "{"))
    with pytest.raises(LanternError, match="line 2: the field 'question_id' is '0'"):
        vstar(write_lines(write(tmp_path), LINE, LINE))
    with pytest.raises(LanternError, match="no folder 'craigwu/vstar_bench'.*hub="):
        vstar("craigwu/vstar_bench")
    with pytest.raises(LanternError, match="either a folder or, with hub="):
        vstar()
    with pytest.raises(LanternError, match="seed must not be negative"):
        vstar(tmp_path, seed=-1)


# -- through the package `datasets` ---------------------------------------------------------


def test_rows_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    Image.new("RGB", (9, 8)).save(data, "PNG")
    image = {"bytes": data.getvalue(), "path": None}
    paths: list[dict[str, Any]] = [LINE]
    images = [LINE | {"image": image}, LINE | {"image": image, "question_id": "1", "label": "A"}]

    class FakeImage(SimpleNamespace):
        pass

    class Table(list[Any]):
        features: ClassVar = {"image": FakeImage(decode=True)}

        def cast_column(self, name: str, feature: FakeImage) -> Table:
            assert name == "image" and not feature.decode
            return self

    def load_dataset(repository: str, config: None, split: str) -> Table:
        assert config is None and split == "test"
        return Table(paths if repository == "craigwu/vstar_bench" else images)

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.Image = FakeImage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    first, second = vstar(hub="lmms-lab/vstar-bench")
    assert (first.id, first.answer, second.id, second.answer) == ("0", "C", "1", "A")
    assert first.boxes == () and first.open_images()[0].size == (9, 8)
    with pytest.raises(LanternError, match="holds no image; download the repository"):
        vstar(hub="craigwu/vstar_bench")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(LanternError, match=r"pip install 'lantern-probe\[datasets\]'"):
        vstar(hub="lmms-lab/vstar-bench")
