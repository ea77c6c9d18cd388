"""Latents made of a region of an image: of the evidence box, or of another (arXiv 2603.25629)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from PIL.Image import Image

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Replacement, generator, require
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import SlotEdit, fed
from lantern_probe.tasks.crops import covered, crop_box, evidence, first_image, region
from lantern_probe.tasks.sample import Box, Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Oracle(Replacement):
    """Oracle latents: the evidence itself.

    At the slots: the compressed vision features of the first evidence box, scaled by 1.2. Further
        boxes are not shown.
    Source: official `gt` (arXiv 2603.25629).
    Control: `random-box`.
    """

    name: ClassVar[str] = "oracle"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        return fed(region_latents(lantern, first_image(sample), evidence(sample)))

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        return {"box": [round(float(edge), 2) for edge in evidence(sample)]}


@dataclass(frozen=True)
class RandomBox(Replacement):
    """Oracle latents of another place: a crop of the evidence box's size in the same image.

    At the slots: the compressed vision features of that crop; of 64 random places the one whose
        crop holds the smallest fraction of any evidence crop. All boxes of the sample are
        evidence. A sample fails where even that crop holds more than a quarter of one.
    Source: official `random_bbox`, before it moved to the next sample's image.
    Control: `oracle`.

    Attributes:
        seed: Seed of the draw of places; default 0.
        TRIES: Number of places that are drawn.
        MOST: Largest fraction of an evidence crop that the drawn crop may hold.
    """

    name: ClassVar[str] = "random-box"
    seed: int = 0
    TRIES: ClassVar[int] = 64
    MOST: ClassVar[float] = 0.25

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        box, held = self.place(sample)
        if max(held) > self.MOST:
            raise LanternError(
                f"sample {sample.id!r} has no room for {self.name}: of {self.TRIES} places, the "
                f"one clearest of the evidence still holds {max(held):.0%} of it (at most "
                f"{self.MOST:.0%}); random-box-other takes a crop of another image"
            )
        return fed(region_latents(lantern, first_image(sample), box))

    def place(self, sample: Sample) -> tuple[Box, list[float]]:
        """The drawn box, and the fraction of each evidence box's crop inside its crop.

        Args:
            sample: The sample.

        Raises:
            LanternError: there is no image or box, or a box lies outside the image.
        """
        image, box = first_image(sample), evidence(sample)
        crops = [region(image.size, each) for each in sample.boxes]

        def held(drawn: Box) -> list[float]:
            outer = crop_box(image.size, drawn)
            return [covered(crop, outer) for crop in crops]

        drawn = min(self.draw(sample, image, box), key=lambda one: max(held(one)))
        return drawn, held(drawn)

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        box, held = self.place(sample)
        return {
            "box": [round(edge, 2) for edge in box],
            "overlap": [round(fraction, 4) for fraction in held],
        }

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
        donor = self.donor(sample, pool)
        drawn = self.draw(sample, first_image(donor), evidence(sample))[0]
        return {"donor": donor.id, "box": [round(edge, 2) for edge in drawn]}
