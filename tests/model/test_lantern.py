"""`LanternModel`: asking it, and capturing in one call."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.capture.batch import Captured, capture_batch
from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.answers import parse_answer
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import Site, parse_sites


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def test_ask_letters_its_options(untrained: LanternModel):
    image = scenes(1)[0].open_images()[0]
    output = untrained.ask(image, "what ?", ["red", "blue"], max_new_tokens=3)
    assert len(output.texts) == len(output.answers) == 1 and output.emission in (0.0, 1.0)


def test_an_open_question_is_answered_with_what_was_said(untrained: LanternModel):
    sample = Sample(id="open", images=(), question="what ?")
    assert parse_answer("<answer> a red star </answer><|im_end|>", sample) == "a red star"
    assert parse_answer("no tag", sample) is None
    output = untrained.ask(scenes(1)[0].open_images()[0], "what ?", max_new_tokens=3)
    assert output.answers == [parse_answer(output.texts[0], sample)]


def test_a_capture_in_one_call_is_that_of_the_batch(faithful: LanternModel):
    samples = scenes(3, seed=5)
    texts = ["latent@slot", "residual.*@answer-start"]
    found = faithful.capture(samples, texts)
    expected = capture_batch(faithful, samples, parse_sites(texts, layers=4))
    assert isinstance(found, Captured)
    assert list(found.activations) == [
        "latent@slot",
        *(f"residual.{n}@answer-start" for n in range(4)),
    ]
    for label, values in expected.activations.items():
        assert torch.equal(found.activations[label], values)
    assert found.output.texts == expected.output.texts == faithful.generate(samples).texts


def test_a_capture_takes_one_sample_one_site_and_settings(faithful: LanternModel):
    sample = scenes(1)[0]
    plan = RowPlan(edit=lambda own, slot: torch.zeros_like(own))
    found = faithful.capture(
        sample, Site("latent", None, "slot"), plans=[plan], dtype=torch.float16
    )
    assert list(found.activations) == ["latent@slot"]
    assert found.activations["latent@slot"].dtype == torch.float16
    assert found.activations["latent@slot"].abs().max() == 0
    assert list(faithful.capture(sample, "mlp.1@slot").activations) == ["mlp.1@slot"]
    with pytest.raises(LanternError, match="has layers 0 to 3"):
        faithful.capture(sample, "mlp.7@slot")
    with pytest.raises(LanternError, match="no samples"):
        faithful.capture([], "mlp.1@slot")


def test_a_decoding_from_a_cache_says_where_it_stands(faithful: LanternModel):
    """The prompt run by hand, then continued: by positions, or by the image's grid."""
    inputs = dict(faithful.inputs([scenes(1)[0]]))
    expected, _ = faithful.decode(dict(inputs))

    def cache() -> Any:
        with torch.no_grad():
            made = faithful.hf(**inputs, use_cache=True).past_key_values
        made.crop(-1)  # `generate` runs the last token of the input itself
        return made

    # What another call leaves on the model is not to be taken for this image's.
    going_on = [
        {key: inputs[key] for key in ("input_ids", "attention_mask")},
        {key: value for key, value in inputs.items() if key != "pixel_values"},
    ]
    with pytest.raises(LanternError, match="from a cache after an image takes position_ids"):
        faithful.decode({**going_on[0], "past_key_values": cache()})
    made = cache()
    faithful.generate(Sample(id="text", images=(), question="what ?"), max_new_tokens=1)
    found, _ = faithful.decode({**going_on[1], "past_key_values": made})
    assert torch.equal(found, expected)


def test_two_generations_at_once_on_one_model_are_refused(faithful: LanternModel):
    def again(own: torch.Tensor, slot: Any) -> torch.Tensor:
        faithful.generate(scenes(1)[0], max_new_tokens=1)
        return own

    with pytest.raises(LanternError, match="already running on this model; wait for its end"):
        faithful.generate(scenes(1)[0], plans=[RowPlan(edit=again)])
    assert faithful.generate(scenes(1)[0]).emitted == [True]
