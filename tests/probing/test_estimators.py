"""The estimators against scikit-learn's models, and scikit-learn's own checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lantern_probe.errors import LanternError
from lantern_probe.probing import LinearProbe, RidgeProbe


def expected_failures(estimator: Any) -> dict[str, str]:
    """Checks that do not hold, and why."""
    reasons = {
        "check_do_not_raise_errors_in_init_or_set_params": "annotations are enforced under pytest"
    }
    if isinstance(estimator, LinearProbe):
        reasons["check_classifiers_one_label"] = "it raises LanternError, which is no ValueError"
    return reasons


@parametrize_with_checks(
    [LinearProbe(), RidgeProbe()], expected_failed_checks=expected_failures, xfail_strict=True
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def data(classes: int, dim: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    names = np.array(["red", "green", "blue", "grey"])[:classes]
    codes = np.arange(90) % classes
    features = rng.normal(size=(90, dim)) + 0.5 * rng.normal(size=(classes, dim))[codes]
    return features * rng.uniform(0.1, 10, dim) + 3, names[codes]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_probe_is_scikit_learns_pipeline(classes: int) -> None:
    x, y = data(classes)
    probe = LinearProbe(C=0.3, tol=1e-7).fit(x, y)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, tol=1e-12, max_iter=9999))
    model.fit(x, y)
    assert probe.classes_.tolist() == model.classes_.tolist()
    assert probe.coef_ == pytest.approx(model[-1].coef_ / model[0].scale_, abs=1e-5)
    assert probe.decision_function(x) == pytest.approx(model.decision_function(x), abs=1e-4)
    assert probe.predict_proba(x) == pytest.approx(model.predict_proba(x), abs=1e-5)
    assert probe.predict(x).tolist() == model.predict(x).tolist()
    assert probe.score(x, y) == model.score(x, y)


@pytest.mark.parametrize("targets", [1, 2])
def test_a_ridge_probe_is_scikit_learns_pipeline(targets: int) -> None:
    x, _ = data(2)
    y = x[:, :targets] + np.random.default_rng(1).normal(size=(90, targets))
    y = y[:, 0] if targets == 1 else y
    probe = RidgeProbe(alpha=3.0).fit(x, y)
    model = make_pipeline(StandardScaler(), Ridge(alpha=3.0)).fit(x, y)
    assert probe.coef_ == pytest.approx(model[-1].coef_ / model[0].scale_)
    assert probe.predict(x) == pytest.approx(model.predict(x))
    assert probe.score(x, y) == pytest.approx(model.score(x, y))


def test_a_grid_is_chosen_from_without_splitting_a_group() -> None:
    """Groups of copies: were they split, memory would win, and the weakest penalty with it."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(20, 100)), 4, axis=0)
    x += 1e-3 * rng.normal(size=x.shape)
    groups = np.repeat(np.arange(20), 4)
    y = np.repeat(rng.normal(size=20), 4)
    assert RidgeProbe(alpha=(1e-3, 1e5)).fit(x, y).alpha_ == 1e-3
    assert RidgeProbe(alpha=(1e-3, 1e5)).fit(x, y, groups=groups).alpha_ == 1e5
    names = y > np.median(y)
    assert LinearProbe(C=(1e-7, 1.0)).fit(x, names).C_ == 1.0
    grouped = LinearProbe(C=(1e-7, 1.0), n_folds=4).fit(x, names, groups=groups)
    assert grouped.coef_ == pytest.approx(LinearProbe(C=grouped.C_).fit(x, names).coef_)


def test_they_work_in_scikit_learns_tools() -> None:
    x, y = data(3)
    groups = np.arange(90) // 3
    scores = cross_val_score(LinearProbe(), x, y, groups=groups, cv=GroupKFold(3))
    assert scores.mean() > 0.8
    search = GridSearchCV(LinearProbe(), {"C": [1e-6, 0.1]}, cv=3).fit(x, y)
    assert search.best_params_ == {"C": 0.1}


def test_one_class_is_refused() -> None:
    x, y = data(2)
    with pytest.raises(LanternError, match="all 90 samples are of class 'red'"):
        LinearProbe().fit(x, np.full_like(y, "red"))
    with pytest.raises(LanternError, match="C must be one or more positive numbers"):
        LinearProbe(C=-1.0).fit(x, y)
    with pytest.raises(LanternError, match="alpha must be one or more positive numbers"):
        RidgeProbe(alpha=0.0).fit(x, x[:, 0])
