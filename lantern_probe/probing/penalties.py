"""Choosing a penalty for every problem and fold without seeing the fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError

Scores = tuple[Float[Tensor, "c p"], Float[Tensor, "c p"]]


def check_grid(name: str, values: Sequence[float]) -> list[float]:
    """Penalties as a list.

    Raises:
        LanternError: there are none, one is not positive and finite, or they do not rise.
    """
    grid = [float(value) for value in values]
    bad = [value for value in grid if not (math.isfinite(value) and value > 0)]
    if not grid or bad or any(a >= b for a, b in pairwise(grid)):
        raise LanternError(
            f"{name} must be one or more positive numbers in rising order, not {grid}"
        )
    return grid


def choose_inside(
    folds: Int[Tensor, " n"],
    n_folds: int,
    scores: Callable[[Bool[Tensor, " n"], Bool[Tensor, " n"]], Scores],
) -> Int[Tensor, "folds p"]:
    """Place in the grid of each problem's best penalty for each fold held out.

    For a fold f held out, every other fold g is predicted without f and g; the penalty with the
    best mean score over these g wins, the first of equals. What is trained without f and g serves
    f's choice by its score on g, and g's choice by its score on f, so each pair is fitted once.

    Args:
        folds: Fold of each sample.
        n_folds: Number of folds.
        scores: Trains without two folds, given by their samples, and returns the scores [c, p] on
            the first and on the second; the higher the better, NaN where nothing can be scored.

    Raises:
        LanternError: fewer than 3 folds.
    """
    if n_folds < 3:
        raise LanternError(
            "choosing a penalty inside the training folds needs at least 3 folds, not "
            f"{n_folds}; use more folds or a single penalty"
        )
    found: list[list[Tensor]] = [[] for _ in range(n_folds)]
    for f, g in combinations(range(n_folds), 2):
        on_f, on_g = scores(folds == f, folds == g)
        found[f].append(on_g)
        found[g].append(on_f)
    return torch.stack([first_best(torch.stack(one).nanmean(0)) for one in found])


def first_best(scores: Float[Tensor, "c *any"]) -> Int[Tensor, "*any"]:
    """Place of the first of the best scores along the grid."""
    # Means of the same scores in another order differ by rounding; equal ones must tie.
    return (scores >= scores.amax(0) - 1e-9).int().argmax(0)
