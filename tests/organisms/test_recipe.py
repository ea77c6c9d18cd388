"""The recipe: a few steps of every kind learn, and the seed decides."""

from __future__ import annotations

import pytest
import torch

from lantern_probe.organisms.training import recipe
from lantern_probe.organisms.training.build import SLOTS
from lantern_probe.organisms.training.graded import TRAITS, mixture
from lantern_probe.organisms.training.layout import Scenes
from lantern_probe.organisms.training.mixtures import draw, plan
from lantern_probe.organisms.training.recipe import Recipe, train_instruct, train_kind
from lantern_probe.organisms.training.settings import GRADED, KINDS

TINY = Recipe(instruct_steps=2, sft_steps=5, batch=16, crops=4, pool=32)


@pytest.mark.parametrize("kind", [*KINDS, *GRADED])
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


def test_the_kinds_before_the_graded_ones_are_trained_as_they_were() -> None:
    """Rows of plain kinds are drawn by the draws that made the organisms that ship."""
    scenes = Scenes(*(torch.arange(32) % n for n in (3, 6, 8)), torch.zeros(32).bool())
    for kind in KINDS:
        stream, again = (torch.Generator().manual_seed(0) for _ in range(2))
        parts = mixture(kind)[0]
        chosen = draw(parts, scenes, 16, stream)
        dealt = plan(parts, scenes[chosen], stream, TRAITS[kind].alike)
        assert torch.equal(chosen, torch.randint(32, (16,), generator=again))
        shift = int(torch.randint(1, 16, (), generator=again))
        assert torch.equal(dealt.donor, (torch.arange(16) + shift) % 16)
        assert torch.equal(stream.get_state(), again.get_state())


def test_half_of_the_slots_is_exchanged_and_orders_are_permutations() -> None:
    own, given = torch.zeros(2, SLOTS, 3), torch.ones(2, SLOTS, 3)
    joined = recipe._joined(own, given, torch.tensor([0, 1]))
    assert joined[..., 0].tolist() == [[1] * 4 + [0] * 4, [0] * 4 + [1] * 4]
    orders = recipe._orders(30, torch.Generator().manual_seed(0))
    assert (orders.sort(1).values == torch.arange(SLOTS)).all()
    moved = (orders != torch.arange(SLOTS)).sum(1)
    assert (moved[::3] == 2).all() and (moved[1::3] > 2).any()


def test_a_thought_from_elsewhere_is_of_another_scene_with_the_same_shape() -> None:
    scenes = Scenes(*(torch.arange(60) % n for n in (3, 6, 8)), torch.zeros(60).bool())
    other = recipe._elsewhere(scenes, torch.Generator().manual_seed(0))
    assert torch.equal(scenes.shape[other], scenes.shape)
    assert not (other == torch.arange(60)).any() and len(other.unique()) == 60


def test_training_is_repeatable() -> None:
    first, second = (train_instruct(3, TINY).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
