"""Distances between latents of the same sample under two inputs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lantern_probe.errors import LanternError


def distances(
    one: Float[Tensor, "samples slots dim"], two: Float[Tensor, "samples slots dim"]
) -> Float[Tensor, "samples slots"]:
    """Cosine distance, 1 - cosine, of the same sample and slot under two inputs, in [0, 2]."""
    cosine = torch.nn.functional.cosine_similarity(one.double(), two.double(), dim=-1)
    return (1 - cosine).clamp(min=0)  # rounding takes the cosine of equal vectors above 1


def between(clean: Float[Tensor, "samples slots dim"]) -> Float[Tensor, "samples slots"]:
    """Every sample's mean cosine distance to all other samples at the same slot.

    Raises:
        LanternError: there are fewer than two samples.
    """
    count = len(clean)
    if count < 2:
        raise LanternError(f"distances between samples need two of them, not {count}")
    unit = torch.nn.functional.normalize(clean.double(), dim=-1)
    # The mean cosine to the others, without the sample itself.
    to_all = torch.einsum("nsd,sd->ns", unit, unit.sum(0))
    return 1 - (to_all - unit.square().sum(-1)) / (count - 1)
