"""Replacements of latents: constants, noise, means, repeats and orders.

docs/methods.md, Interventions on the slots, has the table; `donors` and `regions` have the rest.
"""

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
    """Nothing is replaced, through the code path of every other replacement.

    At the slots: the own latents.
    Source: common practice.
    Control: none; it is the sham of every other replacement.
    """

    name: ClassVar[str] = "own"
    keeps: ClassVar[str] = "everything"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return lambda own, slot: own


@dataclass(frozen=True)
class Zeros(Replacement):
    """Zero vectors: a constant out of distribution, rather than a removal.

    At the slots: 0 in every dimension.
    Source: official `zeros`; arXiv 2605.21642, 2606.05753.
    Control: `noise-matched` (in distribution) and `mask` (a removal).
    """

    name: ClassVar[str] = "zeros"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        import torch

        return lambda own, slot: torch.zeros_like(own)


@dataclass(frozen=True)
class Noise(Replacement):
    """Gaussian noise of one scale, drawn again in every block.

    At the slots: N(0, scale^2) in every dimension.
    Source: official `random`, which has scale 1 and no seed.
    Control: `noise-matched`, since the scale can decide the outcome (arXiv 2605.21642).

    Attributes:
        scale: Standard deviation of the noise; default 1.
        seed: Seed of the noise; default 0.
    """

    name: ClassVar[str] = "noise"
    scale: float = 1.0
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        def edit(own: Tensor, slot: Slot) -> Tensor:
            return (self.scale * unit_noise(self, self.seed, sample, slot, own)).to(own)

        return edit


@dataclass(frozen=True)
class NoiseNorm(Replacement):
    """Noise with the norm of the own latent.

    At the slots: a random direction, as long as the own latent.
    Source: arXiv 2605.21642.
    Control: `noise-matched`, which also has the own latents' mean.

    Attributes:
        seed: Seed of the noise; default 0.
    """

    name: ClassVar[str] = "noise-norm"
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        def edit(own: Tensor, slot: Slot) -> Tensor:
            direction = unit_noise(self, self.seed, sample, slot, own)
            return direction.to(own) * (own.norm() / direction.norm().to(own))

        return edit


@dataclass(frozen=True)
class NoiseMatched(Replacement):
    """Noise distributed as the own latents of the other samples are.

    At the slots: Gaussian noise with their mean and standard deviation per slot and dimension.
    Source: arXiv 2605.21642.
    Control: `mean` (the same without noise), and several seeds.

    Attributes:
        seed: Seed of the noise; default 0.
    """

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
    """Noise added to the own latents: z + sigma * eps.

    At the slots: the own latent, and noise of sigma standard deviations of the own latents per
        slot and dimension; with `raw`, of standard deviation sigma.
    Source: arXiv 2606.05753, with sigma .1, .3 and 1, raw.
    Control: `own` (sigma = 0) and `noise-matched` (no own latent), and several seeds.

    Attributes:
        sigma: Size of the noise; default 1.
        raw: Take sigma as it is, and not in units of the own latents' deviation; default False.
        seed: Seed of the noise; default 0.
    """

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
    """The mean of the other samples: what all have in common, and nothing of one.

    At the slots: the mean own latent of the other samples at that slot.
    Source: common practice (mean ablation).
    Control: `noise-matched`, which has their spread too.
    """

    name: ClassVar[str] = "mean"
    from_pool: ClassVar[bool] = True

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return fed(require(pool).moments(without=sample)[0])


@dataclass(frozen=True)
class Constant(Replacement):
    """One fixed block of latents for all samples.

    At the slots: noise drawn once, with the own latents' mean and standard deviation per slot and
        dimension.
    Source: arXiv 2602.22766.
    Control: `mean`, and several seeds.

    Attributes:
        seed: Seed of the draw; default 0.
    """

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
    """z_t <- z_1 for every slot: the budget stays, the diversity goes.

    At the slots: the first own latent of the block.
    Source: arXiv 2605.21642.
    Control: `k-slots:k=1` (no budget either) and `zeros` (no content).
    """

    name: ClassVar[str] = "first-repeat"

    def check(self, latent_size: int) -> None:
        super().check(latent_size)
        if not any(slot in Span.parse(self.slots) for slot in range(1, latent_size)):
            raise LanternError(f"condition {self.label!r} puts the first latent where it is")

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return lambda own, slot: slot.written[0] if slot.index else own


@dataclass(frozen=True)
class Shuffle(Replacement):
    """The own latents in a random order that moves at least one slot in scope.

    At the slots: the own latents of the first block, permuted.
    Source: common practice.
    Control: `self-swap` (the same latents in order), and several seeds.

    Attributes:
        seed: Seed of the order; default 0.
    """

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
    """N(0, 1) of the shape of a latent, on the CPU; the same whenever this slot is drawn.

    Args:
        condition: The condition, whose name is part of the stream's seed.
        seed: Seed of the condition.
        sample: The sample.
        slot: The slot and its block.
        like: A latent of the shape wanted.
    """
    import torch

    stream = slot_generator(seed, condition.name, sample.id, slot)
    return torch.randn(like.shape, generator=stream)
