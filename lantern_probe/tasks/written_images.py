"""Images as tables write them: paths, base64, bytes, rows of `datasets`, other rows' images."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.images import UNREADABLE, ImageSource, upright
from lantern_probe.tasks.tables import is_missing
from lantern_probe.tasks.viscot import find_image
from lantern_probe.tasks.written_options import literal

SHORTEST = 64
"""Characters beyond which a text without a dot is an image in base64 and no path."""

VIDEO = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv"}
"""Endings of the names of video files."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")

_DATA_URI = re.compile(r"data:(\w+)/[\w.+-]+;base64,")


def read_images(
    cells: Sequence[Any], root: Path | None, others: Mapping[str, Sequence[Any]]
) -> tuple[ImageSource, ...]:
    """Read the images of a row.

    Args:
        cells: The one cell that holds them (an image, a list of images, or a string that spells a
            list), or one cell for each image, of which empty ones are left out.
        root: Folder to which paths are relative; None where there are no files.
        others: Cells of the images of all rows, by id. A cell that is the id of another row stands
            for that row's images.

    Returns:
        Paths, encoded images, or images in memory. A missing file raises when it is opened.

    Raises:
        LanternError: there is no image, or something that is none.
    """
    found: list[ImageSource] = []
    for cell in _flat(cells):
        named = _other(cell, root, others)
        for value in [cell] if named is None else named:
            found.append(_image(value, root))
    if not found:
        raise LanternError("there is no image; every question has at least one")
    return tuple(found)


def _flat(cells: Sequence[Any]) -> list[Any]:
    """The cells that are filled, with lists and strings that spell lists taken apart."""
    found: list[Any] = []
    for cell in cells:
        if isinstance(cell, str) and cell.lstrip().startswith("["):
            cell = _listed(cell.strip())
        if isinstance(cell, list | tuple):
            found += _flat(cell)
        elif not is_missing(cell) and not (isinstance(cell, str) and not cell.strip()):
            found.append(cell)
    return found


def _listed(text: str) -> Any:
    # Images in base64 are longer than any list of options, and hold no quotes.
    parts = re.fullmatch(r"\[\s*((['\"])[^'\"]*\2(?:\s*,\s*(['\"])[^'\"]*\3)*)\s*,?\s*\]", text)
    return re.findall(r"['\"]([^'\"]*)['\"]", text) if parts else literal(text)


def _other(cell: Any, root: Path | None, others: Mapping[str, Sequence[Any]]) -> list[Any] | None:
    """The images of the row that a cell names; None for a cell that names no row."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return None
    name = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    if len(name) > SHORTEST or name not in others:
        return None
    if isinstance(cell, str) and root is not None and (root / name).is_file():
        return None
    images = _flat(others[name])
    if not images or any(_is_name(image, others) for image in images):
        raise LanternError(f"the image is that of row {name!r}, which has none itself")
    return images


def _is_name(cell: Any, others: Mapping[str, Sequence[Any]]) -> bool:
    return isinstance(cell, str | int) and str(cell).strip() in others


def _image(value: Any, root: Path | None) -> ImageSource:
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, bytes | bytearray):
        return _encoded(bytes(value))
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if data is not None:
            return _as_datasets_shows(bytes(data))
        if not isinstance(path, str):
            raise LanternError(f"there is neither 'bytes' nor 'path' in the image {value!r:.60}")
        value = path
    if not isinstance(value, str):
        raise LanternError(f"an image must be a path or an image, not {value!r:.60}")
    return _from_text(value.strip(), root)


def _from_text(text: str, root: Path | None) -> ImageSource:
    uri = _DATA_URI.match(text[:100])
    if uri is not None and uri.group(1) == "video":
        raise LanternError("there is a video, and questions are asked about images only")
    if uri is not None:
        return _from_base64(text[uri.end() :])
    if len(text) > SHORTEST and "." not in text and _BASE64.fullmatch("".join(text.split())):
        return _from_base64(text)
    if Path(text).suffix.lower() in VIDEO:
        raise LanternError(
            f"{text[-80:]!r} is a video, and questions are asked about images only; write single "
            "frames as images"
        )
    if root is None and "://" not in text:
        return Path(text)
    return find_image(text, root or Path())


def _from_base64(text: str) -> bytes:
    plain = "".join(text.split()).replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LanternError(f"the image {text[:20]!r}... is no valid base64 ({error})") from None
    return _encoded(data)


def _encoded(data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data)):
            return data
    except UNREADABLE:
        raise LanternError(
            f"{len(data)} bytes that begin with {data[:8]!r} are no image that PIL can read"
        ) from None


def _as_datasets_shows(data: bytes) -> ImageSource:
    """An encoded image as it is, or turned upright as `datasets` decodes it."""
    _encoded(data)
    image = Image.open(io.BytesIO(data))
    turned = upright(image)
    return data if turned is image else turned
