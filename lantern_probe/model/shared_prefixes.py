"""A cache in which a prefix stands once, however many rows go on from it.

Rows stand in the order of their prefixes, and prefixes in the order of how many rows they have:
the rows of equally many are one view, and need no copy. Columns are those of right-aligned rows,
as masks and positions count them; a row's first columns are its prefix's, the rest are its own.
Rows can be left behind: the others are moved to the front, and what was kept stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from lantern_probe.model.partial_attention import attend, merge


@dataclass(frozen=True, eq=False)
class Masks:
    """Terms added to the products of queries and keys in one forward; None for nothing.

    Attributes:
        groups: For the prefixes, if their rows see them whole, [groups, keys].
        rows: For each row's prefix, where some see less of it, [rows, queries, keys].
        own: For the rows' own keys, [rows, queries, keys].
        blind: True for the queries that see nothing of their prefix, [rows, queries].
    """

    groups: Tensor | None
    rows: Tensor | None
    own: Tensor | None
    blind: Tensor | None


@dataclass
class Sharing:
    """The rows of a forward and the prefixes from which they go on; the same in all layers.

    Attributes:
        first: For every row, the column of its first token.
        group: For every row, its prefix; ascending.
        shared: For every prefix, its number of tokens.
        before: Column at which the buffer of the rows' own tokens begins.
    """

    first: Int[Tensor, " rows"]
    group: Int[Tensor, " rows"]
    shared: Int[Tensor, " groups"]
    before: int
    _seen: tuple[Tensor | None, int, int, Masks] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.longest = int(self.shared.max())
        sizes = self.group.bincount(minlength=len(self.shared)).tolist()
        self.pieces: list[tuple[int, int, int]] = []
        """(first prefix, number of prefixes, rows of each) of the prefixes with equally many."""
        at = 0
        for size, same in groupby(sizes):
            count = len(list(same))
            self.pieces.append((at, count, size))
            at += count
        device = self.first.device
        self._at = self.first[:, None] + torch.arange(self.longest, device=device)
        self._valid = torch.arange(self.longest, device=device) < self.shared[:, None]
        self._own_from = (self.first + self.shared[self.group])[:, None]
        self._ragged = not bool(self._valid.all())
        self._padding = _added(self._valid, torch.float32)
        self._empty = self.shared == 0

    def masks(self, mask: Tensor | None, queries: int, columns: int, dtype: torch.dtype) -> Masks:
        """The masks of both parts; computed once for the layers that have the same mask.

        Args:
            mask: The mask of the whole, [rows or 1, 1, queries, columns]; None is causal.
            queries: Number of queries, which are the last of the columns.
            columns: Number of columns.
            dtype: Dtype of the terms added.
        """
        if self._seen is None or self._seen[0] is not mask or self._seen[1:3] != (queries, columns):
            self._seen = (mask, queries, columns, self._split(mask, queries, columns, dtype))
        return self._seen[3]

    def _split(self, mask: Tensor | None, queries: int, columns: int, dtype: torch.dtype) -> Masks:
        device = self.first.device
        theirs = torch.arange(self.before, columns, device=device) >= self._own_from
        rows: Tensor | None = None
        if mask is None:
            seen = torch.ones(1, queries, columns, dtype=torch.bool, device=device)
            seen = seen.tril(columns - queries)
        else:
            seen = mask[:, 0].expand(len(self.first), -1, -1)
            rows = self._seen_by_rows(seen)
        own = theirs[:, None] & seen[:, :, self.before :]
        hidden = None if own.all() else _added(own, dtype)
        if rows is None:
            blind = self._empty[self.group][:, None].expand(-1, queries)
            padding = self._padding.to(dtype) if self._ragged else None
            return Masks(padding, None, hidden, blind if self._empty.any() else None)
        blind = ~rows.any(-1)
        return Masks(None, _added(rows, dtype), hidden, blind if blind.any() else None)

    def _seen_by_rows(self, seen: Tensor) -> Bool[Tensor, "rows queries keys"] | None:
        """For every row, the keys of its prefix that it sees; None if all rows see all of them."""
        if not self.longest:
            return None
        at = self._at.clamp(max=seen.shape[-1] - 1)[:, None].expand(-1, seen.shape[1], -1)
        on_prefix, there = seen.gather(2, at), self._valid[self.group][:, None]
        return None if (on_prefix | ~there).all() else on_prefix & there


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


class SharedPrefixes(DynamicLayer):
    """One layer's keys and values: those of the prefixes, and of each row those that are its own.

    Args:
        prefixes: Keys and values of the prefixes, zeros behind the shorter ones.
        own: Keys and values of each row's own tokens so far, zeros ahead of the fewer ones.
        sharing: The rows and their prefixes.
        room: Number of further tokens expected; more still fit, at the price of one copy.
    """

    def __init__(
        self,
        prefixes: Float[Tensor, "2 groups heads longest dim"],
        own: Float[Tensor, "2 rows heads own dim"],
        sharing: Sharing,
        room: int,
    ):
        super().__init__()
        self.dtype, self.device, self.is_initialized = own.dtype, own.device, True
        self.sharing = sharing
        self._prefixes, self._own, self._used = prefixes, own, own.shape[-2]
        self._widen(room)

    def _widen(self, room: int) -> None:
        # Zeros: a column that a row never writes is masked, but 0 x NaN would still be NaN.
        more = self._own.new_zeros(*self._own.shape[:3], self._used + room, self._own.shape[-1])
        more[..., : self._used, :] = self._own[..., : self._used, :]
        self._own = more

    @property
    def shape(self) -> torch.Size:
        """The shape of the keys as if every row had them all, [rows, heads, columns, dim]."""
        _, _, heads, _, dim = self._own.shape
        return torch.Size((len(self.sharing.first), heads, self.get_seq_length(), dim))

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, the room for more included."""
        return self._prefixes.nbytes + self._own.nbytes

    def get_seq_length(self) -> int:
        """The number of columns."""
        return self.sharing.before + self._used

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[SharedPrefixes, SharedPrefixes]:
        """Add keys and values [rows, heads, new, dim], and return this layer in place of all."""
        old, new = self._used, self._used + key_states.shape[-2]
        if new > self._own.shape[-2]:
            self._widen(new)
        rows = len(key_states)
        self._own[0, :rows, :, old:new], self._own[1, :rows, :, old:new] = key_states, value_states
        self._used = new
        return self, self

    def crop(self, tokens_to_remove: int) -> None:
        """Remove tokens from the end.

        Args:
            tokens_to_remove: Their number, negative, as in transformers.
        """
        self._used -= abs(tokens_to_remove)

    def move(self, rows: Tensor, groups: Tensor, sharing: Sharing) -> None:
        """Put rows and prefixes into another order.

        Args:
            rows: For every place of a row, where it stood.
            groups: For every place of a prefix, where it stood.
            sharing: The rows that go on, which are the first, and their prefixes.
        """
        _permute(self._prefixes, groups)
        _permute(self._own[..., : self._used, :], rows)
        self.sharing = sharing

    def of_row(self, place: int, columns: int) -> tuple[Tensor, Tensor]:
        """A copy of one row's keys and values, [heads, tokens, dim] each.

        Args:
            place: Place of the row, one of those that go on.
            columns: Number of columns up to which the row's tokens are wanted.
        """
        sharing = self.sharing
        group, before = int(sharing.group[place]), sharing.before
        shared = self._prefixes[:, group, :, : int(sharing.shared[group])]
        begin = int(sharing.first[place]) + shared.shape[-2] - before
        own = self._own[:, place, :, begin : columns - before]
        keys, values = torch.cat([shared, own], dim=-2)
        return keys, values

    def attention(
        self, query: Float[Tensor, "rows heads queries dim"], mask: Tensor | None, scaling: float
    ) -> Float[Tensor, "rows queries heads dim"]:
        """Let the queries of all rows read all their keys.

        Args:
            query: Queries.
            mask: Mask [rows or 1, 1, queries, columns], True for what is seen; None is causal.
            scaling: Factor of the products of queries and keys.
        """
        sharing, (rows, heads, queries, dim) = self.sharing, query.shape
        masks = sharing.masks(mask, queries, self.get_seq_length(), query.dtype)
        kv = self._own.shape[2]
        grouped = heads // kv
        folded = query.reshape(rows, kv, grouped * queries, dim)
        keys, values = self._own[:, :rows, :, : self._used]
        # A row begins with at least one token of its own, the one that is fed.
        out, lse = attend(folded, keys, values, _folded(masks.own, grouped), scaling)
        if sharing.longest:
            blind = None
            if masks.blind is not None:
                blind = masks.blind[:, None].expand(-1, grouped, -1).reshape(rows, 1, -1)
            out = merge(self._on_prefixes(folded, masks, scaling), (out, lse), blind)
        return out.reshape(rows, heads, queries, dim).transpose(1, 2).contiguous()

    def _on_prefixes(self, folded: Tensor, masks: Masks, scaling: float) -> tuple[Tensor, Tensor]:
        """All rows of a prefix, and all their heads, as the queries of one attention to it."""
        parts, row = [], 0
        _, kv, wide, dim = folded.shape
        for first, groups, size in self.sharing.pieces:
            last, end = first + groups, row + groups * size
            query = folded[row:end].view(groups, size, kv, wide, dim).transpose(1, 2)
            bias = None
            if masks.groups is not None:
                bias = masks.groups[first:last, None, None].expand(-1, 1, size * wide, -1)
            elif masks.rows is not None:
                grouped = wide // masks.rows.shape[1]
                folded_rows = _folded(masks.rows[row:end], grouped)
                bias = folded_rows.reshape(groups, 1, size * wide, -1)
            keys, values = self._prefixes[:, first:last, :, : self.sharing.longest]
            query = query.reshape(groups, kv, size * wide, dim)
            out, lse = attend(query, keys, values, bias, scaling)
            parts.append(
                (
                    out.reshape(groups, kv, size, wide, dim).transpose(1, 2).flatten(0, 1),
                    lse.reshape(groups, kv, size, wide).transpose(1, 2).flatten(0, 1),
                )
            )
            row = end
        outs, lses = zip(*parts, strict=True)
        return (outs[0], lses[0]) if len(parts) == 1 else (torch.cat(outs), torch.cat(lses))


def _permute(held: Tensor, order: Tensor) -> None:
    """Put what is held, [2, places, ...], into another order; what stays in place is not copied."""
    moved = (order != torch.arange(len(order))).nonzero()[:, 0]
    if len(moved):
        places = moved.to(held.device)
        held[:, places] = held[:, order[moved].to(held.device)]


def _folded(added: Tensor | None, grouped: int) -> Any:
    """A mask [rows, queries, keys] for queries of which all heads of a group follow each other."""
    if added is None:
        return None
    return added[:, None, None].expand(-1, 1, grouped, -1, -1).flatten(2, 3)


class SharedCache(Cache):
    """The layers of a cache of shared prefixes, and the order in which rows stand in it.

    Args:
        first: For every row, the column of its first token.
        group: For every row, its prefix.
        shared: For every prefix, its number of tokens.
        before: Column at which the rows' own tokens begin.
        device: Device of masks and indices.

    Attributes:
        order: The rows in the order in which they stand; those that go on are the first.
        groups: The prefixes in the order in which they stand.
        sharing: The rows that go on, and their prefixes.
    """

    def __init__(
        self,
        first: Sequence[int],
        group: Sequence[int],
        shared: Sequence[int],
        before: int,
        device: torch.device,
    ):
        super().__init__(layers=[])
        self._device = device
        self._first, self._group, self._shared, self._before = first, group, shared, before
        self.order, self.groups = list(range(len(first))), list(range(len(shared)))
        self._arrange(self.order)

    def add(self, prefixes: Tensor, own: Tensor, room: int) -> None:
        """Add a layer, its rows and prefixes in the orders of this cache.

        The arguments are those of `SharedPrefixes`.
        """
        self.layers.append(SharedPrefixes(prefixes, own, self.sharing, room))

    def choose(self, rows: Sequence[int]) -> list[int]:
        """Let some rows go on and leave the others behind; both keep their keys.

        Args:
            rows: The rows that go on, at least one, whether or not they were left behind before.

        Returns:
            The same rows in the order in which they stand from now on.
        """
        old_rows = {row: place for place, row in enumerate(self.order)}
        old_groups = {group: place for place, group in enumerate(self.groups)}
        self._arrange(rows)
        moved_rows = torch.tensor([old_rows[row] for row in self.order])
        moved_groups = torch.tensor([old_groups[group] for group in self.groups])
        for layer in self.layers:
            layer.move(moved_rows, moved_groups, self.sharing)
        return self.order[: len(rows)]

    def _arrange(self, rows: Sequence[int]) -> None:
        sizes = Counter(self._group[row] for row in rows)
        going = sorted(sizes, key=lambda group: (sizes[group], group))
        rank = {group: place for place, group in enumerate(going)}
        first = sorted(rows, key=lambda row: (rank[self._group[row]], row))
        behind = set(self.order) - set(rows)
        self.order = [*first, *(row for row in self.order if row in behind)]
        self.groups = [*going, *(group for group in self.groups if group not in rank)]
        self.sharing = Sharing(
            torch.tensor([self._first[row] for row in first], device=self._device),
            torch.tensor([rank[self._group[row]] for row in first], device=self._device),
            torch.tensor([self._shared[group] for group in going], device=self._device),
            self._before,
        )
