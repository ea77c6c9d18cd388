"""What every intervention is: a named, seeded, frozen value that makes a plan for each sample."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import RowPlan, Slot, SlotEdit
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Named, Span

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Intervention(Named):
    """A condition on the latent blocks of one row. Subclasses say what happens at the slots."""

    from_pool: ClassVar[bool] = False
    """Whether what it does is made from the own latents of the whole data set."""
    keeps: ClassVar[str] = "-"
    """Parts of the block that are left in place, for the decomposition of a gain."""
    needs_block: ClassVar[bool] = True
    """Whether it does nothing to a text that opens no block."""

    @property
    def needs_pool(self) -> bool:
        """Whether the own latents of the whole data set must be known first."""
        return self.from_pool

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        """What this sample's row does.

        Raises:
            LanternError: the intervention does not apply to this sample.
        """
        raise NotImplementedError

    def check(self, latent_size: int) -> None:
        """Refuse settings that make no sense for a model of K slots, before anything runs.

        Raises:
            LanternError: naming the setting.
        """

    def acts_on(self, blocks: int) -> bool:
        """Whether it does anything in a text of so many blocks; else the row is a no-op."""
        return blocks > 0 or not self.needs_block

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        """What the record should say beside the outcome, such as the donor's id."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Replacement(Intervention):
    """Something else is fed at the slots, at all of them or within a scope.

    Attributes:
        slots: Which slots: `3`, `0+3`, `2-5`, or all but these with `!3`; empty for all. So
            `zeros:slots=3` leaves one out and `zeros:slots=!3` keeps one.
        blocks: Which blocks, likewise; outside them slots are the row's own.
        frozen: Slots out of scope get what they are without the intervention, instead of being
            generated from the changed ones (re-rolled). Known for the first block only; later
            ones are re-rolled.
    """

    keeps: ClassVar[str] = "markers, slots"

    slots: str = ""
    blocks: str = ""
    frozen: bool = False

    @property
    def needs_pool(self) -> bool:
        return self.from_pool or self.frozen

    def check(self, latent_size: int) -> None:
        slots = Span.parse(self.slots)
        if slots.numbers and max(slots.numbers) >= latent_size:
            raise LanternError(
                f"condition {self.label!r}: there is no slot {max(slots.numbers)}; the model has "
                f"slots 0 to {latent_size - 1}"
            )
        if not any(slot in slots for slot in range(latent_size)):
            raise LanternError(f"condition {self.label!r} leaves no slot to replace")
        Span.parse(self.blocks)

    def acts_on(self, blocks: int) -> bool:
        span = Span.parse(self.blocks)
        return any(block in span for block in range(blocks))

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        """What is fed at a slot in scope.

        Raises:
            LanternError: the intervention does not apply to this sample.
        """
        raise NotImplementedError

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        replace = self.edit(sample, lantern, pool)
        if not (self.slots or self.blocks or self.frozen):
            return RowPlan(edit=replace)
        self.check(lantern.latent_size)
        slots, blocks = Span.parse(self.slots), Span.parse(self.blocks)
        kept = require(pool).own(sample) if self.frozen else None

        def scoped(own: Tensor, slot: Slot) -> Tensor:
            if slot.index in slots and slot.block in blocks:
                return replace(own, slot)
            return own if kept is None or slot.block else kept[slot.index].to(own)

        return RowPlan(edit=scoped)


def generator(seed: int, name: str, sample: str) -> Generator:
    """The random stream of one intervention on one sample (CPU, so the same on any device)."""
    import torch

    digest = hashlib.sha256(f"{seed}\0{name}\0{sample}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def slot_generator(seed: int, name: str, sample: str, slot: Slot) -> Generator:
    """The random stream of one slot: the same whatever was drawn before, or how often."""
    return generator(seed, name, f"{sample}\0{slot.block}\0{slot.index}")


def require(pool: LatentPool | None) -> LatentPool:
    """The pool.

    Raises:
        LanternError: there is none.
    """
    if pool is None:
        raise LanternError("this intervention needs the own latents of the data set (a LatentPool)")
    return pool
