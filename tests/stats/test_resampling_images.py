"""Images are what is exchanged in permutation tests."""

from __future__ import annotations

import numpy as np

from lantern_probe.stats.resampling import permute_images


def test_images_are_exchanged_as_a_whole() -> None:
    images = np.array([0, 1, 0, 2, 1, 3, 4])  # sizes 2, 2, 1, 1, 1
    for partners in permute_images(images, 50, seed=1):
        assert sorted(partners) == list(range(7))
        assert tuple(partners[[0, 2]]) in {(0, 2), (1, 4)}
    alone = permute_images(np.array([0, 0, 1]), 5, seed=0)  # no other image of that size
    np.testing.assert_array_equal(alone, np.tile([0, 1, 2], (5, 1)))
