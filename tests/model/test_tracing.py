"""Traces: latents and layers are read and replaced, by nnsight's names and by short ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.scenes import scenes

START_BIAS = 28.0


def settings(lantern: Any, **more: Any) -> dict[str, Any]:
    return {"sequence_bias": [[[lantern.lvr.start], START_BIAS]], "max_new_tokens": 60, **more}


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def test_a_trace_reads_latents_and_layers_slot_by_slot(official: Any, official_inputs: Any):
    inputs = official_inputs("batch0")
    plain = official.generate(inputs, **settings(official))
    with official.generate(inputs, **settings(official)) as tracer:
        latents = list().save()  # noqa: C408 - nnsight's save
        hidden = list().save()  # noqa: C408
        for _ in tracer.iter[:8]:
            latents.append(official.latent.output.clone())
            hidden.append(official.layers[-1].output.clone())
        output = tracer.result.save()
    assert torch.equal(output.sequences, plain.sequences)
    assert torch.equal(torch.cat(latents)[:, 0], plain.latents[0][0])
    # The final norm of a slot's last layer is the next slot's own latent.
    norm = official.hf.model.language_model.norm
    with torch.no_grad():
        again = norm(torch.cat(hidden)[:-1, 0])
    assert torch.allclose(again, plain.latents[0][0][1:], atol=1e-5)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_trace_edits_the_slots(official: Any, official_inputs: Any, in_place: bool):
    inputs = official_inputs("batch0")
    zeroed = official.generate(
        inputs,
        plans=[RowPlan(edit=lambda own, slot: torch.zeros_like(own))],
        **settings(official),
    )
    with official.generate(inputs, **settings(official)) as tracer:
        for _ in tracer.iter[:8]:
            if in_place:
                official.latent.output[:] = 0
            else:
                official.latent.output = torch.zeros_like(official.latent.output)
        output = tracer.result.save()
    assert torch.equal(output.sequences, zeroed.sequences)
    assert output.latents[0][0].abs().max() == 0


def test_a_trace_of_several_samples_serves_each_invoke_its_rows(untrained: Any):
    from lantern_probe.tasks.scenes import scenes

    first, second = scenes(2, seed=5)
    kwargs = settings(untrained, max_new_tokens=16)
    plain = untrained.generate([first, second], **kwargs)
    with untrained.generate(**kwargs) as tracer:
        with tracer.invoke(first):
            one = untrained.latent.output.save()
        with tracer.invoke(second):
            two = untrained.latent.output.save()
    assert one.shape == two.shape == (1, 1, untrained.hf.config.get_text_config().hidden_size)
    assert torch.allclose(one[0, 0], plain.latents[0][0][0], atol=1e-5)
    assert torch.allclose(two[0, 0], plain.latents[1][0][0], atol=1e-5)


# -- one forward -------------------------------------------------------------------


def test_a_plain_trace_of_a_sample_is_one_forward_over_its_prompt(faithful: LanternModel):
    samples = scenes(3, seed=1)
    inputs = faithful.inputs(samples)
    with torch.no_grad():
        expected = faithful.hf(**inputs, output_hidden_states=True)
    with faithful.trace(samples) as tracer:
        inside = list().save()  # noqa: C408 - nnsight's save
        for layer in range(4):
            inside.append(faithful.layers_output[layer])
        normed = faithful.ln_final.output.save()
        head = faithful.lm_head.output.save()
        result = tracer.result.save()
    for layer in range(3):  # what transformers gives of the last layer is normed
        assert torch.equal(inside[layer], expected.hidden_states[layer + 1])
    assert torch.equal(normed, expected.hidden_states[-1])
    assert torch.equal(head, expected.logits) and torch.equal(result.logits, expected.logits)
    with faithful.trace(samples[0]):
        alone = faithful.logits.save()
    assert torch.allclose(alone[0, -1], expected.logits[0, -1], atol=1e-4)


def test_short_names_are_the_values_of_the_sites(faithful: LanternModel):
    sample = scenes(1)[0]
    layers = range(4)
    with faithful.trace(sample):
        before = faithful.layers_input[0].save()
        attentions, mlps, after = list().save(), list().save(), list().save()  # noqa: C408
        for layer in layers:
            attentions.append(faithful.attentions_output[layer])
            mlps.append(faithful.mlps_output[layer])
            after.append(faithful.layers_output[layer])
    for layer in layers:
        added = attentions[layer] + mlps[layer]
        assert torch.allclose(before + added, after[layer], atol=1e-4)
        before = after[layer]
    assert faithful.layers[2] is faithful.model.language_model.layers[2]
    assert faithful.ln_final is faithful.model.language_model.norm
    assert len(faithful.layers_output) == len(faithful.layers) == 4


def test_short_names_replace_values(faithful: LanternModel):
    sample = scenes(1)[0]
    with faithful.trace(sample):
        one = faithful.layers_output[1].save()
        plain = faithful.logits.save()
    with faithful.trace(sample):
        faithful.layers_output[-1] = one
        skipped = faithful.logits.save()
    with torch.no_grad():
        expected = faithful.hf.lm_head(faithful.hf.model.language_model.norm(one))
    assert torch.equal(skipped, expected) and not torch.equal(skipped, plain)
    with faithful.trace(sample) as tracer:
        faithful.mlps_output[0][:] = 0
        faithful.logits = faithful.logits + 1
        changed = tracer.result.save()
    assert not torch.allclose(changed.logits - 1, plain, atol=1e-2)
    with faithful.trace(sample) as tracer:
        faithful.layers_input[1] = faithful.layers_input[1] * 1
        faithful.attentions_output[2][:] *= 1
        same = tracer.result.save()
    assert torch.equal(same.logits, plain)


def test_a_layer_that_is_not_there_is_named(faithful: LanternModel):
    with pytest.raises(LanternError, match="no layer 4; the model has layers 0 to 3"):
        faithful.layers_output[4]


# -- a generation ------------------------------------------------------------------


def test_short_names_follow_the_slots_of_a_generation(faithful: LanternModel):
    """What the loop reads after a slot's latent is of this slot's forward."""
    sample = scenes(1)[0]
    keep = {"output_logits": True, "return_dict_in_generate": True}
    result, decoding = faithful.decode(dict(faithful.inputs([sample])), **keep)
    assert decoding is not None
    prompt = faithful.inputs([sample])["input_ids"].shape[1]
    (block,) = decoding.blocks(result.sequences, prompt)[0]
    with faithful.generate(sample) as tracer:
        states, logits = list().save(), list().save()  # noqa: C408
        for _ in tracer.iter[:8]:
            faithful.latent.output.clone()
            states.append(faithful.layers_output[3].clone())
            logits.append(faithful.logits.clone())
    for slot, position in enumerate(block.slots):
        step = position - prompt + 1
        assert torch.equal(logits[slot][0, 0], result.logits[step][0])
    with torch.no_grad():
        again = faithful.hf.model.language_model.norm(torch.cat(states)[:-1, 0])
    assert torch.allclose(again, block.latents[1:], atol=1e-5)


def test_replaced_logits_change_what_is_written(faithful: LanternModel):
    word = faithful.processor.tokenizer.convert_tokens_to_ids("red")
    with faithful.generate(scenes(1)[0], max_new_tokens=3) as tracer:
        for _ in tracer.iter[:3]:
            faithful.logits[..., word] = 1e4
        output = tracer.result.save()
    assert output.texts == ["red red red"]
