"""Boxes of evidence: their unit is checked, never guessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Box, Sample

BoxUnit = Literal["pixels", "fractions", "thousandths"]
"""Unit of the boxes in a file: pixels, fractions of the image's sides (0 to 1), or thousandths."""

_WHOLE = {"fractions": 1.0, "thousandths": 1000.0}


def four_numbers(value: Any, field: str = "bbox") -> Box:
    """Take a box as a file has it: a list of four finite numbers.

    Args:
        value: Value in the file.
        field: Name of the field, for messages.

    Raises:
        LanternError: it is something else.
    """
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers
    ):
        raise LanternError(f"the field '{field}' needs 4 finite numbers a box, not {value!r:.80}")
    first, second, third, fourth = map(float, numbers)
    return first, second, third, fourth


def check_in_image(size: tuple[int, int], box: Box) -> None:
    """Refuse a box that can be no region of an image.

    Args:
        size: Width and height of the image in pixels.
        box: Left, top, right, bottom in pixels.

    Raises:
        LanternError: the box has no area, is smaller than a pixel (so that it is rather a fraction
            of the image), or lies for its greater part outside.
    """
    width, height = size
    left, top, right, bottom = box
    said = f"box {[round(v, 3) for v in box]}"
    place = f"an image of {width} x {height}"
    if right <= left or bottom <= top:
        raise LanternError(
            f"{said} has no area inside {place}: boxes are left, top, right, bottom (not x, y, "
            "width, height)"
        )
    if right - left < 1 or bottom - top < 1:
        unit = " (or fractions of the image, 0 to 1? see --boxes)" if max(box) <= 1 else ""
        raise LanternError(f"{said} is smaller than 1 x 1 pixel{unit}, so there is no region in it")
    inside = max(0.0, min(right, width) - max(left, 0)) * max(
        0.0, min(bottom, height) - max(top, 0)
    )
    if inside == 0:
        raise LanternError(f"{said} has no area inside {place}")
    if inside < (right - left) * (bottom - top) / 2:
        raise LanternError(
            f"{said} lies for its greater part outside {place}: is it in pixels of this image?"
        )


def in_pixels(
    samples: Sequence[Sample], unit: BoxUnit, where: str, said: Callable[[str], None]
) -> list[Sample]:
    """Bring the boxes of a file's samples into pixels.

    Args:
        samples: Samples of a file, with boxes as it has them.
        unit: Unit of the boxes.
        where: Name of the file, for messages.
        said: Function that says what was converted.

    Returns:
        The samples. An image that cannot be opened keeps its boxes; its sample fails by name.

    Raises:
        LanternError: pixels were asked for, and all boxes lie within 0 to 1; or a box leaves the
            range of the unit that was asked for.
    """
    boxes = [box for sample in samples for box in sample.boxes]
    if not boxes:
        return list(samples)
    if unit == "pixels":
        if all(0 <= edge <= 1 for box in boxes for edge in box):
            raise LanternError(
                f"{where}: all {len(boxes)} boxes lie within 0 to 1, so they are fractions of the "
                "image and no pixels; boxes='fractions' (--boxes fractions) converts them"
            )
        return list(samples)
    whole = _WHOLE[unit]
    for sample in samples:
        for box in sample.boxes:
            if not all(0 <= edge <= whole for edge in box):
                raise LanternError(
                    f"{where}, sample {sample.id!r}: the box {list(box)} leaves 0 to {whole:g}, so "
                    f"the boxes are no {unit}"
                )
    said(f"{where}: {len(boxes)} boxes were converted from {unit} of the image to pixels")
    return [_scaled(sample, whole) if sample.boxes else sample for sample in samples]


def _scaled(sample: Sample, whole: float) -> Sample:
    source = sample.images[0]
    try:
        if isinstance(source, str) or hasattr(source, "__fspath__"):
            with Image.open(source) as image:
                width, height = image.size
        elif isinstance(source, Image.Image):
            width, height = source.size
        else:
            height, width = source.shape[:2]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return sample
    across, down = width / whole, height / whole
    scaled = tuple((a * across, b * down, c * across, d * down) for a, b, c, d in sample.boxes)
    return replace(sample, boxes=scaled)
