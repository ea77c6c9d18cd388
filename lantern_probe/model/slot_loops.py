"""Loops over slots in a trace: what is read in one step of a loop is of one forward, or refused.

nnsight binds the first request of a step to that visit of *its* module. A layer was first visited
at the prompt, a latent at slot 0, so that only a step whose first request is the latent means a
slot. The classes here follow what a block is served and speak up where it would be another
position's value.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from nnsight.intervention.interleaver import (
    Interleaver,
    Mediator,
    OutOfOrderError,
    getcurrent,
)
from nnsight.intervention.iterator import Iterations

from lantern_probe.errors import LanternError

FORWARD = "model.input"
LATENT = "model.latent"


class SlotMediator(Mediator):
    """The block of a trace, with its place in a loop over slots.

    Attributes:
        iteration: The visit of a module that the next request means; None for the next visit.
        step: Step of the loop that the block is in; None outside a loop.
        earlier: The first place served in this step before the latent; None without one.
        forward: Number of the forward in which this step's latent was served; None before.
        of_slots: True once a step of this loop has asked for a latent.
    """

    iteration: int | None
    step: int | None = None
    earlier: str | None = None
    forward: int | None = None
    of_slots: bool = False

    def start(self, interleaver: Any = None) -> None:
        """Run the block up to its first request, outside any loop."""
        self.enter(None)
        super().start(interleaver)

    def enter(self, step: int | None) -> None:
        """Begin a step of a loop.

        Args:
            step: Index of the step; None leaves the loop.
        """
        self.step, self.earlier, self.forward = step, None, None
        self.of_slots = self.of_slots and step is not None

    def switch(self, *args: Any) -> Any:
        """Go on with the block, served what it asked for unless that is of another position."""
        pending = self.pending
        wrong = None if pending is None or not pending.provider else self._serve(pending.provider)
        return super().switch(*args) if wrong is None else self.fail(LanternError(wrong))

    def fail(self, error: BaseException) -> Any:
        """Raise an error at the line at which the block waits.

        Args:
            error: The error.
        """
        assert self.worker is not None
        self.worker.parent = getcurrent()
        return self.worker.throw(error)

    def end(self) -> None:
        """Say why the block still waits after the run, where it is about latents.

        Raises:
            LanternError: what it waits for can never be what was meant.
        """
        wanted = self.pending.provider if self.pending is not None else None
        if wanted is None:
            return
        fed = self.occurrence(f"{LATENT}.output")
        late = self.step is not None and self.earlier is None and self.step >= fed > 0
        if late and _is_latent(wanted):
            self._outrun(
                f"slot {self.step} was never reached: {fed} slots were fed (0 to {fed - 1})",
                f"`tracer.iter[:{fed}]` is the whole of them",
            )
            return
        wrong = self._missed_latent(fed) if _is_latent(wanted) else self._missed(wanted)
        if wrong is not None:
            self.fail(LanternError(wrong))
        elif self.step is not None and not self.of_slots:
            self._outrun(
                f"`{wanted}` was never reached in step {self.step}: the run visited it "
                f"{self.occurrence(wanted)} times",
                "a loop that does not read lantern.latent first counts a module's visits, that "
                "of the prompt included, not slots",
            )

    def _serve(self, place: str) -> str | None:
        """Note what is served; a text if it is of another position than the step's slot."""
        forward = self.occurrence(FORWARD)
        if _is_latent(place):
            if self.iteration == 0:
                # What follows means this slot's forward, not the module's first visit.
                self.iteration = None
            if self.step is None:
                return None
            self.of_slots = True
            if self.forward is None:
                self.forward = forward
            return _latent_first(self.earlier, self.step) if self.earlier else None
        if self.step is None or place == "result":
            return None
        if self.forward is None:
            self.earlier = self.earlier or place
            return None
        return None if forward == self.forward else self._missed(place)

    def _missed_latent(self, fed: int) -> str:
        if self.earlier is not None:
            return _latent_first(self.earlier, self.step)
        if not fed:
            return (
                "lantern.latent was asked for, but no latent was fed: the text opened no block, "
                "or this is one forward over a prompt; see the text of a plain "
                "`lantern.generate(...)`, or force a block with RowPlan(force=True) in branches"
            )
        return (
            f"lantern.latent{_at(self.step)} was asked for after it had been fed; ask for slots "
            "in rising order, in one loop, and for lantern.latent first in each step"
        )

    def _missed(self, place: str) -> str | None:
        """Why a place that is no latent was missed; None leaves it to nnsight."""
        if self.step is None or not self.of_slots:
            return None
        if self.forward is None:
            return _latent_first(place, self.step)
        return (
            f"`{place}` was asked for after the forward of slot {self.step} had passed it; "
            "read lantern.latent first, then the rest in the order in which the model runs"
        )

    def _outrun(self, what: str, advice: str) -> None:
        """End a loop that goes on after the last visit; what it saved is kept."""
        error = OutOfOrderError()
        try:
            self.fail(error)
        except OutOfOrderError as thrown:
            if thrown is not error:
                raise
        warnings.warn(
            f"{what}, so the loop ended there. What it saved is kept, and the statements after it "
            f"did not run; {advice}",
            stacklevel=2,
        )


def _is_latent(place: str) -> bool:
    return place.startswith(f"{LATENT}.")


def _at(step: int | None) -> str:
    return "" if step is None else f" of slot {step}"


def _latent_first(place: str, step: int | None) -> str:
    return (
        f"`{place}` was asked for before lantern.latent{_at(step)}, which makes it the value of "
        "another position; read lantern.latent first in each step of `for slot in tracer.iter`"
    )


class SlotInterleaver(Interleaver):
    """nnsight's interleaver with blocks that know their slot."""

    def __enter__(self) -> Interleaver:
        for mediator in self.mediators:
            if type(mediator) is Mediator:  # nnsight makes them itself
                mediator.__class__ = SlotMediator
        return super().__enter__()

    def check_dangling_mediators(self) -> None:
        """Say why a block still waits after the run.

        Raises:
            LanternError: a latent, or what was read beside it, was asked for in the wrong place.
        """
        for mediator in self.mediators:
            if mediator.alive and isinstance(mediator, SlotMediator):
                mediator.end()
        super().check_dangling_mediators()


class Slots(Iterations):
    """`tracer.iter`: which slots, or steps of a generation, a loop visits."""

    def __getitem__(self, key: Any) -> Slots:
        """The slots of an index, a slice or a list of indices.

        Args:
            key: An index, a slice from 0 on, or a list of rising indices.

        Raises:
            LanternError: an index is negative, or a list does not rise.
        """
        if isinstance(key, slice):
            first, last, stride = key.start or 0, key.stop, 1 if key.step is None else key.step
            if first < 0 or (last is not None and last < 0) or stride < 1:
                raise LanternError(_bounds(key))
            if stride == 1:
                return Slots(first, last)
            if last is None:
                raise LanternError(f"{_bounds(key)}; a slice with a stride needs an end")
            return Slots(steps=list(range(first, last, stride)))
        steps = list(key) if isinstance(key, list | tuple | range) else [key]
        if any(step < 0 for step in steps) or sorted({*steps}) != steps:
            raise LanternError(_bounds(key))
        return Slots(steps=steps)

    def __iter__(self) -> Iterator[int]:
        mediator = getattr(getcurrent(), "mediator", lambda: None)()
        if not isinstance(mediator, SlotMediator):
            yield from super().__iter__()
            return
        try:
            for step in super().__iter__():
                mediator.enter(step)
                yield step
        finally:
            mediator.enter(None)


def _bounds(key: Any) -> str:
    return (
        f"`tracer.iter[{key}]` is no rising sequence of slots; they are counted from 0, "
        "as in `tracer.iter[:8]`, `tracer.iter[3]` or `tracer.iter[[0, 4]]`"
    )
