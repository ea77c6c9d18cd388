"""The principal axes that probes are fitted along: what they keep, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from sklearn.preprocessing import StandardScaler

from lantern_probe.errors import LanternError
from lantern_probe.probing.basis import fit_basis


def test_features_that_are_not_finite_are_named() -> None:
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    features[3, 4], features[7, 0] = torch.nan, torch.inf
    with pytest.raises(LanternError, match=r"features\[3, 4\] is nan.* 1 more .* 2 of 30 samples"):
        fit_basis(features)
    with pytest.raises(LanternError, match=r"not shape \[0, 5\]"):
        fit_basis(features[:0])


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_basis_loses_nothing(shape: tuple[int, int], dtype: torch.dtype) -> None:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    basis = fit_basis(features)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert basis.coordinates.dtype == expected
    standard = StandardScaler().fit_transform(features.double().numpy())
    coordinates = basis.coordinates.double()
    gram = torch.from_numpy(standard @ standard.T)
    torch.testing.assert_close(coordinates @ coordinates.T, gram, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(basis.project(features), basis.coordinates, rtol=1e-3, atol=1e-4)
    eye = torch.eye(basis.axes.shape[1], dtype=expected)
    torch.testing.assert_close(basis.axes.T @ basis.axes, eye, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(basis.squares, basis.coordinates.square().sum(0), rtol=1e-4, atol=0)


def test_weights_along_the_axes_become_weights_of_raw_features() -> None:
    stream = torch.Generator().manual_seed(1)
    features = torch.randn(30, 8, generator=stream, dtype=torch.float64) * torch.arange(1, 9) + 5
    others = torch.randn(6, 8, generator=stream, dtype=torch.float64)
    basis = fit_basis(features)
    along = torch.randn(2, basis.axes.shape[1], generator=stream, dtype=torch.float64)
    raw, intercepts = basis.weights(along, torch.tensor([0.5, -2.0], dtype=torch.float64))
    expected = basis.project(others) @ along.T + torch.tensor([0.5, -2.0])
    torch.testing.assert_close(others @ raw.T + intercepts, expected)


def test_a_constant_feature_keeps_its_scale_and_no_axis_uses_it() -> None:
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(2))
    features[:, 2] = 1e6 + 0.1  # whose float32 mean is rounded
    basis = fit_basis(features)
    assert basis.scale[2] == 1 and basis.axes.shape == (4, 3)
    assert basis.axes[2].abs().max() < 1e-6
