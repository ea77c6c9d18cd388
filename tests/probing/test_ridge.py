"""Ridge probes against loops of scikit-learn pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing import group_folds, ridge_predict
from lantern_probe.probing.ridge import check_targets

ALPHAS = (1e-2, 1.0, 100.0)


def planted(n: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, targets [n, 3] that they carry, carry under noise, and do not, and folds."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, dim)) * rng.uniform(0.1, 10, dim) + 5
    features[:, 1] = 0.1
    signal = features @ rng.normal(size=dim)
    noise = rng.normal(size=n)
    targets = np.stack([signal, 3 + signal / signal.std() + 2 * noise, rng.normal(size=n)], axis=1)
    return torch.tensor(features), torch.tensor(targets), group_folds(np.arange(n) // 2, 4)


@pytest.mark.parametrize(("n", "dim"), [(80, 10), (40, 150), (30, 2048)])
def test_every_target_is_scikit_learns(n: int, dim: int) -> None:
    features, targets, folds = planted(n, dim)
    x, y = features.numpy(), targets.numpy()
    held = ridge_predict(features, targets, folds, ALPHAS)
    single = ridge_predict(features.float(), targets.float(), folds, ALPHAS)
    assert single.predicted.dtype == torch.float32
    for target in range(3):
        for fold in range(4):
            train = (folds != fold).numpy()
            search = GridSearchCV(
                make_pipeline(StandardScaler(), Ridge()),
                {"ridge__alpha": ALPHAS},
                cv=PredefinedSplit(folds.numpy()[train]),
            ).fit(x[train], y[train, target])
            assert held.alphas[target, fold] == search.best_params_["ridge__alpha"]
            expected = search.predict(x[~train])
            assert held.predicted[~train, target].numpy() == pytest.approx(expected, rel=1e-6)
            scale = np.abs(expected).max()
            found = single.predicted[~train, target].numpy()
            assert found == pytest.approx(expected, abs=1e-4 * scale)


def test_targets_do_not_see_each_other() -> None:
    features, targets, folds = planted(60, 30)
    together = ridge_predict(features, targets, folds, ALPHAS)
    for target in range(3):
        alone = ridge_predict(features, targets[:, [target]], folds, ALPHAS)
        torch.testing.assert_close(alone.predicted[:, 0], together.predicted[:, target])
        assert torch.equal(alone.alphas[0], together.alphas[target])


def test_a_constant_target_is_predicted_as_it_is() -> None:
    features, targets, folds = planted(40, 10)
    held = ridge_predict(features, torch.full_like(targets, 2.0), folds, ALPHAS)
    assert held.predicted.numpy() == pytest.approx(2.0)


def test_what_cannot_be_regressed_on_is_refused() -> None:
    features, targets, folds = planted(40, 10)
    with pytest.raises(LanternError, match="39 rows of targets for 40 samples"):
        check_targets(targets[1:], 40)
    targets[4, 1] = torch.nan
    with pytest.raises(LanternError, match=r"targets\[4, 1\] is nan, of 1 such values"):
        ridge_predict(features, targets, folds)
    with pytest.raises(LanternError, match="alphas must be one or more positive numbers"):
        ridge_predict(features, targets[:, :1], folds, (1.0, 0.5))
    with pytest.raises(LanternError, match="at least 3 folds"):
        ridge_predict(features, targets[:, :1], folds % 2, ALPHAS)
