"""Projections repeat, keep distances or neighbourhoods, and refuse what they cannot embed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.geometry.projection import embed, explained_variance


@settings(max_examples=20)
@given(n=st.integers(1, 12), dim=st.integers(1, 5), seed=st.integers(0, 99))
def test_pca_keeps_the_largest_distances_it_can(n: int, dim: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((n, dim))
    points = embed(x)
    centred = x - x.mean(0)
    size = np.square(np.linalg.svd(centred, compute_uv=False))
    np.testing.assert_allclose(np.square(points).sum(), size[:2].sum(), atol=1e-9)
    shares = explained_variance(x)
    if n > 1:
        np.testing.assert_allclose(sum(shares), size[:2].sum() / size.sum())
        assert shares[0] >= shares[1]
    np.testing.assert_array_equal(embed(torch.from_numpy(x)), points)


@pytest.mark.parametrize("method", ["pca", "umap"])
@pytest.mark.parametrize("n", [1, 20])
def test_equal_vectors_are_one_point(method: str, n: int) -> None:
    x = np.full((n, 3), 0.1)
    np.testing.assert_array_equal(embed(x, method), np.zeros((n, 2)))
    assert explained_variance(x) == (0, 0)


@pytest.mark.slow
def test_umap_repeats_and_keeps_neighbours() -> None:
    """One test of all: the first UMAP of a process compiles for seconds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6))
    x[20:] += 50
    x[1] = x[0]
    points = embed(x, "umap", seed=3)
    np.testing.assert_array_equal(embed(x, "umap", seed=3), points)
    assert torch.get_num_threads() == 1  # as the tests run; numba would set them all free
    assert not np.array_equal(embed(x, "umap", seed=4), points)
    np.testing.assert_array_equal(points[0], points[1])
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (distance.argmin(1) // 20 == np.arange(40) // 20).all()
    for few in (x[2:6], x[2:8], np.outer(np.arange(10.0), np.ones(3))):  # fewer than neighbours
        found = embed(few, "umap")
        assert found.shape == (len(few), 2) and np.isfinite(found).all()


def test_what_cannot_be_embedded_is_refused() -> None:
    x = np.zeros((5, 2))
    x[3, 1], x[4, 0] = np.nan, np.inf
    with pytest.raises(LanternError, match=r"sample 3 .* 2 of 5"):
        embed(x)
    with pytest.raises(LanternError, match=r"sample 3"):
        explained_variance(x)
    with pytest.raises(LanternError, match="no embedding 'tsne'; there are pca and umap"):
        embed(x, "tsne")
    with pytest.raises(LanternError, match="needs vectors"):
        embed(np.zeros((0, 2)))
