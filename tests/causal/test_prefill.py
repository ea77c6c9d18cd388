"""Prompts run by equal length, and texts decoded together, are those of one call of `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from lantern_probe.causal import prefill
from lantern_probe.causal.branching import Prefix, run_prefixes
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes


def questions() -> list[Sample]:
    """Of several lengths, one without an image and one with three, in no order."""
    found = scenes(9, seed=3)
    for number in (2, 5):
        found[number] = replace(found[number], question=f"well , {found[number].question}")
    images = [found[number].open_images()[0] for number in (0, 1, 6)]
    found[4] = replace(found[4], images=tuple(images), boxes=())
    found[7] = replace(found[7], images=(), boxes=())
    return found


def same(found: Sequence[Prefix], expected: Sequence[Prefix]) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one.ids.tolist() == two.ids.tolist()
        assert (one.prompt_length, one.limit) == (two.prompt_length, two.limit)
        assert (one.rope_delta, one.emitted) == (two.rope_delta, two.emitted)
        cached = len(one.ids) - 1
        for first, second in zip(one.cache, two.cache, strict=True):
            for a, b in zip(first, second, strict=True):
                assert torch.allclose(a[:, :cached], b[:, :cached], atol=1e-4)


@pytest.mark.parametrize("limit", [1, 2, 7, 64])
def test_prefixes_are_those_of_one_call(limit: int, monkeypatch: pytest.MonkeyPatch):
    lantern, samples = LanternModel("faithful"), questions()
    rows = []
    decode = lantern.decode

    def counted(inputs: Any, **kwargs: Any) -> Any:
        rows.append(tuple(inputs["attention_mask"].shape))
        return decode(inputs, **kwargs)

    monkeypatch.setattr(lantern, "decode", counted)
    found = run_prefixes(lantern, samples, max_new_tokens=limit)
    lengths = {p.prompt_length for p in found}
    assert len(lengths) == 5  # a call for each, without padding
    assert sorted(length for _, length in rows[:5]) == sorted(lengths)
    assert len(rows) == 5 or limit > 1
    monkeypatch.setattr(prefill, "may_share", lambda *given: False)
    same(found, run_prefixes(lantern, samples, max_new_tokens=limit))
    if limit == 64:
        assert all(p.emitted for p in found[:2])


def test_batches_of_prompts_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    lantern, samples = LanternModel("bypass"), questions()
    expected = run_prefixes(lantern, samples)
    monkeypatch.setattr(prefill, "PROMPTS", {"cpu": 2})
    same(run_prefixes(lantern, samples), expected)


def test_texts_without_a_block_run_to_their_end(untrained: Any):
    start, (eos, *_) = untrained.lvr.start, [*untrained.eos_ids]
    kwargs = {"sequence_bias": [[[start], -1e4], [[eos], 3.0]]}
    found = run_prefixes(untrained, scenes(6, seed=2), max_new_tokens=20, **kwargs)
    assert not any(p.emitted for p in found)
    ends = [int(p.ids[-1]) in untrained.eos_ids for p in found]
    assert all(end or len(p.ids) == p.limit for end, p in zip(ends, found, strict=True))


def test_sampled_texts_are_drawn_in_one_call():
    lantern = LanternModel("faithful")
    texts = []
    for run in range(2):
        torch.manual_seed(run)
        some = run_prefixes(lantern, scenes(6, seed=2), do_sample=True, temperature=3.0)
        texts.append([p.ids.tolist() for p in some])
    assert texts[0] != texts[1]
