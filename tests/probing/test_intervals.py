"""Intervals of probe scores: they hold their level where training sets vary too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lantern_probe.probing.classify import grid_predict
from lantern_probe.probing.folds import group_folds
from lantern_probe.probing.intervals import (
    REPEATS,
    accuracy_interval,
    best_interval,
    deviations,
    fold_variance,
    image_variance,
    score_interval,
)
from lantern_probe.probing.site_scores import ProbeSettings, make_target, score_site


def draw(rng: np.random.Generator, n: int) -> tuple[torch.Tensor, list[str]]:
    labels = rng.integers(2, size=n)
    x = rng.normal(size=(n, 8))
    x[:, 0] += 1.2 * labels
    return torch.tensor(x, dtype=torch.float32), [f"c{label}" for label in labels]


@pytest.mark.extra
@pytest.mark.parametrize("n", [60, 200])
def test_the_interval_covers_the_mean_accuracy_of_other_samples(n: int) -> None:
    """120 sets, of which the mean accuracy is the truth: 95 % less Monte Carlo error."""
    settings = ProbeSettings(folds=5, controls=0, permutations=0)
    scores, ends = [], []
    for seed in range(120):
        x, labels = draw(np.random.default_rng(seed), n)
        found = score_site(x, make_target("c", labels, list(range(n)), ["t"] * n, settings))
        scores.append(found.score)
        ends.append((found.low, found.high))
    truth = np.mean(scores)
    assert np.mean([low <= truth <= high for low, high in ends]) >= 0.90
    assert np.mean([high - low for low, high in ends]) < 8 * np.std(scores)


def test_the_variance_of_independent_images_by_hand():
    gains = torch.tensor([1.0, 0.0, 1.0, 1.0])
    # Deviations .25, -.75, .25 and .25; without images to share, s^2 / n.
    assert image_variance(gains, range(4)) == pytest.approx(0.25 / 4)
    # In two images they sum to -.5 and .5.
    assert image_variance(gains, [0, 0, 1, 1]) == pytest.approx(0.5 / 4**2 * 2)
    assert image_variance(gains, [0] * 4) == 0


def test_folds_that_agree_by_luck_claim_no_more_than_independent_images() -> None:
    """Every fold has 3 of 5 right, so that the means of the folds do not vary at all."""
    gains = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0] * 5, dtype=torch.float64)
    folds = torch.arange(5).repeat_interleave(5)
    found = score_interval(
        torch.zeros(25, 2), gains.long(), gains, 1.0, folds, range(25),
        classes=True, seed=0, repeats=1,
    )  # fmt: skip
    # 1 / 5 + 1 / 4 times a variance of folds of 5 samples: .24 * 25 / 24 over 5.
    assert found == pytest.approx(accuracy_interval(0.6, 25, 25, 0.45 * 0.25 / 5, 4, 5))
    assert found[0] < accuracy_interval(0.6, 25, 25, 0.0, 4, 5)[0]


def test_the_variance_by_hand():
    gains = torch.tensor([1.0, 0.0, 1.0, 1.0])
    variance, freedom = fold_variance([gains], [torch.tensor([0, 0, 1, 1])])
    assert freedom == 1 and variance == pytest.approx((1 / 2 + 1) * 0.125)


def test_the_best_of_several_slots_has_a_wider_interval_than_each():
    rng = np.random.default_rng(0)
    rows = []
    for slot in range(8):
        gains = torch.tensor((rng.random(100) < 0.7).astype(float))
        score = float(gains.mean())
        off = deviations(gains, range(100), 0)
        row = {"score": score, "low": score - 0.1, "high": score + 0.1, "kind": "class"}
        rows.append(row | {"slot": slot, "deviations": off})
    best = max(rows, key=lambda row: row["score"])
    assert best_interval([best]) == (best["low"], best["high"])
    low, high = best_interval(rows)
    # Eight independent slots: 2.7 standard errors instead of 1.96.
    assert 0.12 < best["score"] - low < 0.16 and 0.12 < high - best["score"] < 0.16


@pytest.mark.extra
@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_the_interval_of_the_best_of_correlated_slots_covers_what_it_reads(shared: float) -> None:
    """60 sets of four slots alike: the best of them scores too well, its interval counts that.

    The truth of a slot is its mean accuracy over the sets. Slots are as correlated as their noise.
    """
    scores, ends, own = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = torch.tensor(rng.integers(2, size=60))
        common, folds = rng.normal(size=(60, 8)), group_folds(range(60), 5, labels, 0)
        rows: list[dict[str, Any]] = []
        for _ in range(4):
            noise = rng.normal(size=(60, 8))
            values = np.sqrt(shared) * common + np.sqrt(1 - shared) * noise
            values[:, 0] += 1.2 * labels.numpy()
            x = torch.tensor(values, dtype=torch.float32)
            held = grid_predict(x, labels[None], folds, (0.01,))
            gains = (held.predicted[0, 0] == labels).double()
            low, high = score_interval(
                x, labels, gains, 0.01, folds, range(60), classes=True, seed=0, repeats=REPEATS
            )
            row = {"score": float(gains.mean()), "low": low, "high": high, "kind": "class"}
            rows.append(row | {"deviations": deviations(gains, range(60), 0)})
        scores.append([row["score"] for row in rows])
        ends.append(best_interval(rows))
        best = max(rows, key=lambda row: row["score"])
        own.append(best["high"] - best["low"])
    table = np.array(scores)
    truth = table.mean(0)[table.argmax(1)]
    assert np.mean(table.max(1) - truth) > 0.01
    assert np.mean([low <= t <= high for (low, high), t in zip(ends, truth, strict=True)]) >= 0.92
    # Wider than that of a slot chosen beforehand, and not by more than four slots call for.
    assert 1 < np.mean([high - low for low, high in ends]) / np.mean(own) < 1.3
