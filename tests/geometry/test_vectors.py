"""Sets of vectors: what is checked, and the spaces in which they are compared."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from lantern_probe.errors import LanternError
from lantern_probe.geometry import VectorSet, in_space
from lantern_probe.geometry.vectors import centred, check_pairing, directions, members_of


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dim", [20, 150])
def test_the_shrinkage_is_ledoit_and_wolfs(dim: int) -> None:
    """And whitening is by the shrunk covariance, for n above and below the dimension."""
    vectors = gaussian(80, dim) * np.linspace(0.2, 3, dim)
    coordinates, note = in_space(VectorSet.of("tokens", vectors), "whitened")
    covariance, strength = ledoit_wolf(vectors)
    assert note == f"; shrinkage {strength:.3f}"
    away = vectors - vectors.mean(0)
    expected = away @ np.linalg.inv(covariance) @ away.T
    np.testing.assert_allclose(coordinates[:, 0] @ coordinates[:, 0].T, expected, atol=0.02 * dim)


def test_whitening_few_vectors_does_not_make_them_orthogonal() -> None:
    """At n < dim unshrunk whitening would; twins stay twins here."""
    vectors = gaussian(20, 100)
    vectors[1] = vectors[0] + 0.1 * vectors[1]
    units, _ = in_space(VectorSet.of("tokens", vectors), "whitened")
    units = units[:, 0] / np.linalg.norm(units[:, 0], axis=1, keepdims=True)
    assert units[0] @ units[1] > 0.9


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_what_is_not_finite_is_refused_by_name(value: float) -> None:
    vectors = gaussian(300, 3, 4)
    vectors[280, 2, 1] = value
    with pytest.raises(LanternError, match=r"own: sample 280 .* slot 2, dimension 1"):
        VectorSet.of("own", vectors)
    with pytest.raises(LanternError, match=r"tokens: sample 280 .* at dimension 1"):
        VectorSet.of("tokens", vectors[:, 2])


@pytest.mark.parametrize(
    ("vectors", "images", "said"),
    [
        (np.zeros((0, 3)), None, "n of 1 or more"),
        (np.zeros(3), None, r"\[3\]"),
        (np.array([["a"]]), None, "numbers"),
        (np.zeros((3, 2)), [1, 2], "2 images for 3 samples"),
        (np.zeros((3, 2)), [1, None, 2], "sample 1"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(vectors, images, said: str) -> None:
    with pytest.raises(LanternError, match=said):
        VectorSet.of("own", vectors, images)


def test_a_set_knows_its_slots_and_its_images() -> None:
    vectors = VectorSet.of("own", gaussian(4, 3, 2), ["b", "a", "b", "c"])
    assert vectors.images.tolist() == [0, 1, 0, 2] and (vectors.n, vectors.image_count) == (4, 3)
    assert vectors.slots == [0, 1, 2] and vectors.vectors.dtype == np.float32
    pooled = vectors.mean_over_slots()
    assert pooled.slots == [None] and pooled.images is vectors.images
    np.testing.assert_allclose(pooled.vectors[:, 0], vectors.vectors.mean(1), rtol=1e-6)
    assert VectorSet.of("tokens", gaussian(4, 2)).slots == [None]


def test_sets_of_other_samples_are_no_pair() -> None:
    own = VectorSet.of("own", gaussian(4, 2, 3))
    with pytest.raises(LanternError, match=r"own and oracle must be of the same samples"):
        check_pairing(own, VectorSet.of("oracle", gaussian(4, 1, 3)))
    with pytest.raises(LanternError, match="the same images per sample"):
        check_pairing(own, VectorSet.of("oracle", gaussian(4, 2, 3), [0, 0, 1, 2]))


def test_centring_takes_the_mean_of_each_slot_and_leaves_exact_zeros() -> None:
    vectors = np.concatenate([5 + gaussian(6, 1, 3), np.full((6, 1, 3), 0.1)], 1)
    away = centred(vectors.astype(np.float32))
    np.testing.assert_allclose(away.mean(0), 0, atol=1e-6)
    assert not away[:, 1].any(), "a slot that equals its mean has no direction of rounding errors"


def test_directions_have_length_one_or_none() -> None:
    vectors = gaussian(5, 2, 3).astype(np.float32)
    vectors[3, 1] = 0
    units, defined = directions(vectors)
    assert not defined[3, 1] and defined.sum() == 9 and not units[3, 1].any()
    np.testing.assert_allclose(np.linalg.norm(units[defined], axis=-1), 1, rtol=1e-6)


def test_members_are_the_samples_of_each_image() -> None:
    members = members_of(np.array([0, 1, 0, 2, 1]))
    assert [some.tolist() for some in members] == [[0, 2], [1, 4], [3]]


def test_an_unknown_space_is_named_with_the_known_ones() -> None:
    with pytest.raises(LanternError, match=r"no space 'white'; choose from \['raw', 'centred'"):
        in_space(VectorSet.of("own", gaussian(4, 2, 3)), "white")
