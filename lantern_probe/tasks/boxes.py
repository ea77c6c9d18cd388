"""Boxes of evidence: their unit is checked, never guessed."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.images import UNREADABLE
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.vocabulary import BoxUnit

_LOOKED_AT = 64
"""Number of images whose sizes are held against the boxes of a file."""

_FAR = 0.05
"""Share of an image's side beyond it up to which a box may be drawn carelessly."""

_ENOUGH = 5
"""Fewest boxes whose common range says something about their unit."""


def range_of(form: BoxUnit) -> float | None:
    """Number that stands for the whole side of an image in a form of boxes; None for pixels.

    Args:
        form: The form.
    """
    whole = form.partition("-")[2]
    return float(whole) if whole else None


def written_boxes(value: Any, form: BoxUnit, field: str = "bbox") -> tuple[Box, ...]:
    """Take the boxes of a row: one, or a list of several, in the unit in which they are written.

    Args:
        value: Value in the file, a list.
        form: Form of the boxes. A polygon is a list of points or of their numbers in turn, and its
            bounding box is taken.
        field: Name of the field, for messages.

    Raises:
        LanternError: it is something else.
    """
    if not isinstance(value, list):
        raise LanternError(f"the field '{field}' must be a list, not {value!r:.80}")
    if not value:
        return ()
    if form.startswith("polygon"):
        return _polygons(value, field)
    listed = value if isinstance(value[0], list) else [value]
    return tuple(four_numbers(box, field) for box in listed)


def _polygons(value: list[Any], field: str) -> tuple[Box, ...]:
    """Bounding boxes of one polygon or of several."""
    flat = not isinstance(value[0], list)
    points = not flat and len(value[0]) == 2 and not isinstance(value[0][0], list)
    boxes = []
    for polygon in [value] if flat or points else value:
        parts = polygon if isinstance(polygon, list) else [polygon]
        pairs = all(isinstance(point, list) and len(point) == 2 for point in parts)
        numbers = [number for point in parts for number in point] if pairs else parts
        if len(numbers) < 6 or len(numbers) % 2 or not all(map(_is_number, numbers)):
            raise LanternError(
                f"the field '{field}' needs 3 or more points of two numbers a polygon, not "
                f"{polygon!r:.80}"
            )
        across, down = numbers[::2], numbers[1::2]
        box = (min(across), min(down), max(across), max(down))
        boxes.append(four_numbers(list(box), field))
    return tuple(boxes)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def four_numbers(value: Any, field: str = "bbox") -> Box:
    """Take a box as a file has it: a list of four finite numbers.

    Args:
        value: Value in the file.
        field: Name of the field, for messages.

    Raises:
        LanternError: it is something else.
    """
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(map(_is_number, numbers)):
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
    if right - left < 1 or bottom - top < 1 or max(map(abs, box)) < 1:
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
        said: Function that says what was converted, and what is odd about pixels.

    Returns:
        The samples. An image that cannot be opened keeps its boxes; its sample fails by name.

    Raises:
        LanternError: all boxes lie within 0 to 1, or many end before they begin, and another form
            was asked for; or a box leaves the range of the unit that was asked for.
    """
    kind, whole = unit.partition("-")[0], range_of(unit)
    if kind == "xywh":
        samples = [_with_corners(sample) for sample in samples]
    boxes = [box for sample in samples for box in sample.boxes]
    if not boxes:
        return list(samples)
    if whole != 1 and all(-1e-6 <= edge <= 1 + 1e-6 for box in boxes for edge in box):
        raise LanternError(
            f"{where}: all {len(boxes)} boxes lie within 0 to 1, so they are fractions of the "
            f"image and no {_unit(whole)}; boxes='{kind}-1' (--boxes {kind}-1) converts them"
        )
    turned = [box for box in boxes if box[2] < box[0] or box[3] < box[1]]
    if len(turned) > 1 and len(turned) * 10 >= len(boxes):
        proper = unit.replace("xyxy", "xywh")
        raise LanternError(
            f"{where}: {len(turned)} of {len(boxes)} boxes end before they begin, such as "
            f"{list(turned[0])}, so they are left, top, width, height; boxes='{proper}' "
            f"(--boxes {proper}) reads them so"
        )
    if whole is None:
        _hold_against_images(samples, boxes, where, said)
        return list(samples)
    for sample in samples:
        for box in sample.boxes:
            if not all(-1e-6 * whole <= edge <= whole * (1 + 1e-6) for edge in box):
                raise LanternError(
                    f"{where}, sample {sample.id!r}: the box {list(box)} leaves 0 to {whole:g}, so "
                    f"the boxes are not {unit}; say by --boxes what they are"
                )
    said(f"{where}: {len(boxes)} boxes were converted from {unit} to pixels")
    return [_scaled(sample, whole) if sample.boxes else sample for sample in samples]


def refuse_beyond(samples: Sequence[Sample], form: BoxUnit, where: str) -> None:
    """Refuse boxes of which many reach far beyond their images: they are of another form.

    Args:
        samples: Samples with boxes in pixels.
        form: Form as which the boxes were read.
        where: Name of the file, for messages.

    Raises:
        LanternError: of the images looked at, all have such a box, or two and at least a tenth.
    """
    looked = [(s, size) for s in samples[:_LOOKED_AT] if s.boxes and (size := stored_size(s))]
    out = [(s, size) for s, size in looked if any(_leaves(box, size, _FAR) for box in s.boxes)]
    if out and (len(out) == len(looked) or (len(out) > 1 and len(out) * 10 >= len(looked))):
        sample, size = out[0]
        raise LanternError(
            f"{where}: read as {form}, the boxes of {len(out)} of {len(looked)} images looked at "
            f"reach far beyond them, such as {[round(v, 1) for v in sample.boxes[0]]} in {size[0]} "
            f"x {size[1]} of sample {sample.id!r}; say by --boxes what they are"
        )


def _unit(whole: float | None) -> str:
    return "pixels" if whole is None else f"numbers from 0 to {whole:g}"


def _with_corners(sample: Sample) -> Sample:
    return replace(sample, boxes=tuple((x, y, x + w, y + h) for x, y, w, h in sample.boxes))


def _hold_against_images(
    samples: Sequence[Sample], boxes: Sequence[Box], where: str, said: Callable[[str], None]
) -> None:
    """Say it where boxes of pixels, and the sizes of their images, show another unit."""
    largest = max(abs(edge) for box in boxes for edge in box)
    fractions = sum(max(map(abs, box)) <= 1 for box in boxes)
    if fractions:
        said(
            f"{where}: {fractions} of {len(boxes)} boxes lie within 0 to 1, as fractions of the "
            "image do, among others of pixels; their samples fail where the box is needed"
        )
    looked = [(s, size) for s in samples[:_LOOKED_AT] if s.boxes and (size := stored_size(s))]
    out = [(s, size) for s, size in looked if any(_leaves(box, size) for box in s.boxes)]
    if out:
        sample, size = out[0]
        kinds = "xyxy-1000, or xywh" if largest <= 1001 else "pixels of this image"
        said(
            f"{where}: of {len(looked)} images looked at, {len(out)} have a box that reaches "
            f"beyond them, such as {list(sample.boxes[0])} in {size[0]} x {size[1]} of sample "
            f"{sample.id!r}; what is beyond is cut off. Are the boxes {kinds}? (--boxes)"
        )
    shortest = min((min(size) for _, size in looked), default=0)
    for whole in (100, 1000):
        if largest <= whole < shortest / 2 and len(boxes) >= _ENOUGH:
            said(
                f"{where}: all {len(boxes)} boxes lie within 0 to {whole}, in a corner of images "
                f"of {shortest} pixels and more. Do they count the sides as {whole}? "
                f"(--boxes xyxy-{whole})"
            )
            return


def _leaves(box: Box, size: tuple[int, int], share: float = 0.0) -> bool:
    """True if a box leaves its image by more than a pixel and a share of its sides."""
    across, down = 1 + share * size[0], 1 + share * size[1]
    beyond = box[2] > size[0] + across or box[3] > size[1] + down
    return min(box[0] + across, box[1] + down) < 0 or beyond


def stored_size(sample: Sample) -> tuple[int, int] | None:
    """Width and height of a sample's first image as stored; None if it cannot be read.

    Args:
        sample: The sample.
    """
    if not sample.images:
        return None
    source = sample.images[0]
    try:
        if isinstance(source, bytes):
            source = Image.open(io.BytesIO(source))
        if isinstance(source, str) or hasattr(source, "__fspath__"):
            with Image.open(source) as image:
                return image.size
        if isinstance(source, Image.Image):
            return source.size
        height, width = source.shape[:2]
        return width, height
    except UNREADABLE:
        return None


def _scaled(sample: Sample, whole: float) -> Sample:
    size = stored_size(sample)
    if size is None:
        return sample
    across, down = size[0] / whole, size[1] / whole
    scaled = tuple((a * across, b * down, c * across, d * down) for a, b, c, d in sample.boxes)
    return replace(sample, boxes=scaled)
