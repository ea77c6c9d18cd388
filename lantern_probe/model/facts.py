"""Facts of a running model that a record should hold beside the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


def running_facts(lantern: LanternModel, max_new_tokens: int | None = None) -> dict[str, Any]:
    """Collect threads and the decoding settings as they take effect, for `Run.note`.

    Args:
        lantern: The model.
        max_new_tokens: Limit of a continuation; the model's own by default.

    Returns:
        `threads`, and `decoding`: limit, greedy, device, dtype, attention, slots of a block, image
        limits in pixels, and the token ids that end a text.
    """
    size = lantern.processor.image_processor.size
    return {
        "threads": torch.get_num_threads(),
        "decoding": {
            "max_new_tokens": max_new_tokens or lantern.max_new_tokens,
            "do_sample": False,
            "device": str(lantern.device),
            "dtype": str(lantern.hf.dtype).removeprefix("torch."),
            "attn_implementation": lantern.hf.config._attn_implementation,
            "latent_size": None if lantern.lvr is None else lantern.lvr.size,
            "min_pixels": size["shortest_edge"],
            "max_pixels": size["longest_edge"],
            "eos_token_ids": sorted(lantern.eos_ids),
        },
    }


def finish_of(ids: list[int], lantern: LanternModel) -> Literal["closed", "truncated"]:
    """Say whether a text ended by itself (`closed`) or at the token limit (`truncated`).

    Args:
        ids: Generated tokens, padding behind the end allowed.
        lantern: The model that generated them.
    """
    return "truncated" if lantern.eos_ids.isdisjoint(ids) else "closed"
