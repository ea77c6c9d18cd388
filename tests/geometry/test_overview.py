"""All measures of a set at once."""

from __future__ import annotations

import math

import numpy as np

from lantern_probe.geometry import VectorSet, geometry_rows


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_all_measures_of_everything_are_flat_and_repeatable() -> None:
    images = np.arange(30) // 2
    own = VectorSet.of("own", gaussian(30, 2, 6), images)
    oracle = VectorSet.of("oracle", gaussian(30, 2, 6, seed=1), images)
    tokens = VectorSet.of("tokens", gaussian(40, 6, seed=2))
    rows = geometry_rows(own, oracle, [tokens])
    assert rows == geometry_rows(own, oracle, [tokens])
    keys = [(r.name, r.measure, r.space, r.slot, r.index) for r in rows]
    assert len(set(keys)) == len(keys)
    assert {row.name for row in rows} == {"own", "oracle", "tokens", "own, oracle"}
    for row in rows:
        assert math.isfinite(row.estimate) and row.how
        assert row.low is None or row.low <= row.estimate + 1e-6
        assert row.high is None or row.estimate - 1e-6 <= row.high
    assert {row.name for row in geometry_rows(own)} == {"own"}
