"""Images are decoded as they are meant, or refused by name."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.records.samples import sample_record
from lantern_probe.tasks import images
from lantern_probe.tasks.fields import Entry
from lantern_probe.tasks.images import open_image, upright
from lantern_probe.tasks.sample import Sample

COLORS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_SAID", set())


def photo(orientation: int, size: tuple[int, int] = (120, 80)) -> bytes:
    """A JPEG of four colours with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(COLORS).resize(size, Image.Resampling.NEAREST).save(
        buffer, "JPEG", exif=exif, quality=95
    )
    return buffer.getvalue()


def quadrants(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the four quadrants, rounded to 0 and 255, row by row."""
    small = np.asarray(image.resize((4, 4), Image.Resampling.NEAREST))[[0, 0, 3, 3], [0, 3, 0, 3]]
    return [tuple(int(v) for v in (color > 127) * 255) for color in small]


@given(st.integers(min_value=4096, max_value=65535))
def test_sixteen_bits_keep_their_grey_levels(white: int) -> None:
    ramp = np.linspace(0, white, 64).astype(np.uint16)[None].repeat(3, 0)
    seen = np.asarray(open_image(Image.fromarray(ramp)))[0, :, 0]
    assert np.abs(seen - ramp[0] / 257).max() <= 0.5


@pytest.mark.parametrize("name", ["ramp.png", "ramp.tif"])
def test_sixteen_bits_of_a_file_keep_their_grey_levels(tmp_path: Path, name: str) -> None:
    ramp = np.linspace(0, 65535, 120).astype(np.uint16)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / name)
    assert len(np.unique(np.asarray(open_image(tmp_path / name)))) == 120


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_grey_levels_without_a_white_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.arange(12, dtype=dtype).reshape(3, 4)).save(tmp_path / "deep.tif")
    with pytest.raises(LanternError, match=r"'s'.*deep\.tif.*save it with 8 or 16 bits"):
        open_image(tmp_path / "deep.tif", "s")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "RGB"])
def test_every_mode_of_eight_bits_is_read_as_pil_converts_it(mode: str) -> None:
    image = Image.fromarray(COLORS)
    image = image.convert("LA").convert("PA") if mode == "PA" else image.convert(mode)
    assert open_image(image).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_of_a_file_is_said_once_and_pixels_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, orientation: int
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(photo(orientation))
        seen = open_image(tmp_path / name)
        assert seen.size == (120, 80)
        assert quadrants(seen) == quadrants(Image.fromarray(COLORS))
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert f"EXIF orientation {orientation}" in said and "a.jpg" in said


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_of_a_datasets_row_is_turned_upright(
    caplog: pytest.LogCaptureFixture, orientation: int
) -> None:
    row = Entry("rows, row 0", {"image": {"bytes": photo(orientation), "path": None}})
    seen = open_image(row.image("image", None))
    # The first stored row and column, as the EXIF standard names the sides they show.
    expected = {
        1: [0, 1, 2, 3], 2: [1, 0, 3, 2], 3: [3, 2, 1, 0], 4: [2, 3, 0, 1],
        5: [0, 2, 1, 3], 6: [2, 0, 3, 1], 7: [3, 1, 2, 0], 8: [1, 3, 0, 2],
    }[orientation]  # fmt: skip
    stored = quadrants(Image.fromarray(COLORS))
    assert quadrants(seen) == [stored[i] for i in expected]
    assert seen.size == ((120, 80) if orientation < 5 else (80, 120))
    assert not caplog.records


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    image = Image.open(io.BytesIO(photo(orientation)))
    assert upright(image) is image
    assert open_image(image).size == (120, 80)


def test_damaged_exif_is_no_reason_to_refuse_an_image() -> None:
    data = photo(6).replace(b"Exif\x00\x00MM", b"Exif\x00\x00XX")
    assert open_image(Image.open(io.BytesIO(data))).size == (120, 80)


def test_of_several_frames_the_first_is_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "two.gif").getpixel((0, 0)) == (255, 0, 0)
    assert "2 frames" in caplog.text


@pytest.mark.parametrize("data", [b"", b"no image", photo(1)[:700], b"GIF89a"])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.jpg").write_bytes(data)
    with pytest.raises(LanternError, match=r"sample 's'.*bad\.jpg"):
        open_image(tmp_path / "bad.jpg", "s")


@pytest.mark.parametrize("most", [1, 255, 1023, 4095])
def test_sixteen_bits_that_hold_fewer_are_refused_and_not_shown_black(most: int) -> None:
    ramp = np.linspace(0, most, 64).astype(np.uint16)[None].repeat(3, 0)
    with pytest.raises(LanternError, match=f"16 bits up to {most} only"):
        open_image(Image.fromarray(ramp), "s")


@pytest.mark.parametrize("block", [b"Exif\x00\x00garbage", b"MM\x00\x2a\xff", b"II*\x00"])
def test_a_damaged_exif_block_is_passed_over(block: bytes) -> None:
    data = io.BytesIO()
    picture = Image.fromarray(np.arange(96 * 3, dtype=np.uint8).reshape(8, 12, 3))
    picture.save(data, "PNG", exif=block)
    row = Entry("row", {"image": {"bytes": data.getvalue(), "path": None}})
    found = open_image(row.image("image", None), "s")
    assert np.array_equal(np.asarray(found), np.asarray(picture))


@pytest.mark.parametrize("suffix", ["gif", "png", "tif"])
def test_an_animation_that_stands_at_a_later_frame_is_shown_from_its_first(
    tmp_path: Path, suffix: str
) -> None:
    frames = [Image.new("RGB", (6, 5), color) for color in ("red", "blue", "lime")]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as later:
        later.seek(2)
        assert open_image(later).getpixel((2, 2)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<!DOCTYPE html><html>404", "web page"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (bytes(64), "zero bytes"),
    ],
)
def test_a_file_of_another_kind_in_place_of_an_image_is_named(
    tmp_path: Path, data: bytes, said: str
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(LanternError, match=rf"'s7'.*a\.png' is not an image .*{said}"):
        open_image(tmp_path / "a.png", "s7")


def test_an_image_in_memory_that_is_cut_off_fails_alone_and_has_a_record() -> None:
    data = io.BytesIO()
    Image.fromarray(np.arange(48000, dtype=np.uint8).reshape(80, 200, 3)).save(data, "JPEG")
    cut = [Image.open(io.BytesIO(data.getvalue()[:size])) for size in (700, 800)]
    one, other = (Sample(name, (image,), "q") for name, image in zip("ab", cut, strict=True))
    assert one.image_key != other.image_key
    assert sample_record(one)["images"] == [{"sha256": None, "size": [200, 80]}]
    with pytest.raises(LanternError, match="'a': cannot decode"):
        one.open_images()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_tiff_that_pil_turns_is_said_to_be_turned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(COLORS).save(tmp_path / "a.tif", exif=exif)
    with caplog.at_level(logging.WARNING):
        shown = np.asarray(open_image(tmp_path / "a.tif"))
    turns = {1: 0, 3: 2, 6: 3}[orientation]
    assert np.array_equal(shown, np.rot90(COLORS, turns))
    said = "which PIL applies to TIFF files" in caplog.text
    assert said is (orientation != 1) and "is not applied" not in caplog.text


def test_equal_numbers_of_other_palettes_are_other_images() -> None:
    """The key that samples share, and what a run remembers, are one digest of what is shown."""
    numbers = Image.fromarray(np.zeros((4, 6), np.uint8), mode="P")
    red, blue = numbers.copy(), numbers.copy()
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    samples = [Sample("s", (image,), "which?") for image in (red, blue, red.copy())]
    keys = [sample.image_key for sample in samples]
    assert keys[0] == keys[2] != keys[1]
    records = [sample_record(sample)["images"][0] for sample in samples]
    assert [record["sha256"] for record in records] == keys
    assert records[0]["size"] == [6, 4]
    array = sample_record(Sample("a", (COLORS,), "which?"))["images"][0]
    assert array["sha256"] == Sample("b", (COLORS.copy(),), "which?").image_key
    assert array["size"] == [2, 2]
