"""Images as the model is shown them: orientation, depth, transparency, frames, broken files."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lantern_probe.errors import LanternError
from lantern_probe.model.inputs import asked_question
from lantern_probe.tasks import images
from lantern_probe.tasks.fields import Entry
from lantern_probe.tasks.images import ORIENTATION, open_image, orientation
from lantern_probe.tasks.sample import Sample


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, with nothing said before."""
    images._said.clear()
    caplog.set_level(logging.WARNING)
    yield caplog
    images._said.clear()


def picture(width: int = 12, height: int = 8) -> Image.Image:
    return Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3))


def photo(turned: int | bytes) -> bytes:
    """A lossless file with an EXIF orientation, or with an EXIF block of these bytes."""
    data, exif = io.BytesIO(), Image.Exif()
    if isinstance(turned, int):
        exif[ORIENTATION] = turned
    picture().save(data, "PNG", exif=exif if isinstance(turned, int) else turned)
    return data.getvalue()


@pytest.mark.parametrize("turned", range(2, 9))
def test_images_of_rows_are_turned_and_files_are_said(
    tmp_path: Path, said: pytest.LogCaptureFixture, turned: int
) -> None:
    (tmp_path / "a.png").write_bytes(photo(turned))
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    row = Entry("row", {"image": {"bytes": photo(turned), "path": None}})
    of_row = open_image(row.image("image", None), "s")
    assert not said.text
    assert np.array_equal(np.asarray(of_row), np.asarray(upright))
    by_path = Entry("row", {"image": {"bytes": None, "path": str(tmp_path / "a.png")}})
    assert open_image(by_path.image("image", None)).size == upright.size
    assert not said.text
    of_file = open_image(tmp_path / "a.png", "s")
    assert np.array_equal(np.asarray(of_file), np.asarray(picture()))
    assert f"EXIF orientation {turned}" in said.text and "a.png" in said.text
    asked = open_image(asked_question(tmp_path / "a.png", "what?").images[0])
    assert np.array_equal(np.asarray(asked), np.asarray(upright))


@pytest.mark.parametrize("turned", [1, 0, 9, 77, b"Exif\x00\x00garbage", b"MM\x00\x2a\xff"])
def test_no_orientation_or_a_broken_one_is_upright(
    said: pytest.LogCaptureFixture, turned: int | bytes
) -> None:
    row = Entry("row", {"image": {"bytes": photo(turned), "path": None}})
    assert np.array_equal(np.asarray(open_image(row.image("image", None))), np.asarray(picture()))
    assert "orientation" not in said.text


def test_an_image_that_needs_no_turning_stays_undecoded() -> None:
    data = io.BytesIO()
    picture().save(data, "JPEG")
    found = Entry("row", {"i": {"bytes": data.getvalue(), "path": None}}).image("i", None)
    assert isinstance(found, Image.Image) and found.format == "JPEG"
    assert orientation(found) == 1


def test_many_turned_files_are_counted_and_not_named(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(photo(6))
        for _ in range(2):
            open_image(tmp_path / f"{number}.png")
    assert [record.getMessage()[:40] for record in said.records] == [
        said.records[0].getMessage()[:40],
        "EXIF orientation 6: 10 images so far",
    ]


RAMP = np.linspace(0, 65535, 120)[None].repeat(8, 0)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_grey_levels(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / f"a.{suffix}")
    found = np.asarray(open_image(tmp_path / f"a.{suffix}"))
    assert np.array_equal(found[..., 0], np.rint(RAMP.astype(np.uint16) / 257).astype(np.uint8))
    assert np.array_equal(found[..., 0], found[..., 2])


def test_big_endian_sixteen_bits_are_read_as_such() -> None:
    values = RAMP.astype(">u2")
    image = Image.frombytes("I;16B", (120, 8), values.tobytes())
    found = np.asarray(open_image(image))[..., 0]
    assert np.array_equal(found, np.rint(RAMP.astype(np.uint16) / 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RAMP / 65535, "floats"),
        (RAMP, "floats"),
        (RAMP - 3e4, "floats"),
        (np.full((4, 4), np.nan), "floats"),
        (RAMP.astype(np.int32) * 1000, "32 bits"),
        (RAMP.astype(np.int32) - 100, "32 bits"),
        ((RAMP / 257).astype(np.uint16), "16 bits"),
        ((RAMP / 16).astype(np.uint16), "16 bits"),
    ],
)
def test_values_whose_white_is_not_known_are_refused(
    tmp_path: Path, values: np.ndarray, kind: str
) -> None:
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    Image.fromarray(values).save(tmp_path / "deep.tif")
    with pytest.raises(LanternError, match=rf"'s': '.*deep\.tif' is greyscale of .*{kind}"):
        open_image(tmp_path / "deep.tif", "s")


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_grey_levels_of_eight_bits_in_a_wider_type_are_taken_as_they_are(kind: type) -> None:
    grey = np.arange(96, dtype=np.uint8).reshape(8, 12)
    assert np.array_equal(np.asarray(open_image(Image.fromarray(grey.astype(kind))))[..., 1], grey)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGB"])
def test_plain_modes_are_what_pil_makes_of_them(said: pytest.LogCaptureFixture, mode: str) -> None:
    image = picture().convert(mode)
    assert np.array_equal(np.asarray(open_image(image)), np.asarray(image.convert("RGB")))
    assert not said.text


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_dropped_as_in_the_official_evaluation_and_said(
    tmp_path: Path, said: pytest.LogCaptureFixture, mode: str
) -> None:
    if mode == "P":
        image = picture().convert("P")
        image.info["transparency"] = bytes([0] * 100 + [255] * 156)
    else:
        image = picture().convert({"PA": "P"}.get(mode, "RGBA"))
        image.putalpha(Image.fromarray(np.tile(np.arange(12, dtype=np.uint8), (8, 1))))
        image = image.convert(mode)
    found = open_image(image, "s")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PIL's advice on palettes
        plain = image.convert("RGB")
    assert np.array_equal(np.asarray(found), np.asarray(plain))
    assert "transparency" in said.text


@pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("png", {}), ("tif", {})])
def test_of_several_frames_the_first_is_shown_and_that_is_said(
    tmp_path: Path, said: pytest.LogCaptureFixture, suffix: str, options: dict[str, object]
) -> None:
    frames = [Image.new("RGB", (6, 5), color) for color in ("red", "blue", "lime")]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert open_image(path).getpixel((2, 2)) == (255, 0, 0)
    assert "3 frames" in said.text
    with Image.open(path) as later:
        later.seek(2)
        assert open_image(later).getpixel((2, 2)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<!DOCTYPE html><html>404", "web page"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"just text", "not an image"),
        (photo(1)[:60], "a.png"),
    ],
)
def test_what_is_no_image_is_refused_with_its_kind(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(LanternError, match=words) as raised:
        open_image(tmp_path / "a.png", "s7")
    assert "a.png" in str(raised.value) and "s7" in str(raised.value)


def test_an_image_of_too_many_pixels_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(40, 30).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(LanternError, match=r"'s': .*huge\.png.*exceeds limit"):
        open_image(tmp_path / "huge.png", "s")


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint16), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_of_other_types_or_without_pixels_are_refused(array: np.ndarray) -> None:
    with pytest.raises(LanternError, match="image array"):
        open_image(array, "s")


def test_an_image_in_memory_that_is_cut_off_has_a_key_and_fails_alone() -> None:
    data = io.BytesIO()
    picture(200, 200).save(data, "JPEG")
    one, other = (Image.open(io.BytesIO(data.getvalue()[:n])) for n in (700, 800))
    samples = [Sample(name, (image,), "q") for name, image in (("a", one), ("b", other))]
    assert samples[0].image_key != samples[1].image_key
    with pytest.raises(LanternError, match="'a': cannot decode"):
        samples[0].open_images()
