"""Latent blocks: where they stand in a text, and what a generation says of them."""

from __future__ import annotations

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.model.blocks import Block, LanternOutput, LvrTokens, find_blocks, first_of

TOKENS = LvrTokens(start=7, sep=8, end=9, size=3)


def test_find_blocks_reads_several_blocks_and_ignores_the_prompt():
    ids = [7, 8, 8, 8, 9, 1, 7, 8, 8, 8, 9, 8, 2, 7, 9, 7, 8]
    blocks = find_blocks(ids, 5, TOKENS)
    assert [(b.start, list(b.slots), b.end) for b in blocks] == [
        (6, [7, 8, 9], 10),
        (13, [], 14),
        (15, [16], None),
    ]


@given(
    st.lists(
        st.one_of(
            st.integers(0, 6).map(lambda token: [token]),
            st.just([8]),
            st.just([7, 8, 8, 8, 9]),
            st.just([7, 9]),
        ),
        max_size=12,
    ),
    st.integers(0, 5),
)
def test_blocks_found_are_the_blocks_written(pieces: list[list[int]], prompt: int):
    ids, expected = [1] * prompt, []
    for piece in pieces:
        if piece[0] == TOKENS.start:
            expected.append((len(ids), len(piece) - 2))
        ids += piece
    found = find_blocks(torch.tensor(ids, dtype=torch.long), prompt, TOKENS)
    assert [(b.start, len(b.slots)) for b in found] == expected
    assert all(b.end is not None and ids[b.end] == TOKENS.end for b in found)


def test_emission_is_the_fraction_of_rows_with_a_block():
    block = Block(2, range(3, 6), 6, torch.ones(3, 4))
    output = LanternOutput(torch.zeros(4, 8, dtype=torch.long), 2, [[block], [], [], []], [], [])
    assert output.emitted == [True, False, False, False] and output.emission == 0.25
    assert [len(row) for row in output.latents] == [1, 0, 0, 0]
    assert output.latents[0][0].shape == (3, 4)


def test_a_block_read_back_from_tokens_alone_has_no_latents():
    (block,) = find_blocks([1, 7, 8, 8, 8, 9], 1, TOKENS)
    assert block.latents.shape == (0, 0)


def test_the_first_of_some_values():
    assert first_of([4, 5, 6, 5], {5, 6}) == 1
    assert first_of([4], {5}) is None


def test_plans_are_made_without_torch():
    """What names and labels need is there before the model stack is."""
    code = (
        "import sys; from lantern_probe.model.blocks import OWN, RowPlan; "
        "RowPlan(mode='skip'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
