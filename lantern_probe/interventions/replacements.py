"""The interventions of the literature (METHODS: interventions on the slots)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import (
    Intervention,
    Replacement,
    generator,
    require,
    slot_generator,
)
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import Slot, SlotEdit, fed
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Span

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Own(Replacement):
    """Nothing replaced, through the path of every other intervention: the sham."""

    name: ClassVar[str] = "own"
    keeps: ClassVar[str] = "everything"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return lambda own, slot: own


@dataclass(frozen=True)
class Zeros(Replacement):
    """Zero vectors: an out-of-distribution constant rather than a removal (arXiv 2605.21642)."""

    name: ClassVar[str] = "zeros"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        import torch

        return lambda own, slot: torch.zeros_like(own)


@dataclass(frozen=True)
class Noise(Replacement):
    """N(0, scale^2) at every slot (official `random`, seeded here); redrawn in every block."""

    name: ClassVar[str] = "noise"
    scale: float = 1.0
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        def edit(own: Tensor, slot: Slot) -> Tensor:
            return (self.scale * unit_noise(self, self.seed, sample, slot, own)).to(own)

        return edit


@dataclass(frozen=True)
class NoiseNorm(Replacement):
    """A random direction of the norm that the own latent has (arXiv 2605.21642)."""

    name: ClassVar[str] = "noise-norm"
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        def edit(own: Tensor, slot: Slot) -> Tensor:
            direction = unit_noise(self, self.seed, sample, slot, own)
            return direction.to(own) * (own.norm() / direction.norm().to(own))

        return edit


@dataclass(frozen=True)
class NoiseMatched(Replacement):
    """Gaussian noise with the mean and sd, per slot and dimension, of the own latents of the other
    samples (arXiv 2605.21642)."""

    name: ClassVar[str] = "noise-matched"
    from_pool: ClassVar[bool] = True
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        mean, deviation = require(pool).moments(without=sample)

        def edit(own: Tensor, slot: Slot) -> Tensor:
            unit = unit_noise(self, self.seed, sample, slot, own)
            return (mean[slot.index] + deviation[slot.index] * unit).to(own)

        return edit


@dataclass(frozen=True)
class Additive(Replacement):
    """z + sigma * eps, eps of the own latents' sd per slot and dimension, or of unit sd with
    `raw` (arXiv 2606.05753 takes .1, .3 and 1, raw)."""

    name: ClassVar[str] = "additive"
    sigma: float = 1.0
    raw: bool = False
    seed: int = 0

    @property
    def needs_pool(self) -> bool:
        return not self.raw or self.frozen

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        deviation = None if self.raw else require(pool).moments(without=sample)[1]

        def edit(own: Tensor, slot: Slot) -> Tensor:
            noise = self.sigma * unit_noise(self, self.seed, sample, slot, own)
            return own + (noise if deviation is None else noise * deviation[slot.index]).to(own)

        return edit


@dataclass(frozen=True)
class Mean(Replacement):
    """The mean own latent of the other samples, per slot."""

    name: ClassVar[str] = "mean"
    from_pool: ClassVar[bool] = True

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return fed(require(pool).moments(without=sample)[0])


@dataclass(frozen=True)
class Constant(Replacement):
    """One fixed tensor for all samples (arXiv 2602.22766): drawn once, with the own latents' mean
    and sd per slot and dimension."""

    name: ClassVar[str] = "constant"
    from_pool: ClassVar[bool] = True
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        import torch

        mean, deviation = require(pool).moments()
        stream = generator(self.seed, self.name, "")  # of no sample in particular
        return fed(mean + deviation * torch.randn(mean.shape, generator=stream))


@dataclass(frozen=True)
class FirstRepeat(Replacement):
    """z_t <- z_1 for every slot: the budget stays, the diversity goes (arXiv 2605.21642)."""

    name: ClassVar[str] = "first-repeat"

    def check(self, latent_size: int) -> None:
        super().check(latent_size)
        if not any(slot in Span.parse(self.slots) for slot in range(1, latent_size)):
            raise LanternError(f"condition {self.label!r} puts the first latent where it is")

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return lambda own, slot: slot.written[0] if slot.index else own


@dataclass(frozen=True)
class Shuffle(Replacement):
    """The own latents of the first block in a random order that moves at least one slot in
    scope."""

    name: ClassVar[str] = "shuffle"
    from_pool: ClassVar[bool] = True
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        import torch

        own = require(pool).own(sample)
        stream = generator(self.seed, self.name, sample.id)
        order = identity = torch.arange(len(own))
        scope = [slot for slot in range(len(own)) if slot in Span.parse(self.slots)]
        while len(own) > 1 and torch.equal(order[scope], identity[scope]):
            order = torch.randperm(len(own), generator=stream)
        return fed(own[order])


def unit_noise(
    condition: Intervention, seed: int, sample: Sample, slot: Slot, like: Tensor
) -> Tensor:
    """N(0, 1) of the shape of a latent, the same whenever this slot is drawn (on the CPU)."""
    import torch

    stream = slot_generator(seed, condition.name, sample.id, slot)
    return torch.randn(like.shape, generator=stream)
