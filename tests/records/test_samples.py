"""Samples of a run: recorded before their rows, known by content, and refused when edited."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.records.run import Run
from lantern_probe.records.samples import SAMPLES_FILE, read_samples, sample_record
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.tasks.tetris import tetris
from lantern_probe.tasks.twins import with_twins
from lantern_probe.tasks.viscot import viscot


def question(number: int, **more: object) -> Sample:
    fields: dict[str, object] = {
        "id": f"data-{number}",
        "images": (),
        "question": f"what is {number}?",
        "options": ("one", "two"),
        "answer": "one",
        "numbered": True,
    }
    return Sample(**{**fields, **more})  # type: ignore[arg-type]


def test_a_record_has_what_was_asked_and_what_the_images_are(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    file = tmp_path / "images" / "a.png"
    Image.new("RGB", (6, 4), "red").save(file)
    sample = Sample(
        id="q",
        images=(file, tmp_path / "images" / "gone.png"),
        question="which?",
        options=("cat", "dog"),
        answer="B",
        lettered=True,
        prompt="which?\nA. cat\nB. dog",
        boxes=((0, 1, 2, 3),),
        attributes={"category": "animals", "objects": [1]},
    )
    record = sample_record(sample, tmp_path / "images")
    assert record["images"] == [
        {
            "path": "a.png",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        },
        {"path": "gone.png", "sha256": None, "bytes": None},
    ]
    assert record["boxes"] == [[0, 1, 2, 3]] and record["category"] == "animals"
    assert (record["prompt"], record["options"], record["answer"]) == (
        "which?\nA. cat\nB. dog",
        ["cat", "dog"],
        "B",
    )
    assert record["attributes"] == {"category": "animals"}
    assert sample_record(sample)["images"][0]["path"] == str(file)


def test_a_generated_sample_says_how_to_make_its_image() -> None:
    image = sample_record(scenes(1, seed=3, start=4)[0])["images"][0]
    assert (image["task"], image["seed"], image["index"]) == ("scenes", 3, 4)
    assert image["size"] == [84, 84] and len(str(image["sha256"])) == 64
    grey = sample_record(scenes(1, seed=3, hide_asked=True)[0])["images"][0]
    assert grey["task"] == "scenes-grey"
    puzzle = sample_record(tetris(1, seed=2, held_out=True)[0])["images"][0]
    assert (puzzle["task"], puzzle["seed"], puzzle["index"]) == ("tetris-held-out", 2, 0)


def test_samples_are_on_disk_before_the_first_row_and_covered_by_the_manifest(
    tmp_path: Path,
) -> None:
    with Run.open(tmp_path, {}) as run:
        assert [s.id for s in run.register(scenes(2))] == ["scenes-0-0", "scenes-0-1"]
        assert not (tmp_path / "rows.jsonl").read_bytes()
        run.register(scenes(3))
        data = (tmp_path / SAMPLES_FILE).read_bytes()
        assert run.manifest["samples"] == {
            "count": 3,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    assert list(read_samples(tmp_path)) == ["scenes-0-0", "scenes-0-1", "scenes-0-2"]
    Run.open(tmp_path, {}, overwrite=True).close()
    assert not read_samples(tmp_path)


def test_lines_of_a_kill_are_cut_and_an_edited_file_is_refused(tmp_path: Path) -> None:
    with Run.open(tmp_path, {}) as run:
        run.register(scenes(2))
    file = tmp_path / SAMPLES_FILE
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"id": "scenes-0-2", "quest')
    with Run.open(tmp_path, {}) as run:
        run.register(scenes(3))
    assert list(read_samples(tmp_path)) == ["scenes-0-0", "scenes-0-1", "scenes-0-2"]
    file.write_bytes(file.read_bytes().replace(b"scenes-0-0", b"scenes-0-9"))
    with pytest.raises(LanternError, match=r"samples\.jsonl' is not what run\.json says"):
        Run.open(tmp_path, {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"question": "what is five?"},
            "its question was 'what is 5.', and is 'what is five",
        ),
        ({"answer": "two"}, "its answer was 'one', and is 'two'"),
        ({"options": ("one", "three")}, "its options was"),
        ({"boxes": ((0, 0, 1, 1),)}, "its boxes was"),
        ({"images": (Image.new("RGB", (2, 2)),)}, "its images was"),
    ],
)
def test_an_edited_sample_stops_the_run_by_name(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with Run.open(tmp_path, {}) as run:
        run.register([question(5, numbered=False)])
        with pytest.raises(LanternError, match=f"sample 'data-5' is not the one .*{said}"):
            run.register([question(5, numbered=False, **change)])


@given(order=st.permutations(range(5)), inserted=st.booleans())
def test_lines_sorted_anew_keep_their_ids(
    order: list[int], inserted: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with Run.open(folder, {}) as run:
        run.register([question(n) for n in range(5)])
        moved = [replace(question(n), id=f"data-{place}") for place, n in enumerate(order)]
        if inserted:
            moved = [replace(s, id=f"data-{n + 1}") for n, s in enumerate(moved)]
            moved.insert(0, replace(question(9), id="data-0"))
        found = run.register(moved)
        known = [sample for sample in found if sample.question != "what is 9?"]
        assert [s.id for s in known] == [f"data-{n}" for n in order]
        assert len({s.id for s in found}) == len(found)


def test_an_edited_line_is_refused_where_lines_are_only_numbered(tmp_path: Path) -> None:
    with Run.open(tmp_path, {}) as run:
        run.register([question(n) for n in range(3)])
        edited = [question(0), question(1, question="what now?"), question(2)]
        with pytest.raises(LanternError, match="sample 'data-1' is not the one"):
            run.register(edited)


def test_twins_follow_the_sample_that_was_moved(tmp_path: Path) -> None:
    images = [Image.new("RGB", (4, 4), (n, 0, 0)) for n in range(2)]
    samples = [question(n, images=(images[n],)) for n in range(2)]

    def pairs(samples: list[Sample]) -> list[Sample]:
        def darker(sample: Sample) -> Sample:
            return replace(sample, images=(sample.open_images()[0].point(lambda v: v + 100),))

        return with_twins(samples, darker, answers_known=False)[0]

    with Run.open(tmp_path, {}) as run:
        run.register(pairs(samples))
        moved = [replace(samples[1], id="data-0"), replace(samples[0], id="data-1")]
        found = run.register(pairs(moved))
    assert [s.id for s in found] == ["data-1", "data-1~", "data-0", "data-0~"]
    assert [s.attributes["twin"] for s in found] == ["data-1~", "data-1", "data-0~", "data-0"]
    assert [s.cluster for s in found] == ["data-1", "data-1", "data-0", "data-0"]


def test_lines_without_ids_are_numbered_and_others_are_not(tmp_path: Path) -> None:
    line = {"question": "which?", "options": ["A. a", "B. b"], "answer": "A", "img_path": "x.png"}
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(json.dumps(line) for _ in range(2)))
    assert [(s.id, s.numbered) for s in viscot(file)] == [("data-1", True), ("data-2", True)]
    file.write_text("\n".join(json.dumps(line | {"id": n}) for n in range(2)))
    assert [(s.id, s.numbered) for s in viscot(file)] == [("0", False), ("1", False)]


def test_an_image_may_be_mended_after_all_its_rows_failed(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"torn")
    samples = [question(5, images=(str(tmp_path / "torn.png"),))]
    folder = tmp_path / "run"
    with Run.open(folder, {}) as run:
        run.register(samples)
        run.append({"sample": "data-5", "condition": "own", "status": "failed", "error": "torn"})
    Image.new("RGB", (2, 2)).save(tmp_path / "torn.png")
    with Run.open(folder, {}) as run, pytest.raises(LanternError, match="its images was"):
        run.register(samples)
    with Run.open(folder, {}, retry_failed=True) as run:
        (known,) = run.register(samples)
    assert known.id == "data-5"
    with Run.open(folder, {}) as run:
        run.register(samples)
    digest = hashlib.sha256((tmp_path / "torn.png").read_bytes()).hexdigest()
    assert read_samples(folder)["data-5"]["images"][0]["sha256"] == digest
