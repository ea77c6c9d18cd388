"""Images as the model is shown them: decoded, in RGB, and refused where that would lose them.

Pixels are those stored in the file, as boxes count them. What is not shown as a viewer would show
it (a photo to be turned, transparency, later frames) is said once per kind, and then counted.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lantern_probe.errors import LanternError
from lantern_probe.tasks.file_kinds import file_kind

ImageSource = str | Path | Image.Image | np.ndarray

UNREADABLE = (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError,
              EOFError, MemoryError, Image.DecompressionBombError)  # fmt: skip
"""Errors of PIL, and of numpy, about an image that cannot be decoded."""

ORIENTATION = 0x0112
"""EXIF tag with the way in which a picture is to be turned or mirrored; 1 is upright."""

_said: dict[str, set[str]] = {}
_log = logging.getLogger(__name__)


def open_image(source: ImageSource, sample: str = "") -> Image.Image:
    """Decode one image fully, in RGB; a URL is refused, nothing is ever downloaded.

    Pixels are those stored: an EXIF orientation is not applied, and that is said. Transparency is
    dropped, as `convert("RGB")` of the official evaluation does, so that a pixel shows the colour
    stored under it. Greyscale of 16 bits is scaled to 8. Of several frames the first is taken.

    Args:
        source: A path, a PIL image or an array [H, W, 3] (uint8).
        sample: Id of the sample, for messages; none by default.

    Raises:
        LanternError: naming the file (and the sample) when it cannot be read as an image, or its
            values do not fit 8 bits.
    """
    where = f"sample {sample!r}: " if sample else ""
    if isinstance(source, np.ndarray):
        source = _from_array(source, where)
    elif not isinstance(source, Image.Image) and str(source).startswith(
        ("http://", "https://", "file://", "data:")
    ):
        raise LanternError(
            f"{where}{str(source)[:80]!r} is a URL; download the image and pass its path"
        )
    name = "the image" if isinstance(source, Image.Image) else repr(str(source))
    try:
        if isinstance(source, Image.Image):
            image = _shown(source, f"{where}{name}")
        else:
            with Image.open(source) as file:
                image = _shown(file, name if not where else f"{where}{name}")
    except LanternError:
        raise
    except FileNotFoundError:
        raise LanternError(f"{where}no image at {name}") from None
    except UnidentifiedImageError:
        raise LanternError(f"{where}{name} is not an image PIL can read{_kind(source)}") from None
    except UNREADABLE as error:
        raise LanternError(f"{where}cannot decode {name}: {error}") from None
    if 0 in image.size:
        raise LanternError(f"{where}{name} has no pixels: {image.width} x {image.height}")
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


def _kind(source: ImageSource) -> str:
    """What a file is that is no image, as far as it shows."""
    if not isinstance(source, str | PathLike):
        return ""
    with contextlib.suppress(OSError, ValueError), Path(source).open("rb") as file:
        kind = file_kind(file.read(4096))
        return f": it is {kind}" if kind else ""
    return ""


def _shown(image: Image.Image, name: str) -> Image.Image:
    """An image in RGB, and what is not shown of it said."""
    # Before anything is decoded, which of some formats moves to another frame.
    frames = _frames(image)
    if frames > 1 and image.tell() != 0:
        image.seek(0)
    image.load()
    turned = orientation(image)
    if turned != 1:
        _say(
            f"EXIF orientation {turned}", name,
            "is shown as stored, as boxes count its pixels; turn the file if it has no boxes",
        )  # fmt: skip
    if frames > 1:
        _say("more than one frame", name, f"has {frames} frames; the first is shown")
    return _rgb(image, name)


def _frames(image: Image.Image) -> int:
    """Number of frames of an animation; the previews in a photo's file are none."""
    if image.format == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except UNREADABLE:
        return 1  # the first may be whole


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _from_deep(np.asarray(image).astype(np.int64), name)
    if image.mode in ("I", "F"):
        return _from_wide(np.asarray(image), image.mode, name)
    if image.has_transparency_data:
        # Of palettes too: PIL warns about some of them, and converts them alike.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            layered = image.convert("RGBA")
        if layered.getchannel("A").getextrema()[0] != 255:
            _say("transparency", name, "is shown without it, in the colours stored under it")
        return layered.convert("RGB")
    return image.convert("RGB")


def _from_deep(values: np.ndarray, name: str) -> Image.Image:
    """Greyscale of 16 bits as 8 bits: 65535 is white."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > 65535 or 0 < high < 4096:
        raise LanternError(
            f"{name} is greyscale of 16 bits whose values go from {low} to {high}, so that its "
            "white is not known; scale it to 0..65535, or save it with 8 bits"
        )
    grey = np.rint(values / 257).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _from_wide(values: np.ndarray, mode: str, name: str) -> Image.Image:
    """Integers of 32 bits, or floats, if they are grey levels of 8 bits; others are refused."""
    low, high = (float(f(values)) for f in (np.min, np.max))
    whole = np.isfinite(values).all() and bool((values == np.rint(values)).all())
    if not whole or low < 0 or high > 255 or high <= 1:
        kind = "floats" if mode == "F" else "integers of 32 bits"
        raise LanternError(
            f"{name} is greyscale of {kind} from {low:g} to {high:g}, so that its white is not "
            "known; save it with 8 or 16 bits"
        )
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


# -- the way in which a photo is turned ----------------------------------------


def orientation(image: Image.Image) -> int:
    """EXIF orientation of an image, 1 (upright) to 8; 1 where there is none that can be read.

    Args:
        image: The image, which some formats decode to find out.
    """
    try:
        found: Any = image.getexif().get(ORIENTATION)
        return int(found) if found in range(1, 9) else 1
    except Exception:  # EXIF is a file format of its own, and its reader raises what it likes
        return 1


def upright(source: ImageSource) -> ImageSource:
    """The image turned as its EXIF orientation says; anything else comes back as it is.

    This is what the library `datasets` does with images of Parquet files and of the Hub. A sample
    with boxes must not be turned: they count the pixels as stored.

    Args:
        source: The image. One that cannot be read is left to fail where it is opened.
    """
    if isinstance(source, np.ndarray):
        return source
    try:
        if isinstance(source, Image.Image):
            return _turned(source) if orientation(source) != 1 else source
        if "://" in str(source):
            return source
        with Image.open(source) as file:
            return _turned(file) if orientation(file) != 1 else source
    except (*UNREADABLE, UnidentifiedImageError):
        return source


def _turned(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image)


def encoded_image(data: bytes) -> Image.Image:
    """An encoded image, turned upright and otherwise left undecoded.

    Args:
        data: Bytes of the file.

    Raises:
        OSError: or another of `UNREADABLE`: the bytes are no image.
    """
    image = Image.open(io.BytesIO(data))
    found = upright(image)
    assert isinstance(found, Image.Image)
    return found


def _say(kind: str, name: str, what: str) -> None:
    """Log the first image of a kind, and then the number of such images at 10, 100, 1000 ..."""
    known = _said.setdefault(kind, set())
    if name in known:
        return
    known.add(name)
    if len(known) == 1:
        _log.warning("%s (%s) %s; further such images are counted", name, kind, what)
    elif str(len(known)).rstrip("0") == "1":
        _log.warning("%s: %d images so far", kind, len(known))
