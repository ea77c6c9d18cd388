"""Exchanges on organisms whose truth is in between: shares, halves, and what later slots copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lantern_probe.analysis import exchange
from lantern_probe.causal.ablation import Ablation
from lantern_probe.interventions import parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample
from lantern_probe.tasks.families import family_share, mixed_scenes, seen_scenes
from lantern_probe.tasks.scenes import scenes, twin
from lantern_probe.tasks.twins import with_twins

SEED = 5_000_000


def exchanged(name: str, samples: list[Sample], labels: list[str], folder: Path) -> list[Any]:
    """Rows of exchanges between every sample and its twin in colour."""
    pairs, _ = with_twins(samples, twin, answers_known=True)
    conditions = [parse_condition(label) for label in labels]
    with Run.open(folder, {}) as run:
        Ablation(LanternModel(name), pairs, conditions, run).execute()
    return read_rows(folder)


def followed(rows: list[Any], label: str, names: set[str]) -> float:
    """Share of the rows of some samples whose answer is the one the donor's image calls for."""
    of = [r for r in rows if r["condition"] == label and r["sample"].split("~")[0] in names]
    return sum(row["answer"] == row["donor_answer"] for row in of) / len(of)


def test_halves_answer_through_the_half_they_read_when_later_slots_are_frozen(tmp_path: Path):
    """Re-rolled, later slots copy the first half, and the second half seems to be read from it."""
    samples = scenes(24, SEED)
    first = {sample.id for sample in samples if sample.attributes["template"] == 0}
    second = {sample.id for sample in samples} - first
    whole, frozen, later = "twin:slots=0+1+2+3", "twin:slots=0+1+2+3,frozen=1", "twin:slots=4+5+6+7"
    rows = exchanged("halves", samples, ["own", "twin", whole, frozen, later], tmp_path)
    assert followed(rows, "twin", first | second) > 0.9
    assert followed(rows, frozen, first) > 0.9 and followed(rows, frozen, second) < 0.1
    assert followed(rows, later, second) > 0.9 and followed(rows, later, first) < 0.1
    assert followed(rows, whole, first) > 0.9
    assert followed(rows, whole, second) > followed(rows, frozen, second) + 0.3


def test_a_mixture_follows_by_its_share(tmp_path: Path):
    """Of partial, the questions of the family `slots` follow the donor, and the others do not."""
    samples = mixed_scenes(32, SEED, share=0.3)
    rows = exchanged("partial", samples, ["own", "twin"], tmp_path)
    rate = followed(rows, "twin", {sample.id for sample in samples})
    assert abs(rate - family_share(samples)) <= 2 / 64


def test_pairs_of_a_weak_model_that_differ_follow_and_the_hidden_ones_do_not_differ(
    tmp_path: Path,
):
    samples = seen_scenes(32, SEED, share=0.5)
    rows = exchanged("weak", samples, ["own", "twin", "twin-oracle"], tmp_path)
    own, oracle = exchange.summarize(
        rows, model="weak", conditions=["twin", "twin-oracle"], donors="twin"
    )
    assert oracle.donor_rate.estimate > 0.95
    assert 0.3 < own.donor_rate.estimate < 0.75
    answers = {r["sample"]: r["answer"] for r in rows if r["condition"] == "own"}
    hidden = [sample.id for sample in samples if sample.attributes["family"] == "hidden"]
    visible = [sample.id for sample in samples if sample.attributes["family"] == "visible"]
    same = [answers[name] == answers[f"{name}~color0"] for name in hidden]
    assert all(same)
    assert not any(answers[name] == answers[f"{name}~color0"] for name in visible)
