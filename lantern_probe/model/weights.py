"""Weights as they were loaded: none random, none left over in silence, none NaN."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lantern_probe.errors import LanternError, named

_log = logging.getLogger(__name__)

_WRAPPERS = {
    "base_model.model.": "peft (merge the adapter, and save the merged model)",
    "_orig_mod.": "torch.compile (save the model that was compiled, not its wrapper)",
    "module.": "DataParallel or DistributedDataParallel (save model.module)",
    "_fsdp_wrapped_module.": "FSDP (save the full state dict)",
    "_forward_module.": "a training framework (save the model within)",
    "state_dict.": "a training framework (save the model within)",
    "pretrained_model.": "trl (save its pretrained_model)",
}
"""Beginnings of tensor names that a wrapper has added, and the wrapper."""

_ADAPTER = re.compile(r"lora_|\.base_layer\.|modules_to_save|ia3_|adapter_")
_QUANTISED = re.compile(r"\.(qweight|qzeros|scales|weight_scale|weight_packed|absmax|quant_state)")
_TRUNK = re.compile(r"\b(layers|blocks)\.\d+\.(?!.*rotary_emb\.inv_freq)")
"""Tensors of a layer: one that the config has no place for makes another model of it."""


def check_loaded(source: str, info: Mapping[str, Any]) -> None:
    """Refuse weights that do not fill the model, and name those that it has no place for.

    Args:
        source: Name of the checkpoint, for messages.
        info: Loading info of transformers' `from_pretrained`.

    Raises:
        LanternError: tensors are missing or of another shape, or tensors of an adapter, of
            quantised weights or of further layers are left over.
    """
    missing = sorted(info["missing_keys"])
    unexpected = sorted(info["unexpected_keys"])
    hint = _hint(unexpected)
    if missing:
        raise LanternError(
            f"the weights of {source} lack {len(missing)} tensors of the model, which would be "
            f"drawn at random; missing: {named(missing)}"
            + (hint or "; copy or download all weight files, and the config.json they belong to")
        )
    mismatched = sorted(info["mismatched_keys"], key=str)
    if mismatched:
        name, there, wanted = mismatched[0]
        raise LanternError(
            f"the weights of {source} do not fit its config.json: {len(mismatched)} tensors have "
            f"another shape, such as {name} with {list(there)} where the config needs "
            f"{list(wanted)}; copy the config.json that belongs to the weights"
        )
    if info.get("error_msgs"):
        raise LanternError(
            f"cannot load {source!r}: {' '.join(str(info['error_msgs'][0]).split())}"
        )
    if hint:
        raise LanternError(
            f"the weights of {source} have {len(unexpected)} tensors that would not be used: "
            f"{named(unexpected)}{hint}"
        )
    layers = [name for name in unexpected if _TRUNK.search(name)]
    if layers:
        raise LanternError(
            f"the weights of {source} have {len(layers)} tensors of layers that its config.json "
            f"has no place for: {named(layers)}; copy the config.json that belongs to the weights"
        )
    if unexpected:
        _log.warning(
            "%s: %d tensors of the checkpoint are not used: %s",
            source, len(unexpected), named(unexpected),
        )  # fmt: skip


def _hint(unexpected: Sequence[str]) -> str:
    """Guess from the names of tensors without a place who wrote them; empty without a guess."""
    starts = Counter(start for name in unexpected for start in _WRAPPERS if name.startswith(start))
    if starts:
        start = starts.most_common(1)[0][0]
        return f"; names begin with {start}, as {_WRAPPERS[start]} wrote them"
    if any(_ADAPTER.search(name) for name in unexpected):
        return "; they look like an adapter's: merge the adapter first"
    if any(_QUANTISED.search(name) for name in unexpected):
        return "; they look quantised: give the checkpoint in bfloat16 or float32"
    return ""


@torch.no_grad()
def check_finite(source: str, model: Any) -> None:
    """Refuse weights that hold NaN or an infinity.

    Args:
        source: Name of the checkpoint, for messages.
        model: The loaded model.

    Raises:
        LanternError: naming a tensor, and their number.
    """
    bad = [
        name
        for name, weight in model.named_parameters()
        if weight.device.type != "meta" and weight.is_floating_point() and not _is_finite(weight)
    ]
    if bad:
        narrow = model.dtype == torch.float16
        raise LanternError(
            f"the weights of {source} hold NaN or infinities in {len(bad)} tensors: {named(bad)}; "
            + (
                "they may be too large for float16: take bfloat16 or float32 (--dtype)"
                if narrow
                else "download the checkpoint again, or take one saved before its training diverged"
            )
        )


def _is_finite(weight: torch.Tensor) -> bool:
    # The sum of squares would overflow; extremes need no copy of the weight.
    low, high = torch.aminmax(weight)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def check_tied(source: str, config: Any, shapes: Mapping[str, Any], model: Any) -> None:
    """Say so where config and weights disagree on one matrix for embedding and head.

    Args:
        source: Name of the checkpoint, for the message.
        config: Config of the model.
        shapes: Tensors of the checkpoint by name.
        model: The loaded model.
    """
    if not getattr(config, "tie_word_embeddings", False) or "lm_head.weight" not in shapes:
        return
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if embedding is not head and embedding.data_ptr() != head.data_ptr():
        _log.warning(
            "%s: config.json ties lm_head to the embedding (tie_word_embeddings), but the weights "
            "hold another lm_head.weight, which is used",
            source,
        )
