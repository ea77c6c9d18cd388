"""Weights in 4 or 8 bits: those that are loaded, and those that are refused by name before.

A row must come out the same whichever rows it runs with, since branches of one prefix are decoded
together. 4-bit weights of bitsandbytes are expanded before a matrix is applied, so that they are a
model like any other. Its 8-bit weights round the activations too: each position by itself, which
holds, or with columns chosen over the whole batch (`llm_int8_threshold` above 0), which does not.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.model.files import CONFIG, entries, read_json

BITS = ("4bit", "8bit")
"""Numbers of bits to which weights are rounded as they are loaded."""


def is_quantised(folder: Path) -> bool:
    """True for a checkpoint whose weights are saved in few bits.

    Args:
        folder: The checkpoint, which has been checked.
    """
    found = entries(read_json(folder / CONFIG))
    return any(name == "quantization_config" and bool(value) for name, value in found)


def check_quantised(
    source: str, folder: Path, quantize: str | None, *, adapted: bool, gpu: bool
) -> bool:
    """Refuse few bits where they would not hold, or cannot be had on this machine.

    Args:
        source: Name of the checkpoint, for messages.
        folder: Its folder, whose settings have been checked.
        quantize: Number of bits asked for; None for the weights as they are saved.
        adapted: True if an adapter is merged into the weights.
        gpu: True if the weights go to a GPU.

    Returns:
        True if the weights will be in few bits.

    Raises:
        LanternError: naming the reason and the way out.
    """
    if quantize is not None and quantize not in BITS:
        raise LanternError(f"quantize {quantize!r} is none; take {' or '.join(BITS)}")
    saved = is_quantised(folder)
    if not saved and quantize is None:
        return False
    what = f"--quantize {quantize}" if quantize else f"{source}, whose weights are quantised,"
    if saved and quantize:
        raise LanternError(
            f"{source} is quantised already; leave out --quantize, or give it in bfloat16"
        )
    if adapted:
        raise LanternError(
            f"an adapter is merged into whole weights, and {what} has none; give the base in "
            "bfloat16 without --quantize, or merge the adapter first and quantise the result"
        )
    require_bitsandbytes(what)
    if not gpu and importlib.util.find_spec("kernels") is not None:
        raise LanternError(
            f"{what} on a CPU would have bitsandbytes fetch code from the Hub, as the package "
            "kernels is installed; uninstall kernels, or use a GPU"
        )
    return True


def require_bitsandbytes(what: str) -> None:
    """Refuse weights in few bits where bitsandbytes is not installed.

    Args:
        what: The flag or checkpoint that asks for them, for the message.

    Raises:
        LanternError: naming the extra.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LanternError(
            f"{what} needs bitsandbytes, which is not installed; install "
            "lantern-probe[quantized], or take --dtype bfloat16"
        )


def quantised_loading(quantize: str | None, dtype: Any, *, gpu: bool) -> dict[str, Any]:
    """Arguments of transformers' `from_pretrained` that round the weights to few bits.

    Args:
        quantize: Number of bits; None for a checkpoint that is saved in few bits.
        dtype: Dtype of all other weights, in which is also computed.
        gpu: True if the weights go to a GPU.
    """
    import torch

    # It would say for every matrix that 8 bits are computed in float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if quantize is None:
        return {}
    from transformers import BitsAndBytesConfig

    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype.removeprefix("torch."))
    if dtype == "auto":
        dtype = torch.bfloat16 if gpu else torch.float32
    settings: dict[str, Any] = {"load_in_8bit": True, "llm_int8_threshold": 0.0}
    if quantize == "4bit":
        settings = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": dtype,
        }
    return {"quantization_config": BitsAndBytesConfig(**settings), "dtype": dtype}
