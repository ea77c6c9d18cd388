"""Every position of a sequence has a role, and boxes find their image tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.model.roles import find_roles, tokens_in_box
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import Role


def test_roles_of_a_generation_with_two_prompts_of_different_length(untrained: Any):
    tokenizer = untrained.processor.tokenizer
    word = tokenizer.convert_tokens_to_ids
    samples = sorted(scenes(40, seed=3), key=lambda s: len(s.text.split()))
    samples = [samples[0], samples[-1]]
    prompts = untrained.inputs(samples)["input_ids"]
    lvr = untrained.lvr
    tail = [word("<think>"), word("let"), lvr.start, *[lvr.sep] * 8, lvr.end, word("it")]
    tail += [lvr.sep, word("</think>"), word("<answer>"), word("red"), word("</answer>")]
    tail += [word("<|im_end|>"), word("<|endoftext|>")]
    for sample, prompt in zip(samples, prompts, strict=True):
        ids = torch.cat([prompt, torch.tensor(tail)])
        roles = find_roles(untrained, ids, len(prompt))
        by_role = {role: roles.positions(role) for role in Role}
        assert sum(len(found) for found in by_role.values()) == len(ids)
        assert torch.equal(by_role[Role.IMAGE], (ids == 0 + word("<|image_pad|>")).nonzero()[:, 0])
        question = tokenizer.decode(ids[by_role[Role.QUESTION]])
        assert question == sample.text
        assert "assistant" not in tokenizer.decode(ids[by_role[Role.SYSTEM]])
        base = len(prompt)
        assert by_role[Role.LVR_START].tolist() == [base + 2]
        assert by_role[Role.SLOT].tolist() == list(range(base + 3, base + 11))
        assert roles.positions("slot", slot=5).tolist() == [base + 8]
        assert roles.positions("slot", block=1).tolist() == []
        assert by_role[Role.LVR_END].tolist() == [base + 11]
        # A <|lvr_sep|> outside a block is an ordinary token.
        assert by_role[Role.THOUGHT].tolist() == [base, base + 1, *range(base + 12, base + 15)]
        assert by_role[Role.ANSWER].tolist() == [base + 15, base + 16, base + 17]
        assert by_role[Role.END].tolist() == [base + 18]
        assert by_role[Role.PAD].tolist() == [
            *(ids[:base] == word("<|endoftext|>")).nonzero()[:, 0].tolist(),
            base + 19,
        ]


def test_an_unknown_role_is_refused(untrained: Any):
    ids = untrained.inputs(scenes(1))["input_ids"][0]
    with pytest.raises(ValueError, match="nonsense"):
        find_roles(untrained, ids, len(ids)).positions("nonsense")


GRID = torch.tensor([1, 8, 12])  # 4 x 6 tokens


def test_tokens_of_a_box_by_hand():
    # 600 x 400 pixels over 6 x 4 tokens: 100 pixels a cell.
    assert tokens_in_box((0, 0, 100, 100), (600, 400), GRID).tolist() == [0]
    assert tokens_in_box((100, 100, 300, 200), (600, 400), GRID).tolist() == [7, 8]
    assert tokens_in_box((149, 100, 300, 200), (600, 400), GRID).tolist() == [7, 8]
    assert tokens_in_box((151, 100, 300, 200), (600, 400), GRID).tolist() == [8]
    assert tokens_in_box((510, 310, 530, 330), (600, 400), GRID).tolist() == [23]
    assert tokens_in_box((-50, -50, 700, 500), (600, 400), GRID).tolist() == list(range(24))


@pytest.mark.parametrize("box", [(600, 0, 700, 100), (-20, 0, 0, 100), (10, 10, 10, 90)])
def test_a_box_without_area_in_the_image_is_refused(box: tuple[float, ...]):
    with pytest.raises(LanternError, match="no area inside"):
        tokens_in_box(box, (600, 400), GRID)


@given(
    st.floats(0, 590), st.floats(0, 390), st.floats(1, 600), st.floats(1, 400), st.floats(0.05, 1)
)
def test_tokens_of_a_box_are_those_it_covers(
    left: float, top: float, width: float, height: float, coverage: float
):
    box = (left, top, left + width, top + height)
    found = tokens_in_box(box, (600, 400), GRID, coverage=coverage).tolist()
    shares = []
    for token in range(24):
        y, x = divmod(token, 6)
        wide = min(box[2], 100 * x + 100, 600) - max(box[0], 100 * x)
        high = min(box[3], 100 * y + 100, 400) - max(box[1], 100 * y)
        shares.append(max(wide, 0) * max(high, 0) / 1e4)
    covered = [t for t in range(24) if shares[t] >= coverage]
    close = [t for t in range(24) if abs(shares[t] - coverage) < 1e-6]
    assert found and found == sorted(found)
    if covered:
        assert set(covered) - set(close) <= set(found) <= set(covered) | set(close)
    else:
        assert shares[found[0]] == pytest.approx(max(shares))
