"""A batch of rows that go on from cached tokens: packed, decoded, and left by those that are done.

Rows are right-aligned: a row's columns end where its decoding begins, so that all rows write the
same columns. Keys carry their rotation already, so they may stand anywhere; the mask hides the
padding, and positions are given explicitly. Rows that begin with the same cached tokens share
them (`model.shared_prefixes`), and rows that are done leave: `generate` is called again for the
others.

There are two exceptions. Where prefixes cannot be shared (`model.attention.can_share`) and where
transformers samples (`do_sample`), which draws by place in the batch, every row has its own copy,
and all stay in their order to the end. Rows with random numbers of their own (`RowPlan.draws`) are
no exception. Where a setting counts tokens from the beginning of a call of `generate`,
prefixes are shared and all rows stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, StoppingCriteria, StoppingCriteriaList

from lantern_probe.model.attention import can_share, select_rows
from lantern_probe.model.blocks import Block, PromptNorms, RowPlan
from lantern_probe.model.kv_cache import FinishedRows, KeysValues, RoomyLayer, rope_positions
from lantern_probe.model.shared_prefixes import SharedCache

if TYPE_CHECKING:
    from lantern_probe.model.decoding import LatentDecoding
    from lantern_probe.model.lantern import LanternModel

LONGEST_ANSWER = 16
"""Tokens of a candidate for which a cache has room when it is scored; longer ones cost a copy."""

LEAVING = 0.25
"""Fraction of the rows of a batch that are done when they leave it."""

NEAR = 8
"""Most tokens by which a row may be longer than what it shares with the others of its prefix."""

COUNTED = (
    *("min_new_tokens", "begin_suppress_tokens", "exponential_decay_length_penalty", "max_time"),
    *("logits_processor", "prefix_allowed_tokens_fn", "streamer"),
)
"""Settings of `generate` that count from the beginning of a call, or may."""


@dataclass(frozen=True, eq=False)
class Start:
    """A row to be decoded.

    Attributes:
        ids: Tokens with which the row begins, the last of them not yet run.
        cache: Keys and values of at least all tokens but the last; the same list in all rows that
            share them.
        rope_delta: Shift of the text positions after the image.
        limit: Number of tokens, `ids` included, at which the row ends.
        plan: Plan for the row's latent blocks.
        norms: Median norms of the row's prompt; None where they were not measured.
        generated: True if the model wrote the last token, False for a prompt's; default True.
    """

    ids: Int[Tensor, " length"]
    cache: list[KeysValues] = field(repr=False)
    rope_delta: int
    limit: int
    plan: RowPlan
    norms: PromptNorms | None = None
    generated: bool = True


class _Done(StoppingCriteria):
    """Ends every row at its own length or at a token, and all rows once enough are done."""

    def __init__(self, limits: Tensor, ends: Collection[int], enough: float):
        self.limits, self._enough = limits, enough
        self._ends = torch.tensor(sorted(ends), device=limits.device)
        self.done = torch.zeros(len(limits), dtype=torch.bool, device=limits.device)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        ended = torch.isin(input_ids[:, -1], self._ends)
        self.done = self.done | ended | (input_ids.shape[1] >= self.limits)
        return self.done | (self.done.sum() >= self._enough)


class RowBatch:
    """Rows that are decoded together.

    Args:
        lantern: The model.
        starts: The rows, at least one.
        room: Number of tokens by which the cache will grow.
        share: Let rows share prefixes; inside `model.attention.sharing_prefixes` only.

    Attributes:
        first: For every row, the column of its first token.
        order: The rows in the order in which they stand in `ids` and in the cache.
        ids: Tokens, right-aligned at the start, [rows, columns].
        cache: Keys and values of at least all tokens but the last.
        decoding: The latent blocks of the rows, once they are decoded.
    """

    decoding: LatentDecoding

    def __init__(self, lantern: LanternModel, starts: Sequence[Start], room: int, share: bool):
        self._lantern, self._starts = lantern, starts
        self._width = max(len(start.ids) for start in starts)
        self.first = [self._width - len(start.ids) for start in starts]
        self.deltas = [start.rope_delta for start in starts]
        self.order = list(range(len(starts)))
        self.cache = self._shared(room) if share else self._copied(room)
        if isinstance(self.cache, SharedCache):
            self.order = self.cache.order
            select_rows(lantern, self.order)
        # Masked positions hold the row's own first token: a repetition penalty looks at all input
        # ids, and must not see tokens that the row does not have.
        self.ids = torch.stack(
            [
                torch.cat([starts[row].ids[:1].expand(self.first[row]), starts[row].ids])
                for row in self.order
            ]
        )

    def _copied(self, room: int) -> Cache:
        layers = []
        for layer, (like, _) in enumerate(self._starts[0].cache):
            shape = (2, len(self._starts), len(like), self._width - 1, like.shape[-1])
            packed = like.new_zeros(shape)
            for row, (start, skip) in enumerate(zip(self._starts, self.first, strict=True)):
                for part, cached in zip(packed, start.cache[layer], strict=True):
                    part[row, :, skip:] = cached[:, : len(start.ids) - 1]
            layers.append(RoomyLayer(packed[0], packed[1], room))
        return Cache(layers=layers)

    def _shared(self, room: int) -> SharedCache:
        starts, cached = self._starts, [len(start.ids) - 1 for start in self._starts]
        groups = _groups(starts)
        group = {row: number for number, rows in enumerate(groups) for row in rows}
        shared = [min(cached[row] for row in rows) for rows in groups]
        extra = max(cached[row] - shared[number] for row, number in group.items())
        cache = SharedCache(
            self.first,
            [group[row] for row in range(len(starts))],
            shared,
            self._width - 1 - extra,
            starts[0].ids.device,
        )
        for layer, (like, _) in enumerate(starts[0].cache):
            heads, _, dim = like.shape
            prefixes = like.new_zeros(2, len(groups), heads, max(shared), dim)
            own = like.new_zeros(2, len(starts), heads, extra, dim)
            for place, number in enumerate(cache.groups):
                keys_values = starts[groups[number][0]].cache[layer]
                for part, found in zip(prefixes, keys_values, strict=True):
                    part[place, :, : shared[number]] = found[:, : shared[number]]
            for place, row in enumerate(cache.order):
                begin = shared[group[row]]
                for part, found in zip(own, starts[row].cache[layer], strict=True):
                    part[place, :, extra - cached[row] + begin :] = found[:, begin : cached[row]]
            cache.add(prefixes, own, room)
        return cache

    def decode(
        self, ends: Collection[int], *, leave: bool, **kwargs: Any
    ) -> tuple[list[list[Block]], list[list[int]]]:
        """Decode all rows to their ends.

        Args:
            ends: Tokens that end a row.
            leave: Let rows leave when they are done; takes shared prefixes.
            **kwargs: Settings of `generate`.

        Returns:
            For every row its latent blocks, positions counted in columns, and the columns that its
            last token may not attend to.
        """
        decoding = self._lantern.decoding(
            [start.plan for start in self._starts],
            resume=[start.generated for start in self._starts],
            norms=[start.norms for start in self._starts],
            **kwargs,
        )
        self.decoding = decoding
        finished: dict[int, Tensor] = {}
        rows = self.order
        while rows:
            decoding.go_on_with(rows)
            enough = max(1.0, LEAVING * len(rows)) if leave else torch.inf
            ids, done = self._go_on(rows, decoding, _Done(self._limits(rows), ends, enough), kwargs)
            places = {row: place for place, row in enumerate(rows)}
            going = [row for row, stop in zip(rows, done, strict=True) if leave and not stop]
            finished |= {row: ids[places[row]] for row in rows if row not in going}
            if going:
                rows = self._choose(going)
                self.ids = ids[[places[row] for row in rows]]
            else:
                rows = []
        every = [finished[row] for row in range(len(self._starts))]
        width, end = max(map(len, every)), min(self._lantern.eos_ids, default=0)
        every = [torch.cat([ids, ids.new_full((width - len(ids),), end)]) for ids in every]
        if leave:
            self.order = self._choose(range(len(every)))
        self.ids = torch.stack([every[row] for row in self.order])
        # The last token of a start counts as generated: it may be a start marker.
        return decoding.blocks(torch.stack(every), self._width - 1), decoding.hidden()

    def _limits(self, rows: Sequence[int]) -> Int[Tensor, " rows"]:
        limits = [self.first[row] + self._starts[row].limit for row in rows]
        return torch.tensor(limits, device=self.ids.device)

    def _go_on(
        self,
        rows: Sequence[int],
        decoding: LatentDecoding,
        criterion: _Done,
        settings: Mapping[str, Any],
    ) -> tuple[Tensor, list[bool]]:
        """One call of `generate` for the rows at hand; their tokens, and which are done."""
        ids, first = self.ids, torch.tensor(self.first, device=self.ids.device)[list(rows), None]
        columns = torch.arange(ids.shape[1], device=ids.device)
        positions = (columns - first).clamp(min=0)
        result, _ = self._lantern.decode(
            {
                "input_ids": ids,
                "attention_mask": (columns >= first).long(),
                "position_ids": rope_positions(positions, [self.deltas[row] for row in rows]),
                "past_key_values": self.cache,
            },
            decoding=decoding,
            max_new_tokens=int(criterion.limits.max()) - ids.shape[1],
            stopping_criteria=StoppingCriteriaList([criterion]),
            return_dict_in_generate=True,
            **settings,
        )
        return result.sequences, criterion.done.tolist()

    def _choose(self, rows: Sequence[int]) -> list[int]:
        assert isinstance(self.cache, SharedCache)
        chosen = self.cache.choose(rows)
        select_rows(self._lantern, chosen)
        return chosen


def _groups(starts: Sequence[Start]) -> list[list[int]]:
    """The rows that share a prefix; those that begin much earlier than others share another.

    What the shortest row of a group has is shared, and the rest of each other row is its own.
    """
    members: dict[int, list[int]] = {}
    for row, start in enumerate(starts):
        members.setdefault(id(start.cache), []).append(row)
    groups = []
    for rows in members.values():
        left = sorted(rows, key=lambda row: -len(starts[row].ids))
        while left:
            longest = len(starts[left[0]].ids)
            groups.append([row for row in left if longest - len(starts[row].ids) <= NEAR])
            left = left[len(groups[-1]) :]
    return groups


def may_leave(lantern: LanternModel, settings: Mapping[str, Any]) -> bool:
    """True if rows keep their tokens when others leave: no setting counts from a call's beginning.

    Args:
        lantern: The model, whose generation config has settings of its own.
        settings: Settings of `generate`.
    """
    return not counted(lantern, settings)


def counted(lantern: LanternModel, settings: Mapping[str, Any]) -> list[str]:
    """Name the settings that count from the beginning of a call, or may.

    Args:
        lantern: The model, whose generation config has settings of its own.
        settings: Settings of `generate`.
    """
    config = lantern.hf.generation_config
    return [name for name in COUNTED if settings.get(name) or getattr(config, name, None)]


def may_share(lantern: LanternModel, settings: Mapping[str, Any]) -> bool:
    """True if rows may share prefixes and stand in any order (see the module).

    Args:
        lantern: The model.
        settings: Settings of `generate`.
    """
    return can_share(lantern) and not settings.get("do_sample")


def finished_rows(
    batch: RowBatch, blocks: Sequence[list[Block]], hidden: Sequence[list[int]]
) -> FinishedRows:
    """The rows of a batch, in the order in which they stand in it.

    Args:
        batch: The batch.
        blocks: For every row, its latent blocks.
        hidden: For every row, the columns that its last token may not attend to.
    """
    return FinishedRows(
        batch.ids,
        [batch.first[row] for row in batch.order],
        batch.cache,
        [batch.deltas[row] for row in batch.order],
        [blocks[row] for row in batch.order],
        [hidden[row] for row in batch.order],
    )
