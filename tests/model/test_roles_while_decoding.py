"""The sets of a token, known when it comes, are those of the finished text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.model.blocks import find_blocks
from lantern_probe.model.roles import RoleTracker, find_roles, position_sets
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import PROMPT_SETS, WRITTEN_SETS, Role


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
    lantern: Any = SimpleNamespace(
        require_lvr=lambda: untrained.lvr, processor=SimpleNamespace(tokenizer=Pieces())
    )
    follow = RoleTracker(lantern)
    found = [follow(token) for token in (0, 1, 2, 3, 4)]
    assert found == [{"thought"}] * 3 + [{"answer"}] * 2
