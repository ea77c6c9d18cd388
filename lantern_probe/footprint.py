"""What a model takes in memory, known from its config alone.

The model is built on the meta device, where tensors have shapes and no memory: a checkpoint of
any size takes seconds, and nothing of its weights is read or downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForImageTextToText


@dataclass(frozen=True)
class Footprint:
    """The memory of one model.

    Attributes:
        parameters: How many; tied ones count once.
        weight_bytes: What they take.
        cache_bytes_per_token: Keys and values of one position of one row, in all layers.
    """

    parameters: int
    weight_bytes: int
    cache_bytes_per_token: int


@torch.no_grad()
def footprint(config: Any, dtype: torch.dtype) -> Footprint:
    """Count a model's weights, and the cache that a token leaves behind.

    Args:
        config: Of a Qwen2.5-VL, as `AutoConfig.from_pretrained` gives it.
        dtype: Of the weights and of the cache.
    """
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        token = torch.empty(1, 1, config.get_text_config().hidden_size, dtype=dtype)
        cache = model.model.language_model(inputs_embeds=token, use_cache=True).past_key_values
    weights = list(model.parameters())
    return Footprint(
        parameters=sum(weight.numel() for weight in weights),
        weight_bytes=sum(weight.nbytes for weight in weights),
        cache_bytes_per_token=sum(
            layer.keys.nbytes + layer.values.nbytes for layer in cache.layers
        ),
    )
