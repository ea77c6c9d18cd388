"""A prefix run once and forked gives what separate runs give, token for token."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.interventions import parse_condition
from lantern_probe.model.answer_tokens import answer_forms, find_answer, indistinct
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks import load_task
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

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


def test_packed_rows_equal_rows_run_one_by_one(official: Any, prefixes: list[Any]):
    branches = [Branch(prefix, plan) for prefix in prefixes for plan in PLANS]
    packed = run_branches(official, branches, **bias(official))
    for branch, together in zip(branches, packed, strict=True):
        alone = run_branches(official, [branch], **bias(official))[0]
        assert torch.equal(alone.ids, together.ids)
        assert [b.slots for b in alone.blocks] == [b.slots for b in together.blocks]
        for one, two in zip(alone.blocks, together.blocks, strict=True):
            assert torch.allclose(one.latents, two.latents, atol=1e-4)


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


def teacher_forced(lantern: Any, sample: Sample, ids: torch.Tensor, tail: list[int]) -> float:
    """Log-probability of `tail` after a text without blocks, by one plain forward."""
    inputs = lantern.inputs([sample])
    whole = torch.cat([ids, torch.tensor(tail)])[None]
    added = whole.shape[1] - inputs["input_ids"].shape[1]
    zeros = torch.zeros(1, added, dtype=torch.long)
    with torch.no_grad():
        logits = lantern.hf(
            input_ids=whole,
            attention_mask=torch.ones_like(whole),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
            mm_token_type_ids=torch.cat([inputs["mm_token_type_ids"], zeros], dim=1),
        ).logits[0]
    rows = logits[len(ids) - 1 : -1].log_softmax(-1)
    return float(rows[torch.arange(len(tail)), torch.tensor(tail)].sum())


def test_scores_equal_a_plain_forward_also_for_answers_of_several_tokens(untrained: Any):
    """Texts are prescribed by biases: an answer tag, then whatever the model prefers."""
    tokenizer = untrained.processor.tokenizer
    tag = tokenizer.convert_tokens_to_ids("<answer>")
    samples = [
        Sample(
            id=s.id,
            images=s.images,
            question=s.question,
            options=("red", "blue green", "green blue red"),
            answer="red",
        )
        for s in scenes(3, seed=11)
    ]
    kwargs = {"sequence_bias": [[[untrained.lvr.start], -1e4], [[tag], 1e4]]}
    prefixes = run_prefixes(untrained, samples, max_new_tokens=4, **kwargs)
    results = run_branches(untrained, [Branch(p, RowPlan()) for p in prefixes], **kwargs)
    for sample, result in zip(samples, results, strict=True):
        place = find_answer(tokenizer, result.ids[result.prompt_length :].tolist())
        assert place is not None and result.logprobs is not None
        context = result.ids[: result.prompt_length + place.start]
        for candidate in sample.candidates:
            (form,) = answer_forms(tokenizer, candidate)
            expected = teacher_forced(untrained, sample, context, form)
            assert result.logprobs[candidate] == pytest.approx(expected, abs=1e-4)


def test_candidates_the_tokenizer_cannot_tell_apart_have_no_scores(untrained: Any):
    tokenizer = untrained.processor.tokenizer
    forms = {c: answer_forms(tokenizer, c) for c in ("A", "B")}  # both unknown to an organism
    assert indistinct(forms, tokenizer.unk_token_id)
    known = {c: answer_forms(tokenizer, c) for c in ("red", "blue")}
    assert not indistinct(known, tokenizer.unk_token_id)


def test_a_text_without_the_tag_has_no_scores(untrained: Any):
    tag = untrained.processor.tokenizer.convert_tokens_to_ids("<answer>")
    prefixes = run_prefixes(untrained, scenes(1), max_new_tokens=4, sequence_bias=[[[tag], -1e4]])
    (result,) = run_branches(untrained, [Branch(prefixes[0], RowPlan())])
    assert result.logprobs is None


class Pieces:
    """A tokenizer that merges the end of the tag with what follows, as Qwen's may."""

    pieces = ("<", "answer", ">", ">A", " A", "\n", "text ", "</answer>")

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        return "".join(self.pieces[i] for i in ids)

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        ids = []
        while text:
            best = max((p for p in self.pieces if text.startswith(p)), key=len, default=None)
            if best is None:
                return [*ids, 99]
            ids.append(self.pieces.index(best))
            text = text[len(best) :]
        return ids


@pytest.mark.parametrize(
    ("ids", "start", "lead"),
    [
        ([6, 0, 1, 2, 4, 7], 4, ""),
        ([6, 0, 1, 3, 7], 3, ">"),
        ([0, 1, 2, 5, 4, 7], 4, ""),
        ([0, 1, 2], 3, ""),
        ([0, 1, 2, 4, 0, 1, 2, 4], 7, ""),
    ],
)
def test_the_answer_begins_after_the_last_tag(ids: list[int], start: int, lead: str):
    place = find_answer(Pieces(), ids)
    assert place is not None and (place.start, place.lead) == (start, lead)


def test_forms_carry_what_was_merged_into_the_first_token():
    assert [3] in answer_forms(Pieces(), "A", ">")
    assert [4] in answer_forms(Pieces(), "A")
    assert find_answer(Pieces(), [6, 4]) is None


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
        assert sequences[0].tolist() == result.ids.tolist()
        assert result.text.startswith("<answer>") and not result.blocks
        assert result.logprobs is not None
