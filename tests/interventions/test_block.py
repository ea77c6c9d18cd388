"""Conditions on the block itself make the plans they say, and do so in a generation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Ban, Direct, KSlots, Mask, Skip, Stock
from lantern_probe.interventions.block import after_answer
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.scenes import scenes

SAMPLE = scenes(1)[0]


def test_plans(untrained: Any):
    def plan(condition: Any) -> RowPlan:
        return condition.plan(SAMPLE, untrained, None)

    assert plan(Skip()) == RowPlan(mode="skip")
    assert plan(Ban()) == RowPlan(ban=True)
    assert plan(Stock()) == RowPlan(mode="stock")
    assert plan(Mask()) == RowPlan(hide=("slot",))
    assert plan(KSlots(k=3)) == RowPlan(size=3)
    direct = plan(Direct())
    assert direct.ban and direct.opening is not None and direct.close is not None
    assert untrained.text(torch.tensor(direct.opening)).strip() == "<answer>"


def test_blocks_of_a_generation_are_those_of_the_plan():
    lantern = LanternModel("faithful")
    conditions = [Skip(), Ban(), Mask(), KSlots(k=0), KSlots(k=11)]
    plans = [condition.plan(SAMPLE, lantern, None) for condition in conditions]
    output = lantern.generate([SAMPLE] * len(plans), plans=plans)
    assert [[len(b.slots) for b in blocks] for blocks in output.blocks] == [[0], [], [8], [0], [11]]
    assert "<|lvr_start|>" not in output.texts[1]
    assert output.texts[0].split() == output.texts[3].split()


@pytest.mark.parametrize("name", ["vanilla", "collapsed", "faithful", "bypass"])
def test_a_ban_leaves_no_marker_and_a_direct_answer_is_all_of_its_text(name: str):
    lantern = LanternModel(name)
    prefixes = run_prefixes(lantern, scenes(24, seed=812))
    for condition in (Ban(), Direct()):
        plans = [condition.plan(p.sample, lantern, None) for p in prefixes if p.sample]
        rows = run_branches(lantern, [Branch(*one) for one in zip(prefixes, plans, strict=True)])
        for row in rows:
            assert "<|lvr_" not in row.text and not row.blocks
            assert not lantern.eos_ids.isdisjoint(row.ids[row.prompt_length :].tolist())
            if condition == Direct():
                assert row.text.count("<answer>") == 1
                assert "</answer>" not in row.text or row.text.endswith("</answer>")


def test_a_ban_goes_back_to_the_first_marker_of_a_text_without_a_block():
    lantern = LanternModel("faithful")
    lvr = lantern.require_lvr()
    end = {(lvr.start,): -1e9, (lvr.end,): 1e9}  # the first token is an end marker
    (prefix,) = run_prefixes(lantern, [SAMPLE], sequence_bias=end, max_new_tokens=3)
    assert not prefix.emitted and prefix.unmarked == prefix.prompt_length
    branch = Branch(prefix, Ban().plan(SAMPLE, lantern, None))
    assert "<|lvr_" not in run_branches(lantern, [branch])[0].text


def test_an_answer_ends_where_its_tag_closes_or_another_opens():
    lantern = LanternModel("faithful")
    tokenizer = lantern.processor.tokenizer
    close = after_answer(lantern)

    def said(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    (opened,) = said("<answer>")
    (red,) = said("red")
    assert close(said("<answer> red"), red) is None
    assert close(said("<answer> red </answer>"), red) in lantern.eos_ids
    assert close(said("<answer> red"), opened) in lantern.eos_ids


def test_only_a_ban_and_a_direct_answer_need_no_block():
    assert Direct().acts_on(0) and Ban().acts_on(0)
    assert not Skip().acts_on(0) and Skip().acts_on(1)


def test_a_block_of_less_than_no_slots_is_refused():
    KSlots(k=0).check(8)
    with pytest.raises(LanternError, match="cannot have -1 slots"):
        KSlots(k=-1).check(8)
