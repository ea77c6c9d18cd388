"""Images of a run as a page shows them: copied once under their content, or named as missing."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.records.found_images import FoundImage, ImageFinder, image_records
from lantern_probe.tasks.images import UNREADABLE, open_image

LARGEST, LONGEST = 400_000, 1024
"""Bytes above which an image is written again, smaller, and the longest side it then has."""

SMALL = 256
"""Longest side up to which an image is written without loss."""

_SHOWN = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
"""Formats that browsers show, by their name in PIL."""

ORIENTATION = 0x0112
"""Tag of EXIF by which browsers turn an image; boxes count the pixels as they are stored."""

Keep = Callable[[str, bytes], None]
"""Takes the name of a file and its bytes."""


class ImageShelf:
    """Puts the images of a run where its page finds them.

    Args:
        finder: Finder of the run's images.
        keep: Called with each file that the page needs.
        known: Images kept before, by hash of the recorded image; shared by the runs of a page.
    """

    def __init__(self, finder: ImageFinder, keep: Keep, known: dict[str, dict[str, Any]]):
        self._finder = finder
        self._keep = keep
        self._known = known

    def images(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Describe the images of a sample: name, and file and size or the reason why there is none.

        Args:
            record: Line of `samples.jsonl`.
        """
        recorded = image_records(record)
        hashes = [str(image.get("sha256")) for image in recorded]
        if not all(digest in self._known for digest in hashes):
            for digest, image, found in zip(
                hashes, recorded, self._finder.find(record), strict=True
            ):
                if digest not in self._known and found.source is not None and not found.changed:
                    self._take(digest, found)
                if digest not in self._known:
                    self._known[f"{digest} {image.get('path')}"] = {"why": _why(image, found)}
        return [
            {
                "name": str(image["path"]) if "path" in image else "generated image",
                **(self._known.get(digest) or self._known[f"{digest} {image.get('path')}"]),
            }
            for digest, image in zip(hashes, recorded, strict=True)
        ]

    def _take(self, digest: str, found: FoundImage) -> None:
        try:
            data, suffix, size = encoded(found.source)
        except (LanternError, *UNREADABLE) as error:
            self._known[digest] = {"why": f"It cannot be shown: {error}"}
            return
        file = f"{hashlib.sha256(data).hexdigest()[:20]}.{suffix}"
        self._keep(file, data)
        self._known[digest] = {"file": file, "size": size}


def _why(image: Mapping[str, Any], found: FoundImage) -> str:
    if found.changed and image.get("sha256") is None:
        return "The file could not be read when the run was made."
    if found.changed:
        return "The file is not the one that the run recorded."
    return "There is no such file here." if "path" in image else "It was no file, and is not kept."


def encoded(source: Any) -> tuple[bytes, str, list[int]]:
    """An image in a form that browsers show: its bytes, their suffix, and its width and height.

    Args:
        source: A path or an image. A small file in a common format is taken as it is; others are
            written again, as JPEG of up to `LONGEST` pixels or, where they are small, as PNG.

    Raises:
        LanternError: it cannot be read as an image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            if isinstance(source, str | Path) and (kept := _as_it_is(Path(source))):
                return kept
            image = open_image(source)
        except Image.DecompressionBombWarning as error:
            raise LanternError(str(error)) from None
    size = [*image.size]
    image.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    if max(size) <= SMALL:
        image.save(file, "PNG")
        return file.getvalue(), "png", size
    image.save(file, "JPEG", quality=88)
    return file.getvalue(), "jpg", size


def _as_it_is(path: Path) -> tuple[bytes, str, list[int]] | None:
    if path.stat().st_size > LARGEST:
        return None
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        plain = image.format in _SHOWN and image.getexif().get(ORIENTATION, 1) == 1
        plain = plain and image.mode in ("L", "RGB", "P") and "transparency" not in image.info
        plain = plain and getattr(image, "n_frames", 1) == 1
        return (data, _SHOWN[str(image.format)], [*image.size]) if plain else None
