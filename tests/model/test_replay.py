"""One forward over a finished sequence computes what its generation computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LanternOutput, RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import Replay, replay
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes


def generate(lantern: Any, inputs: Any, **kwargs: Any) -> tuple[LanternOutput, Any]:
    """A generation, with the hidden states and logits of its steps."""
    result, decoding = lantern.decode(
        dict(inputs),
        return_dict_in_generate=True,
        output_hidden_states=True,
        output_logits=True,
        **kwargs,
    )
    width = inputs["input_ids"].shape[1]
    blocks = decoding.blocks(result.sequences, width)
    return LanternOutput(result.sequences, width, blocks, [], []), result


def compare(lantern: Any, inputs: Any, output: LanternOutput, result: Any, again: Replay) -> None:
    with torch.no_grad():
        forward = lantern.hf(**again.inputs, output_hidden_states=True)
    padding = (inputs["attention_mask"] == 0).sum(1).tolist()
    steps = list(zip(*result.hidden_states, strict=True))  # by layer, then by step
    for row, (before, first) in enumerate(zip(padding, again.first, strict=True)):
        computed = len(again.own_ids(row)) - 1  # a generation never feeds its last token
        for layer, states in enumerate(steps):
            expected = torch.cat(states, dim=1)[row, before : before + computed]
            found = forward.hidden_states[layer][row, first : first + computed]
            assert torch.allclose(found, expected, atol=1e-4)
        prompt = again.prompt_lengths[row]
        logits = torch.stack(result.logits, dim=1)[row, : computed - prompt + 1]
        found = forward.logits[row, first + prompt - 1 : first + computed]
        assert torch.allclose(found, logits, atol=1e-4)


def test_samples_with_left_padding(untrained: Any):
    samples = scenes(6, seed=3)
    inputs = untrained.inputs(samples)
    assert len(set(inputs["attention_mask"].sum(1).tolist())) > 1
    kwargs = {"sequence_bias": [[[untrained.lvr.start], 2.0]], "max_new_tokens": 30}
    output, result = generate(untrained, inputs, **kwargs)
    assert sum(len(blocks) for blocks in output.blocks) >= 3
    compare(untrained, inputs, output, result, replay(untrained, samples, output))


def test_texts_of_different_length(official: Any, official_inputs: Any):
    """Ready inputs; prompts and texts end at different places, slots are cut off by the limit."""
    bias = {"sequence_bias": [[[official.lvr.start], 28.0]]}
    for limit in (14, 40):
        inputs = official_inputs("batch5")
        output, result = generate(official, inputs, max_new_tokens=limit, **bias)
        compare(official, inputs, output, result, replay(official, inputs, output))


def test_a_slot_that_was_never_fed_is_left_out(official: Any, official_inputs: Any):
    inputs = official_inputs("batch0")
    bias = [[[official.lvr.start], 1e4]]
    output = official.generate(inputs, max_new_tokens=4, sequence_bias=bias)
    (block,) = output.blocks[0]
    assert (len(block.slots), len(block.latents)) == (3, 2)
    again = replay(official, inputs, output)
    assert torch.equal(again.own_ids(0), output.sequences[0, :-1])
    assert torch.equal(again.inputs["inputs_embeds"][0, -2:], block.latents)


def test_branches_replay_with_the_latents_they_were_fed():
    lantern = LanternModel("faithful")
    samples = scenes(4, seed=3)
    prefixes = run_prefixes(lantern, samples)
    plan = RowPlan(edit=lambda own, slot: -own)
    results = run_branches(lantern, [Branch(prefix, plan) for prefix in prefixes])
    again = replay(lantern, samples, results)
    with torch.no_grad():
        states = lantern.hf.model.language_model(**again.inputs).last_hidden_state
    for row, (result, first) in enumerate(zip(results, again.first, strict=True)):
        (block,) = result.blocks
        assert torch.equal(again.own_ids(row), result.ids)
        fed = again.inputs["inputs_embeds"][row, first + block.start + 1 : first + block.end]
        assert torch.equal(fed, block.latents)
        made = states[row, first + block.start : first + block.slots.stop - 1]
        assert torch.allclose(-made, block.latents, atol=1e-4)


def test_every_row_knows_its_images():
    lantern = LanternModel("bypass")
    one, two = (sample.open_images()[0] for sample in scenes(2))
    wide = two.resize((140, 84))
    samples = [
        Sample(id=name, images=images, question="what color is the star ?")
        for name, images in (("a", (one,)), ("b", (wide, one)), ("c", (wide,)))
    ]
    again = replay(lantern, samples, lantern.generate(samples, max_new_tokens=2))
    shapes = [[tuple(grid[1:].tolist()) for grid in grids] for grids in again.grids]
    assert shapes == [[(6, 6)], [(6, 10), (6, 6)], [(6, 10)]]


def test_sequences_of_other_questions_are_refused(untrained: Any):
    samples = scenes(3, seed=3)
    output = untrained.generate(samples, max_new_tokens=2)
    with pytest.raises(LanternError, match="3 finished sequences for 2 questions"):
        replay(untrained, samples[:2], output)
    with pytest.raises(LanternError, match="does not begin with its question"):
        replay(untrained, samples[::-1], output)
