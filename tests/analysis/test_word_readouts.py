"""Means of readouts, and the level and power of their test on made-up readings."""

from __future__ import annotations

import numpy as np
import pytest

from lantern_probe.analysis.word_readouts import WordReading, rank_map, summarize
from lantern_probe.stats import Difference

TEXTS = ("red", "blue", "green", "pink")


def reading(
    gain: float, *, n: int = 40, images: int | None = None, seed: int = 0, slots: int = 2
) -> WordReading:
    """Vectors that favour some text each; with `gain`, the one that is their sample's."""
    rng = np.random.default_rng(seed)
    clusters = [f"i{k % (images or n)}" for k in range(n)]
    kinds = rng.integers(len(TEXTS), size=images or n)[[int(c[1:]) for c in clusters]]
    # What a vector favours is shared by the samples of an image, as its content would be.
    bias = rng.normal(size=(images or n, slots, len(TEXTS)))[[int(c[1:]) for c in clusters]]
    logits = bias + gain * np.eye(len(TEXTS))[kinds][:, None]
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    crossed = shares[:, :, kinds].transpose(2, 0, 1)  # text of i, vectors of j
    own = crossed[np.arange(n), np.arange(n)]
    figures = {"rank": 1 / own, "probability": own, "margin": own, "first": np.round(own)}
    return WordReading(
        site="latent@slot",
        target="answer",
        samples=[f"s{k}" for k in range(n)],
        clusters=clusters,
        texts=[TEXTS[kind] for kind in kinds],
        chance=np.full(n, 0.25),
        own=figures,
        crossed=crossed,
        untrained=None,
        end_cosine=np.zeros((n, slots)),
    )


@pytest.mark.parametrize("images", [None, 20], ids=["own-images", "repeated-images"])
def test_false_alarms_are_as_rare_as_said(images: int | None):
    p = [
        summarize([reading(0.0, images=images, seed=s, slots=1)], model="m")[0].p
        for s in range(200)
    ]
    alarms = np.mean([value is not None and value <= 0.05 for value in p])
    assert alarms <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    assert 0.4 < np.mean([value for value in p if value is not None]) < 0.6


def contrast(seed: int, n: int) -> tuple[Difference, float]:
    whole = summarize([reading(1.0, n=n, seed=seed, slots=1)], model="m")[0]
    assert whole.contrast is not None and whole.p is not None
    return whole.contrast, whole.p


def test_a_planted_word_is_found_and_the_interval_holds_the_truth():
    truth = np.mean([contrast(seed, 400)[0].estimate for seed in range(1000, 1010)])
    found = [contrast(seed, 40) for seed in range(100)]
    assert np.mean([p <= 0.05 for _, p in found]) > 0.95
    covered = np.mean([one.low < truth < one.high for one, _ in found])
    assert covered >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 100)


def test_samples_without_vectors_are_left_out():
    one = reading(1.0)
    for values in (*one.own.values(), one.end_cosine):
        values[:5] = np.nan
    one.crossed[:, :5] = np.nan
    one.crossed[:5] = np.nan
    whole = summarize([one], model="m")[0]
    assert whole.mean.n == 35 and whole.p is not None and np.isfinite(whole.p)
    assert whole.contrast is not None and whole.contrast.n <= 35


def test_one_sample_has_a_value_and_neither_test_nor_contrast():
    whole = summarize([reading(1.0, n=1)], model="m")[0]
    assert whole.mean.n == 1 and whole.p is None and whole.contrast is None and whole.other is None


def test_ranks_by_slot_are_those_of_the_sites_with_slots():
    one, text = reading(1.0), reading(1.0, slots=1)
    sites, ranks = rank_map([one, text])
    assert sites == ["latent@slot"] and ranks.shape == (1, 2)
    assert np.allclose(ranks[0], np.median(one.own["rank"], axis=0))
