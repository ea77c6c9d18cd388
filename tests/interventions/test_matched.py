"""Rescaled latents and pauses feed what they say, and refuse what they cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.interventions import Pause, Rescale, parse_condition
from lantern_probe.model.blocks import PromptNorms, Slot
from lantern_probe.tasks.scenes import scenes

SAMPLE = scenes(1)[0]


def place(text: float | None = 3.0, image: float | None = 7.0) -> Slot:
    return Slot(0, 0, torch.empty(0, 4), PromptNorms(text, image))


@pytest.mark.parametrize(("label", "norm"), [("rescale", 3.0), ("rescale:to=image", 7.0)])
def test_the_direction_stays_and_the_norm_is_the_prompts(label: str, norm: float) -> None:
    own = torch.tensor([1.0, -2.0, 3.0, 0.5])
    edit = parse_condition(label).edit(SAMPLE, None, None)  # type: ignore[attr-defined,arg-type]
    fed = edit(own, place())
    assert float(fed.norm()) == pytest.approx(norm)
    assert float(torch.cosine_similarity(fed, own, dim=0)) == pytest.approx(1)
    assert torch.equal(edit(torch.zeros(4), place()), torch.zeros(4))
    half = edit(own.bfloat16(), place())
    assert half.dtype == torch.bfloat16


def test_a_prompt_without_the_norm_and_another_target_are_refused() -> None:
    edit = Rescale(to="image").edit(SAMPLE, None, None)  # type: ignore[arg-type]
    for slot in (place(image=None), Slot(0, 0, torch.empty(0, 4))):
        with pytest.raises(LanternError, match="rescale:to=image.*not known"):
            edit(torch.ones(4), slot)
    with pytest.raises(LanternError, match="to takes text or image, not 'video'"):
        parse_condition("rescale:to=video").check(8)


def test_a_pause_feeds_one_token_at_every_slot_and_the_record_names_it(untrained: Any) -> None:
    plan = Pause().plan(SAMPLE, untrained, None)
    number = untrained.processor.tokenizer.convert_tokens_to_ids(".")
    embedding = untrained.hf.get_input_embeddings().weight[number]
    assert plan.notes == (("pause_token", "."),) and plan.edit is not None
    for index in (0, 5):
        fed = plan.edit(torch.ones(128), Slot(0, index, torch.empty(index, 128)))
        assert torch.equal(fed, embedding)
    assert Pause(token="the").plan(SAMPLE, untrained, None).notes == (("pause_token", "the"),)
    scoped = parse_condition("pause:slots=3").plan(SAMPLE, untrained, None)
    assert scoped.edit is not None and scoped.notes
    assert torch.equal(
        scoped.edit(torch.ones(128), Slot(0, 2, torch.empty(2, 128))), torch.ones(128)
    )


@pytest.mark.parametrize("token", ["<|lvr_end|>", "the picture", "nonsense", "<unk>"])
def test_what_is_no_single_ordinary_token_is_refused(untrained: Any, token: str) -> None:
    with pytest.raises(LanternError, match="is not one ordinary token.*pause:token=the"):
        Pause(token=token).plan(SAMPLE, untrained, None)
