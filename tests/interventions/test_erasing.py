"""Erasing an attribute from the slots: what is fitted on whom, and what the answers lose."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lantern_probe.analysis.ablation import summarize
from lantern_probe.causal.ablation import Ablation
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.interventions.erasing import FOLDS, fold_of, training
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import load_task


def test_a_sample_is_erased_by_what_others_taught():
    samples = load_task("scenes", 60, 5)
    pool = LatentPool(
        {s.id: s for s in samples},
        {s.id: torch.full((2, 3), float(i)) for i, s in enumerate(samples)},
    )
    folds = {s.id: fold_of(s) for s in samples}
    assert set(folds.values()) == set(range(FOLDS))
    for fold in range(FOLDS):
        labels, latents = training("color", pool, fold)
        inside = [i for i, s in enumerate(samples) if folds[s.id] == fold]
        assert len(labels) == len(samples) - len(inside)
        assert not set(latents[:, 0, 0].int().tolist()) & set(inside)
    with pytest.raises(LanternError, match="have the attribute 'size'; there are answer, cell"):
        training("size", pool, 0)


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
    low = {name: {c: s.ci_low or 0.0 for c, s in of.items()} for name, of in found.items()}
    high = {name: {c: s.ci_high or 0.0 for c, s in of.items()} for name, of in found.items()}
    assert all(value > 0.94 for value in low["bypass"].values())
    assert high["faithful"]["erase:attribute=color"] < 0.3
    assert low["faithful"]["erase-random:attribute=color"] > 0.9
    for control in ("erase-shuffled:attribute=color", "erase:attribute=distractor_color"):
        assert low["faithful"][control] > high["faithful"]["erase:attribute=color"]
