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
    """What ridge probes say about samples they were not trained on.

    Attributes:
        predicted: In the unit of the targets, [n, t].
        alphas: Chosen for each target and fold, without seeing the fold, [t, folds].
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

    Each is `make_pipeline(StandardScaler(), Ridge(alpha))`, exactly. With several alphas, each
    target takes the one with the best mean R^2 over the other folds, each predicted without it
    and without the fold held out (see `choose_inside`).

    Args:
        features: One site's hidden states, on any device.
        targets: Of each sample, any number of them: attributes and controls.
        folds: Fold of each sample, from 0 on (`group_folds`).
        alphas: Penalties to choose from, rising.

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
    """Train on some samples and predict the m others, with each row of penalties."""
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
    """Weights along the basis's axes and intercepts, of one penalty per target."""
    x = basis.coordinates
    intercepts = targets.double().mean(0)
    along = x.T @ (targets.double() - intercepts).to(x)
    return along / (basis.squares[:, None] + alphas.to(x)), intercepts.to(x)


def check_targets(targets: Float[Tensor, "n t"], samples: int) -> None:
    """Refuse targets that cannot be regressed on.

    Raises:
        LanternError: not one row per sample, or a value is NaN or infinite.
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
    """Explained share of the variance, NaN where there is none to explain."""
    values = targets.double()
    total = (values - values.mean(0)).square().sum(0)
    error = (predicted - values).square().sum(1)
    return torch.where(total > 0, 1 - error / total, torch.nan)
