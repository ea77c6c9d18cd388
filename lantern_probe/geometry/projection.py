"""Two-dimensional projections of activations: PCA and UMAP (arXiv 1802.03426)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from lantern_probe.errors import LanternError

METHODS = ("pca", "umap")
"""Methods of `embed`."""

NEIGHBORS = 15
"""Number of neighbours of a point in UMAP; fewer if there are fewer points."""


def embed(
    vectors: Float[Tensor, "n dim"] | Float[np.ndarray, "n dim"],
    method: str = "pca",
    seed: int = 0,
) -> Float[np.ndarray, "n 2"]:
    """Project vectors to points in the plane, by PCA or by UMAP (arXiv 1802.03426).

    Equal vectors get equal points. PCA keeps units and large distances. UMAP starts from PCA and
    keeps neighbourhoods only: sizes of clusters and distances between them mean nothing. With fewer
    than four different vectors there are no neighbourhoods, and UMAP gives their PCA.

    Args:
        vectors: One vector per sample, [n, dim], an array or a tensor.
        method: `pca` (default) or `umap`.
        seed: Seed of the projection, default 0; the same seed gives the same points.

    Returns:
        Coordinates of the points, [n, 2].

    Raises:
        LanternError: the method is unknown, there is no vector, or one is not finite.

    Examples:
        >>> import numpy as np
        >>> from lantern_probe.geometry import embed
        >>> points = embed(np.array([[0.0, 0, 5], [3, 0, 5], [6, 0, 5], [9, 0, 5]]))
        >>> (abs(points[:, 0] - points[0, 0])).round(6).tolist()
        [0.0, 3.0, 6.0, 9.0]
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
    # UMAP scales both axes of the start alike, which fails if all points share a coordinate.
    start += np.random.default_rng(seed).normal(scale=1e-4 * start.std(), size=start.shape)
    reducer = UMAP(
        n_neighbors=min(NEIGHBORS, len(distinct) - 1), init=start, random_state=seed, n_jobs=1
    )
    threads = torch.get_num_threads()  # numba changes it for the whole process
    try:
        found: Float[np.ndarray, "n 2"] = reducer.fit_transform(distinct)[inverse]
    finally:
        torch.set_num_threads(threads)
    return found.astype(np.float64)


def explained_variance(
    vectors: Float[Tensor, "n dim"] | Float[np.ndarray, "n dim"], seed: int = 0
) -> tuple[float, float]:
    """Fractions of the variance along the two axes of `embed`'s PCA; 0 if the vectors are equal.

    Args:
        vectors: One vector per sample, [n, dim], an array or a tensor.
        seed: Seed of the projection, default 0.

    Raises:
        LanternError: there is no vector, or one is not finite.
    """
    return principal_plane(checked_vectors(vectors), seed)[1]


def checked_vectors(
    vectors: Float[Tensor, "n dim"] | Float[np.ndarray, "n dim"],
) -> Float[np.ndarray, "n dim"]:
    """Check that vectors are finite, and convert them to a float64 array.

    Raises:
        LanternError: there is no vector, or one is not finite.
    """
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
    """Coordinates along the first two principal axes, and the fractions of variance along them."""
    points, shares = np.zeros((len(x), 2)), np.zeros(2)
    if (x != x[0]).any():
        size = min(2, *x.shape)
        pca = PCA(size, random_state=seed)
        points[:, :size] = pca.fit_transform(x)
        shares[:size] = pca.explained_variance_ratio_
    return points, (float(shares[0]), float(shares[1]))
