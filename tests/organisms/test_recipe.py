"""The recipe: a few steps of every kind learn, and the seed decides."""

from __future__ import annotations

import pytest
import torch

from lantern_probe.organisms.training.recipe import Recipe, train_instruct, train_kind
from lantern_probe.organisms.training.settings import KINDS

TINY = Recipe(instruct_steps=2, sft_steps=5, batch=16, crops=4, pool=32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_of_every_kind(kind: str) -> None:
    losses: list[float] = []
    model = train_instruct(0, TINY)
    vision_before = {k: v.clone() for k, v in model.model.visual.state_dict().items()}
    text_before = model.lm_head.weight.detach().clone()
    train_kind(kind, 0, model, TINY, lambda step, steps, loss: losses.append(loss))
    assert len(losses) == 5 and losses[-1] < losses[0]
    for name, value in model.model.visual.state_dict().items():
        assert torch.equal(value, vision_before[name]), "the vision tower is frozen in the SFT"
    assert not torch.equal(model.lm_head.weight, text_before)


def test_training_is_repeatable() -> None:
    first, second = (train_instruct(3, TINY).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
