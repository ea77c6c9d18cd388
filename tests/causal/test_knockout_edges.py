"""Cut edges get no attention, and the rest is renormalised."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.capture.attention import read_attention
from lantern_probe.causal.knockout import cutting_edges
from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import find_blocks
from lantern_probe.model.replay import replay
from lantern_probe.model.roles import find_roles, position_sets
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import PROMPT_SETS, WRITTEN_SETS, Role


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


@given(data=st.data())
def test_sets_known_while_decoding_are_the_roles_of_the_finished_text(untrained: Any, data: Any):
    tokenizer = untrained.processor.tokenizer
    words = ["<|lvr_start|>", "<|lvr_end|>", "<answer>", "it", "red"]
    blocks = ["<|lvr_start|> " + "<|lvr_sep|> " * n + "<|lvr_end|>" for n in (3, 8, 9)]
    parts = data.draw(st.lists(st.sampled_from(words + blocks), max_size=8))
    prompt = untrained.inputs(scenes(1))["input_ids"][0]
    written = tokenizer(" ".join(parts)).input_ids
    ids = torch.cat([prompt, torch.tensor(written, dtype=torch.long)])
    sets = position_sets(untrained, ids, len(prompt))
    roles = find_roles(untrained, ids, len(prompt))
    for role in (*PROMPT_SETS, *WRITTEN_SETS):
        if role != "after":
            assert [role in s for s in sets] == [r == role for r in roles.names]
    found = find_blocks(ids, len(prompt), untrained.lvr)
    behind = found[0].slots.stop if found else len(ids)
    assert [at for at, s in enumerate(sets) if "after" in s] == list(range(behind, len(ids)))
    tag = next((at for at, p in enumerate(parts) if p == "<answer>"), None)
    first = len(tokenizer(" ".join(parts[:tag])).input_ids) if tag is not None else len(written)
    plain = [at for at, r in enumerate(roles.names) if r in (Role.THOUGHT, Role.ANSWER)]
    for at in plain:
        assert ("answer" in sets[at]) == (at >= len(prompt) + first) != ("thought" in sets[at])


class Pieces:
    """A tokenizer that spreads the tag over tokens, as Qwen's does."""

    pieces = ("it", "<", "answer", ">", "A")

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        return "".join(self.pieces[i] for i in ids)


def test_the_answer_begins_with_the_token_that_completes_the_tag(untrained: Any):
    from types import SimpleNamespace

    from lantern_probe.model.roles import RoleTracker

    lantern: Any = SimpleNamespace(
        require_lvr=lambda: untrained.lvr, processor=SimpleNamespace(tokenizer=Pieces())
    )
    follow = RoleTracker(lantern)
    found = [follow(token) for token in (0, 1, 2, 3, 4)]
    assert found == [{"thought"}] * 3 + [{"answer"}] * 2
