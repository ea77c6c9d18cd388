"""How many rows fit into memory, and what to do when they do not."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch
from transformers import AutoModelForImageTextToText

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


SHARE = 0.5
"""Of the free memory that is planned with: an estimate is one, and others use the machine too."""


MOST_ROWS = {"cpu": 128, "cuda": 256}
"""More rows bring nothing: the matrices are large enough."""


Item = TypeVar("Item")


Result = TypeVar("Result")


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device; what torch has cached but not used counts."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return int(psutil.virtual_memory().available)


def cache_bytes_per_token(lantern: LanternModel) -> int:
    """Keys and values of one position in all layers."""
    config = lantern.hf.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_layer = 2 * config.num_key_value_heads * size * lantern.hf.dtype.itemsize
    return int(per_layer * config.num_hidden_layers)


def rows_that_fit(lantern: LanternModel, length: int) -> int:
    """How many rows of so many tokens may be decoded together, at least one.

    A row takes its cache, once more the largest layer's while it is packed, and a few vectors of
    the vocabulary's size for the choice of a token and for scoring.

    Args:
        lantern: The model.
        length: Tokens of a row, the ones still to come included.
    """
    vocabulary = 8 * 4 * lantern.hf.config.get_text_config().vocab_size
    per_row = 1.25 * cache_bytes_per_token(lantern) * length + vocabulary
    device = lantern.device
    fit = int(SHARE * free_memory(device) / per_row)
    return max(1, min(fit, MOST_ROWS["cuda" if device.type == "cuda" else "cpu"]))


class Batches:
    """Runs items in batches, halving the batch whenever memory runs out, and not trying it again.

    Attributes:
        most: The largest batch that may still be tried.
    """

    def __init__(self, most: int | None = None):
        self.most = most

    def run(
        self, items: Sequence[Item], size: int, run: Callable[[Sequence[Item]], Result]
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        """Yield each batch with its result. An item that does not fit alone raises what it raised.

        Args:
            items: What is to be run.
            size: Items of a batch, if no smaller one has been found to be the most.
            run: Runs a batch, whole or not at all.
        """
        first = 0
        while first < len(items):
            size = max(1, size if self.most is None else min(size, self.most))
            batch = items[first : first + size]
            try:
                result = run(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
                self.most = len(batch) // 2
            else:
                first += len(batch)
                yield batch, result
                continue
            # Behind the handler: the traceback it held kept the failed batch's tensors alive.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or in the CPU's allocator."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


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
