"""Two-dimensional projections of activations: PCA and UMAP (arXiv 1802.03426)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from lantern_probe.errors import LanternError

METHODS = ("pca", "umap")


NEIGHBORS = 15
"""Of a point in UMAP; fewer where there are not so many points."""


def embed(
    vectors: Float[Tensor, "n dim"] | Float[np.ndarray, "n dim"],
    method: str = "pca",
    seed: int = 0,
) -> Float[np.ndarray, "n 2"]:
    """One point in the plane per vector.

    Equal vectors get equal points. PCA keeps units and large distances. UMAP starts from PCA and
    keeps neighbourhoods only: sizes of clusters and distances between them mean nothing. Where
    fewer than four vectors differ there are no neighbourhoods, and UMAP gives their PCA.

    Args:
        vectors: One per sample.
        method: `pca` or `umap`.
        seed: Of both; the same seed gives the same points.

    Raises:
        LanternError: another method, no vector, or one that is not finite.
    """
    if method not in METHODS:
        raise LanternError(f"no embedding {method!r}; there are {' and '.join(METHODS)}")
    x = checked_vectors(vectors)
    points, _ = principal_plane(x, seed)
    distinct, inverse = np.unique(x.astype(np.float32), axis=0, return_inverse=True)
    if method == "pca" or len(distinct) < 4:
        return points
    from umap import UMAP  # compiles for seconds

    start, _ = principal_plane(distinct.astype(np.float64), seed)
    # UMAP scales both axes of the start alike, and cannot where all points share a coordinate.
    start += np.random.default_rng(seed).normal(scale=1e-4 * start.std(), size=start.shape)
    reducer = UMAP(
        n_neighbors=min(NEIGHBORS, len(distinct) - 1), init=start, random_state=seed, n_jobs=1
    )
    threads = torch.get_num_threads()  # which numba changes for the whole process
    try:
        found: Float[np.ndarray, "n 2"] = reducer.fit_transform(distinct)[inverse]
    finally:
        torch.set_num_threads(threads)
    return found.astype(np.float64)


def explained_variance(
    vectors: Float[Tensor, "n dim"] | Float[np.ndarray, "n dim"], seed: int = 0
) -> tuple[float, float]:
    """Shares of the variance along the two axes of `embed`'s PCA; 0 where nothing varies.

    Raises:
        LanternError: there is no vector, or one that is not finite.
    """
    return principal_plane(checked_vectors(vectors), seed)[1]


def checked_vectors(
    vectors: Float[Tensor, "n dim"] | Float[np.ndarray, "n dim"],
) -> Float[np.ndarray, "n dim"]:
    if isinstance(vectors, Tensor):
        vectors = vectors.detach().double().cpu().numpy()
    x = vectors.astype(np.float64)
    if 0 in x.shape:
        raise LanternError(f"an embedding needs vectors [n, dim], not {list(x.shape)}")
    finite = np.isfinite(x).all(1)
    if not finite.all():
        raise LanternError(
            f"sample {int(np.argmin(finite))} (0-based) has a value that is not finite, as where a "
            f"site is missing; {(~finite).sum()} of {len(x)} have: leave them out"
        )
    return x


def principal_plane(
    x: Float[np.ndarray, "n dim"], seed: int
) -> tuple[Float[np.ndarray, "n 2"], tuple[float, float]]:
    points, shares = np.zeros((len(x), 2)), np.zeros(2)
    if (x != x[0]).any():
        size = min(2, *x.shape)
        pca = PCA(size, random_state=seed)
        points[:, :size] = pca.fit_transform(x)
        shares[:size] = pca.explained_variance_ratio_
    return points, (float(shares[0]), float(shares[1]))
