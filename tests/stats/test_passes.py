"""Means over several passes: the same as for one text per sample, and right by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lantern_probe.errors import LanternError
from lantern_probe.stats import (
    accuracy_difference,
    accuracy_equivalence,
    accuracy_test,
    proportion,
    sign_flip_test,
)
from lantern_probe.stats.passes import (
    mean_accuracy_difference,
    mean_accuracy_equivalence,
    mean_share,
    mean_test,
)


def drawn(seed: int, n: int, passes: int, shift: float = 0.0, kept: float = 1.0) -> tuple[Any, ...]:
    """Two conditions of n samples that differ in how easy they are; some texts may not count."""
    rng = np.random.default_rng(seed)
    easy = rng.beta(0.5, 0.5, n)
    one = rng.random((n, passes)) < easy[:, None]
    two = rng.random((n, passes)) < np.clip(easy + shift, 0, 1)[:, None]
    counted = rng.random((n, passes)) < kept
    counted[np.arange(n), rng.integers(passes, size=n)] = True
    samples = np.repeat(np.arange(n), passes).reshape(n, passes)
    return one[counted], two[counted], samples[counted].tolist()


def test_one_pass_is_what_single_texts_are() -> None:
    one, two, samples = drawn(1, 40, 1, -0.2)
    images = [sample // 2 for sample in samples]
    for clusters in (None, images):
        assert mean_share(one, samples, clusters) == proportion(one, clusters)
        assert mean_test(one, two, samples, clusters) == accuracy_test(one, two, clusters)
        found = mean_accuracy_difference(one, two, samples, clusters)
        assert found == accuracy_difference(one, two, clusters)
        same = mean_accuracy_equivalence(one, two, samples, clusters, margin=0.1)
        assert same == accuracy_equivalence(one, two, clusters, margin=0.1)


@pytest.mark.parametrize("per_image", [1, 3])
def test_equally_many_passes_are_texts_in_clusters(per_image: int) -> None:
    one, two, samples = drawn(2, 30, 4, -0.2)
    images = [sample // per_image for sample in samples]
    found = mean_accuracy_difference(one, two, samples, images)
    flat = accuracy_difference(one, two, images)
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (flat.estimate, flat.low, flat.high)
    )
    assert found.n == 30 and found.clusters == flat.clusters
    assert found.design_effect == pytest.approx(flat.design_effect / 4)
    share, texts = mean_share(one, samples, images), proportion(one, images)
    assert (share.low, share.high) == pytest.approx((texts.low, texts.high))
    same = mean_accuracy_equivalence(one, two, samples, images, margin=0.1)
    assert same.p == pytest.approx(accuracy_equivalence(one, two, images, margin=0.1).p)
    assert mean_test(one, two, samples, images).p == accuracy_test(one, two, images).p


def test_every_sample_counts_once_however_many_of_its_texts_count() -> None:
    right, samples = [1, 0, 0, 0, 1, 1], ["a", "b", "b", "b", "c", "c"]
    assert mean_share(right, samples).estimate == pytest.approx(2 / 3)
    found = mean_accuracy_difference([0] * 6, right, samples)
    assert found.estimate == pytest.approx(-2 / 3) and (found.n, found.discordant) == (3, 2)


def test_the_test_flips_the_mean_differences_of_samples() -> None:
    one, two, samples = drawn(3, 12, 3, -0.3, kept=0.6)
    gaps: dict[int, list[int]] = {}
    for sample, a, b in zip(samples, one, two, strict=True):
        gaps.setdefault(sample, []).append(int(a) - int(b))
    found = mean_test(one, two, samples)
    assert found.p == pytest.approx(sign_flip_test([np.mean(g) for g in gaps.values()]).p)
    assert found.method == "sign flip of means"
    assert found.b == sum(np.mean(g) > 0 for g in gaps.values())
    paired = [sample // 2 for sample in samples]
    assert mean_test(one, two, samples, paired).method == "clustered sign flip of means"


def test_passes_that_all_agree_count_once() -> None:
    """More passes of the same text are no evidence: the bound is that of the samples."""
    samples = [sample for sample in range(50) for _ in range(8)]
    found = mean_accuracy_difference([1] * 400, [1] * 400, samples)
    single = accuracy_difference([1] * 50, [1] * 50)
    assert found.method == "exact bound" and found.discordant == 0
    assert found.high >= single.high
    assert mean_share([1] * 400, samples).low <= proportion([1] * 50).low
    with_margin = mean_accuracy_equivalence([1] * 400, [1] * 400, samples, margin=0.02)
    assert with_margin.p >= accuracy_equivalence([1] * 50, [1] * 50, margin=0.02).p


def test_more_passes_make_a_narrower_interval() -> None:
    widths = []
    for passes in (2, 8):
        one, two, samples = drawn(4, 60, passes)
        found = mean_accuracy_difference(one, two, samples)
        widths.append(found.high - found.low)
    assert widths[1] < 0.75 * widths[0]


def test_no_text_at_all_is_known_to_be_nothing() -> None:
    assert mean_share([], []).n == 0
    assert mean_accuracy_difference([], [], []).low == -1
    with pytest.raises(LanternError, match="0 or 1"):
        mean_share([2], ["a"])


@pytest.mark.parametrize(
    ("n", "passes", "shift", "kept"), [(30, 4, -0.2, 1.0), (60, 2, 0.0, 1.0), (40, 5, -0.1, 0.5)]
)
def test_intervals_cover_and_the_test_keeps_its_level(
    n: int, passes: int, shift: float, kept: float
) -> None:
    """With the spread between samples and between passes in them; of 300 simulations each."""
    easy = np.random.default_rng(0).beta(0.5, 0.5, 10**6)
    truth, accuracy = float(np.mean(np.clip(easy + shift, 0, 1) - easy)), float(easy.mean())
    covered = shares = rejected = 0
    for seed in range(300):
        one, two, samples = drawn(seed, n, passes, shift, kept)
        found = mean_accuracy_difference(two, one, samples)
        p = mean_test(two, one, samples).p
        assert found.low <= 0 <= found.high or p <= 0.05
        covered += found.low <= truth <= found.high
        rejected += p <= 0.05
        share = mean_share(one, samples)
        shares += share.low <= accuracy <= share.high
    # 0.95 less three standard errors of 300 simulations.
    assert covered / 300 > 0.912 and shares / 300 > 0.912
    if not shift:
        assert rejected / 300 < 0.088
