"""What a generation gives back."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.decoding import Block


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
