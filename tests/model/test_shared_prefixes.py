"""A cache of shared prefixes is read as if every row had its own copy."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention as sdpa

from lantern_probe.model import partial_attention
from lantern_probe.model.shared_prefixes import SharedCache

KV, GROUPED, DIM = 2, 3, 8


class Both:
    """Rows in a shared cache, and each row's keys and values beside it."""

    def __init__(self, sizes: list[int], lengths: list[int], extra: int, seed: int):
        self.draw = random.Random(seed)
        self.stream = torch.Generator().manual_seed(seed)
        group = [number for number, size in enumerate(sizes) for _ in range(size)]
        self.draw.shuffle(group)
        own = [self.draw.randint(0, extra) for _ in group]
        own[0] = extra
        self.width = max(lengths[g] + n for g, n in zip(group, own, strict=True))
        self.first = [self.width - lengths[g] - n for g, n in zip(group, own, strict=True)]
        self.cache = SharedCache(
            self.first, group, lengths, self.width - extra, torch.device("cpu")
        )
        prefixes = [self.random(2, KV, length) for length in lengths]
        owns = [self.random(2, KV, n) for n in own]
        shared = torch.zeros(2, len(sizes), KV, max(lengths), DIM)
        for place, number in enumerate(self.cache.groups):
            shared[:, place, :, : lengths[number]] = prefixes[number]
        packed = torch.zeros(2, len(group), KV, extra, DIM)
        for place, row in enumerate(self.cache.order):
            packed[:, place, :, extra - own[row] :] = owns[row]
        self.cache.add(shared, packed, room=2)
        # NaN where a row has nothing: nobody may look there.
        self.rows = [
            torch.cat([torch.full((2, KV, first, DIM), torch.nan), prefixes[g], mine], dim=2)
            for first, g, mine in zip(self.first, group, owns, strict=True)
        ]
        self.order = self.cache.order

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, DIM, generator=self.stream)

    def feed(self, count: int) -> None:
        new = self.random(2, len(self.order), KV, count)
        found = self.cache.layers[0].update(new[0], new[1])
        assert found[0] is self.cache.layers[0]
        for place, row in enumerate(self.order):
            self.rows[row] = torch.cat([self.rows[row], new[:, place]], dim=2)

    def check(self, queries: int, hide: str) -> None:
        """Compare what the last columns' queries read."""
        layer: Any = self.cache.layers[0]
        columns = layer.get_seq_length()
        assert layer.shape == (len(self.order), KV, columns, DIM)
        assert layer.get_mask_sizes(queries) == (columns + queries, 0)
        query = self.random(len(self.order), KV * GROUPED, queries)
        first = torch.tensor([self.first[row] for row in self.order])
        causal = torch.ones(queries, columns, dtype=torch.bool).tril(columns - queries)
        mask = (torch.arange(columns) >= first[:, None])[:, None] & causal
        if hide == "some":
            mask &= torch.rand(mask.shape, generator=self.stream) < 0.7
        elif hide == "prefix":
            mask[::2, :, : self.width] = False
        mask |= causal & ~causal.tril(columns - queries - 1)  # a query sees itself
        plain = hide == "nothing" and not first.any()
        found = layer.attention(query, None if plain else mask[:, None], 0.3)
        for place, row in enumerate(self.order):
            seen = mask[place]
            keys, values = self.rows[row].nan_to_num(0.0).repeat_interleave(GROUPED, 1)
            expected = sdpa(query[place], keys, values, attn_mask=seen, scale=0.3)
            assert torch.allclose(found[place].transpose(0, 1), expected, atol=1e-5)

    def choose(self, rows: list[int]) -> None:
        self.order = self.cache.choose(rows)
        assert sorted(self.order) == sorted(rows)
        columns = self.cache.get_seq_length()
        for place, row in enumerate(self.order):
            # Rows that were left behind lack the columns that others have written since.
            missing = columns - self.rows[row].shape[2]
            pad = torch.zeros(2, KV, missing, DIM)
            self.rows[row] = torch.cat([self.rows[row], pad], dim=2)
            if not missing:
                found = self.cache.layers[0].of_row(place, columns)
                for one, two in zip(found, self.rows[row], strict=True):
                    assert torch.equal(one, two[:, self.first[row] :])


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(0, 7), min_size=4, max_size=4),
    st.integers(0, 3),
    st.sampled_from(["nothing", "some", "prefix"]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_rows_read_what_they_would_read_from_copies(
    sizes: list[int], lengths: list[int], extra: int, hide: str, products: bool, seed: int
):
    """Unequal groups and lengths, rows that leave, a prefix hidden whole, or one without tokens."""
    with pytest.MonkeyPatch.context() as patch:
        if products:
            patch.setattr(partial_attention, "cpu_kernel", lambda: None)
        both = Both(sizes, lengths[: len(sizes)], extra, seed)
        both.feed(1)
        both.check(1, hide)
        both.feed(3)
        both.check(3, hide)
        rows = list(both.order)
        both.draw.shuffle(rows)
        both.choose(rows[: max(1, len(rows) // 2)])
        both.feed(1)
        both.check(1, hide)
        both.cache.crop(-1)
        both.rows = [row[:, :, : both.cache.get_seq_length()] for row in both.rows]
        both.choose(rows)
        both.feed(2)
        both.check(2, hide)


def test_a_step_within_the_room_copies_nothing():
    both = Both([2, 1], [3, 4], 0, 0)
    layer: Any = both.cache.layers[0]
    before = layer._own.data_ptr()
    both.feed(1)
    both.feed(1)
    assert layer._own.data_ptr() == before
    both.feed(1)
    both.check(1, "nothing")


def test_masks_are_split_once_for_all_layers_of_a_forward():
    both = Both([2, 1], [3, 4], 1, 0)
    both.feed(1)
    sharing, columns = both.cache.sharing, both.cache.get_seq_length()
    mask = torch.ones(3, 1, 1, columns, dtype=torch.bool)
    first = sharing.masks(mask, 1, columns, torch.float32)
    assert sharing.masks(mask, 1, columns, torch.float32) is first
    assert sharing.masks(mask.clone(), 1, columns, torch.float32) is not first
    assert sharing.masks(None, 1, columns, torch.float32) is not first
