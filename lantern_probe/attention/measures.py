"""What attention weights say: where the mass goes, how spread it is, is it at the evidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.roles import Role, Roles
from lantern_probe.stats.ties import SINGLE_TIE


def mass_by_role(
    weights: Float[Tensor, "layers heads queries keys"], roles: Roles
) -> dict[Role, Float[Tensor, "layers heads queries"]]:
    """How much of its attention each query gives to each role; the masses sum to 1.

    Args:
        weights: Attention rows, keys as in `roles`.
        roles: Of the sequence; roles that it does not have are left out.

    Raises:
        LanternError: the roles are those of another sequence.
    """
    if len(roles.names) != weights.shape[-1]:
        raise LanternError(f"{len(roles.names)} roles for {weights.shape[-1]} keys")
    return {
        role: weights[..., roles.positions(role).to(weights.device)].sum(-1)
        for role in Role
        if role in roles.names
    }


def entropy(weights: Float[Tensor, "*queries keys"]) -> Float[Tensor, "*queries"]:
    """Entropy of each attention row in nats: 0 for one key, log(keys) for all alike."""
    return torch.special.entr(weights).sum(-1)


def image_maps(
    weights: Float[Tensor, "layers heads queries keys"],
    roles: Roles,
    grids: Int[Tensor, "images 3"],
    *,
    merge_size: int = 2,
) -> list[Float[Tensor, "layers heads queries _ _"]]:
    """Attention to the tokens of each image, [layers, heads, queries, height, width].

    Args:
        weights: Attention rows, keys as in `roles`.
        roles: Of the sequence.
        grids: Patch grid of every image, as in `Replay.grids`.
        merge_size: Patches per token, in each direction.

    Raises:
        LanternError: the grids do not make up the sequence's image tokens.
    """
    shapes = [(int(h) // merge_size, int(w) // merge_size) for _, h, w in grids]
    positions = roles.positions(Role.IMAGE).to(weights.device)
    if sum(h * w for h, w in shapes) != len(positions):
        raise LanternError(
            f"grids of {shapes} tokens for {len(positions)} image tokens in the sequence"
        )
    parts = torch.split(weights[..., positions], [h * w for h, w in shapes], dim=-1)
    return [
        part.reshape(*part.shape[:-1], *shape) for part, shape in zip(parts, shapes, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Enrichment:
    """Attention to a box, compared with all windows of its size on the token grid.

    Attributes:
        ratio: Mass of the box over the mean mass of all windows, itself among them; NaN where
            the image gets no attention.
        percentile: Share of the other windows that get less, ties (to 1e-6) counted half, in
            [0, 1]; .5 is what a place without meaning expects. NaN where there is no other window.
        windows: Number of windows, the box's own among them.
        size: Height and width of the windows, in tokens.
    """

    ratio: Float[Tensor, "*queries"]
    percentile: Float[Tensor, "*queries"]
    windows: int
    size: tuple[int, int]


def enrichment(
    maps: Float[Tensor, "*queries height width"], tokens: Int[Tensor, " tokens"]
) -> Enrichment:
    """Is the attention at the box, or would it be at any other place as well?

    The comparison with windows of equal area takes out the box's size, but not a preference of
    the model for parts of the image, such as its centre.

    Args:
        maps: Attention to one image's tokens, see `image_maps`.
        tokens: The box's, from `roles.tokens_in_box`; their bounding rectangle is the window.

    Raises:
        LanternError: the box has no tokens, or some outside the map.
    """
    height, width = maps.shape[-2:]
    if not len(tokens) or set(tokens.tolist()) - set(range(height * width)):
        raise LanternError(
            f"the box's tokens {tokens.tolist()} do not lie in an image of {height} x {width}"
        )
    rows, columns = tokens // width, tokens % width
    top, left = int(rows.min()), int(columns.min())
    size = (int(rows.max()) - top + 1, int(columns.max()) - left + 1)
    # [..., rows, columns] of windows.
    mass = maps.double().unfold(-2, size[0], 1).unfold(-2, size[1], 1).sum((-2, -1))
    own = mass[..., top, left, None]
    mass = mass.flatten(-2)
    # Weights are float32, and windows of the same weights in another order are tied too.
    tied = (mass - own).abs() <= SINGLE_TIE * own
    below = (~tied & (mass < own)).double().sum(-1) + (tied.double().sum(-1) - 1) / 2
    others = mass.shape[-1] - 1
    return Enrichment(
        ratio=(own[..., 0] / mass.mean(-1)).float(),
        percentile=(below / others if others else torch.full_like(below, torch.nan)).float(),
        windows=mass.shape[-1],
        size=size,
    )
