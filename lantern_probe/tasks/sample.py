"""One question about an image: the form every data set is brought into."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.images import UNREADABLE, ImageSource, open_image
from lantern_probe.vocabulary import Match

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the image as stored."""


IMAGE_MARK = "<image>"
"""Mark in a prompt at which an image stands, where `Sample.interleaved` says so."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One question, its images, the right answer if it is known, and attributes.

        >>> cup = Sample(id="1", images=("a.jpg",), question="what?", options=("cup", "plate"))
        >>> cup.candidates
        ('cup', 'plate')

    Attributes:
        id: Id, unique within a data set; seeds and records refer to it.
        images: Paths, encoded images (bytes), PIL images or arrays [H, W, 3] (uint8). They are
            opened when needed, so that a missing file fails this sample and not the data set.
        question: Bare question, without options.
        options: Texts to choose from, without letters; empty (default) for an open question.
        answer: Right answer, one of `candidates` or the text of an open question; None (default)
            if unknown.
        boxes: Regions that hold the evidence, in pixels of the first image; none by default.
        attributes: Properties known by construction or annotation (colour, shape, cell ...).
        lettered: True if the answer is the letter of an option, False (default) if it is its text.
        prompt: Exact text of the user turn; the question by default.
        oracle_images: Images from which oracle latents are cropped, with the same sizes and boxes;
            `images` by default. They differ if the evidence is hidden from the model.
        made: Task, seed and index of a generated sample; None (default) for one that was read.
        numbered: True if the id is only the sample's position in its file, because the data have
            no ids; default False. A run then identifies the sample by its content.
        match: Comparison of an open question's answer with the right one: `exact` (default),
            `normalised` or `numeric`. Without meaning where there are options.
        accepted: Further right answers of an open question; none by default.
        interleaved: True if every `<image>` in the text is the place of an image, in the order of
            `images`; False (default) if all images come before the text.
    """

    id: str
    images: tuple[ImageSource, ...]
    question: str
    options: tuple[str, ...] = ()
    answer: str | None = None
    boxes: tuple[Box, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    lettered: bool = False
    prompt: str | None = None
    oracle_images: tuple[ImageSource, ...] = ()
    made: tuple[str, int, int] | None = None
    numbered: bool = False
    match: Match = "exact"
    accepted: tuple[str, ...] = ()
    interleaved: bool = False

    def __post_init__(self) -> None:
        try:
            self.id.encode()
        except UnicodeEncodeError:
            raise LanternError(f"the sample id {self.id!r} is no valid Unicode text") from None
        if self.options and self.answer is not None and self.answer not in self.candidates:
            raise LanternError(
                f"sample {self.id!r}: the answer {self.answer!r} is not one of "
                f"{list(self.candidates)}"
            )

        marks = self.text.count(IMAGE_MARK)
        if self.interleaved and marks != len(self.images):
            raise LanternError(
                f"sample {self.id!r}: the text has {marks} marks {IMAGE_MARK} for "
                f"{len(self.images)} images; give one mark for each image, or none to have all "
                "images before the text"
            )

    @property
    def cluster(self) -> str:
        """Key shared by dependent samples: the data's own, the pair of twins, or the images."""
        for name in ("cluster", "pair"):
            key = self.attributes.get(name)
            if key not in (None, ""):
                return str(key)
        return self.image_key

    @property
    def candidates(self) -> tuple[str, ...]:
        """Possible results of parsing and scoring: the options' letters, or the options."""
        if self.lettered:
            return tuple(string.ascii_uppercase[: len(self.options)])
        return self.options

    @property
    def text(self) -> str:
        """Text of the user turn."""
        return self.question if self.prompt is None else self.prompt

    @cached_property
    def image_keys(self) -> frozenset[str]:
        """One key per image, equal for equal images: a path, or a hash of the pixels."""
        return frozenset(_image_key(image) for image in self.images)

    @property
    def image_key(self) -> str:
        """The keys of all images as one text, equal for samples of the same images."""
        return "|".join(sorted(self.image_keys))

    def open_images(self) -> list[Image.Image]:
        """The images, decoded, in RGB.

        Raises:
            LanternError: a file is missing or is not an image, or a source is a URL.
        """
        return [open_image(source, self.id) for source in self.images]

    def open_oracle_images(self) -> list[Image.Image]:
        """The images to crop oracle latents from, decoded, in RGB.

        Raises:
            LanternError: as for `open_images`.
        """
        return [open_image(source, self.id) for source in self.oracle_images or self.images]


def _image_key(image: ImageSource) -> str:
    if isinstance(image, str | PathLike):
        return str(image)
    if isinstance(image, bytes):
        return hashlib.sha256(b"encoded" + image).hexdigest()
    size = image.size if isinstance(image, Image.Image) else image.shape
    kind = image.mode if isinstance(image, Image.Image) else "array"
    try:
        pixels = image.tobytes()
    except UNREADABLE:  # a damaged file: its sample fails when it is run
        held = getattr(getattr(image, "fp", None), "getvalue", bytes)
        pixels = b"unreadable" + held()
    return hashlib.sha256(f"{kind} {size}".encode() + pixels).hexdigest()
