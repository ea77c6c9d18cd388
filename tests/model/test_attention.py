"""The attention functions: hooks see every layer once, may be nested, and leave nothing on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.attention import (
    HOOKED_SDPA,
    REPEATED_SDPA,
    AttentionHook,
    causal,
    hooked,
)
from lantern_probe.model.lantern import LanternModel


class Cut(AttentionHook):
    """Hides one position from all later ones, and keeps the masks that it is shown."""

    def __init__(self, position: int):
        self.position = position
        self.layers: list[int] = []
        self.seen: list[torch.Tensor] = []

    def cut(self, layer: int, mask: Any, query: torch.Tensor, key: torch.Tensor) -> Any:
        if mask is None:
            mask = causal(query.shape[2], key.shape[2], query.device)
        mask = mask.clone()
        mask[..., self.position + 1 :, self.position] = False
        return mask

    def look(self, layer: int, mask: Any, query: Any, key: Any, scaling: float) -> None:
        self.layers.append(layer)
        self.seen.append(mask)


def forward(lantern: Any) -> torch.Tensor:
    with torch.no_grad():
        return lantern.hf(input_ids=torch.arange(3, 10)[None]).logits[0, -1]


def test_nested_hooks_each_cut_and_all_see_what_is_left(untrained: Any):
    language = untrained.hf.model.language_model
    plain = forward(untrained)
    outer, inner = Cut(1), Cut(3)
    with hooked(untrained, outer):
        assert language.config._attn_implementation == HOOKED_SDPA
        assert untrained.hf.model.visual.config._attn_implementation == "sdpa"
        with hooked(untrained, inner):
            both = forward(untrained)
        one = forward(untrained)
    assert inner.layers == [0, 1, 2, 3] and outer.layers == [0, 1, 2, 3] * 2
    expected = torch.ones(7, 7, dtype=torch.bool).tril()
    expected[2:, 1] = expected[4:, 3] = False
    assert all(torch.equal(mask[0, 0], expected) for mask in inner.seen + outer.seen[:4])
    assert torch.equal(forward(untrained), plain)
    assert not torch.allclose(one, plain) and not torch.allclose(one, both)
    assert language.config._attn_implementation == "sdpa"


def test_a_hook_that_does_nothing_changes_no_bit(untrained: Any):
    plain = forward(untrained)
    with hooked(untrained, AttentionHook()):
        assert torch.equal(forward(untrained), plain)


def test_hooks_go_after_an_error(untrained: Any):
    class Failing(AttentionHook):
        def look(self, *args: Any) -> None:
            raise RuntimeError("on purpose")

    plain = forward(untrained)
    with pytest.raises(RuntimeError, match="on purpose"), hooked(untrained, Failing()):
        forward(untrained)
    assert untrained.hf.model.language_model.config._attn_implementation == "sdpa"
    assert torch.equal(forward(untrained), plain)


def test_another_attention_than_sdpa_cannot_be_hooked(untrained: Any):
    language = untrained.hf.model.language_model
    language.set_attn_implementation("eager")
    try:
        with (
            pytest.raises(LanternError, match="'eager'; load the model with attn_implementation"),
            hooked(untrained, AttentionHook()),
        ):
            pass
        assert language.config._attn_implementation == "eager"
    finally:
        language.set_attn_implementation("sdpa")


def test_rounding_of_older_transformers_is_the_same_mathematics(
    conformance: Any, official: Any, official_inputs: Any
):
    other = LanternModel(
        str(conformance / "checkpoint"), attn_implementation=REPEATED_SDPA, offline=True
    )
    assert other.hf.config.get_text_config()._attn_implementation == REPEATED_SDPA
    inputs = official_inputs("batch5")
    first, second = (
        lantern.hf.generate(
            **inputs, max_new_tokens=3, output_logits=True, return_dict_in_generate=True
        ).logits
        for lantern in (official, other)
    )
    for one, two in zip(first, second, strict=True):
        assert torch.allclose(one, two, atol=1e-4)
