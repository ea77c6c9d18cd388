"""Erasure of a concept from vectors, so that no linear probe finds it (LEACE, arXiv 2306.03819).

A model need not use what a probe reads. Erasing it shows whether the answer depends on it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Generator, Tensor

from lantern_probe.errors import LanternError

FLOATS = (np.float64, np.float32)


@dataclass(frozen=True, eq=False)
class Eraser:
    """Affine map that removes a few directions: x - left @ (right.T @ (x - mean)).

    Attributes:
        mean: Mean of the vectors it was fitted on, [dim]; the map leaves it unchanged.
        left: Directions that are subtracted, [dim, rank].
        right: Directions whose products with a vector say how much of each `left` is subtracted,
            [dim, rank]; biorthogonal to `left`.
    """

    mean: Float[Tensor, " dim"]
    left: Float[Tensor, "dim rank"]
    right: Float[Tensor, "dim rank"]

    @property
    def rank(self) -> int:
        """Number of dimensions removed."""
        return self.left.shape[1]

    def __call__(self, vectors: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Remove the directions from vectors [..., dim]; dtype and device stay as they are."""
        x = vectors.to(self.mean)
        return (x - (x - self.mean) @ self.right @ self.left.T).to(vectors)


def fit_eraser(
    vectors: Float[Tensor, "samples dim"], labels: Sequence[Hashable], *, rcond: float = 1e-9
) -> Eraser:
    """Fit the affine eraser of a categorical concept that changes vectors least (LEACE).

    After erasure the vectors it was fitted on have no covariance with any label, so that no linear
    classifier does better on them than a constant one (arXiv 2306.03819). The change is measured
    with a shrunk covariance (Ledoit & Wolf 2004): with the plain covariance of few samples,
    directions that hardly vary would decide, and other vectors would move far. The guarantee on the
    fitted vectors does not depend on the shrinkage.

    Args:
        vectors: One vector per sample, [samples, dim], on any device.
        labels: Label of each sample; the rank is at most the number of different labels minus one.
        rcond: Directions whose standard deviation is below this fraction of the largest one are
            left out, default 1e-9.

    Returns:
        The eraser, in float64 on the device of the vectors.

    Raises:
        LanternError: lengths differ, a value is not finite, there are fewer than two labels, or
            the vectors do not differ.
    """
    x = _checked(vectors, len(labels))
    names = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    if len(names) < 2:
        raise LanternError("an eraser needs at least two different labels")
    which = torch.tensor([names[label] for label in labels], device=x.device)
    concept = torch.nn.functional.one_hot(which, len(names)).to(x)
    concept = concept - concept.mean(0)
    mean, basis, deviations, coordinates = _whitening(x, rcond)
    # Left singular vectors of the whitened cross-covariance with the labels span what to erase.
    directions, sizes, _ = torch.linalg.svd(coordinates.T @ concept, full_matrices=False)
    kept = directions[:, sizes > 1e-9 * max(float(sizes.max()), 1e-300)]
    return Eraser(mean, basis @ (deviations[:, None] * kept), basis @ (kept / deviations[:, None]))


def random_eraser(
    vectors: Float[Tensor, "samples dim"],
    rank: int,
    stream: Generator,
    *,
    emphasis: float = 0.0,
    rcond: float = 1e-9,
) -> Eraser:
    """Make an eraser of random directions, of no concept.

    The directions are drawn in the whitened space of `fit_eraser`. Without an emphasis all
    directions there are alike, and most of them hold little of the vectors' variance: a control
    for `fit_eraser` that removes as much takes `matched_eraser`.

    Args:
        vectors: One vector per sample, [samples, dim], on any device.
        rank: Number of directions to erase.
        stream: Generator of the draw, on the CPU.
        emphasis: Power of the standard deviation along each direction by which it is weighted;
            default 0, more for directions of larger variance.
        rcond: Directions whose standard deviation is below this fraction of the largest one are
            left out, default 1e-9.

    Raises:
        LanternError: a value is not finite, the vectors do not differ, or they vary in fewer
            dimensions than the rank.
    """
    x = _checked(vectors, len(vectors))
    drawn = torch.randn(x.shape[1], max(rank, 1), generator=stream, dtype=torch.float64).to(x)
    return _random(_whitening(x, rcond), rank, drawn, emphasis)


def matched_eraser(
    vectors: Float[Tensor, "samples dim"],
    labels: Sequence[Hashable],
    folds: Sequence[Hashable],
    stream: Generator,
    *,
    rcond: float = 1e-9,
) -> Eraser:
    """Make a random eraser that removes as much variance as the eraser of a concept does.

    It has the rank of `fit_eraser`'s. Its directions are random, weighted by a power of the
    deviation along them. The power is found on held-out folds: there both erasers, fitted on the
    other folds, remove the same fraction of the variance on average.

    Args:
        vectors: One vector per sample, [samples, dim], on any device.
        labels: Label of each sample.
        folds: Fold of each sample, the same for samples that depend on each other.
        stream: Generator of the draw, on the CPU.
        rcond: Directions whose standard deviation is below this fraction of the largest one are
            left out, default 1e-9.

    Raises:
        LanternError: as for `fit_eraser`, or there are fewer than two folds, or none without which
            two labels are left.
    """
    x = _checked(vectors, len(labels))
    _checked(vectors, len(folds))
    rank = fit_eraser(x, labels, rcond=rcond).rank
    drawn = torch.randn(x.shape[1], rank, generator=stream, dtype=torch.float64).to(x)
    wanted, splits = 0.0, []
    for fold in dict.fromkeys(folds):
        held = torch.tensor([other == fold for other in folds], device=x.device)
        kept = [label for label, other in zip(labels, folds, strict=True) if other != fold]
        if len(set(kept)) < 2:
            continue
        true = fit_eraser(x[~held], kept, rcond=rcond)
        wanted += removed_variance(true, x[held])
        splits.append((_whitening(x[~held], rcond), true.rank, x[held]))
        if sum(len(some) for *_, some in splits) >= ENOUGH:
            break
    if not splits:
        raise LanternError("a matched eraser needs two folds, and two labels in one of them")

    def surplus(emphasis: float) -> float:
        return wanted - sum(
            removed_variance(_random(whitened, r, drawn[:, :r], emphasis), some)
            for whitened, r, some in splits
        )

    low, high = EMPHASIS
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return _random(_whitening(x, rcond), rank, drawn, (low + high) / 2)


EMPHASIS = (-4.0, 8.0)
"""Smallest and largest power of the deviations by which random directions are weighted."""
HALVINGS = 24
"""Number of halvings in the search for that power."""
ENOUGH = 400
"""Number of held-out vectors after which no further fold is used to compare two erasers."""


def removed_variance(eraser: Eraser, vectors: Float[Tensor, "samples dim"]) -> float:
    """Fraction of the vectors' squared distance from the eraser's mean that it removes.

    1 for an eraser that leaves only the mean, 0 for one that changes nothing. On vectors that it
    was not fitted on, it may be below 0 for an eraser that adds more than it takes.

    Args:
        eraser: The eraser.
        vectors: One vector per sample, [samples, dim].
    """
    x = vectors.to(eraser.mean)
    before = (x - eraser.mean).square().sum()
    return float(1 - (eraser(x) - eraser.mean).square().sum() / before) if before > 0 else 0.0


class LeaceEraser(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """LEACE as a scikit-learn transformer: erases a categorical concept from features.

    `transform` gives what the eraser of `fit_eraser` gives (Belrose et al., arXiv 2306.03819). In a
    pipeline it stands before a probe; fitted on other samples than it transforms, as in
    cross-validation, a little of the concept may stay.

    Both methods take arrays, and tensors on any device; `transform` returns the kind it was given.

    Args:
        rcond: Directions whose standard deviation is below this fraction of the largest one are
            left out, default 1e-9.

    Attributes:
        eraser_: The fitted `Eraser`.
        n_features_in_: Number of features, dim.

    Examples:
        Erase a colour from states of 8 dimensions; a probe is left with the most frequent one:

        >>> import numpy as np
        >>> from lantern_probe.probing import LeaceEraser, LinearProbe
        >>> color = np.array(["blue", "red", "red"] * 40)
        >>> states = np.random.default_rng(0).normal(size=(120, 8))
        >>> states[:, 0] += 4 * (color == "red")
        >>> erased = LeaceEraser().fit(states, color).transform(states)
        >>> for x in (states, erased):
        ...     print(f"{LinearProbe().fit(x, color).score(x, color):.2f}")
        1.00
        0.67
    """

    def __init__(self, *, rcond: float = 1e-9):
        self.rcond = rcond

    def fit(self, X: Any, y: Any) -> LeaceEraser:
        """Fit the eraser.

        Args:
            X: Features, [n, dim], an array or a tensor.
            y: Class of each sample, [n].

        Raises:
            LanternError: there are fewer than two classes, the features do not differ, or a tensor
                is not [n, dim] or not finite.
            ValueError: scikit-learn's own error for arrays it cannot use.
        """
        if isinstance(X, Tensor):
            if X.ndim != 2:
                raise LanternError(f"an eraser needs features [n, dim], not {list(X.shape)}")
            vectors, self.n_features_in_ = X, X.shape[1]
            names = np.asarray(y.cpu() if isinstance(y, Tensor) else y)
        else:
            labels = y.cpu().numpy() if isinstance(y, Tensor) else y
            data, names = validate_data(self, X, labels, dtype=FLOATS, ensure_min_samples=2)
            vectors = torch.tensor(data)
        check_classification_targets(names)
        self.eraser_ = fit_eraser(vectors, names.tolist(), rcond=self.rcond)
        return self

    def transform(self, X: Any) -> Any:
        """Erase the concept.

        Args:
            X: Features, [n, dim], an array; or a tensor [..., dim].

        Returns:
            Features of the same kind, shape and dtype (float64 for integers).

        Raises:
            LanternError: a tensor has another number of features.
            ValueError: scikit-learn's own error for arrays it cannot use.
        """
        check_is_fitted(self)
        if isinstance(X, Tensor):
            if X.shape[-1] != self.n_features_in_:
                raise LanternError(
                    f"the eraser was fitted on {self.n_features_in_} features, not {X.shape[-1]}"
                )
            return self.eraser_(X)
        data = validate_data(self, X, dtype=FLOATS, reset=False)
        erased: NDArray[Any] = self.eraser_(torch.tensor(data)).numpy()
        return erased

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


Whitened = tuple[Tensor, Tensor, Tensor, Tensor]


def _random(whitened: Whitened, rank: int, drawn: Tensor, emphasis: float) -> Eraser:
    """The eraser of random directions, from draws [dim, rank] of N(0, 1)."""
    mean, basis, deviations, _ = whitened
    if not 0 < rank <= len(deviations):
        raise LanternError(
            f"a random eraser of rank {rank} needs vectors that vary in as many dimensions; "
            f"these vary in {len(deviations)}"
        )
    weights = (deviations / deviations.max()) ** emphasis
    # The directions are an orthonormal basis, along which the draws are N(0, 1) again.
    kept, _ = torch.linalg.qr(weights[:, None] * (basis.T @ drawn))
    return Eraser(mean, basis @ (deviations[:, None] * kept), basis @ (kept / deviations[:, None]))


def _whitening(x: Tensor, rcond: float) -> Whitened:
    """Find the r directions in which vectors [n, dim] vary.

    Returns:
        The mean, [dim]; the directions, [dim, r]; the shrunk standard deviations along them, [r];
        and the coordinates of the vectors in units of these deviations, [n, r].
    """
    mean = x.mean(0)
    centred = x - mean
    left, sizes, right = torch.linalg.svd(centred, full_matrices=False)
    kept = sizes > rcond * float(sizes.max()) if float(sizes.max()) > 0 else sizes > 0
    if not bool(kept.any()):
        raise LanternError("the vectors do not differ, so there is nothing to erase")
    share = float(ledoit_wolf_shrinkage(centred.cpu().numpy(), assume_centered=True))
    spread = float(sizes.square().sum()) / centred.numel()
    variances = (1 - share) * sizes[kept].square() / len(x) + share * spread
    deviations = variances.sqrt()
    return mean, right[kept].T, deviations, left[:, kept] * sizes[kept] / deviations


def _checked(vectors: Tensor, count: int) -> Tensor:
    if len(vectors) != count:
        raise LanternError(f"{len(vectors)} vectors for {count} labels")
    x = vectors.detach().double()
    bad = (~torch.isfinite(x).all(1)).nonzero()
    if len(bad):
        raise LanternError(f"vector {int(bad[0])} (counted from 0) has a value that is not finite")
    return x
