"""Boxes of evidence: their form in a file, and refusals of those that are no region of an image.

A box is left, top, right, bottom in pixels of the image as stored. Files also have fractions of the
image, percentages, thousandths, or x, y, width, height. The form is never guessed: it is said, or
the file is refused where all its boxes show another one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.images import UNREADABLE
from lantern_probe.tasks.sample import Box, Sample

_log = logging.getLogger(__name__)

UNITS = {"pixels": None, "fraction": 1.0, "percent": 100.0, "thousandths": 1000.0}
"""What a coordinate counts, by name: pixels, or so much of the image's whole side."""

LOOKED_AT = 64
"""Number of images whose sizes are held against the boxes of a file."""

ENOUGH = 5
"""Fewest boxes whose common range says something about their unit."""


@dataclass(frozen=True)
class BoxForm:
    """Form in which a file gives its boxes.

    Attributes:
        unit: One of `UNITS`; default `pixels`.
        sized: True for x, y, width, height; False (default) for left, top, right, bottom.
    """

    unit: str = "pixels"
    sized: bool = False

    @classmethod
    def parse(cls, text: str) -> BoxForm:
        """Read a form: `pixels`, `fraction`, `percent`, `thousandths`, `xywh`, `fraction-xywh`.

        Raises:
            LanternError: there is no such form.
        """
        unit, _, layout = text.rpartition("-") if text.endswith("xywh") else (text, "", "xyxy")
        unit = "pixels" if text == "xywh" else unit
        if unit not in UNITS or layout not in ("xyxy", "xywh"):
            raise LanternError(
                f"no form of boxes {text!r} (--boxes); there are {', '.join(UNITS)}, and with "
                "width and height xywh, fraction-xywh and so on"
            )
        return cls(unit, layout == "xywh")

    def corners(self, numbers: Sequence[float]) -> Box:
        """Left, top, right, bottom in the form's own unit."""
        left, top, right, bottom = map(float, numbers)
        return (left, top, left + right, top + bottom) if self.sized else (left, top, right, bottom)


def check_box(box: Box, image_size: tuple[int, int]) -> None:
    """Refuse a box that is no region of an image of pixels.

    Args:
        box: Left, top, right, bottom in pixels.
        image_size: Width and height of the image in pixels.

    Raises:
        LanternError: an edge is no number, the edges are in the wrong order, or it is under one
            pixel wide or high.
    """
    left, top, right, bottom = box
    shown = f"box {[round(float(v), 3) for v in box]}"
    image = f"an image of {image_size[0]} x {image_size[1]} pixels"
    if not all(math.isfinite(edge) for edge in box):
        raise LanternError(f"{shown} has an edge that is no number")
    if max(map(abs, box)) <= 1 and right > left and bottom > top:
        raise LanternError(
            f"{shown} lies within 0..1 in {image}: fractions of the image are no pixels; "
            "boxes='fraction' (--boxes fraction) converts them"
        )
    if right <= left or bottom <= top:
        raise LanternError(
            f"{shown} leaves nothing to crop in {image}: its right or bottom edge is not behind "
            "its left or top one; boxes='xywh' (--boxes xywh) reads x, y, width, height"
        )
    if right - left < 1 or bottom - top < 1:
        raise LanternError(f"{shown} has under one pixel of width or height in {image}")


def in_pixels(samples: Sequence[Sample], form: BoxForm, place: str) -> list[Sample]:
    """Samples whose boxes, corners in the form's unit, are brought to pixels.

    Boxes in pixels stay, and are held against each other and the images. A sample whose image
    cannot be read keeps its numbers: it fails by its image.

    Args:
        samples: Samples of one file.
        form: The form of their boxes.
        place: Name of the file, for messages.

    Raises:
        LanternError: all boxes show another form; the message says which, and the way out.
    """
    boxes = [box for sample in samples for box in sample.boxes]
    if not boxes:
        return list(samples)
    _check_range(boxes, form, place)
    whole = UNITS[form.unit]
    if whole is None:
        _check_sizes(samples, boxes, place)
        return list(samples)
    converted = [_converted(sample, whole) for sample in samples]
    _log.warning(
        "%s: %d boxes converted from %s of the image to pixels",
        place, len(boxes), {1.0: "fractions"}.get(whole, form.unit),
    )  # fmt: skip
    return converted


def _check_range(boxes: Sequence[Box], form: BoxForm, place: str) -> None:
    """Refuse boxes that all, or for the most part, show another form than is said."""
    largest = max(abs(edge) for box in boxes for edge in box)
    kept = "-xywh" if form.sized else ""
    if form.unit != "fraction" and largest <= 1:
        raise LanternError(
            f"{place}: all boxes lie within 0..1, so they are fractions of the image and not "
            f"{form.unit}; boxes='fraction{kept}' (--boxes fraction{kept}) converts them"
        )
    whole = UNITS[form.unit]
    beyond = [box for box in boxes if whole and max(map(abs, box)) > 1.01 * whole]
    if beyond and len(beyond) * 2 >= len(boxes):
        raise LanternError(
            f"{place}: {len(beyond)} of {len(boxes)} boxes reach beyond 0..{whole:g}, such as "
            f"{list(beyond[0])}, so they are no {form.unit} of the image; name their unit with "
            f"boxes= (--boxes): {', '.join(UNITS)}"
        )
    turned = [box for box in boxes if box[2] < box[0] or box[3] < box[1]]
    if len(turned) > 1 and len(turned) * 10 >= len(boxes):
        raise LanternError(
            f"{place}: {len(turned)} of {len(boxes)} boxes have a right or bottom edge before the "
            f"left or top one, such as {list(turned[0])}, so they may be x, y, width, height; "
            f"boxes='{_with_size(form)}' (--boxes {_with_size(form)}) reads them so"
        )


def _with_size(form: BoxForm) -> str:
    return "xywh" if form.unit == "pixels" else f"{form.unit}-xywh"


def _check_sizes(samples: Sequence[Sample], boxes: Sequence[Box], place: str) -> None:
    """Say it where boxes in pixels and the sizes of their images do not go together."""
    largest = max(abs(edge) for box in boxes for edge in box)
    fractions = sum(max(map(abs, box)) <= 1 for box in boxes)
    if fractions:
        _log.warning(
            "%s: %d of %d boxes lie within 0..1, fractions of the image among pixels; their "
            "samples fail where the box is needed",
            place, fractions, len(boxes),
        )  # fmt: skip
    looked = [(s, size) for s in samples[:LOOKED_AT] if s.boxes and (size := stored_size(s))]
    if not looked:
        return
    outside = [
        (sample, size) for sample, size in looked if any(_beyond(box, size) for box in sample.boxes)
    ]
    if outside:
        sample, (width, height) = outside[0]
        _log.warning(
            "%s: of %d images looked at, %d have a box that reaches beyond them, such as %s in "
            "%d x %d of sample %r; boxes are clipped to the image. Are they %s? (--boxes)",
            place, len(looked), len(outside), list(sample.boxes[0]), width, height, sample.id,
            "thousandths, or x, y, width, height" if largest <= 1001 else "of images of this size",
        )  # fmt: skip
    shortest = min(min(size) for _, size in looked)
    for unit, whole in UNITS.items():
        if whole and whole > 1 and largest <= whole and shortest > 2 * whole:
            if len(boxes) >= ENOUGH:
                _log.warning(
                    "%s: all %d boxes lie within 0..%g, in the corner of images of %d pixels and "
                    "more. Are they %s of the image? (--boxes %s)",
                    place, len(boxes), whole, shortest, unit, unit,
                )  # fmt: skip
            return


def _beyond(box: Box, size: tuple[int, int]) -> bool:
    return min(box) < -1 or box[2] > size[0] + 1 or box[3] > size[1] + 1


def _converted(sample: Sample, whole: float) -> Sample:
    size = stored_size(sample) if sample.boxes else None
    if size is None:
        return sample
    across, down = size[0] / whole, size[1] / whole
    boxes = tuple((x * across, y * down, u * across, v * down) for x, y, u, v in sample.boxes)
    return replace(sample, boxes=boxes)


def stored_size(sample: Sample) -> tuple[int, int] | None:
    """Width and height of a sample's first image as stored; None if it cannot be read."""
    source = sample.images[0] if sample.images else None
    if isinstance(source, Image.Image):
        return source.size
    if isinstance(source, np.ndarray):
        return (source.shape[1], source.shape[0]) if source.ndim > 1 else None
    if source is None or "://" in str(source):
        return None
    try:
        with Image.open(source) as image:
            return image.size
    except UNREADABLE:
        return None
