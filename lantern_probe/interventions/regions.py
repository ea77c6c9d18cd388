"""Latents made of a region of an image: the evidence box, or another (arXiv 2603.25629)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from PIL.Image import Image

from lantern_probe.interventions.base import Replacement, generator, require
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import SlotEdit, fed
from lantern_probe.tasks.crops import crop_box, evidence, first_image, overlap
from lantern_probe.tasks.sample import Box, Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Oracle(Replacement):
    """The compressed vision features of the evidence box (official `gt`)."""

    name: ClassVar[str] = "oracle"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        return fed(region_latents(lantern, first_image(sample), evidence(sample)))


@dataclass(frozen=True)
class RandomBox(Replacement):
    """A crop of the evidence box's size elsewhere in the same image, clear of the evidence where
    the image has room."""

    name: ClassVar[str] = "random-box"
    seed: int = 0
    TRIES: ClassVar[int] = 64

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        image, box = first_image(sample), evidence(sample)
        crop_box(image.size, box)  # refuses a box outside the image: it has no elsewhere

        def shared(drawn: Box) -> float:
            return overlap(crop_box(image.size, drawn), crop_box(image.size, box))

        return fed(region_latents(lantern, image, min(self.draw(sample, image, box), key=shared)))

    def draw(self, sample: Sample, image: Image, box: Box) -> list[Box]:
        """Boxes of the size of `box`, or of the image where it is smaller, anywhere in it."""
        import torch

        stream = generator(self.seed, self.name, sample.id)
        width, height = min(box[2] - box[0], image.width), min(box[3] - box[1], image.height)
        room = torch.tensor([image.width - width, image.height - height])
        corners = torch.rand(self.TRIES, 2, generator=stream) * room
        return [(x, y, x + width, y + height) for x, y in corners.tolist()]


@dataclass(frozen=True)
class RandomBoxOther(RandomBox):
    """A crop of the evidence box's size anywhere in another sample's image (the official
    `random_bbox` since it moved to the next sample's image)."""

    name: ClassVar[str] = "random-box-other"
    from_pool: ClassVar[bool] = True

    def donor(self, sample: Sample, pool: LatentPool | None) -> Sample:
        """Whose image it is."""
        return require(pool).donor(sample, generator(self.seed, self.name, sample.id))

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        image = first_image(self.donor(sample, pool))
        return fed(region_latents(lantern, image, self.draw(sample, image, evidence(sample))[0]))

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        return {"donor": self.donor(sample, pool).id}
