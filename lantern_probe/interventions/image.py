"""What may be done to a sample's image, crossed with every condition on its latents.

A corruption is a named frozen value like a condition: `zeros` under `black-box` is recorded as
`zeros@black-box`. Corruptions change what the model sees; what the answer ought to be, the boxes
and the images that oracle latents are cropped from stay those of the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from PIL import Image, ImageDraw, ImageFilter

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import generator
from lantern_probe.model.blocks import RowPlan
from lantern_probe.tasks.crops import crop_box
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Named, parse_named

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Corruption(Named):
    """Something done to the image. This one does nothing: the image as it is."""

    name: ClassVar[str] = "clean"

    def check(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            LanternError: naming the setting.
        """

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        """The sample as the model is to see it; id, question, answer and boxes are kept.

        Args:
            sample: A sample.
            others: The data set, for a corruption that takes something from another sample.

        Raises:
            LanternError: an image cannot be read, or the corruption does not apply to it.
        """
        return sample

    def hide(self, plan: RowPlan) -> RowPlan:
        """A condition's plan under this corruption."""
        return plan

    def suffix(self, condition: str) -> str:
        """The label of a condition under this corruption: `zeros@black-box`."""
        return condition if self == Corruption() else f"{condition}@{self.label}"


@dataclass(frozen=True)
class BlackBox(Corruption):
    """The evidence boxes are black, with the margin that oracle crops have (1.2 times the box)."""

    name: ClassVar[str] = "black-box"

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        if not sample.boxes:
            raise LanternError(f"sample {sample.id!r} has no box to black out")
        first, *rest = sample.open_images()
        first = first.copy()
        for box in sample.boxes:
            left, top, right, bottom = crop_box(first.size, box)
            # PIL counts the far edge in.
            ImageDraw.Draw(first).rectangle((left, top, right - 1, bottom - 1), fill=0)
        return seen(sample, [first, *rest])


@dataclass(frozen=True)
class BlackImage(Corruption):
    """The images are black: what is left is the question, and what language knows."""

    name: ClassVar[str] = "black-image"

    def apply(self, sample: Sample, others: Sequence[Sample]) -> Sample:
        return seen(sample, [Image.new("RGB", image.size) for image in sample.open_images()])


@dataclass(frozen=True)
class Blur(Corruption):
    """Gaussian blur, of a radius in shares of the image's shorter side."""

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
    """Another sample's images with this sample's question; never the same image or question."""

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
                return seen(sample, donor.open_images())
        raise LanternError(
            f"sample {sample.id!r} has no other image: every other sample shares its image or its "
            "question"
        )


@dataclass(frozen=True)
class HideImage(Corruption):
    """The image is whole, but from the end marker of a block on nothing may attend to it: what is
    left is in the slots and in what was said before. Without a block by plan (`ban`, `stock`),
    from where the block would have been."""

    name: ClassVar[str] = "hide-image"

    def hide(self, plan: RowPlan) -> RowPlan:
        return replace(plan, hide=(*plan.hide, "image"))


CORRUPTIONS: dict[str, type[Corruption]] = {
    kind.name: kind for kind in (Corruption, BlackBox, BlackImage, Blur, SwapImage, HideImage)
}
"""Every corruption that has a name on the command line."""


def parse_corruption(text: str) -> Corruption:
    """A corruption from its label: `black-box`, `blur:radius=0.1`.

    Raises:
        LanternError: naming the corruptions, or the settings, there are.
    """
    corruption = parse_named(text, CORRUPTIONS, "corruption")
    corruption.check()
    return corruption


def parse_image_corruption(text: str) -> Corruption:
    """A corruption that changes the image itself, for what compares two inputs.

    Raises:
        LanternError: as for `parse_corruption`, or it leaves the image as it is.
    """
    corruption = parse_corruption(text)
    if type(corruption).apply is Corruption.apply:
        raise LanternError(f"{text!r} leaves the image as it is, so that nothing can be compared")
    return corruption


def seen(sample: Sample, images: Sequence[Image.Image]) -> Sample:
    """The sample with other images before the model's eyes; oracle crops keep the old ones."""
    oracle = sample.oracle_images or sample.images
    return replace(sample, images=tuple(images), oracle_images=oracle)
