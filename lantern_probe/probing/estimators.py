"""The probes as scikit-learn estimators, for one problem and arrays in memory.

Both standardise the features themselves; their coefficients are for raw features. `fit_predict` and
`ridge_predict` share the work of many problems on the same features, and run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.basis import fit_basis
from lantern_probe.probing.classify import predict_split
from lantern_probe.probing.folds import Groups, group_folds
from lantern_probe.probing.penalties import check_grid, first_best
from lantern_probe.probing.ridge import fit_ridge, predict_ridge_split, r2
from lantern_probe.probing.softmax import TOLERANCE, fit_softmax

FLOATS = (np.float64, np.float32)


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression on standardised features, with free intercepts.

    The same model as `make_pipeline(StandardScaler(), LogisticRegression(C=C))`.

    Args:
        C: Inverse penalty, default 1. From a rising grid, the best is chosen by accuracy in
            cross-validation within the data that is fitted.
        n_folds: Number of folds of that cross-validation, default 5.
        seed: Seed of these folds, default 0.
        tol: Tolerance of the solver as a fraction of the weights' norm, default 1e-3.

    Attributes:
        classes_: Class names, sorted.
        coef_: Weights for raw features, [classes, dim], or [1, dim] for two classes.
        intercept_: Intercepts, [classes], or [1] for two classes.
        C_: Inverse penalty used.

    Examples:
        Read a colour from states of 64 dimensions, of which the first two hold it:

        >>> import numpy as np
        >>> from lantern_probe.probing import LinearProbe
        >>> color = np.array(["blue", "green", "red"] * 40)
        >>> states = np.random.default_rng(0).normal(size=(120, 64))
        >>> states[:, 0] += 5 * (color == "red")
        >>> states[:, 1] += 5 * (color == "green")
        >>> probe = LinearProbe(C=(0.001, 0.01, 0.1)).fit(states[:90], color[:90])
        >>> print(f"{probe.score(states[90:], color[90:]):.2f}")
        0.93
    """

    def __init__(
        self,
        C: float | Sequence[float] = 1.0,
        *,
        n_folds: int = 5,
        seed: int = 0,
        tol: float = TOLERANCE,
    ):
        self.C = C
        self.n_folds = n_folds
        self.seed = seed
        self.tol = tol

    def fit(self, X: Any, y: Any, groups: Groups | None = None) -> LinearProbe:
        """Fit the probe.

        Args:
            X: Features, [n, dim].
            y: Class of each sample, [n].
            groups: Group of each sample, [n], such as its image. Folds for the choice of C keep a
                group together. None (default) lets every sample stand alone.

        Raises:
            LanternError: there is one class only, or C is not positive or does not rise.
            ValueError: scikit-learn's own error for arrays it cannot use.
        """
        data, names = validate_data(self, X, y, dtype=FLOATS, ensure_min_samples=2)
        check_classification_targets(names)
        self.classes_, codes = np.unique(names, return_inverse=True)
        if len(self.classes_) < 2:
            raise LanternError(
                f"a probe needs two classes, and all {len(codes)} samples are of class "
                f"{self.classes_.tolist()[0]!r}; leave this problem out"
            )
        features, labels = torch.tensor(data), torch.tensor(codes)
        grid = check_grid("C", np.atleast_1d(self.C).tolist())
        self.C_ = grid[0]
        if len(grid) > 1:
            Cs = torch.tensor(grid, dtype=torch.float64)[:, None]

            def score(train: Tensor, test: Tensor) -> Tensor:
                held = predict_split(features, labels[None], train, test, Cs, tol=self.tol)
                return held.accuracy(labels[None, test])

            folds = _folds(len(data), groups, self.n_folds, labels, self.seed)
            self.C_ = grid[_choose(folds, score)]
        basis = fit_basis(features)
        C = torch.tensor([self.C_], dtype=torch.float64)
        found = fit_softmax(basis, labels[None], len(self.classes_), C, tol=self.tol)
        coef, intercept = basis.weights(found.weights[0], found.intercepts[0])
        if len(self.classes_) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef.numpy(), intercept.numpy()
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits, [n, classes]; for two classes the second's logit, [n]."""
        check_is_fitted(self)
        data = validate_data(self, X, dtype=FLOATS, reset=False)
        scores: NDArray[np.float64] = data @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class, [n, classes]."""
        logits = torch.from_numpy(self.decision_function(X))
        if logits.ndim == 1:
            logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
        return logits.softmax(1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of each sample, [n]."""
        scores = self.decision_function(X)
        codes = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        return self.classes_[codes]


class RidgeProbe(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression on standardised features, with a free intercept.

    The same model as `make_pipeline(StandardScaler(), Ridge(alpha))`.

    Args:
        alpha: Penalty, default 1. From a rising grid, the best is chosen by R^2 (mean over targets)
            in cross-validation within the data that is fitted.
        n_folds: Number of folds of that cross-validation, default 5.
        seed: Seed of these folds, default 0.

    Attributes:
        coef_: Weights for raw features, [dim], or [targets, dim] for targets [n, targets].
        intercept_: Intercept, a number, or [targets].
        alpha_: Penalty used.

    Examples:
        Read a position in pixels from states of 64 dimensions, of which the first holds it:

        >>> import numpy as np
        >>> from lantern_probe.probing import RidgeProbe
        >>> rng = np.random.default_rng(0)
        >>> x = rng.uniform(0, 84, size=200)
        >>> states = rng.normal(size=(200, 64))
        >>> states[:, 0] += x / 10
        >>> probe = RidgeProbe(alpha=(1, 10, 100)).fit(states[:150], x[:150])
        >>> print(f"{probe.score(states[150:], x[150:]):.2f}")
        0.72
    """

    def __init__(self, alpha: float | Sequence[float] = 1.0, *, n_folds: int = 5, seed: int = 0):
        self.alpha = alpha
        self.n_folds = n_folds
        self.seed = seed

    def fit(self, X: Any, y: Any, groups: Groups | None = None) -> RidgeProbe:
        """Fit the probe.

        Args:
            X: Features, [n, dim].
            y: Values of each sample, [n] or [n, targets].
            groups: Group of each sample, [n], such as its image. Folds for the choice of alpha keep
                a group together. None (default) lets every sample stand alone.

        Raises:
            LanternError: alpha is not positive or does not rise.
            ValueError: scikit-learn's own error for arrays it cannot use.
        """
        data, values = validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True)
        features = torch.tensor(data)
        targets = torch.tensor(values, dtype=torch.float64).reshape(len(values), -1)
        grid = check_grid("alpha", np.atleast_1d(self.alpha).tolist())
        self.alpha_ = grid[0]
        if len(grid) > 1:
            alphas = torch.tensor(grid, dtype=torch.float64)[:, None].repeat(1, targets.shape[1])

            def score(train: Tensor, test: Tensor) -> Tensor:
                held = predict_ridge_split(features, targets, train, test, alphas)
                return r2(held, targets[test]).nanmean(1, keepdim=True)

            folds = _folds(len(data), groups, self.n_folds, None, self.seed)
            self.alpha_ = grid[_choose(folds, score)]
        basis = fit_basis(features)
        penalty = torch.full(targets.shape[1:], self.alpha_, dtype=torch.float64)
        along, intercepts = fit_ridge(basis, targets, penalty)
        coef, intercept = basis.weights(along.T, intercepts)
        self.coef_, self.intercept_ = coef.numpy(), intercept.numpy()
        if values.ndim == 1:
            self.coef_, self.intercept_ = self.coef_[0], self.intercept_[0]
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predicted targets, [n] or [n, targets]."""
        check_is_fitted(self)
        data = validate_data(self, X, dtype=FLOATS, reset=False)
        return data @ self.coef_.T + self.intercept_


def _folds(
    samples: int, groups: Groups | None, n_folds: int, labels: Tensor | None, seed: int
) -> Tensor:
    return group_folds(range(samples) if groups is None else groups, n_folds, labels, seed)


def _choose(folds: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> int:
    """Index of the penalty with the best mean over folds of `score`, which gives [c, 1] a fold."""
    scores = [score(folds != fold, folds == fold) for fold in range(int(folds.max()) + 1)]
    return int(first_best(torch.stack(scores).nanmean(0)[:, 0]))
