"""The roomy cache holds what transformers' own holds."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.cache_utils import Cache

from lantern_probe.model.kv_cache import RoomyLayer


@given(
    st.integers(0, 4),
    st.integers(0, 6),
    st.lists(st.one_of(st.integers(1, 5), st.integers(-3, -1)), max_size=8),
)
def test_it_holds_what_a_dynamic_cache_holds(length: int, room: int, steps: list[int]):
    """Steps of n new tokens, or of n tokens cropped."""
    stream = torch.Generator().manual_seed(0)

    def states(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = torch.randn(2, 3, 2, count, 4, generator=stream)
        return keys, values

    keys, values = states(length + 1)
    roomy, plain = Cache(layers=[RoomyLayer(keys, values, room)]), DynamicCache()
    plain.update(keys, values, 0)
    for step in steps:
        if step < 0:
            if plain.get_seq_length() <= -step:
                continue
            roomy.crop(step)
            plain.crop(step)
        else:
            new = states(step)
            found, expected = roomy.update(*new, 0), plain.update(*new, 0)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert roomy.get_seq_length() == plain.get_seq_length()
        assert torch.equal(roomy.layers[0].keys, plain.layers[0].keys)
        assert torch.equal(roomy.layers[0].values, plain.layers[0].values)


def test_a_step_within_the_room_copies_nothing():
    layer = RoomyLayer(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), room=3)
    before = layer.keys.data_ptr()
    for _ in range(3):
        keys, _ = layer.update(torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 4))
        assert keys.data_ptr() == before
