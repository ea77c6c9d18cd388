"""Rows of sampled decoding depend on sample, condition and pass alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe.causal.ablation import Ablation
from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.causal.knockout import run_cut_branches
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, parse_condition
from lantern_probe.interventions.edges import parse_cut
from lantern_probe.interventions.image import parse_corruption
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.sampling import Draws, Sampling
from lantern_probe.records.rows import Row, read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

HOT = Sampling(temperature=3.0, top_p=0.95, passes=3, seed=1)
"""Organisms are sure of themselves: at this temperature most texts differ."""

LABELS = ("own", "zeros", "swap", "self-swap", "mask", "ban", "direct", "after->slot")


@pytest.fixture(scope="module")
def lantern() -> LanternModel:
    return LanternModel("faithful")


def streams(samples: list[Sample], sampling: Sampling = HOT, label: str = "own") -> list[Any]:
    return [[sampling.draws(s.id, label, p) for p in range(sampling.passes)] for s in samples]


def conditions(labels: tuple[str, ...] = LABELS) -> list[Intervention]:
    return [parse_condition(label) for label in labels]


def rows_of(
    lantern: LanternModel,
    folder: Path,
    samples: list[Sample],
    sampling: Sampling = HOT,
    **more: Any,
) -> dict[tuple[str, str, int], Row]:
    with Run.open(folder, {}) as run:
        Ablation(lantern, samples, conditions(), run, sampling=sampling, **more).execute()
    return {(r["sample"], r["condition"], r["pass"]): r for r in read_rows(folder)}


def said(rows: dict[tuple[str, str, int], Row]) -> dict[tuple[str, str, int], Any]:
    return {
        key: (row["text"], row["answer"], row["fed"], row["finish"]) for key, row in rows.items()
    }


@pytest.mark.parametrize("name", ["faithful", "bypass"])
def test_a_branched_row_equals_its_whole_generation_alone(name: str) -> None:
    lantern, samples = LanternModel(name), scenes(5, seed=3)
    draws = streams(samples)
    prefixes = run_prefixes(lantern, samples, draws=draws)
    flat: list[Draws] = [one for some in draws for one in some]
    branches = [Branch(p, RowPlan(draws=d)) for p, d in zip(prefixes, flat, strict=True)]
    found = run_branches(lantern, branches)
    questions = [sample for sample in samples for _ in range(HOT.passes)]
    for sample, draw, result in zip(questions, flat, found, strict=True):
        whole = lantern.generate([sample], plans=[RowPlan(draws=draw)]).sequences[0]
        assert torch.equal(whole[: len(result.ids)], result.ids)
        assert set(whole[len(result.ids) :].tolist()) <= lantern.eos_ids
    assert len({result.text for result in found}) > 10
    assert {prefix.emitted for prefix in prefixes} == {True, False}


def test_packed_rows_of_any_condition_equal_rows_alone(lantern: LanternModel) -> None:
    samples = scenes(3, seed=5)
    samples[1] = replace(samples[1], question=f"{'well , ' * 9}{samples[1].question}")
    draws = streams(samples)
    prefixes = run_prefixes(lantern, samples, draws=draws)
    owners = [(sample, number) for sample in samples for number in range(HOT.passes)]
    labels = [label for label in LABELS if not parse_condition(label).needs_pool]
    branches, cuts = [], []
    for (sample, number), prefix in zip(owners, prefixes, strict=True):
        for label in labels:
            plan = parse_condition(label).plan(sample, lantern, None)
            plan = replace(plan, draws=HOT.draws(sample.id, label, number))
            branches.append(Branch(prefix, plan))
            cuts.append(parse_cut(label) if "->" in label else None)
    together = run_cut_branches(lantern, branches, cuts)
    backwards = run_cut_branches(lantern, branches[::-1], cuts[::-1])[::-1]
    for branch, cut, one, two in zip(branches, cuts, together, backwards, strict=True):
        (alone,) = run_cut_branches(lantern, [branch], [cut])
        assert one.ids.tolist() == two.ids.tolist() == alone.ids.tolist()
        assert one.logprobs == pytest.approx(alone.logprobs, abs=1e-3)
    copied = run_branches(lantern, branches[:6], share=False)
    assert [r.ids.tolist() for r in copied] == [r.ids.tolist() for r in together[:6]]


def test_rows_do_not_depend_on_order_batches_or_a_cut_off_run(
    lantern: LanternModel, tmp_path: Path
) -> None:
    samples = scenes(3, seed=3)
    plain = rows_of(lantern, tmp_path / "plain", samples)
    assert len(plain) == len(samples) * len(LABELS) * HOT.passes
    assert said(rows_of(lantern, tmp_path / "back", samples[::-1], batch_rows=5)) == said(plain)
    # A run that was killed in the middle of a line, and lost some own latents.
    rows_of(lantern, tmp_path / "cut", samples)
    file = tmp_path / "cut" / "rows.jsonl"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 5])
    for lost in sorted((tmp_path / "cut" / "own_latents").rglob("*.safetensors"))[:2]:
        lost.unlink()
    assert said(rows_of(lantern, tmp_path / "cut", samples)) == said(plain)


def test_more_passes_go_on_with_the_ones_there_are(lantern: LanternModel, tmp_path: Path) -> None:
    samples = scenes(3, seed=3)
    one = rows_of(lantern, tmp_path / "run", samples, replace(HOT, passes=1))
    assert {number for _, _, number in one} == {0}
    more = rows_of(lantern, tmp_path / "run", samples)
    assert said({key: more[key] for key in one}) == said(one)
    assert said(more) == said(rows_of(lantern, tmp_path / "whole", samples))


def test_conditions_of_a_pass_share_the_text_up_to_the_block(
    lantern: LanternModel, tmp_path: Path
) -> None:
    rows = rows_of(lantern, tmp_path, scenes(4, seed=3))
    for (sample, label, number), row in rows.items():
        own = rows[sample, "own", number]
        assert row["emitted"] == own["emitted"]
        if own["emitted"] and label != "direct":
            assert row["text"].startswith(own["text"].partition("<|lvr_")[0].strip())
        if not own["emitted"] and label not in ("direct", "ban"):
            assert row["text"] == own["text"]
    thoughts = {row["text"].partition("<|lvr_start|>")[0] for row in rows.values()}
    assert len(thoughts) > 4


def test_a_hidden_image_alone_has_the_prefixes_of_the_clean_one(
    lantern: LanternModel, tmp_path: Path
) -> None:
    samples = scenes(2, seed=3)
    beside = rows_of(lantern, tmp_path / "beside", samples, hidden=conditions(("own", "zeros")))
    alone = rows_of(lantern, tmp_path / "alone", samples, corruption=parse_corruption("hide-image"))
    assert said({k: v for k, v in beside.items() if k[1] == "zeros@hide-image"}) == said(
        {k: v for k, v in alone.items() if k[1] == "zeros@hide-image"}
    )


def test_a_sample_that_cannot_be_run_fails_in_every_pass(
    lantern: LanternModel, tmp_path: Path
) -> None:
    good = scenes(1, seed=3)[0]
    bad = replace(good, id="bad", images=("/nowhere.png",))
    rows = rows_of(lantern, tmp_path, [good, bad])
    failed = [k for k, row in rows.items() if row["status"] == "failed" and k[0] == "bad"]
    assert sorted(failed) == sorted(("bad", c, p) for c in LABELS for p in range(3))


def test_scores_of_a_text_do_not_depend_on_the_temperature(
    lantern: LanternModel, tmp_path: Path
) -> None:
    """Almost no temperature is greedy decoding: the same texts, and the same scores."""
    samples = scenes(3, seed=3)
    cold = rows_of(lantern, tmp_path / "cold", samples, Sampling(1e-30))
    with Run.open(tmp_path / "greedy", {}) as run:
        Ablation(lantern, samples, conditions(), run).execute()
    for row in read_rows(tmp_path / "greedy"):
        assert "pass" not in row
        other = cold[row["sample"], row["condition"], 0]
        assert other["text"] == row["text"]
        assert other["logprobs"] == pytest.approx(row["logprobs"], abs=1e-3)


def test_sampled_prefixes_refuse_settings_that_count_from_a_calls_beginning(
    lantern: LanternModel,
) -> None:
    samples = scenes(1)
    with pytest.raises(LanternError, match="min_new_tokens"):
        run_prefixes(lantern, samples, draws=streams(samples), min_new_tokens=4)
    with pytest.raises(LanternError, match="2 lists of random streams for 1 questions"):
        run_prefixes(lantern, samples, draws=streams(samples) * 2)


def test_texts_without_a_block_leave_conditions_on_other_latents_nothing_to_do(
    lantern: LanternModel, tmp_path: Path
) -> None:
    rows = rows_of(lantern, tmp_path, scenes(1), replace(HOT, passes=1))
    assert not rows[scenes(1)[0].id, "own", 0]["emitted"]
    assert rows[scenes(1)[0].id, "swap", 0]["text"] == rows[scenes(1)[0].id, "own", 0]["text"]


def test_the_record_says_which_warpers_apply(lantern: LanternModel, tmp_path: Path) -> None:
    rows_of(lantern, tmp_path, scenes(1), replace(HOT, passes=1))
    with Run.open(tmp_path, {}) as run:
        decoding = run.manifest["decoding"]
    assert decoding["do_sample"] is True
    assert decoding["warpers"] == {"temperature": 3.0, "top_p": 0.95}
    assert "temperature" not in decoding["generation"]
