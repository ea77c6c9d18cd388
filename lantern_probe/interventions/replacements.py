"""Replacements of latents: constants, noise, means, repeats and orders.

docs/methods.md, Interventions on the slots, has the table; `donors` and `regions` have the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import (
    Change,
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
    from torch import Generator, Tensor

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

    def check(self, latent_size: int) -> None:
        super().check(latent_size)
        if self != Own():
            raise LanternError(
                f"condition {self.label!r} changes nothing, so that a scope does nothing; "
                "give own, or self-swap for latents that are put back"
            )

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
class NoiseNorm(Change):
    """Noise with the norm of the own latent.

    At the slots: a random direction, as long as the stored own latent; with `rerolled`, as the
        one that the model makes after the noise before it.
    Source: arXiv 2605.21642.
    Control: `noise-matched`, which also has the own latents' mean.

    Attributes:
        seed: Seed of the noise; default 0.
    """

    name: ClassVar[str] = "noise-norm"
    seed: int = 0

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        def noise(own: Tensor, slot: Slot) -> Tensor:
            direction = unit_noise(self, self.seed, sample, slot, own)
            return direction.to(own) * (own.norm() / direction.norm().to(own))

        return self.changed(sample, pool, noise)


@dataclass(frozen=True)
class NoiseMatched(Replacement):
    """Noise distributed as the own latents of samples of other images are.

    With a standard deviation per dimension the noise is far from all latents wherever their
    dimensions go together; with the full covariance it is as near to them as they are.

    At the slots: Gaussian noise with their mean, and their standard deviation per dimension or
        their covariance, per slot.
    Source: arXiv 2605.21642 (per dimension); the covariance is defined here.
    Control: `mean` (the same without noise), and several seeds.

    Attributes:
        covariance: `diagonal` (default), a standard deviation per dimension; or `full`, the
            covariance of all dimensions.
        seed: Seed of the noise; default 0.
    """

    name: ClassVar[str] = "noise-matched"
    from_pool: ClassVar[bool] = True
    covariance: str = "diagonal"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.covariance not in ("diagonal", "full"):
            raise LanternError(
                f"{self.name} has no covariance {self.covariance!r}; it has diagonal and full"
            )

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        mean, deviation = require(pool).moments(without=sample)

        def edit(own: Tensor, slot: Slot) -> Tensor:
            if self.covariance == "full":
                stream = slot_generator(self.seed, self.name, sample.id, slot)
                return correlated_noise(require(pool), sample, slot.index, stream).to(own)
            unit = unit_noise(self, self.seed, sample, slot, own)
            return (mean[slot.index] + deviation[slot.index] * unit).to(own)

        return edit


@dataclass(frozen=True)
class Additive(Change):
    """Noise added to the own latents: z + sigma * eps.

    At the slots: the stored own latent, and noise of sigma standard deviations of the own latents
        per slot and dimension; with `raw`, of standard deviation sigma. With `rerolled`, noise is
        added to what the model makes after the noise before it, so that it accumulates.
    Source: arXiv 2606.05753, with sigma .1, .3 and 1, raw.
    Control: `own` (no noise) and `noise-matched` (no own latent), and several seeds.

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
        return not self.raw or super().needs_pool

    def check(self, latent_size: int) -> None:
        super().check(latent_size)
        if self.sigma == 0:
            raise LanternError(f"condition {self.label!r} adds nothing; give own, or sigma above 0")

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        deviation = None if self.raw else require(pool).moments(without=sample)[1]

        def add(own: Tensor, slot: Slot) -> Tensor:
            noise = self.sigma * unit_noise(self, self.seed, sample, slot, own)
            return own + (noise if deviation is None else noise * deviation[slot.index]).to(own)

        return self.changed(sample, pool, add)


@dataclass(frozen=True)
class Mean(Replacement):
    """The mean of samples of other images: what all have in common, and nothing of one.

    At the slots: their mean own latent at that slot.
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
    """The own latents in a random order that moves at least one; a scope is permuted in itself.

    At the slots: the own latents of the first block, permuted among the slots in scope.
    Source: common practice.
    Control: `self-swap` (the same latents in order), and several seeds.

    Attributes:
        seed: Seed of the order; default 0.
    """

    name: ClassVar[str] = "shuffle"
    from_pool: ClassVar[bool] = True
    seed: int = 0

    def check(self, latent_size: int) -> None:
        super().check(latent_size)
        if len(self.in_scope(latent_size)) < 2:
            raise LanternError(f"condition {self.label!r} has fewer than two slots to exchange")
        if 0 not in Span.parse(self.blocks, "blocks"):
            raise LanternError(
                f"condition {self.label!r}: only the latents of the first block are stored, so "
                "that others cannot be permuted; let blocks= hold 0"
            )

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        import torch

        own = require(pool).own(sample)
        stream = generator(self.seed, self.name, sample.id)
        scope = torch.tensor(self.in_scope(len(own)))
        order = identity = torch.arange(len(scope))
        while len(scope) > 1 and torch.equal(order, identity):
            order = torch.randperm(len(scope), generator=stream)
        shuffled = own.clone()
        shuffled[scope] = own[scope[order]]
        return fed(shuffled)


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


def correlated_noise(pool: LatentPool, sample: Sample, slot: int, stream: Generator) -> Tensor:
    """One draw from the Gaussian of the other images' own latents at a slot, [D].

    A sum of the centred latents under random weights has exactly their covariance, whatever their
    number. It is not shrunk: a draw needs no inverse, and latents that vary in few directions lose
    their place to the variance that shrinkage adds in all others.

    Args:
        pool: Own latents of the data set.
        sample: The sample that gets the noise; latents of its images are left out.
        slot: Slot (0-based).
        stream: Random stream of the draw.
    """
    import torch

    latents = pool.others(sample, slot).double()
    mean = latents.mean(0)
    weights = torch.randn(len(latents), generator=stream, dtype=torch.float64)
    return (mean + weights @ (latents - mean) / len(latents) ** 0.5).float()
