"""Scores of candidates at the answer are what a plain forward gives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.model.answer_tokens import closed_forms, find_answer
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.scoring import candidate_mass, unclear
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes


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
            options=("red", "red green", "green blue red"),
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
        assert candidate_mass(result.logprobs) < 0.5
        for candidate in sample.candidates:
            # The end is part of the form, so "red" is not part of "red green".
            (form,) = closed_forms(tokenizer, sample.candidates)[candidate]
            assert form[-1] == tokenizer.convert_tokens_to_ids("</answer>")
            expected = teacher_forced(untrained, sample, context, form)
            assert result.logprobs[candidate] == pytest.approx(expected, abs=1e-4)


def test_a_text_without_the_tag_has_no_scores(untrained: Any):
    tag = untrained.processor.tokenizer.convert_tokens_to_ids("<answer>")
    prefixes = run_prefixes(untrained, scenes(1), max_new_tokens=4, sequence_bias=[[[tag], -1e4]])
    (result,) = run_branches(untrained, [Branch(prefixes[0], RowPlan())])
    assert result.logprobs is None


def test_a_text_of_a_candidate_scores_highest_also_if_another_begins_with_it(untrained: Any):
    """A model that writes "orange circle", or "orange", after the tag; and the reverse holds."""
    ids = untrained.processor.tokenizer.convert_tokens_to_ids
    options = ("orange", "orange circle")
    sample = replace(scenes(1)[0], options=options, answer="orange")
    for after, best in (("circle", "orange circle"), ("</answer>", "orange")):
        steps = {"<answer>": "orange", "orange": after, "circle": "</answer>"}
        with next_words(untrained, {ids(a): ids(b) for a, b in steps.items()}):
            bias = [[[untrained.lvr.start], -1e4], [[ids("<answer>"), ids("<answer>")], -1e4]]
            first = {"sequence_bias": [*bias, [[ids("<answer>")], 9.0]]}
            prefixes = run_prefixes(untrained, [sample], max_new_tokens=2, **first)
            (result,) = run_branches(untrained, [Branch(prefixes[0], RowPlan())], **first)
        assert result.logprobs is not None
        assert max(result.logprobs, key=result.logprobs.__getitem__) == best
        assert result.logprobs[best] > -0.1 and min(result.logprobs.values()) < -5
        assert candidate_mass(result.logprobs) > 0.9


@contextmanager
def next_words(lantern: Any, following: dict[int, int]) -> Iterator[None]:
    """Layers write nothing while this holds, so that a token decides alone on the next one."""
    kept = {name: value.clone() for name, value in lantern.hf.state_dict().items()}
    text = lantern.hf.model.language_model
    with torch.no_grad():
        for layer in text.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        known = text.norm(text.embed_tokens.weight)
        lantern.hf.lm_head.weight.zero_()
        for token, then in following.items():
            lantern.hf.lm_head.weight[then] += 30 * known[token] / known[token].square().sum()
    try:
        yield
    finally:
        lantern.hf.load_state_dict(kept)


def test_candidates_that_cannot_be_told_apart_are_named(untrained: Any):
    assert unclear(untrained, ("red", "A", "blue")) == [("red", "A"), ("A", "blue")]
    assert unclear(untrained, ("red", "red blue", "blue")) == []
