"""A transformers model in the middle of its training, lent to the diagnostics and given back.

`LanternModel` loads a checkpoint and puts it under nnsight, which replaces the `forward` of every
module. A model in training is neither loaded nor wrapped: the latent blocks need three hooks, and
these go with everything else when the loan ends.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens
from lantern_probe.model.checkpoint import find_latent_tokens
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.latent_port import LatentPort
from lantern_probe.model.restoring import restored
from lantern_probe.protocols import CheckpointFiles

NAME = "the model in training"
"""Name of the model in messages."""

_WAY_OUT = "save a checkpoint and run `lantern-probe diagnose --model FOLDER` on it"


class LentModel(LanternModel):
    """A model in training under the methods of `LanternModel` that decode, and without traces.

    Args:
        module: The transformers model itself.
        processor: Its processor, which pads on the left.
        lvr: The LVR tokens and K.
    """

    def __init__(self, module: Any, processor: Any, lvr: LvrTokens) -> None:
        # nnsight's own constructor is left out: it would wrap every module.
        self._module = module
        self.origin = NAME
        self.processor = processor
        self.lvr = lvr
        self._port = LatentPort(module.model.language_model, nn.Identity())


@contextmanager
def lent(model: nn.Module, processor: Any, latent_size: int | None = None) -> Iterator[LentModel]:
    """Lend a model in training to the diagnostics; at the end of the block it is as it was.

    Inside the block the model is in evaluation mode, and computes in the dtype of its weights:
    mixed precision and compiled forwards are left aside. The processor is copied, so that the
    caller's stays as it is.

    Args:
        model: A Qwen2.5-VL of transformers, plain or wrapped by peft, DistributedDataParallel or
            `torch.compile`.
        processor: Its processor.
        latent_size: K, the number of slots in a block; default the config's.

    Raises:
        LanternError: the model is sharded, no Qwen2.5-VL, or has no LVR tokens.
    """
    inner = plain(model)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise LanternError(
            f"{NAME} needs its processor, with a tokenizer and an image processor, not a "
            f"{type(processor).__name__}"
        )
    files = CheckpointFiles(NAME, inner.config.to_dict(), tokenizer.get_vocab())
    lvr = find_latent_tokens(files, None, latent_size, allow_plain=False)
    assert lvr is not None, "without LVR tokens it is refused"
    own = copy.deepcopy(processor)
    own.tokenizer.padding_side = "left"
    device = next(inner.parameters()).device.type
    with restored(model), torch.no_grad(), torch.autocast(device, enabled=False):
        for module in model.modules():
            attributes = vars(module)
            if attributes.get("_compiled_call_impl") is not None:
                attributes["_compiled_call_impl"] = None
            if "_original_forward" in attributes:  # accelerate's mixed precision stands before it
                attributes.pop("forward", None)
        model.eval()
        yield LentModel(inner, own, lvr)


def plain(model: Any) -> Any:
    """The transformers model inside the wrappers of a training.

    Args:
        model: The model, as a training has it.

    Raises:
        LanternError: it is sharded (FSDP, DeepSpeed ZeRO-3), an adapter is no part of it, or it is
            no Qwen2.5-VL.
    """
    if not isinstance(model, nn.Module):
        advice = "call `diagnose` with it" if isinstance(model, LanternModel) else "pass that"
        raise LanternError(
            f"a monitor takes the transformers model in training, not a {type(model).__name__}; "
            f"{advice}"
        )
    refuse_shards(model)
    inner: Any = model
    while True:
        if hasattr(inner, "peft_config") and hasattr(inner, "get_base_model"):
            _refuse_prompt_learning(inner)
            inner = inner.get_base_model()
        elif type(inner).__name__ in ("DistributedDataParallel", "DataParallel", "DeepSpeedEngine"):
            inner = inner.module
        elif hasattr(inner, "_orig_mod"):  # torch.compile
            inner = inner._orig_mod
        else:
            break
    kind = getattr(getattr(inner, "config", None), "model_type", type(inner).__name__)
    if kind != "qwen2_5_vl":
        raise LanternError(f"{NAME} is a {kind} model; LanteRn checkpoints are qwen2_5_vl")
    return inner


def refuse_shards(model: nn.Module) -> None:
    """Refuse a model of which this process has only a part.

    Args:
        model: The model, as a training has it.

    Raises:
        LanternError: it is sharded; the message names by what, and the way out.
    """
    for module in model.modules():
        names = {kind.__name__ for kind in type(module).__mro__}
        if names & {"FullyShardedDataParallel", "FSDPModule"}:
            _refuse("FSDP", "this process has a part of each weight only")
    for weight in model.parameters():
        if hasattr(weight, "ds_id"):
            _refuse("DeepSpeed ZeRO-3", "this process has a part of each weight only")
        if type(weight.data).__name__ == "DTensor":
            _refuse("tensor parallelism", "this process has a part of some weights only")


def _refuse_prompt_learning(model: Any) -> None:
    for name, config in model.peft_config.items():
        if getattr(config, "is_prompt_learning", False):
            kind = getattr(config.peft_type, "value", config.peft_type)
            raise LanternError(
                f"the adapter {name!r} is {kind}, which stands before the prompt and outside the "
                "model; a monitor reads adapters that are part of it, such as LoRA"
            )


def _refuse(what: str, why: str) -> None:
    raise LanternError(f"a model under {what} cannot be monitored: {why}; {_WAY_OUT}")
