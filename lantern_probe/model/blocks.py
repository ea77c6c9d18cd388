"""Latent blocks: the plan of a row, the places of its blocks, and what a generation returns.

The values of decoding. They need no torch until a tensor is made, so that interventions can be
named, read and printed without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from jaxtyping import Float, Int

from lantern_probe.errors import LanternError
from lantern_probe.protocols.walk import LvrTokens as LvrTokens
from lantern_probe.protocols.walk import Walked, walk_blocks

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.model.sampling import Draws


@dataclass(frozen=True)
class PromptNorms:
    """Median norms of a prompt's input embeddings, against which fed states are measured.

    Attributes:
        text: Median norm of the embeddings of all tokens that are no image tokens; None without
            any.
        image: Median norm of the merged image tokens; None without an image.
    """

    text: float | None
    image: float | None


@dataclass(frozen=True)
class LanternOutput:
    """The rows of one generation.

    Attributes:
        sequences: Tokens of prompt and continuation, left-padded, [rows, length].
        prompt_length: Number of prompt positions, padding included; the same for every row.
        blocks: For every row its latent blocks, positions counted in `sequences`.
        texts: For every row its continuation as text, with markers, without padding and
            end-of-text tokens.
        answers: For every row its parsed answer; None where the text holds none.
        norms: For every row the median norms of its prompt; empty where they were not measured.
    """

    sequences: Int[Tensor, "rows length"]
    prompt_length: int
    blocks: list[list[Block]]
    texts: list[str]
    answers: list[str | None]
    norms: list[PromptNorms | None] = field(default_factory=list)

    @property
    def latents(self) -> list[list[Float[Tensor, "fed dim"]]]:
        """The latents fed at the slots, by row and block; [K, D] for a whole block."""
        return [[block.latents for block in row] for row in self.blocks]

    @property
    def emitted(self) -> list[bool]:
        """For every row, True if it has at least one latent block."""
        return [bool(row) for row in self.blocks]

    @property
    def emission(self) -> float:
        """Fraction of the rows with at least one latent block."""
        return sum(self.emitted) / len(self.emitted)

    def __enter__(self) -> NoReturn:
        raise LanternError(
            "`with` was given the output of a generation that has run already; write the call "
            "itself into the header (`with lantern.generate(...) as tracer:`), in a file or a "
            "notebook cell whose source can be read, and not inside another trace"
        )

    def __exit__(self, *_: object) -> None:
        """Nothing: no block is ever entered."""


@dataclass(frozen=True, eq=False)
class BranchResult:
    """The finished text of one branch.

    Attributes:
        ids: Tokens of prompt and continuation, without padding, [length].
        prompt_length: Number of prompt tokens.
        blocks: Latent blocks, positions counted in `ids`.
        text: The continuation as text.
        logprobs: Log-probability of every candidate at the answer, in nats; None without scores.
    """

    ids: Int[Tensor, " length"]
    prompt_length: int
    blocks: list[Block]
    text: str
    logprobs: dict[str, float] | None


def first_of(values: Sequence[int], wanted: set[int]) -> int | None:
    """Index of the first value that is in a set; None without one.

    Args:
        values: Values, in order.
        wanted: The set.
    """
    return next((index for index, value in enumerate(values) if value in wanted), None)


@dataclass(frozen=True)
class Slot:
    """The place at which a latent is about to be fed.

    Attributes:
        block: Index of the row's block (0-based).
        index: Index of the slot in the block (0-based).
        written: Latents fed at the earlier slots of this block, [index, D].
        norms: Median norms of the row's prompt; None where they were not measured.
    """

    block: int
    index: int
    written: Float[Tensor, "written dim"]
    norms: PromptNorms | None = None


if TYPE_CHECKING:
    SlotEdit = Callable[[Tensor, Slot], Tensor]
else:  # torch is not loaded for names alone
    SlotEdit = Callable
"""A function from the own latent [D] of a slot, and the slot, to the latent [D] that is fed."""

CloseText = Callable[[Sequence[int], int], int | None]
"""A function from the tokens written so far and the next one to a token that must come instead."""


def fed(values: Tensor) -> SlotEdit:
    """An edit that feeds `values[t]` at slot t of every block, as the official code does.

    Args:
        values: One latent per slot, [K, D].
    """
    return lambda own, slot: values[slot.index].to(own)


@dataclass(frozen=True)
class RowPlan:
    """The plan of one row for its latent blocks: which tokens are forced, what is fed and hidden.

    Conditions (`interventions`) make plans; a plan of your own says the same directly:

        >>> from lantern_probe import RowPlan
        >>> half = RowPlan(edit=lambda own, slot: own / 2)
        >>> no_slots = RowPlan(mode="skip")
        >>> output = lantern.generate([sample, sample], plans=[half, no_slots])
        >>> [len(blocks[0].slots) for blocks in output.blocks]
        [8, 0]

    Attributes:
        mode: "block" (default) decodes as the model's protocol says; "skip" forces the end marker
            right after the start marker, which keeps its own embedding, whatever the protocol;
            "stock" forces and feeds nothing (plain `generate`).
        ban: Keep the tokens of a block from being generated; default False.
        edit: Function from a slot's own latent and its `Slot` to the latent that is fed; default
            None, the own latent.
        size: Number of slots in a block, the most where it may end early; default None, the model's
            K. With 0 it is the mode "skip".
        hide: Positions that nothing may attend to from a block's end marker on: its "slot"s, the
            "image", or both; default none. In a row whose plan opens no block (`ban`, "stock") the
            image is hidden from the start.
        opening: Token ids with which decoding restarts right after the prompt; default None, which
            continues from the prefix.
        close: Function from the token ids written so far, the opening included, and the next
            token to the token that must come instead; default None, which leaves the end of the
            text to the model.
        force: Open a block where the text opens none by itself, at the place before its answer at
            which the start marker was likeliest; default False. The place is known once the text
            is: branches can do it (`causal.run_branches`), a plain generation cannot.
        notes: Facts for the record that only the model knows, as (field, value); default none.
        draws: Random numbers from which the row's tokens are drawn; default None, greedy decoding.
    """

    mode: Literal["block", "skip", "stock"] = "block"
    ban: bool = False
    edit: SlotEdit | None = None
    size: int | None = None
    hide: tuple[Literal["slot", "image"], ...] = ()
    opening: tuple[int, ...] | None = None
    close: CloseText | None = None
    force: bool = False
    notes: tuple[tuple[str, Any], ...] = ()
    draws: Draws | None = None


OWN = RowPlan()
"""The plan that changes nothing: K slots a block, the row's own latents."""


def _nothing_fed() -> Tensor:
    import torch

    return torch.empty(0, 0)


@dataclass(frozen=True)
class Block:
    """One latent block of a sequence.

    Attributes:
        start: Index of the start marker in the sequence.
        slots: Indices of the slots in the sequence; fewer than K where the block ended early or was
            cut off. They begin at `start` where the first latent takes the marker's own place.
        end: Index of the token after the last slot, which closes the block: the end marker, or,
            where the protocol forces none, the first token that follows. None for a block that
            never closed.
        latents: Latents fed at the slots, [fed, D]; [0, 0] for a block read back from tokens alone.
            One fewer than the slots where the last slot was generated but never fed.
        restarted: True if another start marker broke the block off.
    """

    start: int
    slots: range
    end: int | None
    latents: Float[Tensor, "fed dim"] = field(repr=False, default_factory=_nothing_fed)
    restarted: bool = False

    @property
    def source(self) -> int:
        """Index of the position whose final state is the first latent.

        That is the start marker, or the token before it where the first latent takes its place.
        """
        return self.start - 1 if len(self.slots) and self.slots[0] == self.start else self.start

    @property
    def truncated(self) -> bool:
        """True if the text ended inside the block."""
        return self.end is None and not self.restarted

    @classmethod
    def of(cls, walked: Walked) -> Block:
        """A block as it was walked, without latents.

        Args:
            walked: The block.
        """
        slots = range(walked.first, walked.first + walked.slots)
        return cls(walked.start, slots, walked.end, restarted=walked.restarted)

    def until(self, stop: int, *, fed: int | None = None) -> Block:
        """The block as far as it stands before an index.

        Args:
            stop: Index at which the sequence ends.
            fed: Index before which a slot must stand to have been fed; default `stop`.
        """
        slots = range(self.slots.start, max(self.slots.start, min(self.slots.stop, stop)))
        end = None if self.end is None or self.end >= stop else self.end
        kept = sum(slot < (stop if fed is None else fed) for slot in slots)
        return replace(self, slots=slots, end=end, latents=self.latents[:kept])

    def moved(self, by: int) -> Block:
        """The same block in a sequence that begins at another index.

        Args:
            by: Number that is added to every index.
        """
        slots = range(self.slots.start + by, self.slots.stop + by)
        end = None if self.end is None else self.end + by
        return replace(self, start=self.start + by, slots=slots, end=end)


def find_blocks(
    ids: Int[Tensor, " length"] | Sequence[int],
    prompt_length: int,
    tokens: LvrTokens,
    ends: Collection[int] = (),
) -> list[Block]:
    """The latent blocks of one sequence, read back from its tokens.

    The tokens say where states were fed if the protocol was followed: of a text that was decoded
    plainly, or with other latents, the generation itself knows its blocks. A slot token outside a
    block is an ordinary token.

    Args:
        ids: Tokens of prompt and continuation.
        prompt_length: Number of prompt tokens, padding included.
        tokens: The tokens of a block, K and the protocol.
        ends: Tokens that end a text; default none.
    """
    sequence = ids.tolist() if not isinstance(ids, Sequence) else list(ids)
    return [Block.of(span) for span in walk_blocks(sequence, prompt_length, tokens, ends)]
