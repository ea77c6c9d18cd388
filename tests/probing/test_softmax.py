"""The stacked solver against scikit-learn, problem by problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from lantern_probe.probing import softmax
from lantern_probe.probing.basis import fit_basis
from lantern_probe.probing.softmax import fit_softmax

CS = (1e-3, 1e-1, 1.0, 100.0)


def make(kind: str, n: int, dim: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Correlated features of unequal scale, float64, and labels with every class."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    if kind == "unbalanced":
        labels[classes : n * 9 // 10] = 0
    mixing = rng.normal(size=(dim, dim)) * np.arange(1, dim + 1)[:, None] ** -0.5
    features = rng.normal(size=(n, dim)) @ mixing
    if kind != "noise":
        strength = {"separable": 4.0, "overlapping": 0.5, "unbalanced": 0.5}[kind]
        features += strength * rng.normal(size=(classes, dim))[labels]
    features = features * rng.uniform(0.1, 50, dim) + rng.normal(size=dim) * 20
    return torch.tensor(features), torch.tensor(labels)


def reference(features: Tensor, labels: Tensor, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and intercepts of scikit-learn, converged, for standardised features."""
    standard = StandardScaler().fit_transform(features.double().numpy())
    model = LogisticRegression(C=C, tol=1e-12, max_iter=50_000).fit(standard, labels.numpy())
    return model.coef_, model.intercept_


def solve(features: Tensor, labels: Tensor, C: float, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """The same, of the solver."""
    basis = fit_basis(features)
    classes = int(labels.max()) + 1
    found = fit_softmax(basis, labels[None], classes, torch.tensor([C]), **kwargs)
    weights = (found.weights[0] @ basis.axes.T).double()
    intercepts = found.intercepts[0].double()
    if classes == 2:
        return weights[1:] - weights[:1], intercepts[1:] - intercepts[:1]
    return weights, intercepts


def distance(one: Tensor, two: np.ndarray) -> float:
    return float(np.linalg.norm(one.numpy() - two) / np.linalg.norm(two))


@pytest.mark.parametrize("kind", ["noise", "separable", "overlapping", "unbalanced"])
@pytest.mark.parametrize(("n", "dim", "classes"), [(90, 12, 4), (40, 160, 3), (70, 30, 2)])
def test_it_converges_to_scikit_learns_coefficients(
    kind: str, n: int, dim: int, classes: int
) -> None:
    features, labels = make(kind, n, dim, classes)
    for C in CS:
        coef, intercept = reference(features, labels, C)
        tight, tight_intercept = solve(features, labels, C, tol=1e-6)
        assert distance(tight, coef) < 1e-5
        assert tight_intercept.numpy() == pytest.approx(intercept, abs=1e-4)
        for values in (features, features.float()):
            assert distance(solve(values, labels, C)[0], coef) < 3 * softmax.TOLERANCE
            assert distance(solve(values, labels, C, tol=1e-5)[0], coef) < 1e-4


def test_few_samples_of_many_dimensions() -> None:
    features, labels = make("noise", 30, 2048, 4)
    for C in CS:
        coef, _ = reference(features, labels, C)
        assert distance(solve(features.float(), labels, C)[0], coef) < 3 * softmax.TOLERANCE


@settings(max_examples=10)
@given(st.permutations(range(6)), st.sampled_from([0.01, 1.0, 30.0]))
def test_no_problem_depends_on_its_neighbours(order: list[int], C: float) -> None:
    features, labels = make("overlapping", 60, 20, 3)
    rng = np.random.default_rng(1)
    problems = torch.stack([labels] + [torch.tensor(rng.permutation(labels)) for _ in range(5)])
    basis = fit_basis(features)
    Cs = C * torch.tensor([1.0, 10.0, 0.1, 1.0, 3.0, 1.0])
    alone = [fit_softmax(basis, problems[[i]], 3, Cs[[i]]).weights[0] for i in range(6)]
    stacked = fit_softmax(basis, problems[order], 3, Cs[order])
    for place, i in enumerate(order):
        torch.testing.assert_close(stacked.weights[place], alone[i], rtol=1e-6, atol=1e-9)


def test_a_start_changes_the_way_and_not_the_end() -> None:
    features, labels = make("overlapping", 80, 30, 4)
    basis = fit_basis(features)
    first = fit_softmax(basis, labels[None], 4, torch.tensor([0.1]))
    cold = fit_softmax(basis, labels[None], 4, torch.tensor([0.11]), tol=1e-6)
    warm = fit_softmax(basis, labels[None], 4, torch.tensor([0.11]), first, tol=1e-6)
    assert int(warm.iterations) < int(cold.iterations)
    torch.testing.assert_close(warm.weights, cold.weights, rtol=1e-5, atol=1e-7)
    assert first.iterations.item() > 0  # and its own solution is left as it was
    again = fit_softmax(basis, labels[None], 4, torch.tensor([0.1]))
    assert torch.equal(first.weights, again.weights)


def test_well_separated_classes_converge_in_float32() -> None:
    """Where residuals are far below the rounding of 1."""
    features, labels = make("separable", 30, 500, 3)
    coef, _ = reference(features, labels, 1e4)
    assert distance(solve(features.float(), labels, 1e4)[0], coef) < 3 * softmax.TOLERANCE


def test_a_constant_feature_has_no_weight() -> None:
    features, labels = make("overlapping", 50, 6, 3)
    features[:, 2] = 0.1
    for values in (features, features.float()):
        weights, _ = solve(values, labels, 1.0)
        assert weights[:, 2].abs().max() < 1e-12
        assert distance(weights, reference(values, labels, 1.0)[0]) < 3 * softmax.TOLERANCE
    constant = torch.full((50, 6), 0.1)
    weights, intercepts = solve(constant, labels, 1.0)
    assert weights.abs().max() == 0
    assert intercepts.softmax(0).numpy() == pytest.approx(labels.bincount().numpy() / 50)


def test_what_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = make("overlapping", 50, 6, 3)
    monkeypatch.setattr(softmax, "MAX_ITERATIONS", 2)
    with pytest.warns(ConvergenceWarning, match="1 of 1 probes did not converge in 2 iterations"):
        solve(features, labels, 1.0)
