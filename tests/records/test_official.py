"""Result files as they are published, and as they should not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.analysis.ablation import summarize
from lantern_probe.errors import LanternError
from lantern_probe.records.frame import to_frame
from lantern_probe.records.official import condition_names, read_published

BLOCK = "<|lvr_start|><|lvr_sep|><|lvr_end|>\n"


def said(answer: str) -> str:
    return f"{BLOCK}<answer> {answer} </answer><|im_end|>"


def entry(number: int, answer: str | None, label: str | None = "A", **more: Any) -> dict[str, Any]:
    return {
        "id": f"val_{number}",
        "label": label,
        "prediction": None if answer is None else said(answer),
        "category": "left" if number % 2 else "right",
        **more,
    }


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def visual(image: str, question: str, answer: str, label: str = "A", **more: Any) -> dict[str, Any]:
    """An entry of the VisCoT files: no id, options inside the question."""
    options = "A. a man\nB. a woman\nC. a dog\nD. the sky"
    return {
        "img_path": image,
        "question": f"{question}\nOptions:\n{options}",
        "label": label,
        "prediction": said(answer),
        **more,
    }


def test_rows_are_those_of_an_ablation(tmp_path: Path) -> None:
    own = [entry(1, "A"), entry(2, "(B)"), entry(3, "none", "(A)"), entry(4, "C", "b.")]
    own[3]["prediction"] = "<answer>C"  # no block
    zeros = [entry(i, "A") for i in range(1, 5)]
    zeros[2]["label"], zeros[3]["label"] = "A", "B"
    files = read_published(
        [written(tmp_path / "own/b.json", own), written(tmp_path / "zeros/b.json", zeros)]
    )
    assert [file.condition for file in files] == ["own", "zeros"]
    assert [file.notes for file in files] == [(), ()]
    rows = [row for file in files for row in file.rows]
    assert rows[0] == {
        "sample": "val_1", "condition": "own", "status": "ok", "gold": "A", "answer": "A",
        "correct": True, "candidates": None, "emitted": True, "cluster": "val_1", "logprobs": None,
        "text": said("A"), "parser": "strict", "id": "val_1", "category": "left",
    }  # fmt: skip
    assert [row["answer"] for row in files[0].rows] == ["A", "B", None, "C"]
    assert [row["gold"] for row in files[0].rows] == ["A", "A", "A", "B"]
    assert [row["emitted"] for row in files[0].rows] == [True, True, True, False]
    first, second = summarize(rows, model="LVR-7B")
    assert (first.samples, first.n, first.accuracy.count, first.unparsed) == (4, 3, 1, 1)
    assert first.emission.estimate == 0.75
    assert second.difference is not None and second.difference.n == 3


def test_names_come_from_files_or_folders() -> None:
    assert condition_names(["r/own/blink/blink.json", "r/no_lvr/blink/blink.json"]) == [
        "own", "no_lvr"
    ]  # fmt: skip
    assert condition_names(["a/own.json", "b/zeros.json"]) == ["own", "zeros"]
    assert condition_names(["blink.json"]) == ["blink"]
    assert condition_names(["x/own/a/b.json", "x/own/c/b.json", "x/gt/a/b.json"]) == [
        "own/a", "own/c", "gt/a"
    ]  # fmt: skip
    assert condition_names(["b.json", "x/b.json"]) == ["b", "x/b"]
    assert condition_names([]) == []
    with pytest.raises(LanternError, match=r"a\.json' is given twice"):
        condition_names(["a.json", "a.json"])


def test_samples_without_id_pair_by_image_and_question(tmp_path: Path) -> None:
    one = [
        visual("a.jpg", "Who?", "A"),
        visual("a.jpg", "What?", "C"),
        visual("b.jpg", "Who?", "B"),
    ]
    files = read_published(
        [written(tmp_path / "own.json", one), written(tmp_path / "gt.json", one[::-1])]
    )
    keys = [[row["sample"] for row in file.rows] for file in files]
    assert keys[0] == keys[1][::-1] and len(set(keys[0])) == 3
    assert [row["cluster"] for row in files[0].rows] == ["a.jpg", "a.jpg", "b.jpg"]
    assert [row["candidates"] for row in files[0].rows] == [4, 4, 4]


def test_copies_are_all_kept_told_apart_and_reported(tmp_path: Path) -> None:
    twice = [
        visual("a.jpg", "Who?", "A"),
        visual("a.jpg", "Who?", "B", "B"),
        visual("b.jpg", "?", "A"),
    ]
    more = [twice[1], twice[2], twice[0], twice[0]]  # another order, and one copy more
    one, two = read_published(
        [written(tmp_path / "own.json", twice), written(tmp_path / "gt.json", more)]
    )
    assert len({row["sample"] for row in one.rows}) == 3
    assert len({row["sample"] for row in two.rows}) == 4
    by_key = {row["sample"]: row for row in two.rows}
    for row in one.rows:  # the label keeps the copies apart, whatever their order
        assert by_key[row["sample"]]["gold"] == row["gold"]
    assert len(one.notes) == len(two.notes) == 1
    assert "1 samples occur more than once (a.jpg | Who?" in one.notes[0]
    # A key that is single here and doubled there is named as there.
    (alone, _) = read_published([written(tmp_path / "x.json", twice[2:]), tmp_path / "gt.json"])
    assert alone.rows[0]["sample"] == one.rows[2]["sample"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    content = [entry(1, "A"), entry(2, None), entry(3, "A", None), entry(4, "A", "cat")]
    (file,) = read_published([written(tmp_path / "own.json", content)])
    assert [row["status"] for row in file.rows] == ["ok", "failed", "ok", "ok"]
    assert [row.get("correct") for row in file.rows] == [True, None, None, False]
    assert [note.split(" (")[0] for note in file.notes] == [
        "1 entries have no prediction and are left out",
        "1 entries have no label and are left out",
        "1 labels are no letters, and no letter is right there",
    ]
    assert "val_2" in file.notes[0] and "val_3" in file.notes[1] and "val_4" in file.notes[2]


def test_texts_without_any_marker_say_nothing_about_blocks(tmp_path: Path) -> None:
    content = [entry(i, "A") | {"prediction": "<answer>A</answer>"} for i in range(3)]
    (file,) = read_published([written(tmp_path / "own.json", content)])
    assert all(row["emitted"] for row in file.rows)


@pytest.mark.parametrize(
    ("text", "strict", "official", "default"),
    [
        ("<answer> A </answer>", "A", "A", "A"),
        ("<answer>(B) a woman</answer>", "B", "B", "B"),
        ("<answer>a man</answer>", None, "a", "A"),  # the official parser's flaw
        ("<answer>the sky</answer>", None, "D", "D"),
        ("<answer>Dogs</answer>", "D", None, None),  # the strict one's
        ("A", None, "A", None),
    ],
)
def test_parsers(
    tmp_path: Path, text: str, strict: str | None, official: str | None, default: str | None
) -> None:
    content = [visual("a.jpg", "Who?", "") | {"prediction": text}]
    path = written(tmp_path / "own.json", content)
    assert read_published([path])[0].rows[0]["answer"] == strict
    assert read_published([path], parser="official")[0].rows[0]["answer"] == official
    assert read_published([path], parser="default")[0].rows[0]["answer"] == default


def test_the_recorded_official_answer_and_unknown_options(tmp_path: Path) -> None:
    content = [
        entry(1, "B", pred_answer="C"), entry(2, "B", pred_answer=None), entry(3, "B"),
        entry(4, "c", "B"), entry(5, "A", options=["yes", "no"]),
    ]  # fmt: skip
    path = written(tmp_path / "own.json", content)
    official = read_published([path], parser="official")[0].rows
    assert [row["answer"] for row in official[:3]] == ["C", None, "B"]
    default = read_published([path], parser="default")[0].rows
    # Labels go up to B, so C is none of the letters.
    assert [row["answer"] for row in default] == ["B", "B", "B", None, "A"]
    assert [row["candidates"] for row in default] == [None, None, None, None, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "not valid JSON"),
        ({"acc": 1.0}, "an object with 'acc'"),
        ([], "is empty"),
        ([entry(1, "A"), "x"], "entry 2: not an object but 'x'"),
        ([{"id": 1, "label": "A"}], "entry 1: no 'prediction' among its fields .'id', 'label'"),
        ([{"id": 1, "prediction": "A"}], "entry 1: no 'label'"),
        ([entry(1, "A"), entry(2, "A", label=3)], "entry 2: 'label' must be text or null, not 3"),
        ([entry(1, "A") | {"prediction": ["A"]}], "entry 1: 'prediction' must be text"),
        ([entry(1, "A") | {"id": 1.5}], "entry 1: 'id' must be text or a whole number, not 1.5"),
        ([{"label": "A", "prediction": "B", "img_path": "a"}], "entry 1: neither 'id' nor"),
        (
            [entry(1, "A"), visual("a.jpg", "Who?", "A")],
            "entry 1: it has an 'id' and no 'img_path'",
        ),
    ],
)
def test_errors_name_file_and_entry(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path / "results.json", content)
    with pytest.raises(LanternError, match=message) as raised:
        read_published([path])
    assert str(path) in str(raised.value)


def test_other_refusals(tmp_path: Path) -> None:
    path = written(tmp_path / "own.json", [entry(1, "A")])
    with pytest.raises(LanternError, match="cannot use .*gone"):
        read_published([tmp_path / "gone.json"])
    with pytest.raises(LanternError, match="2 names for 1"):
        read_published([path], names=["a", "b"])
    with pytest.raises(LanternError, match="no result files"):
        read_published([])


def test_a_frame_of_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "own.json", [entry(1, "A"), entry(2, "B"), entry(3, None)])
    rows = list(read_published([path], names=["mine"])[0].rows)
    rows[0]["logprobs"] = {"A": -0.1, "B": -2.5}
    frame = to_frame(rows)
    assert list(frame.columns[:2]) == ["sample", "condition"] and len(frame) == 3
    assert frame["correct"].dtype == "boolean" and frame["correct"].isna().tolist() == [
        False, False, True
    ]  # fmt: skip
    assert frame["correct"].mean() == 0.5
    assert frame["logprobs.B"].tolist()[0] == -2.5 and frame["logprobs.A"].isna().sum() == 2
    assert frame.groupby("condition")["correct"].mean()["mine"] == 0.5
    assert list(to_frame([]).columns) == ["sample", "condition"]
