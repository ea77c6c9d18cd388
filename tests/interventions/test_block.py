"""Conditions on the block itself make the plans they say, and do so in a generation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.interventions import Ban, Direct, KSlots, Mask, Skip, Stock
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
    assert direct.ban and direct.opening is not None
    assert untrained.text(torch.tensor(direct.opening)).strip() == "<answer>"


def test_blocks_of_a_generation_are_those_of_the_plan():
    lantern = LanternModel("faithful")
    conditions = [Skip(), Ban(), Mask(), KSlots(k=0), KSlots(k=11)]
    plans = [condition.plan(SAMPLE, lantern, None) for condition in conditions]
    output = lantern.generate([SAMPLE] * len(plans), plans=plans)
    assert [[len(b.slots) for b in blocks] for blocks in output.blocks] == [[0], [], [8], [0], [11]]
    assert "<|lvr_start|>" not in output.texts[1]
    assert output.texts[0].split() == output.texts[3].split()


def test_only_a_direct_answer_needs_no_block():
    assert Direct().acts_on(0) and not Skip().acts_on(0) and Skip().acts_on(1)


def test_a_block_of_less_than_no_slots_is_refused():
    KSlots(k=0).check(8)
    with pytest.raises(LanternError, match="cannot have -1 slots"):
        KSlots(k=-1).check(8)
