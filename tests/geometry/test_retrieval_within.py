"""Retrieval among samples that are alike."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import kstest

from lantern_probe.errors import LanternError
from lantern_probe.geometry import VectorSet
from lantern_probe.geometry.retrieval import retrieve
from lantern_probe.geometry.retrieval_within import AlikeRetrieval, retrieve_alike


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def views(own: np.ndarray, oracle: np.ndarray, labels, images=None, **options):
    found = retrieve_alike(
        VectorSet.of("own", own, images), VectorSet.of("oracle", oracle, images), labels, **options
    )
    return {view.view: view for view in found}


def of_questions(seed: int, knows_image: float = 0.0):
    """Own latents and oracles that share what the label says, and some of the rest."""
    labels = np.arange(60) % 4
    question = 3 * gaussian(4, 16, seed=99)[labels, None]
    oracle = question + gaussian(60, 3, 16, seed=seed)
    own = question + knows_image * oracle + gaussian(60, 3, 16, seed=seed + 10_000)
    return own, oracle, labels.tolist()


def test_what_the_question_says_is_no_retrieval_within_it() -> None:
    own, oracle, labels = of_questions(1)
    among_all = retrieve(VectorSet.of("own", own), VectorSet.of("oracle", oracle))[-2]
    assert among_all.mean_rank.p_better == 1 / 2000  # the smallest there is
    assert views(own, oracle, labels)["pooled"].place.p > 0.05
    own, oracle, labels = of_questions(1, knows_image=1)
    found = views(own, oracle, labels)["pooled"]
    assert found.place.p_better == 1 / 2000 and found.place.z < -3
    assert (found.n, found.left_out, found.groups) == (60, 0, 4)


def test_p_is_uniform_where_nothing_is_to_be_found() -> None:
    found = [
        views(*of_questions(seed), permutations=99, seed=seed)["pooled"].place.p_better
        for seed in range(150)
    ]
    assert kstest(found, "uniform").pvalue > 0.001


def test_one_group_of_all_is_plain_retrieval() -> None:
    own, oracle = gaussian(20, 2, 8), gaussian(20, 2, 8, seed=1)
    alike = views(own, oracle, ["same"] * 20)
    plain = retrieve(VectorSet.of("own", own), VectorSet.of("oracle", oracle))
    assert list(alike) == [view.view for view in plain]
    for view in plain:
        place = alike[view.view].place
        assert place.estimate == pytest.approx((view.mean_rank.estimate - 1) / 19)
        assert place.z == pytest.approx(view.mean_rank.z, abs=1e-4)


def test_z_is_that_of_all_pairings_within_the_groups() -> None:
    own, oracle = gaussian(7, 1, 4, seed=3), gaussian(7, 1, 4, seed=4)
    labels = [0, 1, 0, 1, 0, 1, 1]
    sums = []
    for even in itertools.permutations((0, 2, 4)):
        for odd in itertools.permutations((1, 3, 5, 6)):
            order = np.arange(7)
            order[[0, 2, 4]], order[[1, 3, 5, 6]] = even, odd
            found = views(own, oracle[order], labels, permutations=1)
            sums.append(found["slot 0"].place.estimate)
    place = views(own, oracle, labels)["slot 0"].place
    assert np.mean(sums) == pytest.approx(0.5)
    assert place.z == pytest.approx((place.estimate - 0.5) / np.std(sums), abs=1e-4)


def test_latents_that_are_all_alike_give_chance() -> None:
    own = np.repeat(gaussian(1, 2, 8), 12, 0)
    found: AlikeRetrieval = views(own, gaussian(12, 2, 8, seed=1), [0, 1] * 6)["pooled"]
    assert found.place.estimate == pytest.approx(0.5)
    assert found.place.z is None and found.place.p == 1


def test_samples_without_others_are_counted() -> None:
    own = gaussian(5, 1, 4)
    found = views(own, own, ["a", "a", "b", "a", "c"])["pooled"]
    assert (found.n, found.left_out, found.groups, found.place.estimate) == (3, 2, 1, 0)
    alone = views(own, own, range(5))["pooled"]
    assert math.isnan(alone.place.estimate) and alone.n == 0 and "no two" in alone.place.method


def test_images_of_several_samples_are_exchanged_as_a_whole() -> None:
    images = np.repeat(np.arange(10), 2)
    scene = gaussian(10, 1, 8)[images]
    # Every sample knows its image only, and not which of its two questions was asked.
    own, oracle = scene + 1e-3 * gaussian(20, 1, 8, seed=1), scene
    found = views(own, oracle, [0] * 20, images)["pooled"]
    assert found.place.p_better == 1 / 2000 and found.place.method.endswith("from them")


def test_labels_that_do_not_fit_are_refused() -> None:
    own = gaussian(4, 1, 4)
    with pytest.raises(LanternError, match="3 labels for 4 samples"):
        views(own, own, [1, 2, 3])
    with pytest.raises(LanternError, match=r"sample 2 \(counted from 0\) has no label"):
        views(own, own, [1, 1, None, 1])
