"""Images as they are decoded: which pixels a file means, and which files are refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lantern_probe.errors import LanternError

ImageSource = str | Path | Image.Image | np.ndarray

_log = logging.getLogger(__name__)

_SAID: set[tuple[str, str]] = set()
"""Warnings given so far, by folder, so that a data set of photos gives each once."""


def open_image(source: ImageSource, sample: str = "") -> Image.Image:
    """Decode one image fully, in RGB; a URL is refused, nothing is ever downloaded.

    Pixels are those of the file: an EXIF orientation is not applied, because boxes count stored
    pixels, and it is said (once per folder) where there is one. Grey levels of 16 bits are scaled
    to 8. Transparency is dropped, as PIL's `convert("RGB")` does in the official evaluation. Of
    several frames the first is taken, and that is said.

    Args:
        source: A path, a PIL image or an array [H, W, 3] (uint8).
        sample: Id of the sample, for messages.

    Raises:
        LanternError: naming the file (and the sample) when it cannot be read as an image, or has
            grey levels of which nobody says which one is white.
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
            image = _as_rgb(source, name, "images in memory", where)
        else:
            with Image.open(source) as file:
                image = _as_rgb(file, name, str(Path(source).parent), where)
    except FileNotFoundError:
        raise LanternError(f"{where}no image at {name}") from None
    except UnidentifiedImageError:
        raise LanternError(f"{where}{name} is not an image PIL can read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
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
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return image


def _from_array(array: np.ndarray, where: str) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise LanternError(
            f"{where}an image array must be uint8 [H, W, 3], not {array.dtype} {list(array.shape)}"
        )
    return Image.fromarray(array.squeeze(2) if channels == 1 == array.ndim - 2 else array)


def _as_rgb(image: Image.Image, name: str, group: str, where: str) -> Image.Image:
    image.load()  # a damaged file raises here; reading its EXIF would swallow that
    if (turned := _orientation(image)) != 1:
        _say_once(
            group,
            "orientation",
            f"{name} has the EXIF orientation {turned}, which is not applied: boxes count stored "
            "pixels, and the model sees the image as stored; turn the pixels if it should be "
            "upright (said once for its folder)",
        )
    if getattr(image, "n_frames", 1) > 1:
        _say_once(
            group,
            "frames",
            f"{name} has {image.n_frames} frames, of which the first is taken "  # type: ignore[attr-defined]
            "(said once for its folder)",
        )
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.float64) / 257  # 65535 is white, as 255 is
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
    except (OSError, SyntaxError, ValueError, KeyError, TypeError):  # no EXIF that can be read
        return 1
    return value if value in range(2, 9) else 1


def _say_once(group: str, what: str, message: str) -> None:
    if (group, what) not in _SAID:
        _SAID.add((group, what))
        _log.warning("%s", message)
