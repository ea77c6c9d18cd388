"""Attention rows of an sdpa model are those of eager attention, and reading changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.capture.attention import default_queries, read_attention, reading_attention
from lantern_probe.capture.attention_rows import rows_of
from lantern_probe.errors import LanternError
from lantern_probe.model.attention import REPEATED_SDPA
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import Replay, replay
from lantern_probe.model.roles import find_roles
from lantern_probe.tasks.scenes import scenes


def eager_attention(lantern: Any, again: Replay) -> torch.Tensor:
    """All weights of all rows, by transformers' own eager attention, [layers, rows, ...]."""
    language = lantern.hf.model.language_model
    before = language.config._attn_implementation
    language.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            return torch.stack(language(**again.inputs, output_attentions=True).attentions)
    finally:
        language.set_attn_implementation(before)


def some_texts(lantern: Any) -> Replay:
    samples = scenes(6, seed=3)
    bias = [[[lantern.lvr.start], 2.0]]
    output = lantern.generate(samples, max_new_tokens=30, sequence_bias=bias)
    again = replay(lantern, samples, output)
    assert any(again.first) and any(output.emitted)
    return again


@pytest.mark.parametrize("name", ["untrained", "faithful"])
def test_rows_equal_eager_attention(name: str, untrained: Any):
    lantern = untrained if name == "untrained" else LanternModel(name)
    again = some_texts(lantern)
    queries = [
        default_queries(find_roles(lantern, again.own_ids(row), again.prompt_lengths[row]))
        for row in range(len(again.ids))
    ]
    queries[0] = torch.tensor([0, 17, 3])  # any positions, in any order
    expected = eager_attention(lantern, again)
    config = lantern.hf.config.get_text_config()
    for row, weights in enumerate(read_attention(lantern, again, queries)):
        assert weights.shape[:3] == (4, config.num_attention_heads, len(queries[row]))
        own = expected[:, row, :, again.first[row] :, again.first[row] :][:, :, queries[row]]
        assert torch.allclose(weights, own, atol=1e-4)
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)


def test_without_padding_there_is_no_mask_to_read(untrained: Any):
    samples = scenes(1)
    again = replay(untrained, samples, untrained.generate(samples, max_new_tokens=4))
    (weights,) = read_attention(untrained, again, [torch.tensor([0, 9])])
    expected = eager_attention(untrained, again)[:, 0, :, [0, 9]]
    assert torch.allclose(weights, expected, atol=1e-4)
    assert weights[:, :, 0, 0].eq(1).all() and weights[:, :, 1, 10:].eq(0).all()


def test_reading_changes_nothing(untrained: Any):
    again = some_texts(untrained)
    queries = [torch.tensor([30])] * len(again.ids)
    language = untrained.hf.model.language_model
    with torch.no_grad():
        expected = untrained.hf(**again.inputs).logits
        with reading_attention(untrained, queries):
            assert untrained.hf.model.visual.config._attn_implementation == "sdpa"
            read = untrained.hf(**again.inputs).logits
    assert torch.equal(read, expected)
    assert language.config._attn_implementation == "sdpa"


def test_queries_of_a_step_are_counted_from_the_beginning_of_its_cache(untrained: Any):
    samples = scenes(1)
    again = replay(untrained, samples, untrained.generate(samples, max_new_tokens=6))
    last = again.ids.shape[1] - 1
    (expected,) = read_attention(untrained, again, [torch.tensor([last])])
    inputs = again.inputs | {"use_cache": True}
    parts = [
        {
            **inputs,
            "inputs_embeds": inputs["inputs_embeds"][:, some],
            "position_ids": inputs["position_ids"][:, :, some],
            "attention_mask": inputs["attention_mask"][:, : some.stop],
        }
        for some in (slice(0, last), slice(last, last + 1))
    ]
    language = untrained.hf.model.language_model
    with torch.no_grad():
        cache = language(**parts[0]).past_key_values
        with reading_attention(untrained, [torch.tensor([last])]) as reading:
            language(**parts[1], past_key_values=cache)
    assert torch.allclose(reading.weights[0], expected, atol=1e-5)


def test_other_roundings_of_sdpa_can_be_read_and_other_attentions_not(untrained_folder: Any):
    lantern = LanternModel(str(untrained_folder), attn_implementation=REPEATED_SDPA, offline=True)
    again = some_texts(lantern)
    queries = [torch.tensor([30])] * len(again.ids)
    weights = read_attention(lantern, again, queries)
    assert lantern.hf.config.get_text_config()._attn_implementation == REPEATED_SDPA
    lantern.hf.model.language_model.set_attn_implementation("eager")
    with pytest.raises(LanternError, match="attn_implementation='sdpa'"):
        read_attention(lantern, again, queries)
    assert weights[0].shape[2] == 1


def test_queries_that_do_not_fit_are_refused(untrained: Any):
    again = some_texts(untrained)
    rows = len(again.ids)
    length = again.ids.shape[1]
    with pytest.raises(LanternError, match=f"row 0 has no position {length}"):
        read_attention(untrained, again, [torch.tensor([length])] * rows)
    language = untrained.hf.model.language_model
    one = [torch.tensor([30])]
    for queries, message in (
        (one * (rows - 1), f"queries for {rows - 1} rows"),
        ([torch.tensor([length])] * rows, f"no query {length}"),
    ):
        with pytest.raises(LanternError, match=message), reading_attention(untrained, queries):
            language(**again.inputs)
    with reading_attention(untrained, one * rows) as reading:
        with pytest.raises(LanternError, match="no forward"):
            reading.weights  # noqa: B018
        language(**again.inputs)
        with pytest.raises(LanternError, match="one forward"):
            language(**again.inputs)
    assert language.config._attn_implementation == "sdpa"


def test_a_row_without_queries_has_no_weights_and_leaves_the_others(untrained: Any):
    """As a text that was cut off before a block and an answer."""
    again = some_texts(untrained)
    queries = [torch.tensor([3, 4]) if row == 0 else torch.tensor([], dtype=torch.long)
               for row in range(len(again.first))]  # fmt: skip
    weights = read_attention(untrained, again, queries)
    (alone,) = {w.shape[2] for w in weights[:1]}
    assert alone == 2 and all(w.shape[2] == 0 for w in weights[1:]) and len(weights) > 1
    everywhere = read_attention(untrained, again, [torch.tensor([3, 4]) for _ in again.first])
    assert torch.equal(weights[0], everywhere[0])


def test_texts_cut_off_before_their_answer_have_rows_without_figures(untrained: Any):
    rows = rows_of(untrained, scenes(2), limit=1)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert all(row["attention"] == {} for row in rows)
