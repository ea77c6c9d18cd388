"""Erasers are fitted on other samples, for each slot; their controls take as many directions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe.analysis.ablation import summarize
from lantern_probe.causal.ablation import Ablation
from lantern_probe.errors import LanternError
from lantern_probe.interventions import (
    Erase,
    EraseRandom,
    EraseShuffled,
    LatentPool,
    parse_condition,
)
from lantern_probe.interventions.erasing import FOLDS, attribute_of, fold_of, training
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import load_task
from lantern_probe.tasks.sample import Sample


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


@pytest.fixture(scope="module")
def planted() -> tuple[list[Sample], LatentPool]:
    """Own latents whose first dimension of slot 0 holds the colour, and slot 1 nothing."""
    samples = load_task("scenes", 80, 5)
    colors = sorted({str(s.attributes["color"]) for s in samples})
    stream = torch.Generator().manual_seed(0)
    latents = {}
    for sample in samples:
        latents[sample.id] = torch.randn(2, 12, generator=stream)
        latents[sample.id][0, 0] += 20 * colors.index(str(sample.attributes["color"]))
    return samples, LatentPool({s.id: s for s in samples}, latents)


def erased(condition: Any, sample: Sample, pool: LatentPool) -> torch.Tensor:
    """What is fed at slot 0 for the sample's own latent."""
    from lantern_probe.model.blocks import Slot

    edit = condition.plan(sample, None, pool).edit
    return edit(pool.latents[sample.id][0], Slot(0, 0, torch.empty(0, 12)))


def test_erasing_takes_the_attribute_and_its_controls_leave_it(planted: Any):
    samples, pool = planted
    spread = {}
    for condition in (Erase("color"), EraseRandom("color"), EraseShuffled("color")):
        values = torch.stack([erased(condition, sample, pool) for sample in samples])[:, 0]
        spread[condition.name] = float(values.std())
    own = float(torch.stack([pool.latents[s.id][0, 0] for s in samples]).std())
    assert spread["erase"] < 0.1 * own
    assert spread["erase-shuffled"] > 0.2 * own


def test_a_control_takes_as_many_directions(planted: Any):
    samples, pool = planted
    ranks = [
        condition.details(samples[0], pool)["rank"]
        for condition in (Erase("color"), EraseRandom("color"))
    ]
    assert ranks[0] == ranks[1] and len(ranks[0]) == 2 and min(ranks[0]) >= 1


def test_a_twin_is_in_the_fold_of_its_original(planted: Any):
    samples, _ = planted
    for sample in samples[:10]:
        pair = {**sample.attributes, "pair": sample.id}
        one = replace(sample, attributes=pair)
        other = replace(samples[-1], attributes=pair)
        assert fold_of(one) == fold_of(other)


def test_the_answer_is_an_attribute_like_others(planted: Any):
    samples, _ = planted
    assert attribute_of(samples[0], "answer") == samples[0].answer
    assert attribute_of(samples[0], "color") == samples[0].attributes["color"]
    assert attribute_of(samples[0], "absent") is None


@pytest.mark.slow
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
