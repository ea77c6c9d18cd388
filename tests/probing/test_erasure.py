"""Erasure: what no linear probe finds any more, how little else changes, and what follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from lantern_probe.analysis.ablation import summarize
from lantern_probe.causal.ablation import Ablation
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.probing.erasure import fit_eraser, random_eraser
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import load_task


def planted(n: int, dim: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, list[int]]:
    """Correlated noise with class means on top."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    means = rng.normal(size=(classes, dim)) * 2
    x = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) / dim**0.5 + means[labels]
    return torch.tensor(x, dtype=torch.float32), labels.tolist()


def covariance(x: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """Between vectors and one-hot labels."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(labels)).double()
    centred = x.double() - x.double().mean(0)
    return centred.T @ (one_hot - one_hot.mean(0)) / len(x)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 60), st.integers(1, 40), st.integers(2, 5), st.integers(0, 1000))
def test_nothing_linear_is_left_on_the_fitted_vectors(n: int, dim: int, classes: int, seed: int):
    x, labels = planted(n, dim, classes, seed)
    if len(set(labels)) < 2:
        return
    eraser = fit_eraser(x, labels)
    erased = eraser(x)
    assert eraser.rank <= min(len(set(labels)) - 1, dim)
    assert covariance(erased, labels).abs().max() < 1e-5 * max(1, x.abs().max().item()) ** 2
    assert torch.allclose(erased.double().mean(0), x.double().mean(0), atol=1e-4)
    assert torch.allclose(eraser(erased), erased, atol=1e-3)  # nothing is left to take
    assert erased.dtype == x.dtype and erased.shape == x.shape


def test_a_probe_falls_to_chance_on_new_samples_and_little_else_changes():
    x, labels = planted(8000, 20, 4)
    eraser = fit_eraser(x[:4000], labels[:4000])
    before = cross_val_score(LogisticRegression(max_iter=2000), x[4000:], labels[4000:]).mean()
    after = cross_val_score(
        LogisticRegression(max_iter=2000), eraser(x[4000:]), labels[4000:]
    ).mean()
    assert before > 0.9 and abs(after - 0.25) < 0.08
    control = random_eraser(x[:4000], eraser.rank, torch.Generator().manual_seed(0))
    kept = cross_val_score(
        LogisticRegression(max_iter=2000), control(x[4000:]), labels[4000:]
    ).mean()
    assert control.rank == eraser.rank == 3 and kept > 0.8
    # Three of twenty directions are gone, the rest of each vector is where it was.
    moved = (eraser(x) - x).double()
    assert torch.linalg.matrix_rank(moved, rtol=1e-4) == 3


def test_few_samples_of_many_dimensions():
    """n = 30, D = 2048: exact on the fitted ones, and no explosion on others."""
    x, labels = planted(60, 2048, 3)
    eraser = fit_eraser(x[:30], labels[:30])
    assert covariance(eraser(x[:30]), labels[:30]).abs().max() < 1e-4
    others = x[30:]
    assert (eraser(others) - others).norm(dim=1).max() < 2 * others.norm(dim=1).max()


def test_refusals():
    x, labels = planted(20, 5, 3)
    with pytest.raises(LanternError, match="20 vectors for 19 labels"):
        fit_eraser(x, labels[:-1])
    with pytest.raises(LanternError, match="at least two different labels"):
        fit_eraser(x, ["a"] * 20)
    with pytest.raises(LanternError, match="do not differ"):
        fit_eraser(torch.ones(20, 5), labels)
    with pytest.raises(LanternError, match="vary in as many dimensions; these vary in 5"):
        random_eraser(x, 6, torch.Generator())
    x[4, 2] = torch.nan
    with pytest.raises(LanternError, match="vector 4 "):
        fit_eraser(x, labels)


def test_decodable_is_not_used(tmp_path: Path):
    """faithful loses its answer with the colour, bypass does not, the controls cost neither."""
    samples = load_task("scenes", 160, 812)
    labels = (
        *("own", "erase:attribute=color", "erase-random:attribute=color"),
        *("erase-shuffled:attribute=color", "erase:attribute=distractor_color"),
    )
    found = {}
    for name in ("faithful", "bypass"):
        with Run.open(tmp_path / name, {}) as run:
            Ablation(
                LanternModel(name), samples, [parse_condition(c) for c in labels], run
            ).execute()
        rows = read_rows(tmp_path / name)
        assert {tuple(r["rank"]) for r in rows if r["condition"] == labels[1]} == {(7,) * 8}
        found[name] = {s.condition: s for s in summarize(rows, model=name)}
    low = {name: {c: s.accuracy.low for c, s in of.items()} for name, of in found.items()}
    high = {name: {c: s.accuracy.high for c, s in of.items()} for name, of in found.items()}
    assert all(value > 0.94 for value in low["bypass"].values())
    assert high["faithful"]["erase:attribute=color"] < 0.3
    assert low["faithful"]["erase-random:attribute=color"] > 0.9
    for control in ("erase-shuffled:attribute=color", "erase:attribute=distractor_color"):
        assert low["faithful"][control] > high["faithful"]["erase:attribute=color"]
