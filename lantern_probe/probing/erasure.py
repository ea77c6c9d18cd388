"""Take a concept out of vectors so that no linear probe finds it (LEACE, arXiv 2306.03819).

What a probe reads need not be what a model uses: erase it, and see whether the answer follows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Generator, Tensor

from lantern_probe.errors import LanternError


@dataclass(frozen=True, eq=False)
class Eraser:
    """An affine map that removes a few directions: x - left @ (right.T @ (x - mean)).

    Attributes:
        mean: Of the vectors it was fitted on; left where it is, [D].
        left: What is taken away, [D, rank].
        right: By how much: the coordinates, biorthogonal to `left`, [D, rank].
    """

    mean: Float[Tensor, " dim"]
    left: Float[Tensor, "dim rank"]
    right: Float[Tensor, "dim rank"]

    @property
    def rank(self) -> int:
        """Number of dimensions removed."""
        return self.left.shape[1]

    def __call__(self, vectors: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The vectors without the concept, in their own dtype and place."""
        x = vectors.to(self.mean)
        return (x - (x - self.mean) @ self.right @ self.left.T).to(vectors)


def fit_eraser(
    vectors: Float[Tensor, "samples dim"], labels: Sequence[Hashable], *, rcond: float = 1e-9
) -> Eraser:
    """The eraser of a categorical concept with the least change, among affine ones.

    Afterwards the vectors it was fitted on have no covariance with any label, so that no linear
    classifier does better on them than a constant one. The covariance is shrunk (Ledoit & Wolf
    2004): a plain one of few samples lets directions that hardly vary decide, and moves other
    vectors far. The guarantee on the fitted vectors does not depend on it.

    Args:
        vectors: One per sample.
        labels: Of the same samples; the rank is at most the number of labels minus one.
        rcond: Directions with less than this share of the largest deviation are left out.

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
    # Whitened cross-covariance with the labels, in the basis of the vectors' own directions.
    directions, sizes, _ = torch.linalg.svd(coordinates.T @ concept, full_matrices=False)
    kept = directions[:, sizes > 1e-9 * max(float(sizes.max()), 1e-300)]
    return Eraser(mean, basis @ (deviations[:, None] * kept), basis @ (kept / deviations[:, None]))


def random_eraser(
    vectors: Float[Tensor, "samples dim"], rank: int, stream: Generator, *, rcond: float = 1e-9
) -> Eraser:
    """An eraser of random directions, drawn where the vectors vary, in the same whitened space.

    The control for `fit_eraser`: as many dimensions, and on average as large a share of the
    vectors' spread in each of them, of no concept in particular.

    Raises:
        LanternError: as for `fit_eraser`, or the vectors vary in fewer dimensions than the rank.
    """
    x = _checked(vectors, len(vectors))
    mean, basis, deviations, _ = _whitening(x, rcond)
    if not 0 < rank <= len(deviations):
        raise LanternError(
            f"a random eraser of rank {rank} needs vectors that vary in as many dimensions; "
            f"these vary in {len(deviations)}"
        )
    drawn = torch.randn(len(deviations), rank, generator=stream, dtype=torch.float64).to(x)
    kept, _ = torch.linalg.qr(drawn)
    return Eraser(mean, basis @ (deviations[:, None] * kept), basis @ (kept / deviations[:, None]))


def _whitening(x: Tensor, rcond: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean [D], the directions in which x varies [D, r], its shrunk deviations along them [r],
    and its coordinates in units of these [n, r]."""
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
