"""Samples as they will be asked: of every command that takes data, and of data with faults."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.ablate_latents import Config
from experiments.console import Explained
from experiments.peek import first_samples, show_samples
from lantern_probe.errors import LanternError
from lantern_probe.tasks import load_task
from lantern_probe.tasks.scenes import twin
from lantern_probe.tasks.twins import with_twins

from .of_data import OF_DATA

ROOT = Path(__file__).parents[2]
STARTS = Path(__file__).with_name("starts.py")
MORE: dict[str, tuple[str, ...]] = {"reproduce": ("--figure", "tetris")}
"""Arguments without which a command takes none."""


def start(name: str, *arguments: str) -> dict[str, Any]:
    """One start of a command in a fresh process."""
    done = subprocess.run(
        [sys.executable, str(STARTS), name, json.dumps([[*arguments, *MORE.get(name, ())]])],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "160", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


@pytest.mark.parametrize("name", OF_DATA)
def test_every_command_that_takes_data_shows_its_samples_and_runs_nothing(
    name: str, tmp_path: Path
) -> None:
    shown = start(name, "--peek", "--output", str(tmp_path / "run"))
    assert shown["status"] == 0, shown["error"]
    assert not {"torch", "transformers", "nnsight"} & {*shown["heavy"]}
    assert "as they will be asked" in shown["out"]
    assert "prompt" in shown["out"] and "right answer" in shown["out"]
    pictures = sorted((tmp_path / "run" / "peek").iterdir())
    assert pictures and all(f"drawn in {path}" in shown["out"] for path in pictures)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["peek"]
    with Image.open(pictures[0]) as picture:
        assert picture.format == "PNG" and min(picture.size) > 300


def test_a_command_that_takes_no_data_has_no_such_options() -> None:
    assert {"compare_records", "show", "train_organism", "check_conformance"} & {*OF_DATA} == set()
    assert len(OF_DATA) >= 12


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.new("RGB", (200, 100), (30, 60, 200)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    asked = {
        "plain": ("what [red]costs[/] $5 or $6\x1b[2J ?", "good.png", [10, 10, 50, 50]),
        "bad": ("two\nlines", "bad.png", [10, 10, 50, 50]),
        "gone": ("where", "gone.png", [10, 10, 50, 50]),
        "far": ("a <|lvr_start|> here", "good.png", [900, 900, 950, 950]),
    }
    lines = [
        {"id": key, "question": question, "options": ["A. [b]cat", "B. dog"], "answer": "B",
         "img_path": image, "bbox": box}
        for key, (question, image, box) in asked.items()
    ]  # fmt: skip
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def peeked(capsys: Any, file: Path, **options: Any) -> dict[str, str]:
    """What is shown of each sample."""
    config = Config(model=("faithful",), data=file, output=file.parent / "run", **options)
    show_samples(config, ["faithful"])
    return {
        part.partition("\n")[0]: part.partition("\n")[2]
        for part in capsys.readouterr().out.split("\nsample ")[1:]
    }


def test_texts_are_shown_to_the_letter_and_move_no_cursor(file: Path, capsys: Any) -> None:
    shown = peeked(capsys, file)
    assert list(shown) == ["plain", "bad", "gone"]  # the first three
    assert "what [red]costs[/] $5 or $6\\x1b[2J ?" in shown["plain"]
    assert "A: [b]cat" in shown["plain"] and "\x1b" not in shown["plain"]
    assert "[10, 10, 50, 50]" in shown["plain"] and "200 x 100 pixels" in shown["plain"]
    assert "two\n                lines\n                Options:" in shown["bad"]


def test_a_bad_image_is_named_and_the_others_are_shown(file: Path, capsys: Any) -> None:
    shown = peeked(capsys, file)
    assert "is not an image PIL can read" in shown["bad"]
    assert "no image at" in shown["gone"] and "problem" not in shown["plain"]
    assert (file.parent / "run" / "peek" / "questions.jsonl.png").stat().st_size > 1000


def test_what_will_fail_a_sample_is_said(file: Path, capsys: Any) -> None:
    shown = peeked(capsys, file, sample_ids=("far",))
    assert list(shown) == ["far"]
    assert "<|lvr_start|> fails the sample if" in shown["far"]
    assert "[900.0, 900.0, 950.0, 950.0]" in shown["far"] and "will fail" in shown["far"]


def test_images_within_a_text_are_said_to_be_there(file: Path, capsys: Any) -> None:
    path = file.with_name("two.jsonl")
    row = {"id": "two", "question": "<image> or <image> ?", "answer": "first"}
    path.write_text(json.dumps({**row, "images": ["good.png", "good.png"]}) + "\n")
    shown = peeked(capsys, path)["two"]
    assert "every <image> is the place of an image" in shown and "image 2" in shown
    assert "none: an open question" in shown


def test_twins_are_shown_with_their_samples() -> None:
    pairs, _ = with_twins(load_task("scenes", 5), twin, answers_known=True)
    assert first_samples(pairs) == pairs[:6]
    assert first_samples(pairs[::2], 2) == pairs[:4:2]
    single = [replace(s, attributes={"twin": "another"}) for s in load_task("scenes", 5)]
    assert first_samples(single) == single[:3]  # of a file with twins that are not asked for
    assert [s.id for s in first_samples(load_task("scenes", 2))] == ["scenes-0-0", "scenes-0-1"]


def test_a_picture_is_in_nobodys_way(file: Path, capsys: Any) -> None:
    """A run begins in the folder in which its samples were shown."""
    from lantern_probe.records.run import Run

    peeked(capsys, file)
    with Run.open(file.parent / "run", {}) as run:
        run.append({"sample": "plain", "condition": "own", "status": "ok"})
    assert (file.parent / "run" / "peek").is_dir()


def test_a_folder_that_takes_no_picture_is_named(file: Path, capsys: Any) -> None:
    (file.parent / "run").write_text("")
    with pytest.raises(LanternError, match="run"):
        peeked(capsys, file)


def test_a_call_in_python_runs_nothing_either(tmp_path: Path, capsys: Any) -> None:
    from experiments.ablate_latents import main

    with pytest.raises(Explained):
        main(Config(model=("faithful",), samples=2, peek=True, output=tmp_path / "run"))
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_folder_in_its_original_layout_is_shown_too(tmp_path: Path, capsys: Any) -> None:
    """V* has a JSON file beside each image."""
    folder = tmp_path / "vstar" / "direct_attributes"
    folder.mkdir(parents=True)
    Image.new("RGB", (80, 60), (200, 30, 30)).save(folder / "one.jpg")
    (folder / "one.json").write_text(
        json.dumps(
            {"target_object": ["cup"], "bbox": [[5, 5, 20, 20]], "question": "what color ?",
             "options": ["red", "blue"]}
        )
    )  # fmt: skip
    shutil.copytree(folder, tmp_path / "vstar" / "relative_position")
    shown = peeked(capsys, tmp_path / "vstar")
    assert len(shown) == 2
    assert all("what color ?" in text and "80 x 60 pixels" in text for text in shown.values())
