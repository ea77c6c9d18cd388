"""Norms of a prompt's embeddings, and those of the states that are fed at the slots.

A state that is fed as an embedding may be many times longer than any embedding that the model was
trained to read (the norm regime, arXiv 2605.12374), and it may drift towards the marker that closes
the block (arXiv 2605.02735). Both are one number per slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lantern_probe.model.blocks import Block, PromptNorms
from lantern_probe.model.placement import weight_of

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


def token_lengths(embeddings: Float[Tensor, "rows length dim"]) -> Float[Tensor, "rows length"]:
    """Norm of every input embedding in float32, row by row, so that no float32 copy of all is made.

    Args:
        embeddings: Input embeddings, merged image tokens included.
    """
    return torch.stack([row.float().norm(dim=-1) for row in embeddings])


def prompt_norms(
    lengths: Float[Tensor, " length"],
    image: Bool[Tensor, " length"],
    shown: Bool[Tensor, " length"],
) -> PromptNorms:
    """Median norms of one prompt.

    Args:
        lengths: Norm of every input embedding.
        image: True for image tokens.
        shown: False for padding.
    """
    text, merged = lengths[shown & ~image], lengths[shown & image]
    return PromptNorms(
        text=float(text.quantile(0.5)) if len(text) else None,
        image=float(merged.quantile(0.5)) if len(merged) else None,
    )


def fed_states(
    lantern: LanternModel, blocks: list[Block], norms: PromptNorms | None
) -> dict[str, Any]:
    """Fields of a row about the states fed in the first block; none without a block.

    Args:
        lantern: The model.
        blocks: Blocks of a text.
        norms: Median norms of its prompt; None where they were not measured.

    Returns:
        `latent_norms` and `end_cosines`, one number per slot, and `text_norm` and `image_norm`.
    """
    if not blocks or not len(blocks[0].latents):
        return {}
    latents = blocks[0].latents.float()
    end = weight_of(lantern.hf.get_input_embeddings())[lantern.require_lvr().end].float()
    lengths = latents.norm(dim=-1)
    cosines = latents @ end.to(latents.device) / (lengths * end.norm().to(latents.device))
    # The cosine of a vector without length is undefined.
    pairs = zip(cosines.tolist(), lengths.tolist(), strict=True)
    return {
        "latent_norms": [_short(length) for length in lengths.tolist()],
        "end_cosines": [_short(cosine) if length > 0 else None for cosine, length in pairs],
        "text_norm": None if norms is None else _short(norms.text),
        "image_norm": None if norms is None else _short(norms.image),
    }


def _short(value: float | None) -> float | None:
    """Six significant digits; None for what is no finite number."""
    if value is None or not abs(value) < float("inf"):
        return None
    return float(f"{value:.6g}")
