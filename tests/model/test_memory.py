"""Memory before loading, rows that fit into it, and halving when they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from lantern_probe.model.memory import (
    MOST_BRANCHES,
    MOST_ROWS,
    Batches,
    cache_bytes_per_token,
    footprint,
    free_memory,
    is_out_of_memory,
)


def test_a_batch_is_halved_until_it_fits_and_the_size_is_remembered() -> None:
    tried: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        tried.append(len(items))
        if len(items) > 5:
            torch.empty(10**15)  # a real refusal of the allocator
        return [item * 2 for item in items]

    batches = Batches()
    done = [result for _, some in batches.run(range(23), 16, run) for result in some]
    assert done == [item * 2 for item in range(23)]
    assert tried == [16, 8, 4, 4, 4, 4, 4, 3]
    tried.clear()
    assert [len(items) for items, _ in batches.run(range(6), 16, run)] == [4, 2]
    assert tried == [4, 2]


def test_what_does_not_fit_alone_is_said_and_other_errors_are_not_swallowed() -> None:
    def too_large(items: Sequence[int]) -> Any:
        return torch.empty(10**15)

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        list(Batches().run([1, 2, 3], 2, too_large))

    def broken(items: Sequence[int]) -> Any:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(Batches().run([1, 2, 3], 2, broken))


def test_out_of_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("memory format"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator"))


def test_rows_follow_the_free_memory(untrained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = untrained.hf.config.text_config
    head = config.hidden_size // config.num_attention_heads
    layers, heads = config.num_hidden_layers, config.num_key_value_heads
    found = cache_bytes_per_token(untrained.hf.config, torch.float32)
    assert found == layers * heads * head * 2 * 4
    assert free_memory(torch.device("cpu")) > 0

    def fit(free: float) -> int:
        monkeypatch.setattr("lantern_probe.model.memory.free_memory", lambda device: free)
        return untrained.rows_that_fit(length=1000)

    assert fit(1) == 1
    assert fit(1e15) == MOST_ROWS["cpu"]
    few, more = fit(50e6), fit(100e6)
    assert 1 < few < more < MOST_ROWS["cpu"]


@pytest.mark.parametrize("tied", [False, True])
def test_a_footprint_is_what_loading_takes(untrained: Any, tied: bool) -> None:
    config = AutoConfig.for_model(**untrained.hf.config.to_dict())
    config.tie_word_embeddings = tied
    before = config.to_dict()
    found = footprint(config, torch.float32)
    weights = dict(untrained.hf.named_parameters())
    if tied:
        del weights["lm_head.weight"]
    assert found.parameters == sum(weight.numel() for weight in weights.values())
    assert found.weight_bytes == sum(weight.nbytes for weight in weights.values())
    with torch.no_grad():
        ids = torch.zeros(1, 5, dtype=torch.long)
        cache = untrained.hf(input_ids=ids, use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert 5 * found.cache_bytes_per_token == kept
    assert config.to_dict() == before

    half = footprint(config, torch.bfloat16)
    assert half.parameters == found.parameters
    assert 2 * half.weight_bytes == found.weight_bytes
    assert 2 * half.cache_bytes_per_token == found.cache_bytes_per_token


def test_branches_of_a_prefix_take_their_own_tokens_each(
    untrained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefix is counted once for all its rows, and in every row where it is copied."""
    token = cache_bytes_per_token(untrained.hf.config, torch.float32)
    vocabulary = 8 * 4 * untrained.hf.config.get_text_config().vocab_size
    free = 2 * 40 * (1.25 * token * (10 + 3000 / 8) + vocabulary) + 1
    monkeypatch.setattr("lantern_probe.model.memory.free_memory", lambda device: free)
    assert untrained.branches_that_fit(own=10, shared=3000, each=8) == 40
    copied = untrained.branches_that_fit(own=3010, shared=0, each=1)
    assert untrained.branches_that_fit(own=10, shared=3000, each=1) == copied < 8
    assert untrained.branches_that_fit(own=10, shared=3000, each=1000) == MOST_BRANCHES["cpu"]
    language = untrained.hf.model.language_model
    language.set_attn_implementation("eager")  # has no part for shared prefixes
    try:
        assert untrained.branches_that_fit(own=10, shared=3000, each=8) == copied
    finally:
        language.set_attn_implementation("sdpa")
