"""A KV cache that a decode step adds to without copying it."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """One layer's keys and values in a buffer with room behind them.

    transformers' own layer concatenates in every step, which copies the whole cache: with many
    rows that costs as much as the step itself.

    Args:
        keys: Keys to begin with; copied.
        values: Values likewise.
        room: How many more tokens are expected; more still fit, at the price of one copy.
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
        """Add keys and values [rows, heads, new, dim]; returns all of them."""
        old = self.keys.shape[-2]
        new = old + key_states.shape[-2]
        if new > self._buffer.shape[-2]:
            self._hold(self.keys, self.values, new)
        self._buffer[0, :, :, old:new], self._buffer[1, :, :, old:new] = key_states, value_states
        self._show(new)
        return self.keys, self.values
