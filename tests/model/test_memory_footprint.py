"""The memory of a model before it is loaded, against what loading takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig

from lantern_probe.model.memory import footprint


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
