"""Images as they are decoded: which pixels a file means, and which files are refused."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lantern_probe.errors import LanternError
from lantern_probe.tasks.files import kind_of

ImageSource = str | Path | bytes | Image.Image | np.ndarray
"""A path, an encoded image (PNG, JPEG ...), a PIL image or an array [H, W, 3] (uint8)."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError),
    *(MemoryError, struct.error, Image.DecompressionBombError),
)
"""Errors that PIL and its readers of EXIF raise about a damaged image."""

_log = logging.getLogger(__name__)

DARKEST = 4096
"""Largest grey level of 16 bits below which an image is taken for one of 12 or 8 bits."""

_SAID: set[tuple[str, str]] = set()
"""Warnings given so far, by folder, so that a data set of photos gives each once."""


def open_image(source: ImageSource, sample: str = "") -> Image.Image:
    """Decode one image fully, in RGB; a URL is refused, nothing is ever downloaded.

    Pixels are those of the file: an EXIF orientation is not applied, because boxes count stored
    pixels, and it is said (once per folder) where there is one. Grey levels of 16 bits are scaled
    to 8. Transparency is dropped, as PIL's `convert("RGB")` does in the official evaluation. Of
    several frames the first is taken, and that is said.

    Args:
        source: A path, an encoded image, a PIL image or an array [H, W, 3] (uint8).
        sample: Id of the sample, for messages.

    Raises:
        LanternError: naming the file (and the sample) when it cannot be read as an image, or has
            grey levels of which nobody says which one is white.
    """
    where = f"sample {sample!r}: " if sample else ""
    if isinstance(source, np.ndarray):
        source = _from_array(source, where)
    elif not isinstance(source, bytes | Image.Image) and str(source).startswith(
        ("http://", "https://", "file://", "data:")
    ):
        raise LanternError(
            f"{where}{str(source)[:80]!r} is a URL; download the image and pass its path"
        )
    held = isinstance(source, bytes | Image.Image)
    name = "the image" if held else repr(str(source))
    try:
        if isinstance(source, Image.Image):
            image = _as_rgb(source, name, "images in memory", where)
        else:
            place = "images in memory" if isinstance(source, bytes) else str(Path(source).parent)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
                image = _as_rgb(file, name, place, where)
    except FileNotFoundError:
        raise LanternError(f"{where}no image at {name}") from None
    except UnidentifiedImageError:
        raise LanternError(f"{where}{name} is not an image PIL can read{_kind(source)}") from None
    except UNREADABLE as error:
        raise LanternError(f"{where}cannot decode {name}: {error}") from None
    if 0 in image.size:
        raise LanternError(f"{where}{name} has no pixels: {image.width} x {image.height}")
    return image


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says, as the package `datasets` does when it decodes.

    The official evaluation reads BLINK and V* through that package. An image without orientation,
    or one that cannot be decoded, is returned as it is; opening it names the fault.

    Args:
        image: The image, which may be undecoded.
    """
    try:
        return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)
    except UNREADABLE:
        return image


def _from_array(array: np.ndarray, where: str) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise LanternError(
            f"{where}an image array must be uint8 [H, W, 3], not {array.dtype} {list(array.shape)}"
        )
    if not array.size:
        raise LanternError(f"{where}an image array has no pixels: {list(array.shape)}")
    return Image.fromarray(array.squeeze(2) if channels == 1 == array.ndim - 2 else array)


def _as_rgb(image: Image.Image, name: str, group: str, where: str) -> Image.Image:
    frames = _frames(image)
    if frames > 1 and image.tell() != 0:
        image.seek(0)
    image.load()  # a damaged file raises here; reading its EXIF would swallow that
    if (turned := _orientation(image)) != 1:
        _say_once(
            group,
            "orientation",
            f"{name} has the EXIF orientation {turned}, which is not applied: boxes count stored "
            "pixels, and the model sees the image as stored; turn the pixels if it should be "
            "upright (said once for its folder)",
        )
    if frames > 1:
        _say_once(
            group,
            "frames",
            f"{name} has {frames} frames, of which the first is taken (said once for its folder)",
        )
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        if 0 < (most := int(values.max(initial=0))) < DARKEST:
            raise LanternError(
                f"{where}{name} has grey levels of 16 bits up to {most} only, of which nothing "
                "says which one is white; scale them to 0..65535, or save it with 8 bits"
            )
        levels = values.astype(np.float64) / 257  # 65535 is white, as 255 is
        return Image.fromarray(np.rint(levels).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "whole numbers of 32 bits" if image.mode == "I" else "floating-point numbers"
        raise LanternError(
            f"{where}{name} has grey levels that are {kind}, of which nothing says which one is "
            "white; save it with 8 or 16 bits"
        )
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # no EXIF that can be read: its reader raises what it likes
        return 1
    return value if value in range(2, 9) else 1


def _frames(image: Image.Image) -> int:
    """Number of frames of an animation; previews in a photo's file are none."""
    if image.format == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except UNREADABLE:
        return 1  # the first may be whole


def _kind(source: ImageSource) -> str:
    """The kind of a file that is no image, as far as its first bytes say."""
    if isinstance(source, str | Path):
        with contextlib.suppress(OSError, ValueError), Path(source).open("rb") as file:
            head = file.read(400)
            kind = "it is empty" if not head else kind_of(head)
            return "" if kind is None else f": {kind}"
    return ""


def _say_once(group: str, what: str, message: str) -> None:
    if (group, what) not in _SAID:
        _SAID.add((group, what))
        _log.warning("%s", message)
