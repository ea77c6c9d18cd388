"""Choice of a penalty for every problem and fold, without seeing the fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError

Scores = tuple[Float[Tensor, "c p"], Float[Tensor, "c p"]]
"""Scores of c penalties for p problems on two folds that training did not see; higher is better."""


def check_grid(name: str, values: Sequence[float]) -> list[float]:
    """Check a grid of penalties and return it as a list.

    Args:
        name: Name of the argument, for the message of the error.
        values: Penalties, rising.

    Raises:
        LanternError: the grid is empty, a value is not positive and finite, or values do not rise.
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
    """Index in the grid of each problem's best penalty, for each fold held out.

    For a fold f held out, every other fold g is predicted without f and g. The penalty with the
    best mean score over these g wins; of equal ones, the first. Training without f and g serves
    both choices: f's by its score on g, and g's by its score on f. So each pair is fitted once.

    Args:
        folds: Fold of each sample, [n], counted from 0.
        n_folds: Number of folds.
        scores: A function that trains without two folds, given as masks over the samples, and
            returns the scores on the first and on the second; NaN where nothing can be scored.

    Returns:
        Indices [folds, p].

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
    """Index along the first dimension of the best score; of equal ones, the first."""
    # Means of the same scores, summed in another order, differ by rounding and must still tie.
    return (scores >= scores.amax(0) - 1e-9).int().argmax(0)
