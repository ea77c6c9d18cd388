"""The form of an intervention: a named, seeded, frozen value that makes a plan for each sample.

A condition of your own is a frozen dataclass with a `name` and either `plan` (what the row does
about its block) or, as a `Replacement`, `edit` (what is fed at a slot). Its docstring fills in a
form:

    At the slots: the values fed, or what becomes of the slots.
    Source: the paper or the official name, where there is one.
    Control: the conditions that it must be compared with.

Listed in `CONDITIONS` it has its label everywhere: in Python, on the command line, in the record.
Its randomness is drawn from (seed, name, sample), see `generator` and `slot_generator`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

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
    """A condition on the latent blocks of one row; subclasses say what happens there."""

    from_pool: ClassVar[bool] = False
    """True if the condition is made from the own latents of the whole data set."""
    keeps: ClassVar[str] = "-"
    """Parts of the block that are left in place, for the decomposition of a gain."""
    needs_block: ClassVar[bool] = True
    """True if the condition does nothing to a text that opens no block."""

    @property
    def needs_pool(self) -> bool:
        """True if the own latents of the whole data set must be known first."""
        return self.from_pool

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        """The plan of one sample's row.

        Args:
            sample: The sample.
            lantern: The model.
            pool: Own latents of the data set; None where they are not needed.

        Raises:
            LanternError: the intervention does not apply to this sample.
        """
        raise NotImplementedError

    def check(self, latent_size: int) -> None:
        """Refuse settings that make no sense for a model, before anything runs.

        Args:
            latent_size: K, the number of slots in a block of that model.

        Raises:
            LanternError: a setting makes no sense; the message names it.
        """

    def acts_on(self, blocks: int) -> bool:
        """True if the condition does anything in a text; if not, its row is a no-op.

        Args:
            blocks: Number of latent blocks in the text.
        """
        return blocks > 0 or not self.needs_block

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        """Details for the record, such as the donor's id.

        Args:
            sample: The sample.
            pool: Own latents of the data set; None where they are not needed.
        """
        return {}


Kind = TypeVar("Kind", bound="Replacement")


@dataclass(frozen=True, kw_only=True)
class Replacement(Intervention):
    """A condition that feeds other latents, at all slots or within a scope.

    A scope is given to the constructor as it is written in a label, or by `at`.

    Attributes:
        slots: Slots (0-based) that are replaced: `3`, `0+3`, `2-5`, or all but these with `!3`;
            empty (default) for all. So `zeros:slots=3` leaves one slot out, and `zeros:slots=!3`
            keeps one.
        blocks: Blocks (0-based) whose slots are replaced, written in the same way; empty
            (default) for all. Slots of other blocks are the row's own.
        frozen: Feed at slots out of scope what they are without the intervention, instead of
            what the model makes after the changed ones (re-rolled); default False. It is known
            for the first block only; later blocks are re-rolled. Refused where no slot out of
            scope comes after a changed one, since it would do nothing.
    """

    keeps: ClassVar[str] = "markers, slots"

    slots: str = ""
    blocks: str = ""
    frozen: bool = False

    def at(
        self: Kind,
        *,
        slots: str | int | Iterable[int] | None = None,
        blocks: str | int | Iterable[int] | None = None,
        frozen: bool | None = None,
    ) -> Kind:
        """The same replacement within another scope; the value itself stays as it is.

            >>> from lantern_probe.interventions import Zeros
            >>> Zeros().at(slots="!3", blocks=0).label
            'zeros:slots=!3,blocks=0'
            >>> Zeros().at(slots=range(2, 6), frozen=True).label
            'zeros:slots=2-5,frozen=1'

        Args:
            slots: Slots (0-based): one number, several, or a set as it is written in a label
                (`2-5`, `!3`; empty for all); default unchanged.
            blocks: Blocks (0-based), given in the same way; default unchanged.
            frozen: Feed at slots out of scope what they are without the intervention; default
                unchanged.

        Raises:
            LanternError: the slots or blocks are no set of numbers, or an empty one.
        """
        scoped = self
        if slots is not None:
            scoped = replace(scoped, slots=_written_set(slots, "slots"))
        if blocks is not None:
            scoped = replace(scoped, blocks=_written_set(blocks, "blocks"))
        return scoped if frozen is None else replace(scoped, frozen=frozen)

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
        if self.frozen and not self._freezes(latent_size):
            raise LanternError(
                f"condition {self.label!r}: frozen=1 does nothing here, since no slot of the first "
                "block that is out of scope comes after a changed one; leave it out, or give slots="
            )

    def in_scope(self, latent_size: int) -> list[int]:
        """Slots (0-based) that are replaced in a block within scope.

        Args:
            latent_size: K, the number of slots in a block.
        """
        slots = Span.parse(self.slots)
        return [slot for slot in range(latent_size) if slot in slots]

    def _freezes(self, latent_size: int) -> bool:
        """True if a slot of the first block that is out of scope comes after a changed one."""
        changed = self.in_scope(latent_size)
        later = range(min(changed), latent_size)
        return 0 in Span.parse(self.blocks, "blocks") and len(later) > len(changed)

    def acts_on(self, blocks: int) -> bool:
        span = Span.parse(self.blocks, "blocks")
        return any(block in span for block in range(blocks))

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        """The function that makes what is fed at a slot in scope.

        Args:
            sample: The sample.
            lantern: The model.
            pool: Own latents of the data set; None where they are not needed.

        Raises:
            LanternError: the intervention does not apply to this sample.
        """
        raise NotImplementedError

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        edit = self.edit(sample, lantern, pool)
        if not (self.slots or self.blocks or self.frozen):
            return RowPlan(edit=edit)
        self.check(lantern.latent_size)
        slots, blocks = Span.parse(self.slots), Span.parse(self.blocks, "blocks")
        kept = require(pool).own(sample) if self.frozen else None

        def scoped(own: Tensor, slot: Slot) -> Tensor:
            if slot.index in slots and slot.block in blocks:
                return edit(own, slot)
            return own if kept is None or slot.block else kept[slot.index].to(own)

        return RowPlan(edit=scoped)


@dataclass(frozen=True, kw_only=True)
class Change(Replacement):
    """A replacement that changes the own latents, stored ones unless told otherwise.

    Stored latents are those of the sample's plain run, as `self-swap` feeds them. Re-rolled ones
    are made after the changed latents of earlier slots, so that changes accumulate. Stored latents
    are known for the first block; later blocks are re-rolled.

    Attributes:
        rerolled: Change the re-rolled latents instead of the stored ones; default False. Refused
            where both are the same.
    """

    rerolled: bool = False

    @property
    def needs_pool(self) -> bool:
        return super().needs_pool or not self.rerolled

    def check(self, latent_size: int) -> None:
        super().check(latent_size)
        first = 0 in Span.parse(self.blocks, "blocks")
        if self.rerolled and not (first and len(self.in_scope(latent_size)) > 1):
            raise LanternError(
                f"condition {self.label!r}: rerolled=1 does nothing here, since no slot of the "
                "first block is changed after another; leave it out"
            )

    def changed(
        self, sample: Sample, pool: LatentPool | None, change: Callable[[Tensor, Slot], Tensor]
    ) -> SlotEdit:
        """The edit that changes stored or re-rolled own latents.

        Args:
            sample: The sample.
            pool: Own latents of the data set; None where they are not needed.
            change: Function from an own latent and its slot to what is fed.

        Raises:
            LanternError: stored latents are needed, and there are none of this sample.
        """
        stored = None if self.rerolled else require(pool).own(sample)

        def edit(own: Tensor, slot: Slot) -> Tensor:
            if stored is None or slot.block > 0:
                return change(own, slot)
            return change(stored[slot.index].to(own), slot)

        return edit

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        return {"changed": "re-rolled" if self.rerolled else "stored"}


def _written_set(numbers: str | int | Iterable[int], noun: str) -> str:
    """A set of numbers as it is written in a label, runs as `2-5`."""
    if isinstance(numbers, int):
        numbers = [numbers]
    if not isinstance(numbers, str):
        ordered = sorted(set(numbers))
        if not ordered:
            raise LanternError(f"no {noun} were given; leave them out for all")
        firsts = [n for n in ordered if n - 1 not in ordered]
        lasts = [n for n in ordered if n + 1 not in ordered]
        numbers = "+".join(
            f"{first}" if first == last else f"{first}-{last}"
            for first, last in zip(firsts, lasts, strict=True)
        )
    Span.parse(numbers, noun)
    return numbers


def generator(seed: int, name: str, sample: str) -> Generator:
    """The random stream of one intervention on one sample, drawn on the CPU for any device.

    Args:
        seed: Seed of the intervention.
        name: Name of the intervention.
        sample: Id of the sample.
    """
    import torch

    digest = hashlib.sha256(f"{seed}\0{name}\0{sample}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def slot_generator(seed: int, name: str, sample: str, slot: Slot) -> Generator:
    """The random stream of one slot: the same whatever was drawn before, or how often.

    Args:
        seed: Seed of the intervention.
        name: Name of the intervention.
        sample: Id of the sample.
        slot: The slot and its block.
    """
    return generator(seed, name, f"{sample}\0{slot.block}\0{slot.index}")


def require(pool: LatentPool | None) -> LatentPool:
    """The pool of own latents, which must be there.

    Args:
        pool: The pool, or None.

    Raises:
        LanternError: there is no pool.
    """
    if pool is None:
        raise LanternError("this intervention needs the own latents of the data set (a LatentPool)")
    return pool
