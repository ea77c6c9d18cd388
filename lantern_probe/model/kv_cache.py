"""KV caches of rows that are run together: one that grows without copies, one that is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from lantern_probe.model.blocks import Block


class RoomyLayer(DynamicLayer):
    """One layer's keys and values in a buffer with room for more.

    transformers' own layer concatenates in every step, which copies the whole cache: with many
    rows that costs as much as the step itself.

    Args:
        keys: Keys to begin with; copied.
        values: Values to begin with; copied.
        room: Number of further tokens expected; more still fit, at the price of one copy.
    """

    def __init__(
        self,
        keys: Float[Tensor, "rows heads length dim"],
        values: Float[Tensor, "rows heads length dim"],
        room: int,
    ):
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._hold(keys, values, room)

    def _hold(self, keys: Tensor, values: Tensor, room: int) -> None:
        length = keys.shape[-2]
        self._buffer = keys.new_zeros(2, *keys.shape[:2], length + room, keys.shape[-1])
        self._buffer[0, :, :, :length], self._buffer[1, :, :, :length] = keys, values
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = self._buffer[:, :, :, :length]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values [rows, heads, new, dim], and return all of them."""
        old = self.keys.shape[-2]
        new = old + key_states.shape[-2]
        if new > self._buffer.shape[-2]:
            self._hold(self.keys, self.values, new)
        self._buffer[0, :, :, old:new], self._buffer[1, :, :, old:new] = key_states, value_states
        self._show(new)
        return self.keys, self.values


@dataclass(frozen=True, eq=False)
class FinishedRows:
    """Finished rows in one cache.

    Attributes:
        sequences: Tokens, right-aligned at the prefix, so left-padded, [rows, length].
        first: For every row, the index at which its own tokens begin.
        cache: Keys and values of at least all tokens but the last.
        deltas: For every row, by how much its image shifts text positions.
        blocks: For every row its latent blocks, positions counted in `sequences`.
        hidden: For every row, the positions in `sequences` that its last token may not attend to.
    """

    sequences: Int[Tensor, "rows length"]
    first: list[int]
    cache: Cache
    deltas: list[int]
    blocks: list[list[Block]]
    hidden: list[list[int]]


def rope_positions(
    text: Int[Tensor, "rows length"], deltas: Sequence[int]
) -> Int[Tensor, "4 rows length"]:
    """Text positions and the three rotary ones, as `generate` forms them after an image.

    Args:
        text: Text positions, counted from each row's first token.
        deltas: For every row, the shift of its rotary positions.
    """
    shift = torch.tensor(deltas, device=text.device)[:, None]
    return torch.cat([text[None], (text + shift).expand(3, -1, -1)])


KeysValues = tuple[Float[Tensor, "heads cached dim"], Float[Tensor, "heads cached dim"]]
"""Keys and values of one layer and one row."""
"""Keys and values of one layer and one row."""


class SharedPrefixLayer(DynamicLayer):
    """One layer's keys and values of one sequence, from which all rows of one forward go on.

    They are held once for all rows, and a forward leaves them as they are.

    Args:
        keys: Keys, [heads, length, dim].
        values: Values, [heads, length, dim].
    """

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys, self.values = keys[None], values[None]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        keys, values = (
            torch.cat([old.expand(len(new), -1, -1, -1), new], dim=-2)
            for old, new in ((self.keys, key_states), (self.values, value_states))
        )
        return keys, values
