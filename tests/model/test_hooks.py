"""Hooks at components read what a forward computes, and put other values there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.hooks import Place, component_hooks
from lantern_probe.model.sites import submodule
from lantern_probe.tasks.scenes import scenes

PLACES: list[Place] = [
    *((component, layer) for component in ("residual", "attention", "mlp") for layer in (0, 3)),
    *(("embedding", None), ("vision", None)),
]


def forward(lantern: Any, **more: Any) -> torch.Tensor:
    """The logits of a scene's last position."""
    with torch.no_grad():
        return lantern.hf(**lantern.inputs(scenes(1)), use_cache=False, **more).logits[0, -1]


def hooks_on(lantern: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lantern.hf.modules())


def test_what_is_read_is_what_the_modules_give(untrained: Any):
    kept: dict[Place, torch.Tensor] = {}
    acts = {place: lambda value, place=place: kept.update({place: value}) for place in PLACES}
    plain = forward(untrained)
    with component_hooks(untrained, acts):
        read = forward(untrained)
    assert torch.equal(read, plain) and kept.keys() == {*PLACES}
    inputs = untrained.inputs(scenes(1))
    with torch.no_grad():
        states = untrained.hf(**inputs, output_hidden_states=True).hidden_states
        tokens = untrained.hf.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
        ).pooler_output
    assert torch.equal(kept["embedding", None], states[0])
    assert torch.equal(kept["residual", 0], states[1])
    assert torch.equal(kept["vision", None], torch.cat(list(tokens)))
    added = kept["attention", 0] + kept["mlp", 0]
    assert torch.allclose(states[0] + added, states[1], atol=1e-5)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("in_place", [True, False])
def test_a_value_may_be_replaced_or_changed_in_place(untrained: Any, place: Place, in_place: bool):
    def double(value: torch.Tensor) -> torch.Tensor | None:
        if in_place:
            value.mul_(2)
            return None
        return 2 * value

    def by_hand(module: Any, args: Any, output: Any = None) -> Any:
        if place[0] == "embedding":
            return (2 * args[0], *args[1:])
        if place[0] == "vision":
            output.pooler_output = 2 * output.pooler_output
            return output
        return 2 * output

    module = submodule(untrained, *place)
    register = "register_forward_hook"
    if place[0] == "embedding":
        register = "register_forward_pre_hook"
    plain = forward(untrained)
    with component_hooks(untrained, {place: double}):
        found = forward(untrained)
    handle = getattr(module, register)(by_hand)
    try:
        expected = forward(untrained)
    finally:
        handle.remove()
    assert torch.equal(found, expected) and not torch.equal(found, plain)
    assert torch.equal(forward(untrained), plain)


def test_latents_are_seen_slot_by_slot_and_may_be_replaced(untrained: Any):
    """They pass through `latent`, which is no module of a plain forward."""
    sample = scenes(1)[0]
    bias = {"sequence_bias": [[[untrained.lvr.start], 1e4]], "max_new_tokens": 12}
    seen: list[torch.Tensor] = []
    with component_hooks(untrained, {("latent", None): seen.append}):
        plain = untrained.generate(sample, **bias)
    assert torch.equal(torch.cat(seen)[:8, 0], plain.latents[0][0])
    with component_hooks(untrained, {("latent", None): torch.zeros_like}):
        zeros = untrained.generate(sample, **bias)
    assert zeros.latents[0][0].abs().max() == 0


def test_hooks_go_however_the_block_ends(untrained: Any):
    before = hooks_on(untrained)

    def fail(value: torch.Tensor) -> None:
        raise RuntimeError("on purpose")

    acts = {("residual", 1): lambda value: None, ("mlp", 2): fail}
    with component_hooks(untrained, acts):
        assert hooks_on(untrained) == before + 2
    with pytest.raises(RuntimeError, match="on purpose"), component_hooks(untrained, acts):
        forward(untrained)
    assert hooks_on(untrained) == before
    # Also where a later component is not there.
    wrong = {("residual", 1): fail, ("mlp", 9): fail}
    with pytest.raises(LanternError, match="has no layer 9"), component_hooks(untrained, wrong):
        pass
    assert hooks_on(untrained) == before
