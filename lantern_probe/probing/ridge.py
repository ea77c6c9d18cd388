"""Many ridge regressions on the same features, in closed form, predicted out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.basis import Basis, check_features, fit_basis
from lantern_probe.probing.folds import check_folds
from lantern_probe.probing.penalties import Scores, check_grid, choose_inside


@dataclass(frozen=True, eq=False)
class RidgeHeldOut:
    """Predictions of ridge probes for samples they were not trained on.

    Attributes:
        predicted: Predicted targets in their own unit, [n, t].
        alphas: Penalty chosen for each target and fold, without seeing the fold, [t, folds].
    """

    predicted: Float[Tensor, "n t"]
    alphas: Float[Tensor, "t folds"]


def ridge_predict(
    features: Float[Tensor, "n dim"],
    targets: Float[Tensor, "n t"],
    folds: Int[Tensor, " n"],
    alphas: Sequence[float] = (1.0,),
) -> RidgeHeldOut:
    """Predict every fold by ridge probes trained on the others, each with an alpha chosen there.

    Each probe equals `make_pipeline(StandardScaler(), Ridge(alpha))`. With several alphas, each
    target takes the one with the best mean R^2 over the other folds, each of them predicted without
    itself and without the fold held out (see `choose_inside`).

    Args:
        features: Hidden states at one site, [n, dim], on any device.
        targets: Values to predict, [n, t], one column for each attribute or control.
        folds: Fold of each sample, [n], counted from 0 (`group_folds`).
        alphas: Penalties to choose from, rising. With the default, 1, there is no choice.

    Returns:
        Predictions [n, t] and the chosen alpha of each target and fold.

    Raises:
        LanternError: a feature or target is not finite, shapes do not match, a fold is empty,
            alphas are not positive or do not rise, or there are several and fewer than 3 folds.
    """
    check_features(features)
    check_targets(targets, len(features))
    n_folds = check_folds(folds, len(features))
    grid = features.new_tensor(check_grid("alphas", alphas), dtype=torch.float64)
    folds, targets = folds.to(features.device), targets.to(features.device)
    chosen = torch.zeros(n_folds, targets.shape[1], dtype=torch.long, device=features.device)
    if len(grid) > 1:
        every = grid[:, None].repeat(1, targets.shape[1])

        def scores(f: Bool[Tensor, " n"], g: Bool[Tensor, " n"]) -> Scores:
            held = predict_ridge_split(features, targets, ~(f | g), f | g, every)
            is_f = f[f | g]
            return r2(held[:, is_f], targets[f]), r2(held[:, ~is_f], targets[g])

        chosen = choose_inside(folds, n_folds, scores)
    best = grid[chosen.T]
    predicted = torch.empty_like(targets, dtype=torch.promote_types(targets.dtype, torch.float32))
    for fold in range(n_folds):
        inside = folds == fold
        held = predict_ridge_split(features, targets, ~inside, inside, best[:, fold][None])
        predicted[inside] = held[0].to(predicted)
    return RidgeHeldOut(predicted, best)


def predict_ridge_split(
    features: Float[Tensor, "n dim"],
    targets: Float[Tensor, "n t"],
    train: Bool[Tensor, " n"],
    test: Bool[Tensor, " n"],
    alphas: Float[Tensor, "c t"],
) -> Float[Tensor, "c m t"]:
    """Train on some samples and predict others, with each row of penalties.

    Args:
        features: Hidden states at one site, [n, dim], on any device.
        targets: Values to predict, [n, t], finite.
        train: True for the samples to train on, [n].
        test: True for the m samples to predict, [n].
        alphas: Penalties, [c, t]: c values for each target.

    Returns:
        Predicted targets of the test samples, [c, m, t].

    Raises:
        LanternError: a training feature is not finite, or there are no training samples.
    """
    basis = fit_basis(features[train])
    coordinates = basis.project(features[test])
    found = []
    for row in alphas:
        along, intercepts = fit_ridge(basis, targets[train], row)
        found.append(coordinates @ along + intercepts)
    return torch.stack(found)


def fit_ridge(
    basis: Basis, targets: Float[Tensor, "n t"], alphas: Float[Tensor, " t"]
) -> tuple[Float[Tensor, "r t"], Float[Tensor, " t"]]:
    """Solve ridge regression with one penalty per target.

    Args:
        basis: Axes and coordinates of the training features.
        targets: Values of the training samples, [n, t].
        alphas: Penalty of each target, [t].

    Returns:
        Weights along the axes, [r, t], and intercepts, [t].
    """
    x = basis.coordinates
    intercepts = targets.double().mean(0)
    along = x.T @ (targets.double() - intercepts).to(x)
    return along / (basis.squares[:, None] + alphas.to(x)), intercepts.to(x)


def check_targets(targets: Float[Tensor, "n t"], samples: int) -> None:
    """Refuse targets that cannot be regressed on.

    Raises:
        LanternError: there is not one row per sample, or a value is NaN or infinite.
    """
    if len(targets) != samples:
        raise LanternError(f"{len(targets)} rows of targets for {samples} samples")
    bad = (~targets.isfinite()).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise LanternError(
            f"targets[{row}, {column}] is {targets[row, column].item()}, of {len(bad)} such values;"
            " leave these samples out"
        )


def r2(predicted: Float[Tensor, "c m t"], targets: Float[Tensor, "m t"]) -> Float[Tensor, "c t"]:
    """Coefficient of determination of each target, [c, t]; NaN for a constant target."""
    values = targets.double()
    total = (values - values.mean(0)).square().sum(0)
    error = (predicted - values).square().sum(1)
    return torch.where(total > 0, 1 - error / total, torch.nan)
