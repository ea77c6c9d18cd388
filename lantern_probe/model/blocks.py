"""What a generation gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float, Int

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LanternOutput:
    """The rows of one generation.

    Attributes:
        sequences: Prompt and continuation, left-padded, [rows, length].
        prompt_length: Number of prompt positions, padding included; the same for every row.
        blocks: Every row's latent blocks, positions counted in `sequences`.
        texts: Every row's continuation, markers kept, padding and end-of-text tokens dropped.
        answers: The parsed answer of every row; None where the text holds none.
    """

    sequences: Int[Tensor, "rows length"]
    prompt_length: int
    blocks: list[list[Block]]
    texts: list[str]
    answers: list[str | None]

    @property
    def latents(self) -> list[list[Float[Tensor, "fed dim"]]]:
        """What was fed at the slots, by row and block; [K, D] for every block that was whole."""
        return [[block.latents for block in row] for row in self.blocks]

    @property
    def emitted(self) -> list[bool]:
        """Whether a row has at least one latent block."""
        return [bool(row) for row in self.blocks]

    @property
    def emission(self) -> float:
        """The share of rows with at least one latent block."""
        return sum(self.emitted) / len(self.emitted)


@dataclass(frozen=True, eq=False)
class BranchResult:
    """What became of one branch.

    Attributes:
        ids: All tokens without padding, [length].
        prompt_length: Number of prompt tokens.
        blocks: The latent blocks, positions counted in `ids`.
        text: The continuation.
        logprobs: Log-probability of every candidate at the answer, where there is one.
    """

    ids: Int[Tensor, " length"]
    prompt_length: int
    blocks: list[Block]
    text: str
    logprobs: dict[str, float] | None


def first_of(values: Sequence[int], wanted: set[int]) -> int | None:
    """Index of the first value that is wanted."""
    return next((index for index, value in enumerate(values) if value in wanted), None)


@dataclass(frozen=True)
class LvrTokens:
    """The three LVR token ids and the number of slots K in a block."""

    start: int
    sep: int
    end: int
    size: int


@dataclass(frozen=True)
class Slot:
    """Where a latent is about to be fed: the row's block (0-based) and slot (0-based), and
    what was fed at the earlier slots of this block, [slot, D]."""

    block: int
    index: int
    written: Float[Tensor, "written dim"]


if TYPE_CHECKING:
    SlotEdit = Callable[[Tensor, Slot], Tensor]
else:  # torch is not loaded for names alone
    SlotEdit = Callable
"""From the own latent [D] of a slot to what is fed there [D]."""


def fed(values: Tensor) -> SlotEdit:
    """Feed `values[t]`, of [K, D], at slot t of every block, as the official code does."""
    return lambda own, slot: values[slot.index].to(own)


@dataclass(frozen=True)
class RowPlan:
    """What one row does about its latent blocks.

    Attributes:
        mode: "block" forces K slots and the end marker after a generated start marker; "skip"
            forces the end marker at once; "stock" forces and feeds nothing (plain generate).
        ban: The start marker cannot be generated.
        edit: Replaces latents; None leaves the row's own.
        size: Slots in a block; the model's K by default.
        hide: From a block's end marker on nothing may attend to its "slot"s, or to the "image",
            or to either. Where the row opens no block by its plan (`ban`, "stock"), the image is
            hidden from the start.
        opening: The text begins anew behind the prompt, with these tokens; None goes on from
            where the row stands.
    """

    mode: Literal["block", "skip", "stock"] = "block"
    ban: bool = False
    edit: SlotEdit | None = None
    size: int | None = None
    hide: tuple[Literal["slot", "image"], ...] = ()
    opening: tuple[int, ...] | None = None


OWN = RowPlan()


def _nothing_fed() -> Tensor:
    import torch

    return torch.empty(0, 0)


@dataclass(frozen=True)
class Block:
    """One latent block of a sequence.

    Attributes:
        start: Index of `<|lvr_start|>`.
        slots: Indices of the slots; fewer than K when the token limit cut the block off.
        end: Index of `<|lvr_end|>`, or None when the sequence ends before it.
        latents: What was fed at the slots, [fed, D]; [0, 0] when read back from tokens alone.
            One fewer than slots when the last slot was generated but never fed.
    """

    start: int
    slots: range
    end: int | None
    latents: Float[Tensor, "fed dim"] = field(repr=False, default_factory=_nothing_fed)


def find_blocks(
    ids: Int[Tensor, " length"] | Sequence[int], prompt_length: int, tokens: LvrTokens
) -> list[Block]:
    """The latent blocks of one sequence, read back from its tokens.

    Only a *generated* start marker opens a block. A `<|lvr_sep|>` elsewhere is an ordinary
    token, and so is anything in the prompt.

    Args:
        ids: Token ids, prompt and continuation.
        prompt_length: Number of prompt tokens, padding included.
        tokens: The LVR tokens and K.
    """
    sequence = ids.tolist() if not isinstance(ids, Sequence) else list(ids)
    blocks = []
    position = prompt_length
    while position < len(sequence):
        if sequence[position] != tokens.start:
            position += 1
            continue
        stop = first = position + 1
        while stop < min(len(sequence), first + tokens.size) and sequence[stop] == tokens.sep:
            stop += 1
        closed = stop < len(sequence) and sequence[stop] == tokens.end
        blocks.append(Block(position, range(first, stop), stop if closed else None))
        position = stop + 1 if closed else stop
    return blocks
