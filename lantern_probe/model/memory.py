"""Memory, from a config: what a model takes, how many rows fit beside it, and batches that shrink.

Everything here is computed from a config, a dtype and a device, so that it can be asked before a
model is loaded.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil
import torch
from transformers import AutoModelForImageTextToText

SHARE = 0.5
"""Fraction of the free memory a batch may use; the estimate per row is rough, and other processes
share the machine."""

MOST_ROWS = {"cpu": 128, "cuda": 256}
"""Most rows of a batch, by type of device; the matrices are large enough, and more gain nothing."""

MOST_BRANCHES = {"cpu": 512, "cuda": 1000}
"""Most rows that are decoded together, one token a step; on a GPU more are nearly free."""

Item = TypeVar("Item")
Result = TypeVar("Result")


_shares = {"cpu": 1.0, "cuda": 1.0}
"""Fractions of the memory of this machine that this process takes, by type of device."""


def take_share(gpus: float, beside: int) -> None:
    """Take a share of the memory only, in a process that has others like it beside it.

    Args:
        gpus: GPUs of the process; below 1, it takes this fraction of one, and torch refuses more.
        beside: Number of processes that share the memory of the machine, this one included.
    """
    _shares["cpu"] = 1 / max(1, beside)
    if 0 < gpus < 1:
        _shares["cuda"] = gpus
        torch.cuda.set_per_process_memory_fraction(gpus)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a device, those included that torch holds unused.

    Of a device that processes share it is this one's share that counts (`take_share`).

    Args:
        device: The device.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        share = int(_shares["cuda"] * total) - torch.cuda.memory_allocated(device)
        return max(0, min(int(free) + unused, share))
    return int(_shares["cpu"] * psutil.virtual_memory().available)


def cache_bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of one position of one row, in all layers.

    Args:
        config: Config of a Qwen2.5-VL, as `AutoConfig.from_pretrained` gives it.
        dtype: Dtype of the cache.
    """
    text = config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_key_value_heads * size * dtype.itemsize * text.num_hidden_layers)


def rows_that_fit(
    config: Any, dtype: torch.dtype, device: torch.device, length: int, share: float = 1.0
) -> int:
    """The number of rows that may be decoded together in the free memory, at least one.

    A row takes its cache, the largest layer's once more while it is packed, and a few vectors of
    the vocabulary's size for the choice of a token and for scoring.

    Args:
        config: Config of the model.
        dtype: Dtype of the cache.
        device: Device on which the rows are decoded.
        length: Tokens of a row, the ones still to come included.
        share: Fraction of the layers that run on the device; default all.
    """
    vocabulary = 8 * 4 * config.get_text_config().vocab_size
    per_row = 1.25 * share * cache_bytes_per_token(config, dtype) * length + vocabulary
    fit = int(SHARE * free_memory(device) / per_row)
    return max(1, min(fit, MOST_ROWS["cuda" if device.type == "cuda" else "cpu"]))


def branches_that_fit(
    config: Any,
    dtype: torch.dtype,
    device: torch.device,
    own: int,
    shared: int,
    each: float,
    share: float = 1.0,
) -> int:
    """The number of branches that may be decoded together in the free memory, at least one.

    A prefix stands once for all its rows, beside the copy from which it was packed. A row takes
    its own tokens, and a few vectors of the vocabulary's size for the choice of a token and for
    scoring; the largest layer stands twice while rows are moved.

    Args:
        config: Config of the model.
        dtype: Dtype of the cache.
        device: Device on which the rows are decoded.
        own: Tokens of a row that are its own, the ones still to come included.
        shared: Tokens of a prefix.
        each: Rows of a prefix, the mean; 1 where prefixes are copied into every row.
        share: Fraction of the layers that run on the device; default all.
    """
    vocabulary = 8 * 4 * config.get_text_config().vocab_size
    tokens = own + shared / max(1.0, each)
    per_row = 1.25 * share * cache_bytes_per_token(config, dtype) * tokens + vocabulary
    fit = int(SHARE * free_memory(device) / per_row)
    return max(1, min(fit, most_branches(device)))


def most_branches(device: torch.device) -> int:
    """The largest number of rows that are decoded together, however much memory there is.

    Args:
        device: Device on which the rows are decoded.
    """
    return MOST_BRANCHES["cuda" if device.type == "cuda" else "cpu"]


@dataclass(frozen=True)
class Footprint:
    """The memory of one model.

    Attributes:
        parameters: Number of parameters; tied ones count once.
        weight_bytes: Bytes of the parameters.
        cache_bytes_per_token: Bytes of the keys and values of one position of one row, in all
            layers.
    """

    parameters: int
    weight_bytes: int
    cache_bytes_per_token: int


def footprint(config: Any, dtype: torch.dtype) -> Footprint:
    """Count a model's weights, and the cache of one token, without loading the model.

    Args:
        config: Config of a Qwen2.5-VL, as `AutoConfig.from_pretrained` gives it.
        dtype: Dtype of the weights and of the cache.
    """
    with torch.device("meta"):
        weights = list(AutoModelForImageTextToText.from_config(config, dtype=dtype).parameters())
    return Footprint(
        parameters=sum(weight.numel() for weight in weights),
        weight_bytes=sum(weight.nbytes for weight in weights),
        cache_bytes_per_token=cache_bytes_per_token(config, dtype),
    )


class Batches:
    """Batches that are halved whenever memory runs out; the size that did not fit is remembered.

    Attributes:
        most: The largest batch that may still be tried; None as long as all have fitted.
    """

    def __init__(self, most: int | None = None):
        self.most = most

    def run(
        self, items: Sequence[Item], size: int, run: Callable[[Sequence[Item]], Result]
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        """Run items in batches, and yield each batch with its result.

        An item that does not fit even alone raises the error of the allocation.

        Args:
            items: Items, in order.
            size: Items of a batch, unless a smaller size is known to be the most.
            run: Function that runs a batch, whole or not at all.
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
            # After the handler: the traceback it held kept the failed batch's tensors alive.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """True if an exception says that memory ran out, on a GPU or in the CPU's allocator.

    Args:
        error: The exception.
    """
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
