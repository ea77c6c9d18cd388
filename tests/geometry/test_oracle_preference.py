"""Preference for the own oracle: counted by brute force, and its chance where cones decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from lantern_probe.errors import LanternError
from lantern_probe.geometry import GeometryRow, VectorSet, preference_rows

USP = "USP"


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def pair(own: np.ndarray, oracle: np.ndarray, images=None) -> tuple[VectorSet, VectorSet]:
    return VectorSet.of("own", own, images), VectorSet.of("oracle", oracle, images)


def pick(rows: list[GeometryRow], measure: str, space: str = "centred", slot: int | None = None):
    found = [r for r in rows if (r.measure, r.space, r.slot) == (measure, space, slot)]
    assert len(found) == 1
    return found[0]


def test_preference_is_counted_as_by_brute_force() -> None:
    images = np.arange(30) // 2
    own, oracle = gaussian(30, 1, 4), gaussian(30, 1, 4, seed=1)
    oracle += 0.5 * own
    rows = preference_rows(*pair(own, oracle, images), permutations=99)
    u, v = (x[:, 0] / np.linalg.norm(x[:, 0], axis=1, keepdims=True) for x in (own, oracle))
    others = [
        np.mean([u[i] @ u[j] for j in range(30) if images[j] != images[i]]) for i in range(30)
    ]
    itself = (u * v).sum(1)
    row = pick(rows, USP, "raw", 0)
    assert row.estimate == pytest.approx(np.mean(others > itself))
    assert row.low < row.estimate < row.high
    chance = np.mean(np.array(others)[:, None] > u @ v.T)
    assert pick(rows, "USP at random pairing", "raw", 0).estimate == pytest.approx(chance)
    row = pick(rows, "cosine to own oracle", "raw", 0)
    assert row.estimate == pytest.approx(itself.mean(), abs=1e-6) and row.p == 0.01
    unrelated = [(u @ v.T)[i, images != images[i]].mean() for i in range(30)]
    row = pick(rows, "cosine to others' oracle", "raw", 0)
    assert row.estimate == pytest.approx(np.mean(unrelated), abs=1e-6)


def test_raw_preference_is_about_cones_and_its_chance_shows_it() -> None:
    """Latents that know their oracle, in a narrow cone elsewhere: USP 1, and so is its chance."""
    content = gaussian(60, 1, 20)
    own, oracle = content + 30 * np.eye(20)[0], content + 30 * np.eye(20)[1]
    rows = preference_rows(*pair(own, oracle), permutations=99)
    assert pick(rows, USP, "raw").estimate == 1
    assert pick(rows, "USP at random pairing", "raw").estimate == 1
    assert pick(rows, USP, "raw").p == 1
    assert pick(rows, "cosine to own oracle", "raw").p == 0.01
    assert pick(rows, USP).estimate == 0 and pick(rows, USP).p == 0.01
    assert pick(rows, "USP at random pairing").estimate == pytest.approx(0.5, abs=0.05)


def test_preference_counts_images_and_not_copies() -> None:
    own, oracle = gaussian(40, 1, 6), gaussian(40, 1, 6, seed=1)
    images = np.tile(np.arange(40), 3)
    once = pick(preference_rows(*pair(own, oracle), permutations=9), USP)
    sets = pair(np.tile(own, (3, 1, 1)), np.tile(oracle, (3, 1, 1)), images)
    thrice = pick(preference_rows(*sets, permutations=9), USP)
    assert "design effect 3.0" in thrice.how
    assert thrice.estimate == pytest.approx(once.estimate)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=0.03)


def test_collapsed_latents_prefer_nothing_once_centred() -> None:
    own = np.broadcast_to(gaussian(1, 2, 6), (20, 2, 6))
    rows = preference_rows(*pair(own, gaussian(20, 2, 6, seed=1)), permutations=9)
    assert pick(rows, USP, "raw").estimate == 1  # all alike: the others are nearest
    assert pick(rows, USP, "raw").p == 1
    for slot in (0, 1, None):
        row = pick(rows, USP, slot=slot)
        assert math.isnan(row.estimate) and "undefined" in row.how


def test_p_values_are_uniform_where_nothing_is_shared() -> None:
    found: dict[str, list[float]] = {"cosine to own oracle": [], USP: []}
    for seed in range(150):
        sets = pair(gaussian(20, 6, seed=seed) + 0.5, gaussian(20, 6, seed=seed + 1000) + 0.5)
        rows = preference_rows(*sets, permutations=99, resamples=1, seed=seed)
        for measure, values in found.items():
            values.append(pick(rows, measure).p)
    for measure, values in found.items():
        assert np.mean(np.array(values) <= 0.05) <= 0.109, measure  # .05 and 3.3 sd
    # USP counts whole samples: its p has ties and is conservative.
    cosine = found["cosine to own oracle"]
    assert scipy.stats.kstest(cosine, "uniform").pvalue > 0.001


def test_a_cosine_of_slots_pairs_own_slots_with_oracle_slots() -> None:
    own = gaussian(12, 2, 5)
    rows = preference_rows(*pair(own, own[:, ::-1]), permutations=9)
    found = {
        (row.slot, row.index): row.estimate
        for row in rows
        if row.measure == "slot cosine to own oracle" and row.space == "raw"
    }
    assert len(found) == 4
    # The oracle has the own slots in the other order.
    assert found[0, 1] == pytest.approx(1) and found[1, 0] == pytest.approx(1)
    assert found[0, 0] == pytest.approx(found[1, 1]) and abs(found[0, 0]) < 0.9


def test_sets_of_other_samples_are_refused() -> None:
    with pytest.raises(LanternError, match="own and oracle"):
        preference_rows(*pair(gaussian(5, 2, 3), gaussian(4, 2, 3)))
