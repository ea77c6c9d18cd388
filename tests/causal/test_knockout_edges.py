"""Cut edges get no attention, and the rest is renormalised."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.capture.attention import read_attention
from lantern_probe.causal.knockout import cutting_edges
from lantern_probe.errors import LanternError
from lantern_probe.model.replay import replay
from lantern_probe.tasks.scenes import scenes


@pytest.mark.parametrize("count", [1, 5])  # without padding there is no mask
def test_cut_edges_get_nothing_and_rows_still_sum_to_one(untrained: Any, count: int):
    samples = scenes(count, seed=3)
    again = replay(untrained, samples, untrained.generate(samples, max_new_tokens=6))
    rows, length = again.ids.shape
    torch.manual_seed(0)
    edges = torch.rand(rows, length, length) < 0.3
    edges[0, length - 1] = True  # all of them: the position itself is left
    queries = [torch.arange(length - first) for first in again.first]
    whole = read_attention(untrained, again, queries)
    with cutting_edges(untrained, edges, layers=[1, 2]):
        cut = read_attention(untrained, again, queries)
    for row, first in enumerate(again.first):
        off = edges[row, first:, first:].clone().fill_diagonal_(False)
        assert torch.allclose(cut[row].sum(-1), torch.ones(()), atol=1e-5)
        assert cut[row][1:3, :, off].eq(0).all()
        kept = whole[row][1].masked_fill(off, 0)
        expected = kept / kept.sum(-1, keepdim=True)
        assert torch.allclose(cut[row][1], expected, atol=1e-5)  # nothing was cut before it
        assert torch.equal(cut[row][0], whole[row][0])
        assert cut[row][3].masked_select(off & (whole[row][3, 0] > 0)).gt(0).any()
    assert cut[0][1, :, -1, -1].eq(1).all()


def test_edges_of_another_shape_are_refused(untrained: Any):
    samples = scenes(2)
    again = replay(untrained, samples, untrained.generate(samples, max_new_tokens=2))
    edges = torch.zeros(2, 4, 4, dtype=torch.bool)
    language = untrained.hf.model.language_model
    with pytest.raises(LanternError, match="do not fit"), cutting_edges(untrained, edges):
        language(**again.inputs)
    assert language.config._attn_implementation == "sdpa"
