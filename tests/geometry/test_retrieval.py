"""Retrieval of planted matches, ties and duplicates, and its level against random pairing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.geometry import VectorSet
from lantern_probe.geometry.retrieval import Retrieval, retrieve
from lantern_probe.geometry.retrieval_tests import rank_test_from_summary

SEEDS = st.integers(0, 2**32 - 1)


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def views(own: np.ndarray, oracle: np.ndarray, images=None, **options) -> dict[str, Retrieval]:
    found = retrieve(
        VectorSet.of("own", own, images), VectorSet.of("oracle", oracle, images), **options
    )
    return {view.view: view for view in found}


def brute_force_ranks(own: np.ndarray, oracle: np.ndarray) -> np.ndarray:
    own, oracle = own.astype(np.float64), oracle.astype(np.float64)
    cosines = own @ oracle.T
    cosines /= np.linalg.norm(own, axis=1)[:, None] * np.linalg.norm(oracle, axis=1)
    return scipy.stats.rankdata(-cosines, axis=1)


def test_ranks_are_those_of_brute_force_in_every_view() -> None:
    own, oracle = gaussian(300, 3, 16), gaussian(300, 3, 16, seed=1)  # more than one piece
    oracle += 0.3 * own
    found = views(own, oracle)
    assert list(found) == ["slot 0", "slot 1", "slot 2", "pooled", "concatenated"]
    pairs = {f"slot {slot}": (own[:, slot], oracle[:, slot]) for slot in range(3)}
    pairs["pooled"] = own.mean(1), oracle.mean(1)
    pairs["concatenated"] = own.reshape(300, -1), oracle.reshape(300, -1)
    for name, pair in pairs.items():
        ranks = np.diagonal(brute_force_ranks(*pair))
        result = found[name]
        # Cosines that float32 cannot tell apart are ties here.
        np.testing.assert_allclose(result.ranks, ranks, atol=0.5)
        assert result.mean_rank.estimate == pytest.approx(ranks.mean(), abs=0.01)
        assert result.mrr.estimate == pytest.approx((1 / ranks).mean(), abs=0.002)
        assert result.recall[5] == pytest.approx((ranks <= 5).mean(), abs=0.004)
        assert result.oracle_recall == 1
        assert result.slot == (int(name[-1]) if name.startswith("slot") else None)


def test_planted_matches_give_the_planted_recall() -> None:
    """Of 40 orthogonal oracles, 10 are found first, 10 second and 20 third or later."""
    oracle = np.eye(40, dtype=np.float32)
    own = oracle.copy()
    own[10:20] += 2 * np.roll(oracle, 1, axis=1)[10:20]
    own[20:] += 2 * np.roll(oracle, 1, axis=1)[20:] + 3 * np.roll(oracle, 2, axis=1)[20:]
    result = views(own[:, None], oracle[:, None])["slot 0"]
    assert result.recall == {1: 0.25, 5: 1.0, 10: 1.0}
    np.testing.assert_array_equal(result.ranks, [1] * 10 + [2] * 10 + [3] * 20)
    assert result.mean_rank.estimate == pytest.approx(2.25)
    assert result.mrr.estimate == pytest.approx((10 + 5 + 20 / 3) / 40)
    assert result.mean_rank.p_better == result.mrr.p_better == 1 / 2000
    assert result.mean_rank.z is not None and result.mean_rank.z < -5


def test_worse_than_chance_is_seen_by_the_two_sided_test_only() -> None:
    oracle = gaussian(60, 1, 30)
    result = views(-oracle, oracle, permutations=499)["slot 0"]
    assert result.mean_rank.estimate == 60
    assert result.mean_rank.p == pytest.approx(2 / 500)
    assert result.mean_rank.p_better == 1 and result.mrr.p_better == 1


@pytest.mark.parametrize("collapsed", ["own", "oracle", "both", "zero"])
def test_collapsed_latents_give_chance(collapsed: str) -> None:
    n = 50
    own, oracle = gaussian(n, 2, 8), gaussian(n, 2, 8, seed=1)
    if collapsed in ("own", "both"):
        own[:] = own[0]
    if collapsed in ("oracle", "both"):
        oracle[:] = oracle[0]
    if collapsed == "zero":
        own[:], oracle[:] = 0, 0
    harmonic = sum(1 / rank for rank in range(1, n + 1)) / n
    for result in views(own, oracle, permutations=99).values():
        assert result.mean_rank.estimate == pytest.approx((n + 1) / 2)
        assert result.mrr.estimate == pytest.approx(harmonic)
        assert result.recall[10] == pytest.approx(10 / n)
        assert result.mean_rank.p > 0.05
        if collapsed != "own":
            assert result.identical == n and result.oracle_recall == pytest.approx(1 / n)
            assert result.tied == n
            assert result.mean_rank.z is None and result.mean_rank.p == 1


def test_ties_are_broken_at_random_in_expectation() -> None:
    """The right entry shares its cosine with two others, behind one: places 2, 3 and 4."""
    oracle = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [-1, 0]], np.float32)[:, None]
    own = np.array([[1, 0], [2, 1], [2, 1], [2, 1], [-1, 0]], np.float32)[:, None]
    result = views(own, oracle, permutations=9)["slot 0"]
    np.testing.assert_allclose(result.ranks, [1, 3, 3, 3, 1])
    assert (result.tied, result.identical) == (3, 3)
    assert result.mrr.estimate == pytest.approx((2 + 3 * (1 / 2 + 1 / 3 + 1 / 4) / 3) / 5)
    assert result.recall[1] == pytest.approx(2 / 5)
    assert result.oracle_recall == pytest.approx((2 + 3 / 3) / 5)


def test_identical_entries_can_count_as_one() -> None:
    oracle = gaussian(30, 1, 12)
    oracle[20:] = oracle[10:20]
    apart = views(oracle, oracle)["slot 0"]
    merged = views(oracle, oracle, merge="identical")["slot 0"]
    assert (apart.candidates, apart.identical) == (30, 20)
    assert apart.recall[1] == apart.oracle_recall == pytest.approx((10 + 20 / 2) / 30)
    assert (merged.candidates, merged.identical) == (20, 20)
    assert merged.recall[1] == merged.oracle_recall == 1
    # Each entry has 1 or 2 of 30 items, so a random item's rank is not uniform over 20.
    ranks = brute_force_ranks(oracle[:, 0], oracle[:20, 0])
    entry = np.r_[0:20, 10:20]
    assert merged.mean_rank.chance == pytest.approx(ranks[:, entry].mean())


def test_samples_of_one_image_are_counted_and_can_be_one_entry() -> None:
    images = np.repeat(np.arange(20), 2)
    oracle = gaussian(40, 1, 12)
    own = oracle[np.arange(40) ^ 1]  # each finds the other box of its image
    apart = views(own, oracle, images)["slot 0"]
    assert apart.shared_images == 40 and apart.recall[1] == 0
    merged = views(own, oracle, images, merge="images")["slot 0"]
    assert merged.candidates == 20 and merged.recall[1] == 1
    assert merged.mean_rank.method.endswith("z: from them")


def test_exact_moments_are_those_of_all_pairings() -> None:
    own, oracle = gaussian(6, 1, 3), gaussian(6, 1, 3, seed=2)
    every = np.array(list(itertools.permutations(range(6))))
    result = views(own, oracle, permutations=20)["slot 0"]
    ranks = brute_force_ranks(own[:, 0], oracle[:, 0])
    for test, table in ((result.mean_rank, ranks), (result.mrr, 1 / ranks)):
        means = table[np.arange(6), every].mean(1)
        assert test.chance == pytest.approx(means.mean())
        assert test.z == pytest.approx((np.trace(table) / 6 - means.mean()) / means.std())


def test_p_is_uniform_where_nothing_is_to_be_found() -> None:
    """200 data sets with hubs: .05 is exceeded as often as it should, within 3.3 sd."""
    p, uniform = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        own, oracle = rng.standard_normal((2, 24, 1, 4)) + 0.7
        result = views(own, oracle, permutations=199, seed=seed)["slot 0"]
        p.append(result.mean_rank.p_better)
        uniform.append(rank_test_from_summary(24, result.mean_rank.estimate).p_better)
    assert 0.009 <= np.mean(np.array(p) <= 0.05) <= 0.101
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001
    # The reason for permuting: with hubs the uniform approximation is not uniform.
    assert np.std(uniform) < np.std(p)


def test_repeated_images_keep_the_level() -> None:
    """Four samples of one image have the same latents: 10 independent units, not 40."""
    images = np.repeat(np.arange(10), 4)
    p, naive = [], []
    for seed in range(150):
        own, oracle = np.random.default_rng(seed).standard_normal((2, 10, 1, 4))
        own, oracle = own[images], oracle[images]
        for found, groups in ((p, images), (naive, None)):
            result = views(own, oracle, groups, permutations=99, seed=seed)["slot 0"]
            found.append(result.mean_rank.p_better)
    assert np.mean(np.array(p) <= 0.05) <= 0.109  # .05 and 3.3 sd
    assert np.mean(np.array(naive) <= 0.05) > 0.109


def test_the_summary_test_agrees_with_permutation_without_hubs() -> None:
    own, oracle = gaussian(300, 1, 200), gaussian(300, 1, 200, seed=1)
    result = views(own, oracle + 0.05 * own)["slot 0"]
    summary = rank_test_from_summary(300, result.mean_rank.estimate)
    assert summary.z == pytest.approx(result.mean_rank.z, rel=0.1)


@settings(max_examples=20)
@given(SEEDS)
def test_rotation_and_order_of_the_samples_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own, oracle = rng.standard_normal((2, 15, 2, 6))
    rotation, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    order = rng.permutation(15)
    before = views(own, oracle, permutations=9)
    after = views((own @ rotation)[order], 3 * (oracle @ rotation)[order], permutations=9)
    for name, result in before.items():
        np.testing.assert_allclose(after[name].ranks, result.ranks[order])
        assert after[name].mean_rank.z == pytest.approx(result.mean_rank.z, abs=1e-6)


def test_what_cannot_be_retrieved_is_refused() -> None:
    own = VectorSet.of("own", gaussian(5, 2, 3))
    with pytest.raises(LanternError, match=r"\[5, 2, 3\] and \[4, 2, 3\]"):
        retrieve(own, VectorSet.of("oracle", gaussian(4, 2, 3)))
    with pytest.raises(LanternError, match="images"):
        retrieve(own, VectorSet.of("oracle", gaussian(5, 2, 3), images=[0, 0, 1, 2, 3]))
    with pytest.raises(LanternError, match="'identical'"):
        retrieve(own, own, merge="all")
    with pytest.raises(LanternError, match="permutation"):
        retrieve(own, own, permutations=0)
