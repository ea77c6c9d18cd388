"""Measures of attention weights: mass by role, entropy, and enrichment at the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.roles import Roles, tokens_in_box
from lantern_probe.stats.ties import SINGLE_TIE
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import ATTENTION_QUERIES, Role


def mass_by_role(
    weights: Float[Tensor, "layers heads queries keys"], roles: Roles
) -> dict[Role, Float[Tensor, "layers heads queries"]]:
    """The fraction of its attention that each query gives to each role; the fractions sum to 1.

    Args:
        weights: Attention weights, keys as in `roles`.
        roles: Roles of the sequence; those that it does not have are left out.

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
    """Entropy of each query's attention in nats: 0 for one key, log(keys) for equal weights.

    Args:
        weights: Attention weights that sum to 1 over the keys.
    """
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
        weights: Attention weights, keys as in `roles`.
        roles: Roles of the sequence.
        grids: Patch grid of every image, as in `Replay.grids`.
        merge_size: Patches per token in each direction; default 2.

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
        ratio: Mass of the box over the mean mass of all windows, the box's own included; NaN
            where the image gets no attention.
        percentile: Fraction of the other windows that get less, ties (to 1e-6) counted half, in
            [0, 1]; .5 is expected of a place without meaning. NaN where there is no other window.
        windows: Number of windows, the box's own included.
        size: Height and width of the windows in tokens.
    """

    ratio: Float[Tensor, "*queries"]
    percentile: Float[Tensor, "*queries"]
    windows: int
    size: tuple[int, int]


def enrichment(
    maps: Float[Tensor, "*queries height width"], tokens: Int[Tensor, " tokens"]
) -> Enrichment:
    """Compare the attention to a box with that to every other window of its size.

        >>> import torch
        >>> from lantern_probe.capture import enrichment
        >>> attention = torch.tensor([[0.1, 0.2], [0.1, 0.6]])
        >>> found = enrichment(attention, torch.tensor([3]))
        >>> round(float(found.ratio), 2), float(found.percentile)
        (2.4, 1.0)

    The comparison with windows of equal area takes out the box's size, but not a preference of
    the model for parts of the image, such as its centre.

    Args:
        maps: Attention to the tokens of one image, as `image_maps` gives it.
        tokens: Tokens of the box, from `model.roles.tokens_in_box`; their bounding rectangle is the
            window.

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


def attention_figures(
    weights: Float[Tensor, "layers heads queries keys"],
    queries: Int[Tensor, " queries"],
    roles: Roles,
    grids: Int[Tensor, "images 3"],
    sample: Sample,
) -> dict[str, Any]:
    """All measures, for each group of queries and each layer: means over queries and heads.

    `mass` by role of the key, `entropy` in nats, and where the sample has a box in its first
    image: `enrichment` (mass of the box over the mean window of its size) and `percentile`.

    Args:
        weights: Attention weights, keys as in `roles`.
        queries: Positions of the queries in the sequence.
        roles: Roles of the sequence.
        grids: Patch grids of its images, as in `Replay.grids`.
        sample: The question, whose first box is the evidence.

    Returns:
        By role of the query (`ATTENTION_QUERIES`) and by measure, a list with one number per layer.
    """
    names = [roles.names[position] for position in queries.tolist()]
    masses, spread = mass_by_role(weights, roles), entropy(weights)
    maps = image_maps(weights, roles, grids)[0] if len(grids) else None
    near = None
    if maps is not None and sample.boxes:
        size = sample.open_images()[0].size
        near = enrichment(maps, tokens_in_box(sample.boxes[0], size, grids[0]))
    found: dict[str, Any] = {}
    for group in ATTENTION_QUERIES:
        rows = [index for index, name in enumerate(names) if name == group]
        if not rows:
            continue

        def mean(values: Tensor, rows: list[int] = rows) -> list[float]:
            return [float(v) for v in values[..., rows].nanmean((1, 2))]

        found[group] = {
            "mass": {str(role): mean(mass) for role, mass in masses.items()},
            "entropy": mean(spread),
        }
        if near is not None:
            found[group] |= {"enrichment": mean(near.ratio), "percentile": mean(near.percentile)}
    return found
