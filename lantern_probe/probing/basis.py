"""Standardised features, rotated so that every probe on them becomes smaller and easier.

Everything here depends on the features alone. It is done once per site and training part, and
shared by all labels, controls and penalties.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lantern_probe.errors import LanternError


@dataclass(frozen=True, eq=False)
class Basis:
    """The axes along which standardised training features vary, and the features along them.

    Nothing is lost: L2-penalised weights at their optimum lie in the span of the training
    features, and the axes are an orthonormal basis of that span. r, the number of axes, is at most
    n - 1 and at most dim.

    Attributes:
        mean: Mean of each feature over the training samples, float64 [dim].
        scale: Standard deviation of each feature (over n, not n - 1), float64 [dim]; 1 where the
            feature is constant.
        axes: Principal axes of the standardised features, [dim, r].
        coordinates: The training features along the axes, [n, r]; every column has mean 0.
        squares: Sum of squares of each column of `coordinates`, [r].
    """

    mean: Float[Tensor, " dim"]
    scale: Float[Tensor, " dim"]
    axes: Float[Tensor, "dim r"]
    coordinates: Float[Tensor, "n r"]
    squares: Float[Tensor, " r"]

    def project(self, features: Float[Tensor, "m dim"]) -> Float[Tensor, "m r"]:
        """Coordinates of other samples along the axes, standardised like the training samples."""
        standard = (features.double() - self.mean) / self.scale
        return standard.to(self.axes.dtype) @ self.axes

    def weights(
        self, along: Float[Tensor, "k r"], intercepts: Float[Tensor, " k"]
    ) -> tuple[Float[Tensor, "k dim"], Float[Tensor, " k"]]:
        """Convert weights along the axes into weights and intercepts for raw features, float64."""
        raw = along.double() @ self.axes.double().T / self.scale
        return raw, intercepts.double() - raw @ self.mean


def fit_basis(features: Float[Tensor, "n dim"]) -> Basis:
    """Standardise training features and find their principal axes.

    The axes come from the smaller of the two Gram matrices, n x n or dim x dim, in float64, so
    that squaring costs no precision that matters. The result is float64 for float64 features and
    float32 for all others.

    Args:
        features: Features of the training samples, [n, dim], on any device.

    Raises:
        LanternError: a feature is NaN or infinite, or there are no samples.
    """
    check_features(features)
    n, dim = features.shape
    values = features.double()
    mean = values.mean(0)
    centred = values - mean
    variance = centred.square().mean(0)
    # A constant feature has a variance of rounding errors, which must not be scaled up to 1.
    constant = variance <= (n * mean * torch.finfo(torch.float64).eps) ** 2
    scale = torch.where(constant, 1.0, variance.sqrt())
    standard = torch.where(constant, 0.0, centred / scale)
    if n <= dim:
        squares, sides = torch.linalg.eigh(standard @ standard.T)
    else:
        squares, sides = torch.linalg.eigh(standard.T @ standard)
    # Largest first; eigenvalues that are zero but for rounding have no direction of their own.
    floor = squares[-1] * max(n, dim) * torch.finfo(torch.float64).eps
    real = int((squares > floor.clamp_min(0.0)).sum())
    squares, sides = squares.flip(0)[:real], sides.flip(1)[:, :real]
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    if n <= dim:
        axes = (standard.T @ (sides / squares.sqrt())).to(dtype)
        coordinates = (sides * squares.sqrt()).to(dtype)
    else:
        axes = sides.to(dtype)
        coordinates = standard.to(dtype) @ axes
    return Basis(mean, scale, axes.contiguous(), coordinates.contiguous(), squares.to(dtype))


def check_features(features: Float[Tensor, "n dim"]) -> None:
    """Refuse features that no probe can be trained on.

    Raises:
        LanternError: a value is NaN or infinite, or there are no samples or no dimensions.
    """
    if not features.numel():
        raise LanternError(f"a probe needs samples and features, not shape {list(features.shape)}")
    finite: Bool[Tensor, "n dim"] = features.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise LanternError(
            f"features[{row}, {column}] is {features[row, column].item()}, and so are "
            f"{int((~finite).sum()) - 1} more values in {int((~finite).any(1).sum())} of "
            f"{len(features)} samples; leave these samples out, or find out why their hidden "
            "states overflow"
        )
