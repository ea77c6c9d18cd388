"""The command `ask`: one's own images, with the latents and without, and images that are broken."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from experiments.ask import Config, main
from experiments.asking import find_images
from lantern_probe import LanternError, load_task, read_rows
from lantern_probe.records.inspect_logs import log_files, write_log

SAMPLE = load_task("scenes", 1)[0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with an upright image, the same one lying on its side, and files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    image, exif = SAMPLE.open_images()[0], Image.Exif()
    image.save(folder / "p10.png")
    exif[0x112] = 6
    image.rotate(90, expand=True).save(folder / "p2.png", exif=exif)
    (folder / "bad.jpg").write_bytes(b"\xff\xd8 no image")
    (folder / "notes.txt").write_text("notes")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_every_image_is_asked_and_a_bad_one_fails_alone(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        model=("faithful",), image=(photos,), question=SAMPLE.question, output=tmp_path / "run"
    )
    assert main(config) == 0
    rows = {(row["sample"], row["condition"]): row for row in read_rows(tmp_path / "run")}
    assert {condition for _, condition in rows} == {"own", "ban", "zeros"}
    assert {sample for sample, _ in rows} == {"p10.png", "p2.png", "bad.jpg"}
    for photo in ("p10.png", "p2.png"):  # turned upright, it is the same image
        assert rows[photo, "own"]["answer"] == SAMPLE.answer
        assert rows[photo, "zeros"]["answer"] != SAMPLE.answer
        assert rows[photo, "own"]["logprobs"] is None  # an open question
    assert rows["p2.png", "own"]["text"] == rows["p10.png", "own"]["text"]
    assert rows["bad.jpg", "own"]["status"] == "failed"
    log, written = next(iter(log_files(tmp_path / "run", tmp_path / "logs").items()))
    write_log(log, *written, images=True)
    with zipfile.ZipFile(log) as archive:
        asked = json.loads(archive.read("samples/p2.png_epoch_1.json"))["input"][0]["content"]
    data = base64.b64decode(asked[0]["image"].partition(";base64,")[2])
    assert Image.open(io.BytesIO(data)).tobytes() == SAMPLE.open_images()[0].tobytes()
    assert "bad.jpg" in rows["bad.jpg", "own"]["error"]
    said = " ".join(capsys.readouterr().out.split())
    assert "left out, as no images, are 1 files (notes.txt)" in said
    assert (tmp_path / "run" / "answers.png").read_bytes().startswith(b"\x89PNG")


def test_options_are_read_in_words_and_scored(tmp_path: Path) -> None:
    SAMPLE.open_images()[0].save(tmp_path / "a.png")
    config = Config(
        model=("faithful", "bypass"),
        image=(tmp_path / "a.png",),
        question=SAMPLE.question,
        options=SAMPLE.options,
        words=True,
        conditions=("zeros",),
        output=tmp_path / "run",
    )
    assert main(config) == 0
    answers = {
        model: {row["condition"]: row for row in read_rows(tmp_path / "run" / model)}
        for model in config.model
    }
    assert answers["bypass"]["zeros"]["answer"] == SAMPLE.answer
    assert answers["faithful"]["zeros"]["answer"] != SAMPLE.answer
    assert set(answers["faithful"]["own"]["logprobs"]) == set(SAMPLE.options)


def test_a_question_has_a_folder_of_its_own_and_goes_on_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SAMPLE.open_images()[0].save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    given = {"model": ("bypass",), "image": (Path("a.png"),)}
    for question, conditions in (
        ("what color is the circle ?", ("own",)),
        (SAMPLE.question, ("own",)),
        (SAMPLE.question, ("zeros",)),
    ):
        assert main(Config(**given, question=question, conditions=conditions)) == 0
    folders = sorted(path.parent for path in Path("runs/ask").glob("*/run.json"))
    assert len(folders) == 2
    found = [{row["condition"] for row in read_rows(folder)} for folder in folders]
    assert sorted(map(len, found)) == [1, 2]
    samples = (folders[0] / "samples.jsonl").read_text().splitlines()
    assert json.loads(samples[0])["id"] == "a.png"


def test_no_image_that_can_be_read_is_exit_status_1(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    config = Config(
        model=("bypass",),
        image=(tmp_path / "a.png",),
        question=SAMPLE.question,
        output=tmp_path / "run",
    )
    assert main(config) == 1


def test_images_are_found_once_and_in_the_order_of_their_numbers(
    photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    SAMPLE.open_images()[0].save(other / "p2.png")
    found = find_images([photos, other / "p2.png", photos / "p10.png"])
    assert list(found) == ["bad.jpg", str(photos / "p2.png"), "p10.png", str(other / "p2.png")]
    with pytest.raises(LanternError, match="there is no file or folder"):
        find_images([tmp_path / "gone.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(LanternError, match="holds no image$"):
        find_images([tmp_path / "empty"])
