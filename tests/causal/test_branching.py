"""A prefix run once and forked gives what separate runs give, token for token."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.interventions import parse_condition
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks import load_task

PLANS = [
    RowPlan(edit=lambda own, slot: own),
    RowPlan(edit=lambda own, slot: torch.zeros_like(own)),
    RowPlan(mode="skip"),
    RowPlan(ban=True),
    RowPlan(mode="stock"),
    RowPlan(edit=lambda own, slot: slot.written[0] if slot.index else own),
    RowPlan(hide=("slot",)),
    RowPlan(hide=("image",)),
    RowPlan(size=3),
]


def bias(lantern: Any, strength: float = 28.0) -> dict[str, Any]:
    return {"sequence_bias": [[[lantern.lvr.start], strength]]}


@pytest.fixture(scope="module")
def prefixes(official: Any, official_inputs: Any) -> list[Any]:
    batches = [official_inputs(f"batch{number}") for number in range(6)]
    runs = [run_prefixes(official, b, max_new_tokens=40, **bias(official)) for b in batches]
    return list(itertools.chain.from_iterable(runs))


@pytest.mark.slow
def test_packed_rows_equal_rows_run_one_by_one(official: Any, prefixes: list[Any]):
    branches = [Branch(prefix, plan) for prefix in prefixes for plan in PLANS]
    packed = run_branches(official, branches, **bias(official))
    for branch, together in zip(branches, packed, strict=True):
        alone = run_branches(official, [branch], **bias(official))[0]
        assert torch.equal(alone.ids, together.ids)
        assert [b.slots for b in alone.blocks] == [b.slots for b in together.blocks]
        for one, two in zip(alone.blocks, together.blocks, strict=True):
            assert torch.allclose(one.latents, two.latents, atol=1e-4)


@pytest.mark.slow
def test_branches_equal_whole_generations(official: Any, official_inputs: Any, prefixes: list[Any]):
    row = 0
    for number in range(6):
        inputs = official_inputs(f"batch{number}")
        rows = len(inputs["input_ids"])
        for plan in PLANS:
            whole = official.generate(
                inputs, plans=[plan] * rows, max_new_tokens=40, **bias(official)
            )
            branched = run_branches(
                official, [Branch(p, plan) for p in prefixes[row : row + rows]], **bias(official)
            )
            for index, result in enumerate(branched):
                padding = int((inputs["attention_mask"][index] == 0).sum())
                expected = whole.sequences[index, padding:]
                assert torch.equal(result.ids, expected[: len(result.ids)])
                assert set(expected[len(result.ids) :].tolist()) <= official.eos_ids
                assert [b.start + padding for b in result.blocks] == [
                    b.start for b in whole.blocks[index]
                ]
        row += rows


def test_samples_without_a_block_are_returned_as_such(official: Any, official_inputs: Any):
    inputs = official_inputs("batch1")
    (prefix,) = run_prefixes(official, inputs, max_new_tokens=12, **bias(official, -1e4))
    assert not prefix.emitted and len(prefix.ids) - prefix.prompt_length <= 12
    for plan in PLANS:
        (result,) = run_branches(official, [Branch(prefix, plan)], score=False)
        assert torch.equal(result.ids, prefix.ids) and result.blocks == []


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 10])
def test_the_token_limit_counts_the_prefix(official: Any, official_inputs: Any, limit: int):
    inputs = official_inputs("batch0")
    (prefix,) = run_prefixes(official, inputs, max_new_tokens=limit, **bias(official, 1e4))
    whole = official.generate(inputs, max_new_tokens=limit, **bias(official, 1e4))
    for plan in PLANS[:1]:
        (result,) = run_branches(official, [Branch(prefix, plan)], **bias(official, 1e4))
        assert torch.equal(result.ids, whole.sequences[0])
        assert [len(b.latents) for b in result.blocks] == [len(b.latents) for b in whole.blocks[0]]


def test_nothing_to_branch_gives_nothing(official: Any):
    assert run_branches(official, []) == []


def test_a_direct_answer_is_what_the_model_says_to_an_opened_tag():
    """The row begins behind the prompt with `<answer>`, as if it had been part of the input."""
    lantern = LanternModel("bypass")
    samples = load_task("scenes", 6, 31)
    prefixes = run_prefixes(lantern, samples)
    plan = parse_condition("direct").plan(samples[0], lantern, None)
    assert plan.opening is not None
    mixed = [RowPlan(), plan]
    results = run_branches(lantern, [Branch(p, one) for p in prefixes for one in mixed])
    own = run_branches(lantern, [Branch(p, RowPlan()) for p in prefixes])
    assert [r.text for r in results[::2]] == [r.text for r in own]
    for sample, result in zip(samples, results[1::2], strict=True):
        inputs = dict(lantern.inputs([sample]))
        opening = torch.tensor([plan.opening])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], opening], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["mm_token_type_ids"] = torch.nn.functional.pad(
            inputs["mm_token_type_ids"], (0, opening.shape[1])
        )
        sequences, _ = lantern.decode(inputs, plans=[RowPlan(ban=True)])
        said = result.ids.tolist()  # its last token ends the text after the answer
        assert sequences[0].tolist()[: len(said) - 1] == said[:-1]
        assert said[-1] in lantern.eos_ids
        assert result.text.startswith("<answer>") and not result.blocks
        assert result.logprobs is not None
