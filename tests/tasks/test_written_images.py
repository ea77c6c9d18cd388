"""Images in cells: paths, base64, bytes, rows of `datasets`, and other rows' images."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.written_images import read_images

PICTURE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
HELD = io.BytesIO()
PICTURE.save(HELD, "PNG")
PNG = HELD.getvalue()
TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "cell",
    [
        "a.png",
        TEXT,
        "\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)),
        TEXT.rstrip("="),
        f"data:image/png;base64,{TEXT}",
        f"['{TEXT}']",
        '["a.png"]',
        "['a.png',]",
        PNG,
        {"bytes": PNG, "path": None},
        {"bytes": None, "path": "a.png"},
        PICTURE,
        np.asarray(PICTURE),
        [None, "a.png", float("nan")],
        "7",
        7.0,
    ],
)
def test_the_same_image_in_every_form(tmp_path: Path, cell: Any) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    images = read_images([cell], tmp_path, {"7": ["a.png"], "8": ["7"]})
    (image,) = Sample("1", images, "q").open_images()
    assert np.array_equal(np.asarray(image), np.asarray(PICTURE))


def test_several_images_keep_their_order_and_a_file_comes_before_a_row(tmp_path: Path) -> None:
    (tmp_path / "7").write_bytes(PNG)
    images = read_images(["b.png", None, ["7", "c.png"]], tmp_path, {"7": ["other.png"]})
    assert images == tuple(tmp_path / name for name in ("b.png", "7", "c.png"))


def test_images_of_datasets_are_upright_as_that_package_shows_them() -> None:
    held = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (4, 2)).save(held, "JPEG", exif=exif)
    (turned,) = read_images([{"bytes": held.getvalue()}], None, {})
    (stored,) = read_images([held.getvalue()], None, {})
    sizes = [Sample("1", (one,), "q").open_images()[0].size for one in (turned, stored)]
    assert sizes == [(2, 4), (4, 2)]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "there is no image"),
        ([], "there is no image"),
        ("8", "that of row '8', which has none itself"),
        (TEXT[:-20] + "\x00" * 3, None),
        (base64.b64encode(b"no image at all" * 9).decode(), "no image that PIL can read"),
        ("x" * 101, "no valid base64|no image that PIL can read"),
        (b"no image", "no image that PIL can read"),
        ({"path": None}, "neither 'bytes' nor 'path'"),
        (3.5, "must be a path or an image"),
        ("clip.MP4", "is a video, and questions are asked about images only"),
        ("data:video/mp4;base64,AAAA", "there is a video"),
        ("[a, b]", "no list or mapping"),
    ],
)
def test_cells_that_hold_no_image_are_refused(tmp_path: Path, cell: Any, said: str | None) -> None:
    others = {"7": ["a.png"], "8": ["7"]}
    if said is None:  # a path that is none: its sample fails when it is opened
        with pytest.raises(LanternError, match="sample '1'"):
            Sample("1", read_images([cell], tmp_path, others), "q").open_images()
        return
    with pytest.raises(LanternError, match=said):
        read_images([cell], tmp_path, others)
