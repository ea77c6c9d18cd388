"""Latents from elsewhere: of another sample, or of a region of an image (METHODS: interventions on
the slots)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Replacement, generator, require
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import SlotEdit, fed
from lantern_probe.tasks.crops import evidence, first_image
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.twins import TWIN, TWIN_ANSWER

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Swap(Replacement):
    """Another sample's own latents (arXiv 2606.05753); never of the same image or question."""

    name: ClassVar[str] = "swap"
    from_pool: ClassVar[bool] = True
    seed: int = 0

    def donor(self, sample: Sample, pool: LatentPool | None) -> Sample:
        """Whose latents they are."""
        return require(pool).donor(sample, generator(self.seed, self.name, sample.id))

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return fed(require(pool).latents[self.donor(sample, pool).id])

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        donor = self.donor(sample, pool)
        return {"donor": donor.id, "donor_answer": answer_among(donor, sample)}


@dataclass(frozen=True)
class Twin(Replacement):
    """The own latents of the sample's twin: the same question on an image edited in a known way
    (latent exchange). If the latents are used, the twin's answer comes out."""

    name: ClassVar[str] = "twin"
    from_pool: ClassVar[bool] = True

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        twin = sample.attributes.get(TWIN)
        if twin is None:
            raise LanternError(f"sample {sample.id!r} has no twin to exchange latents with")
        if twin not in require(pool).latents:
            raise LanternError(f"the twin {twin!r} of {sample.id!r} emitted no whole latent block")
        return fed(require(pool).latents[twin])

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        answer = sample.attributes.get(TWIN_ANSWER)
        return {"donor": sample.attributes[TWIN], "donor_answer": answer}


@dataclass(frozen=True)
class SelfSwap(Replacement):
    """The sample's own latents, put back as another's would be: the sham of every exchange."""

    name: ClassVar[str] = "self-swap"
    from_pool: ClassVar[bool] = True

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return fed(require(pool).own(sample))


@dataclass(frozen=True)
class TwinOracle(Twin):
    """The oracle latents of the sample's twin: what its own would be if they were perfect."""

    name: ClassVar[str] = "twin-oracle"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        twin = require(pool).samples.get(str(sample.attributes.get(TWIN)))
        if twin is None:
            raise LanternError(f"sample {sample.id!r} has no twin with a latent block")
        return fed(region_latents(lantern, first_image(twin), evidence(twin)))


def answer_among(donor: Sample, sample: Sample) -> str | None:
    """The sample's candidate that says what the donor's answer says; None if none does.

    Letters are compared by what they stand for: B of one question is not B of another.
    """
    if donor.answer is None or donor.answer not in donor.candidates:
        return None
    said = donor.options[donor.candidates.index(donor.answer)].strip().lower()
    texts = [option.strip().lower() for option in sample.options]
    return sample.candidates[texts.index(said)] if said in texts else None
