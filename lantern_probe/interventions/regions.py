"""Latents made of a region of an image: of the evidence box, or of another (arXiv 2603.25629)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from PIL.Image import Image

from lantern_probe.interventions.base import Replacement, generator, require
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import SlotEdit, fed
from lantern_probe.tasks.boxes import check_in_image
from lantern_probe.tasks.crops import crop_box, evidence, first_image, overlap
from lantern_probe.tasks.sample import Box, Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Oracle(Replacement):
    """Oracle latents: the evidence itself.

    At the slots: the compressed vision features of the evidence box, scaled by 1.2.
    Source: official `gt` (arXiv 2603.25629).
    Control: `random-box`.
    """

    name: ClassVar[str] = "oracle"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        return fed(region_latents(lantern, first_image(sample), evidence(sample)))


@dataclass(frozen=True)
class RandomBox(Replacement):
    """Oracle latents of another place: a crop of the evidence box's size in the same image.

    At the slots: the compressed vision features of that crop; of 64 random places the one that
        shares least with the evidence, so that it is clear of it where the image has room.
    Source: official `random_bbox`, before it moved to the next sample's image.
    Control: `oracle`.

    Attributes:
        seed: Seed of the draw of places; default 0.
        TRIES: Number of places that are drawn.
    """

    name: ClassVar[str] = "random-box"
    seed: int = 0
    TRIES: ClassVar[int] = 64

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        image, box = first_image(sample), evidence(sample)
        check_in_image(image.size, box)  # refuses a box outside the image: it has no elsewhere

        def shared(drawn: Box) -> float:
            return overlap(crop_box(image.size, drawn), crop_box(image.size, box))

        return fed(region_latents(lantern, image, min(self.draw(sample, image, box), key=shared)))

    def draw(self, sample: Sample, image: Image, box: Box) -> list[Box]:
        """Random boxes of one size, anywhere in an image.

        Args:
            sample: The sample, from whose id they are drawn.
            image: The image.
            box: A box of the size wanted; where the image is smaller, they have the image's.
        """
        import torch

        stream = generator(self.seed, self.name, sample.id)
        width, height = min(box[2] - box[0], image.width), min(box[3] - box[1], image.height)
        room = torch.tensor([image.width - width, image.height - height])
        corners = torch.rand(self.TRIES, 2, generator=stream) * room
        return [(x, y, x + width, y + height) for x, y in corners.tolist()]


@dataclass(frozen=True)
class RandomBoxOther(RandomBox):
    """Oracle latents of another image: a crop of the evidence box's size, anywhere in it.

    At the slots: the compressed vision features of that crop.
    Source: official `random_bbox`, since it moved to the next sample's image.
    Control: `random-box` (the same image), and `oracle`.

    Attributes:
        seed: Seed of the draw of donors and places; default 0.
    """

    name: ClassVar[str] = "random-box-other"
    from_pool: ClassVar[bool] = True

    def donor(self, sample: Sample, pool: LatentPool | None) -> Sample:
        """The sample whose image is cropped.

        Args:
            sample: The sample that gets the latents.
            pool: Own latents of the data set.

        Raises:
            LanternError: there is no pool, or no allowed donor in it.
        """
        return require(pool).donor(sample, generator(self.seed, self.name, sample.id))

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        image = first_image(self.donor(sample, pool))
        return fed(region_latents(lantern, image, self.draw(sample, image, evidence(sample))[0]))

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        return {"donor": self.donor(sample, pool).id}
