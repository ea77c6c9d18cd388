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
from lantern_probe.interventions.erasing import attribute_of, training
from lantern_probe.interventions.pool import FOLDS, fold_of
from lantern_probe.model.blocks import Slot
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
        labels, latents, _ = training("color", pool, fold)
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


def test_stored_latents_are_erased_unless_rerolled_ones_are_asked_for(planted: Any):
    samples, pool = planted
    sample, other = samples[0], torch.ones(12)
    for kind in (Erase, EraseRandom, EraseShuffled):
        stored, rerolled = kind("color"), kind("color", rerolled=True)
        eraser = stored._erasers(pool, fold_of(sample))[0]
        assert eraser is rerolled._erasers(pool, fold_of(sample))[0]
        place = Slot(0, 0, torch.empty(0, 12))
        fed = stored.plan(sample, None, pool).edit(other, place)
        assert torch.allclose(fed, eraser(pool.latents[sample.id][0]), atol=1e-5)
        fed = rerolled.plan(sample, None, pool).edit(other, place)
        assert torch.allclose(fed, eraser(other), atol=1e-5)
        # Later blocks are not stored.
        fed = stored.plan(sample, None, pool).edit(other, Slot(1, 0, torch.empty(0, 12)))
        assert torch.allclose(fed, eraser(other), atol=1e-5)
        assert stored.details(sample, pool)["changed"] == "stored"
        assert rerolled.details(sample, pool)["changed"] == "re-rolled"
    assert parse_condition("erase:attribute=color,rerolled=1") == Erase("color", rerolled=True)


def test_a_row_says_how_much_variance_was_removed_from_its_fold(planted: Any):
    samples, pool = planted
    condition = Erase("color")
    details = condition.details(samples[0], pool)
    fold = fold_of(samples[0])
    inside = torch.stack([pool.latents[s.id] for s in samples if fold_of(s) == fold])
    for slot, eraser in enumerate(condition._erasers(pool, fold)):
        x = inside[:, slot].double()
        left = (eraser(x) - eraser.mean).square().sum() / (x - eraser.mean).square().sum()
        assert details["removed"][slot] == pytest.approx(1 - float(left), abs=1e-4)
    assert details["removed"][0] > 0.9 > details["removed"][1] + 0.2


@pytest.fixture(scope="module")
def faithful_pool() -> LatentPool:
    """Own latents of faithful."""
    lantern = LanternModel("faithful")
    samples = load_task("scenes", 256, 812)
    blocks = lantern.generate(samples, max_new_tokens=24).blocks
    return LatentPool(
        {s.id: s for s in samples},
        {s.id: b[0].latents.float() for s, b in zip(samples, blocks, strict=True)},
    )


@pytest.mark.slow
def test_a_random_eraser_removes_as_much_variance_of_held_out_latents(faithful_pool: LatentPool):
    one_a_fold = {fold_of(s): s for s in faithful_pool.samples.values()}

    def removed(condition: Any) -> torch.Tensor:
        rows = [condition.details(s, faithful_pool)["removed"] for s in one_a_fold.values()]
        return torch.tensor(rows).mean(0)

    true = removed(Erase("color"))
    for seed in range(2):
        ratio = removed(EraseRandom("color", seed=seed)) / true
        assert float(ratio.min()) > 0.85 and float(ratio.max()) < 1.15


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


def ablated(name: str, samples: list[Sample], labels: tuple[str, ...], folder: Path) -> Any:
    """Rows of an ablation, and its summaries by condition."""
    with Run.open(folder, {}) as run:
        conditions = [parse_condition(label) for label in labels]
        Ablation(LanternModel(name), samples, conditions, run).execute()
    rows = read_rows(folder)
    return rows, {s.condition: s for s in summarize(rows, model=name)}


@pytest.mark.slow
def test_decodable_is_not_used(tmp_path: Path):
    """faithful loses its answer with the colour, bypass does not, the controls cost neither."""
    samples = load_task("scenes", 160, 812)
    labels = (
        *("own", "erase:attribute=color", "erase-random:attribute=color"),
        *("erase-shuffled:attribute=color", "erase:attribute=distractor_color"),
    )
    for name in ("faithful", "bypass"):
        rows, found = ablated(name, samples, labels, tmp_path / name)
        assert {tuple(r["rank"]) for r in rows if r["condition"] == labels[1]} == {(7,) * 8}
        for label in labels:
            accuracy = found[label].accuracy
            if (name, label) == ("faithful", "erase:attribute=color"):
                assert accuracy.high < 0.25
            else:
                assert accuracy.low > 0.9


@pytest.mark.extra
def test_what_an_eraser_of_shuffled_labels_costs_is_re_rolling(tmp_path: Path):
    """Stored latents keep their answer under it; re-rolled ones drift from slot to slot."""
    samples = load_task("scenes", 256, 812)
    true = "erase:attribute=color"
    shuffled = [f"erase-shuffled:attribute=color,seed={seed}" for seed in range(4)]
    rerolled = [f"erase-shuffled:rerolled=1,attribute=color,seed={seed}" for seed in range(2)]
    rows, found = ablated("faithful", samples, (true, *shuffled, *rerolled), tmp_path)
    assert found[true].accuracy.estimate < 0.2

    def by_seed(labels: list[str]) -> list[float]:
        known = {parse_condition(label).label for label in labels}
        (one,) = (summary for summary in found.values() if known <= {*summary.labels})
        return list(one.by_seed.values())

    assert len(by_seed(shuffled)) == 4 and min(by_seed(shuffled)) > 0.93
    assert len(by_seed(rerolled)) == 2 and max(by_seed(rerolled)) < 0.92
    assert {row["changed"] for row in rows if row["condition"] == true} == {"stored"}
