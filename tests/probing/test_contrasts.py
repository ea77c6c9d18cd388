"""A probe against its controls, and probes under several seeds."""

import math

import numpy as np
import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.probing.pooled import best_contrast, pool_seeds
from lantern_probe.probing.site_scores import ProbeSettings, make_target, probe_row, score_site

QUICK = ProbeSettings(folds=4, controls=2, permutations=19)
N = 72


def data(rng: np.random.Generator, signal: float) -> tuple[torch.Tensor, list[int], list[str]]:
    """Features that hold a class with some strength, the classes, and questions of no content."""
    labels = rng.permutation(np.arange(N) % 3)
    features = rng.normal(size=(N, 8))
    features[np.arange(N), labels] += signal
    questions = [str(one) for one in rng.permutation(np.arange(N) % 9)]
    return torch.tensor(features, dtype=torch.float32), labels.tolist(), questions


def rows_of(
    rng: np.random.Generator, signal: float, seeds: int = 1, settings: ProbeSettings = QUICK
) -> list[dict]:
    x, labels, questions = data(rng, signal)
    blank = torch.tensor(rng.normal(size=(N, 8)), dtype=torch.float32)
    found = []
    for seed in range(seeds):
        some = ProbeSettings(
            settings.folds, settings.controls, settings.permutations, seed, test_seed=0
        )
        target = make_target("color", labels, list(range(N)), questions, some)
        plain = score_site(blank, target, tests=False)
        given = {"untrained": plain.score, "question": None}
        found.append(
            probe_row(
                "latent@slot", 0, target, score_site(x, target), given,
                {"untrained": plain.repeated},
            )
        )  # fmt: skip
    return found


def test_a_contrast_is_the_difference_of_the_two_scores():
    (row,) = rows_of(np.random.default_rng(0), 2.0)
    control, plain = row["contrasts"]["control"], row["contrasts"]["untrained"]
    assert control["difference"] == pytest.approx(row["selectivity"])
    assert plain["difference"] == pytest.approx(row["score"] - row["untrained"])
    for one in (control, plain):
        assert one["low"] < one["difference"] < one["high"] and one["low"] > 0 and one["p"] < 0.01


def test_intervals_of_contrasts_hold_their_level():
    """24 data sets; the truth is the mean difference over them, as a probe is trained anew."""
    rng, repeats = np.random.default_rng(1), 24
    settings = ProbeSettings(folds=4, controls=2, permutations=0)
    for signal in (0.0, 1.0):
        found = [rows_of(rng, signal, settings=settings)[0]["contrasts"] for _ in range(repeats)]
        for name in ("control", "untrained"):
            some = [one[name] for one in found]
            truth = 0.0 if signal == 0 else np.mean([one["difference"] for one in some])
            held = np.mean([one["low"] <= truth <= one["high"] for one in some])
            assert held >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / repeats), (signal, name)
            if signal == 0:
                wrong = np.mean([one["p"] <= 0.05 for one in some])
                assert wrong <= 0.05 + 3 * math.sqrt(0.95 * 0.05 / repeats), name


def test_a_probe_that_never_differs_from_its_baseline_is_not_shown_to_be_equal():
    x, labels, questions = data(np.random.default_rng(2), 9.0)
    target = make_target("color", labels, list(range(N)), questions, QUICK)
    found = score_site(x, target)
    assert found.score == 1
    row = probe_row("s", 0, target, found, {}, {"untrained": found.repeated})
    one = row["contrasts"]["untrained"]
    assert one["difference"] == 0 and one["low"] < 0 < one["high"] and one["p"] == 1


def test_several_seeds_are_one_row_with_their_mean():
    rows = rows_of(np.random.default_rng(3), 1.0, seeds=3)
    assert [row["condition"] for row in rows] == ["color", "color:seed=1", "color:seed=2"]
    assert len({tuple(row["drawn"]) for row in rows}) == 1  # one set of permutations
    assert len({row["score"] for row in rows}) > 1
    (pooled,) = pool_seeds(rows)
    scores = [row["score"] for row in rows]
    assert pooled["score"] == pytest.approx(np.mean(scores))
    assert pooled["seeds"] == 3 and list(pooled["score_by_seed"].values()) == scores
    between = np.var(scores, ddof=1) / 3
    assert pooled["variance"] == pytest.approx(np.mean([r["variance"] for r in rows]) + between)
    assert pooled["low"] < pooled["score"] < pooled["high"] and pooled["p"] == 0.05
    contrast = pooled["contrasts"]["control"]
    assert contrast["difference"] == pytest.approx(pooled["selectivity"])
    assert pooled["condition"] == pooled["target"] == "color"


def test_one_seed_stays_as_it_is():
    (row,) = rows_of(np.random.default_rng(4), 1.0)
    assert pool_seeds([row]) == [{**row, "seeds": 1}]


def test_rows_of_an_earlier_version_are_refused_among_several_seeds():
    rows = rows_of(np.random.default_rng(4), 1.0, seeds=2)
    del rows[0]["variance"]
    with pytest.raises(LanternError, match="earlier version.*--overwrite, or --seeds 1"):
        pool_seeds(rows)


def test_the_contrast_of_the_best_of_several_counts_the_choice():
    rows = [rows_of(np.random.default_rng(seed), 1.0)[0] for seed in range(4)]
    best = max(rows, key=lambda row: row["score"])["contrasts"]["untrained"]
    found = best_contrast(rows, "untrained")
    assert found is not None and found["difference"] == best["difference"]
    assert found["low"] < best["low"] and found["p"] == pytest.approx(min(1, 4 * best["p"]))
    assert best_contrast(rows, "question") is None


def test_values_have_contrasts_too():
    rng = np.random.default_rng(5)
    x = torch.tensor(rng.normal(size=(N, 6)), dtype=torch.float32)
    values = (x[:, 0] + 0.3 * torch.tensor(rng.normal(size=N))).double().tolist()
    target = make_target("width", values, list(range(N)), [str(i % 9) for i in range(N)], QUICK)
    found = score_site(x, target)
    one = probe_row("s", 0, target, found, {})["contrasts"]["control"]
    assert one["difference"] == pytest.approx(found.score - found.control)
    assert one["low"] > 0
