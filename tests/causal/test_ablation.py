"""The engine of the ablation on the organisms: their truths, resumption, failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lantern_probe import organisms
from lantern_probe.analysis.ablation import ConditionSummary, summarize
from lantern_probe.causal.ablation import Ablation, with_own
from lantern_probe.errors import LanternError
from lantern_probe.interventions import STANDARD, Oracle, Own, Swap, Zeros, parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.organisms.training.build import load
from lantern_probe.organisms.training.generation import generate as reference
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import load_task
from lantern_probe.tasks.sample import Sample

SEED = 90210
"""Of scenes that neither training nor the cards' figures used."""
EVERY = [parse_condition(name) for name in STANDARD]


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def run(
    lantern: LanternModel, samples: list[Sample], folder: Path, conditions: Any = EVERY, **more: Any
) -> list[dict[str, Any]]:
    with Run.open(folder, {"test": True}) as records:
        Ablation(lantern, samples, conditions, records, **more).execute()
    return read_rows(folder)


def outcome(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[Any, ...]]:
    keys = ("status", "answer", "text", "emitted", "donor")
    return {(r["sample"], r["condition"]): tuple(r.get(key) for key in keys) for r in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faithful", "bypass", "collapsed", "vanilla"])
def test_the_truths_of_the_organisms(name: str, tmp_path: Path):
    """ORGANISMS: the bar, at an n that takes seconds; the cards hold the figures for 600."""
    card = organisms.card(name)
    samples = load_task(card.task, 96, SEED)
    rows = run(LanternModel(name), samples, tmp_path)
    found = {s.condition: s for s in summarize(rows, model=name)}
    assert all(s.n == 96 and s.failed == 0 for s in found.values())

    def low(summary: ConditionSummary) -> float:
        return summary.accuracy.low

    def near_chance(summary: ConditionSummary) -> bool:
        # Within the bar's 5 points, and two standard errors of the 96 scenes drawn here.
        error = 2 * (card.chance * (1 - card.chance) / summary.n) ** 0.5
        return abs(summary.accuracy.estimate - card.chance) <= 0.05 + error

    if name == "faithful":
        assert low(found["own"]) > 0.94 and low(found["oracle"]) > 0.94
        for blind in ("skip", "ban", "stock", "zeros", "noise", "noise-matched", "mean", "mask"):
            assert near_chance(found[blind])
        assert found["swap"].donor is not None and found["swap"].donor.low > 0.9
    elif name == "bypass":
        assert all(low(s) > 0.94 for s in found.values())
        assert found["swap"].donor is not None and found["swap"].donor.estimate == 0
    elif name == "collapsed":
        assert low(found["oracle"]) > 0.94 and near_chance(found["own"])
        assert near_chance(found["swap"]) and near_chance(found["zeros"])
    else:
        assert low(found["own"]) > 0.6


def test_answers_equal_those_of_an_independent_loop(faithful: LanternModel, tmp_path: Path):
    samples = load_task("scenes", 12, SEED + 1)
    rows = outcome(run(faithful, samples, tmp_path, [Own(), parse_condition("skip")]))
    plain = load(organisms.path("faithful"))
    for mode, condition in (("own", "own"), ("skip", "skip")):
        written = reference(plain, faithful.processor, samples, mode)
        for sample, answer in zip(samples, written.answers, strict=True):
            assert rows[sample.id, condition][1] == answer


def test_a_run_that_was_cut_off_ends_like_an_undisturbed_one(
    faithful: LanternModel, tmp_path: Path
):
    samples = load_task("scenes", 20, SEED + 2)
    whole = outcome(run(faithful, samples, tmp_path / "whole", batch_rows=16))
    left = 0

    def stop(rows: int) -> None:
        nonlocal left
        left -= rows
        if left < 0:
            raise KeyboardInterrupt

    folder = tmp_path / "cut"
    for allowed in (5, 60, 100, 30):
        left = allowed
        with pytest.raises(KeyboardInterrupt):
            run(faithful, samples, folder, batch_rows=16, advance=stop)
    # Latents lost in the middle are made again.
    for file in sorted((folder / "own_latents" / "clean").glob("*.safetensors"))[:2]:
        file.write_bytes(file.read_bytes()[:40])
    rows = run(faithful, samples, folder, batch_rows=16)
    assert len(rows) == len(whole) and outcome(rows) == whole


@pytest.mark.slow
def test_results_do_not_depend_on_batches(faithful: LanternModel, tmp_path: Path):
    samples = load_task("scenes", 10, SEED + 3)
    found = [
        outcome(run(faithful, samples, tmp_path / str(size), batch_rows=size))
        for size in (1, 7, 200)
    ]
    assert found[0] == found[1] == found[2]


def test_failures_are_rows_and_the_rest_goes_on(faithful: LanternModel, tmp_path: Path):
    good = load_task("scenes", 6, SEED + 4)
    image = good[0].images[0]
    bad = [
        Sample(id="gone", images=(tmp_path / "gone.png",), question=good[0].question),
        Sample(
            id="outside",
            images=(image,),
            question="what color is the star ?",
            options=good[0].options,
            answer="red",
            boxes=((500, 500, 510, 510),),
        ),
        Sample(id="boxless", images=(image,), question=good[1].question),
    ]
    rows = run(faithful, [good[0], *bad, *good[1:]], tmp_path)
    assert len(rows) == 9 * len(EVERY)
    failed = {(r["sample"], r["condition"]): r["error"] for r in rows if r["status"] == "failed"}
    assert {c for s, c in failed if s == "gone"} == set(STANDARD)
    assert {c for s, c in failed if s == "outside"} == {"oracle", "random-box"}
    assert {c for s, c in failed if s == "boxless"} == {"oracle", "random-box"}
    assert not any(sample.id in {s for s, _ in failed} for sample in good)
    assert "gone.png" in failed["gone", "own"] and "box" in failed["outside", "oracle"]


def test_own_latents_are_kept_and_are_what_was_fed(faithful: LanternModel, tmp_path: Path):
    samples = load_task("scenes", 5, SEED + 5)
    run(faithful, samples, tmp_path, [Own(), Swap()])
    kept: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "own_latents" / "clean").glob("*.safetensors"):
        kept |= load_file(file)
    plain = faithful.generate(samples, max_new_tokens=64)
    for sample, latents in zip(samples, plain.latents, strict=True):
        assert torch.allclose(kept[sample.id], latents[0], atol=1e-4)


def test_own_is_always_there_and_nothing_is_there_twice():
    assert with_own([Zeros()]) == [Own(), Zeros()]
    assert with_own([Oracle(), Own()]) == [Oracle(), Own()]
    with pytest.raises(LanternError, match="given twice"):
        with_own([Zeros(), Zeros()])


def test_two_samples_of_one_id_and_no_samples_are_refused(faithful: LanternModel, tmp_path: Path):
    sample = load_task("scenes", 1, SEED)[0]
    with pytest.raises(LanternError, match="ids must differ"):
        run(faithful, [sample, sample], tmp_path / "a")
    with pytest.raises(LanternError, match="no samples"):
        run(faithful, [], tmp_path / "b")


def test_a_run_that_starts_again_takes_nothing_from_the_one_before(tmp_path: Path):
    """Own latents of another model must not become donors (they once did)."""
    samples = load_task("scenes", 24, SEED + 6)
    conditions = [Own(), Swap()]
    run(LanternModel("collapsed"), samples, tmp_path, conditions)
    with Run.open(tmp_path, {"test": True}, overwrite=True) as records:
        Ablation(LanternModel("faithful"), samples, conditions, records).execute()
    swap = summarize(read_rows(tmp_path), model="faithful")[1]
    assert swap.donor is not None and swap.donor.estimate == 1 and swap.donor.n > 15


def test_blocks_there_are_not_make_a_no_op_that_is_left_out(faithful: LanternModel, tmp_path: Path):
    samples = load_task("scenes", 6, SEED + 7)
    rows = run(faithful, samples, tmp_path, [Own(), parse_condition("zeros:blocks=1")])
    own, scoped = summarize(rows, model="faithful")
    assert (own.n, scoped.samples, scoped.n, scoped.accuracy.n) == (6, 6, 0, 0)


def test_conditions_that_cannot_work_are_refused_before_anything_runs(
    faithful: LanternModel, tmp_path: Path
):
    samples = load_task("scenes", 2, SEED)
    for number, (text, message) in enumerate(
        [("zeros:slots=99", "no slot 99"), ("k-slots:k=200", "no room for an answer")]
    ):
        with pytest.raises(LanternError, match=message):
            run(faithful, samples, tmp_path / str(number), [parse_condition(text)])


def test_odd_samples_fail_alone(faithful: LanternModel, tmp_path: Path):
    good = load_task("scenes", 2, SEED + 8)
    image = good[0].images[0]
    odd = [
        Sample(id="special", images=(image,), question="what <|image_pad|> is this ?"),
        Sample(id="channels", images=(np.zeros((84, 84, 5), np.uint8),), question="what ?"),
        Sample(id="empty", images=(np.zeros((0, 5, 3), np.uint8),), question="what ?"),
        Sample(id="imageless", images=(), question="what ?"),
    ]
    rows = run(faithful, [*odd, *good], tmp_path, [Own(), Oracle()])
    failed = {(r["sample"], r["condition"]) for r in rows if r["status"] == "failed"}
    assert {s for s, c in failed if c == "own"} >= {"special", "channels", "empty"}
    assert not {s.id for s in good} & {s for s, _ in failed}
    with pytest.raises(LanternError, match="has no image"):
        Oracle().plan(odd[-1], faithful, None)
    with pytest.raises(LanternError, match="no samples"):
        faithful.generate([])
    with pytest.raises(LanternError, match="Unicode"):
        Sample(id="\ud800", images=(), question="what ?")


def test_a_cut_that_cannot_be_made_of_a_sample_fails_alone(faithful: LanternModel, tmp_path: Path):
    samples = load_task("scenes", 3, SEED + 9)
    samples[1] = replace(samples[1], boxes=())
    labels = ("after->box", "after->box:random=1", "after->slot:random=1")
    rows = run(faithful, samples, tmp_path, [parse_condition(label) for label in labels])
    failed = {(r["sample"], r["condition"]) for r in rows if r["status"] == "failed"}
    assert failed == {(samples[1].id, label) for label in labels[:2]}
    assert len(rows) == 12
    assert all("no box" in r["error"] for r in rows if r["status"] == "failed")


def test_a_row_says_how_far_its_latents_are_from_real_ones_and_what_was_drawn(
    faithful: LanternModel, tmp_path: Path
):
    samples = load_task("scenes", 40, SEED + 10)
    labels = ("zeros", "swap", "random-box", "oracle", "skip", "erase:attribute=color", "additive")
    rows = run(faithful, samples, tmp_path, [parse_condition(label) for label in labels])
    by = {label: [r for r in rows if r["condition"] == label] for label in ("own", *labels)}
    for label in ("zeros", "swap", "random-box", "oracle", "erase:attribute=color", "additive"):
        assert all(len(r["nearest"]) == len(r["nearest_own"]) == 8 for r in by[label])
    # A swap feeds a real latent of another image, zeros none.
    assert all(r["nearest"] == [0.0] * 8 for r in by["swap"])
    near, own = (np.mean([r[key] for r in by["zeros"]]) for key in ("nearest", "nearest_own"))
    assert near > own
    assert not any("nearest" in r for label in ("own", "skip") for r in by[label])
    assert {r["pool"] for r in by["zeros"]} == {None} and {r["pool"] for r in by["swap"]} == {40}
    assert all(len(r["box"]) == 4 and r["overlap"] == [0.0] for r in by["random-box"])
    assert [tuple(r["box"]) for r in by["oracle"]] == [s.boxes[0] for s in samples]
    for label in ("erase:attribute=color", "additive"):
        assert {r["changed"] for r in by[label]} == {"stored"}
    assert all(len(r["removed"]) == 8 for r in by["erase:attribute=color"])
