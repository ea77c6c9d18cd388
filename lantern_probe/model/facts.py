"""Facts of a running model that a record should hold beside the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from lantern_probe.model.sampling import Sampling, checkpoint_sampling
from lantern_probe.model.settings import generation_settings

if TYPE_CHECKING:
    from lantern_probe.model.blocks import Block, LvrTokens
    from lantern_probe.model.lantern import LanternModel


def running_facts(
    lantern: LanternModel, max_new_tokens: int | None = None, sampling: Sampling | None = None
) -> dict[str, Any]:
    """Collect threads and the decoding settings as they take effect, for `Run.note`.

    Args:
        lantern: The model.
        max_new_tokens: Limit of a continuation; the model's own by default.
        sampling: Settings of sampled decoding; default None, greedy.

    Returns:
        `threads`, and `decoding`: limit, greedy or sampled, device, dtype, attention, slots of a
        block and ids of its tokens, image limits in pixels, the token ids that end a text, and the
        checkpoint's generation settings that are obeyed. Sampled decoding adds the warpers that
        apply, in their order, and the checkpoint's own sampling settings, which do not. `quantised`
        is there for weights in few bits.
    """
    size = lantern.processor.image_processor.size
    few_bits = {"quantised": True} if getattr(lantern.hf, "is_quantized", False) else {}
    sampled: dict[str, Any] = {}
    if sampling is not None:
        sampled["warpers"] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        sampled["sampling_seed"] = sampling.seed
        sampled["not_applied"] = checkpoint_sampling(lantern.hf.generation_config)
    return {
        "threads": torch.get_num_threads(),
        "decoding": {
            "max_new_tokens": max_new_tokens or lantern.max_new_tokens,
            "do_sample": sampling is not None,
            **sampled,
            "device": lantern.device.type,
            "device_name": _name_of(lantern.device),
            "dtype": str(lantern.hf.dtype).removeprefix("torch."),
            "attn_implementation": lantern.hf.config._attn_implementation,
            "latent_size": None if lantern.lvr is None else lantern.lvr.size,
            **({} if lantern.lvr is None else {"protocol": lantern.lvr.protocol.facts()}),
            "lvr_ids": None if lantern.lvr is None else _ids(lantern.lvr),
            "min_pixels": size["shortest_edge"],
            "max_pixels": size["longest_edge"],
            "eos_token_ids": sorted(lantern.eos_ids),
            "generation": generation_settings(lantern.hf.generation_config),
            **few_bits,
        },
    }


def _name_of(device: torch.device) -> str | None:
    """The name of a GPU; None for the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _ids(lvr: LvrTokens) -> list[int]:
    return [lvr.start, lvr.sep, lvr.end]


def finish_of(
    ids: list[int], lantern: LanternModel, blocks: Sequence[Block] = ()
) -> Literal["closed", "truncated"]:
    """Say whether a text ended by itself (`closed`), or at the token limit or inside a block.

    Args:
        ids: Generated tokens, padding behind the end allowed.
        lantern: The model that generated them.
        blocks: The text's latent blocks; one that never closed makes the text `truncated`. Default
            none.
    """
    inside = any(block.truncated for block in blocks)
    return "truncated" if inside or lantern.eos_ids.isdisjoint(ids) else "closed"
