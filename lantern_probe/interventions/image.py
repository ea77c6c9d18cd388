"""Corruptions of a sample's image, which may be crossed with every condition on its latents.

A corruption is a named frozen value like a condition: `zeros` under `black-box` is recorded as
`zeros@black-box`. Corruptions change what the model sees. The right answer, the boxes and the
images from which oracle latents are cropped stay those of the sample. A docstring fills in the form
of a condition, with what is done to the image in place of what is fed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from PIL import Image, ImageDraw, ImageFilter

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import generator
from lantern_probe.model.blocks import RowPlan
from lantern_probe.tasks.crops import region
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Named, parse_named


@dataclass(frozen=True)
class Corruption(Named):
    """A corruption of the image; this one, `clean`, leaves it as it is.

    In the image: nothing is changed.
    Source: every evaluation.
    Control: none; the others are compared with it.
    """

    name: ClassVar[str] = "clean"

    def check(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            LanternError: a setting makes no sense; the message names it.
        """

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        """The sample as the model is to see it; id, question, answer and boxes are kept.

        Args:
            sample: The sample.
            others: Samples of the data set, for a corruption that takes something from another.

        Raises:
            LanternError: an image cannot be read, or the corruption does not apply to it.
        """
        return sample

    def hide(self, plan: RowPlan) -> RowPlan:
        """The plan of a condition under this corruption.

        Args:
            plan: The condition's plan for a clean image.
        """
        return plan

    def suffix(self, condition: str) -> str:
        """The label of a condition under this corruption: `zeros@black-box`.

        Args:
            condition: Label of the condition.
        """
        return condition if self == Corruption() else f"{condition}@{self.label}"


@dataclass(frozen=True)
class BlackBox(Corruption):
    """The evidence is black: what is left is the rest of the image, and the question.

    In the image: the evidence boxes, scaled by 1.2 as oracle crops are, are black.
    Source: the bottleneck (docs/methods.md, Bottleneck and emission).
    Control: `black-image`, which also hides the rest.
    """

    name: ClassVar[str] = "black-box"

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        if not sample.boxes:
            raise LanternError(f"sample {sample.id!r} has no box to black out")
        first, *rest = sample.open_images()
        first = first.copy()
        for box in sample.boxes:
            left, top, right, bottom = region(first.size, box)
            # PIL counts the far edge in.
            ImageDraw.Draw(first).rectangle((left, top, right - 1, bottom - 1), fill=0)
        return seen(sample, [first, *rest])


@dataclass(frozen=True)
class BlackImage(Corruption):
    """The image is black: what is left is the question, and what language knows.

    In the image: every pixel of every image is black.
    Source: the bottleneck (docs/methods.md, Bottleneck and emission).
    Control: `swap-image`, an image in distribution.
    """

    name: ClassVar[str] = "black-image"

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        return seen(sample, [Image.new("RGB", image.size) for image in sample.open_images()])


@dataclass(frozen=True)
class Blur(Corruption):
    """The image is blurred: details go, the layout stays.

    In the image: Gaussian blur.
    Source: docs/methods.md, Input to latent sensitivity.
    Control: `clean`, and several radii.

    Attributes:
        radius: Radius of the blur, as a fraction of the image's shorter side; default .05.
    """

    name: ClassVar[str] = "blur"
    radius: float = 0.05

    def check(self) -> None:
        if not 0 < self.radius <= 1:
            raise LanternError(f"blur needs a radius above 0 and up to 1, not {self.radius}")

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        blurred = [
            image.filter(ImageFilter.GaussianBlur(self.radius * min(image.size)))
            for image in sample.open_images()
        ]
        return seen(sample, blurred)


@dataclass(frozen=True)
class SwapImage(Corruption):
    """Another sample's images with this sample's question; never the same image or question.

    In the image: all images are those of a sample drawn from the data set.
    Source: docs/methods.md, Input to latent sensitivity.
    Control: `clean`, and several seeds.

    Attributes:
        seed: Seed of the draw; default 0.
    """

    name: ClassVar[str] = "swap-image"
    seed: int = 0

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        import torch

        stream = generator(self.seed, self.name, sample.id)
        keys = sample.image_keys
        # In a random order of the whole data set, however that is sorted, the first allowed one.
        known = sorted(others, key=lambda other: other.id)
        for index in torch.randperm(len(known), generator=stream).tolist():
            donor = known[index]
            if donor.id != sample.id and donor.text != sample.text and not keys & donor.image_keys:
                # A donor that cannot be read is passed over: it is not this sample's fault.
                with contextlib.suppress(LanternError):
                    return seen(sample, donor.open_images())
        raise LanternError(
            f"sample {sample.id!r} has no other image: every other sample shares its image or its "
            "question, or its image cannot be read"
        )


@dataclass(frozen=True)
class HideImage(Corruption):
    """The image is hidden after the block: what is left of it is in the slots and the thought.

    In the image: nothing is changed, but from the end marker of a block on nothing may attend to
        it; without a block by plan (`ban`, `stock`), from where the block would have been.
    Source: the bottleneck (docs/methods.md, Bottleneck and emission).
    Control: `zeros@hide-image`, with nothing in the slots either.
    """

    name: ClassVar[str] = "hide-image"

    def hide(self, plan: RowPlan) -> RowPlan:
        return replace(plan, hide=(*plan.hide, "image"))


CORRUPTIONS: dict[str, type[Corruption]] = {
    kind.name: kind for kind in (Corruption, BlackBox, BlackImage, Blur, SwapImage, HideImage)
}
"""Every corruption by the name that it has on the command line."""

SWAP_QUESTION = "swap-question"
"""A change of the input that leaves the image as it is: another sample's question."""


def parse_corruption(text: str) -> Corruption:
    """Read a corruption from its label: `black-box`, `blur:radius=0.1`.

        >>> from lantern_probe.interventions import parse_corruption
        >>> blurred = parse_corruption("blur:radius=0.1").apply(sample, [])
        >>> blurred.question == sample.question, blurred.image_keys == sample.image_keys
        (True, False)

    Args:
        text: The label.

    Raises:
        LanternError: there is no such corruption or setting; the message lists what there is.
    """
    corruption = parse_named(text, CORRUPTIONS, "corruption")
    corruption.check()
    return corruption


def parse_image_corruption(text: str) -> Corruption:
    """Read a corruption that changes the image itself, for a comparison of two inputs.

    Args:
        text: The label.

    Raises:
        LanternError: as for `parse_corruption`, or it leaves the image as it is.
    """
    corruption = parse_corruption(text)
    if type(corruption).apply is Corruption.apply:
        raise LanternError(f"{text!r} leaves the image as it is, so that nothing can be compared")
    return corruption


def seen(sample: Sample, images: Sequence[Image.Image]) -> Sample:
    """The sample as the model sees it, with other images; oracle crops keep the old ones.

    Args:
        sample: The sample.
        images: Images that the model is to see, of the same sizes.
    """
    oracle = sample.oracle_images or sample.images
    return replace(sample, images=tuple(images), oracle_images=oracle)
