"""Attention weights of chosen queries, read from a model that runs sdpa.

softmax(q k^T) is computed again for these queries alone, so memory grows with their number and
not with the square of the sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.attention import AttentionHook, hooked
from lantern_probe.model.replay import Replay
from lantern_probe.model.roles import Roles
from lantern_probe.vocabulary import ATTENTION_QUERIES

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


class AttentionReading(AttentionHook):
    """The attention weights that `reading_attention` collects.

    Args:
        queries: For every row, its queries: positions counted with its padding.
    """

    def __init__(self, queries: Sequence[Int[Tensor, " _"]]):
        self._queries = queries
        self._layers: list[list[Tensor]] = []

    @property
    def weights(self) -> list[Float[Tensor, "layers heads _ _"]]:
        """For every row, its attention weights [layers, heads, queries, keys], in float32.

        Heads are query heads. Keys are counted with the row's padding, whose weights are 0.

        Raises:
            LanternError: no forward has run.
        """
        if not self._layers:
            raise LanternError("no forward has run under reading_attention")
        device = self._layers[0][0].device
        return [
            torch.stack([weights.to(device) for weights in row])
            for row in zip(*self._layers, strict=True)
        ]

    def look(
        self, layer: int, mask: Tensor | None, query: Tensor, key: Tensor, scaling: float
    ) -> None:
        if layer != len(self._layers):
            raise LanternError(
                "reading_attention reads one forward; open it again for every other one"
            )
        rows, heads, queries, _ = query.shape
        keys = key.shape[2]
        if rows != len(self._queries):
            raise LanternError(f"queries for {len(self._queries)} rows, but {rows} rows are run")
        if layer == 0:
            self._check(keys - queries, keys)
        found = []
        for row, positions in enumerate(self._queries):
            positions = positions.to(query.device)
            at = positions - (keys - queries)
            if not len(at):  # a text without a block and an answer
                found.append(query.new_zeros(heads, 0, keys, dtype=torch.float32))
                continue
            if mask is None:
                visible = torch.arange(keys, device=query.device) <= positions[:, None]
            else:
                visible = mask[row, 0][at]
            # Query heads by the key head they share.
            picked = query[row, :, at].reshape(key.shape[1], -1, len(at), query.shape[-1]).float()
            scores = picked @ key[row, :, None].float().transpose(-1, -2) * scaling
            weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
            found.append(weights.reshape(heads, len(at), keys))
        self._layers.append(found)

    def _check(self, first: int, stop: int) -> None:
        for row, positions in enumerate(self._queries):
            if wrong := [at for at in positions.tolist() if not first <= at < stop]:
                raise LanternError(
                    f"row {row}: there is no query {wrong[0]} in this forward, whose queries are "
                    f"{first} to {stop - 1}"
                )


@contextmanager
def reading_attention(
    lantern: LanternModel, queries: Sequence[Int[Tensor, " _"]]
) -> Iterator[AttentionReading]:
    """Read the attention of one forward, all layers and heads; the forward itself is unchanged.

        >>> import torch
        >>> from lantern_probe.capture import reading_attention
        >>> with reading_attention(lantern, [torch.tensor([20, 26])]) as reading:
        ...     output = lantern.hf(**lantern.inputs([sample]))
        >>> reading.weights[0].shape                                 # layers, heads, queries, keys
        torch.Size([4, 4, 2, 28])

    Args:
        lantern: The model.
        queries: For every row, its queries: positions counted with its padding, and from the
            beginning of the cache where there is one.

    Raises:
        LanternError: the model's attention is not sdpa, or the queries do not fit the forward.
    """
    reading = AttentionReading(queries)
    with hooked(lantern, reading):
        yield reading


@torch.no_grad()
def read_attention(
    lantern: LanternModel, replay: Replay, queries: Sequence[Int[Tensor, " _"]]
) -> list[Float[Tensor, "layers heads _ _"]]:
    """Attention weights of finished sequences, by one forward.

        >>> from lantern_probe.capture import read_attention
        >>> from lantern_probe.model.replay import replay
        >>> from lantern_probe.model.roles import find_roles
        >>> again = replay(lantern, sample, lantern.generate(sample))
        >>> roles = find_roles(lantern, again.own_ids(0), again.prompt_lengths[0])
        >>> (weights,) = read_attention(lantern, again, [roles.positions("slot")])
        >>> weights.shape[:3]                                        # layers, heads, queries
        torch.Size([4, 4, 8])

    Args:
        lantern: The model.
        replay: The finished sequences, as `model.replay.replay` makes them.
        queries: For every row, its queries: positions in its own sequence, without padding.

    Returns:
        For every row, weights [layers, heads, queries, keys]; keys are its own positions, without
        padding.

    Raises:
        LanternError: a query lies outside its row, or the model's attention is not sdpa.
    """
    lengths = [replay.ids.shape[1] - first for first in replay.first]
    for row, (positions, length) in enumerate(zip(queries, lengths, strict=True)):
        if wrong := set(positions.tolist()) - set(range(length)):
            raise LanternError(
                f"row {row} has no position {min(wrong)}; it has positions 0 to {length - 1}"
            )
    shifted = [q + first for q, first in zip(queries, replay.first, strict=True)]
    with reading_attention(lantern, shifted) as reading:
        lantern.hf.model.language_model(**replay.inputs)
    return [
        weights[..., first:] for weights, first in zip(reading.weights, replay.first, strict=True)
    ]


def default_queries(roles: Roles) -> Int[Tensor, " queries"]:
    """The positions whose attention is recorded by default: those of `ATTENTION_QUERIES`, in order.

    Args:
        roles: Roles of the sequence.
    """
    found = [index for index, name in enumerate(roles.names) if name in ATTENTION_QUERIES]
    return torch.tensor(found, dtype=torch.long)
