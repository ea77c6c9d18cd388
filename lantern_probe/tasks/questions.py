"""A question of one's own about an image, as a sample."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.images import ImageSource, turned_upright
from lantern_probe.tasks.sample import Sample


def asked_question(
    image: ImageSource,
    question: str,
    options: Sequence[str] = (),
    *,
    id: str = "question",
    lettered: bool = True,
) -> Sample:
    """A sample made of one image and one question, with options lettered A, B, C ...

    An image whose EXIF says that it lies on its side is turned upright, and that is said.

    Args:
        image: A path, a PIL image or an array [H, W, 3] (uint8).
        question: The question.
        options: Answers to choose from; empty for an open question.
        id: Id of the sample.
        lettered: Letter the options in the prompt and ask for a letter (default), or put the bare
            question and read the answer in words.

    Raises:
        LanternError: the question or an option is no text, or there are more options than letters.
    """
    if isinstance(options, str):
        raise LanternError(f"options are several texts, not the one text {options!r:.60}")
    for text in (question, *options):
        if not isinstance(text, str) or not text.strip():
            raise LanternError(f"{text!r:.60} is no text that can be asked")
    if not lettered and len(set(options)) < len(options):
        raise LanternError(f"the same option is given twice, in {list(options)!r:.200}")
    if lettered and len(options) > len(ascii_uppercase):
        raise LanternError(f"at most 26 options can be lettered, not {len(options)}")
    lines = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False)]
    lettered = lettered and bool(options)
    upright = turned_upright(image)
    turned = upright is not image and not isinstance(image, Image.Image)
    return Sample(
        id=id,
        images=(upright,),
        attributes={"file": str(image)} if turned else {},
        question=question,
        options=tuple(options),
        lettered=lettered,
        prompt="\n".join([question, "Options:", *lines]) if lettered else None,
    )
