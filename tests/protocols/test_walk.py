"""The walk through latent blocks: what may be written, and what a token is, under any protocol."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lantern_probe.protocols import PROTOCOLS, BlockWalk, LvrTokens, walk_blocks
from lantern_probe.protocols.walk import Turn, Walked

START, SLOT, END, EOS, A, B = 1, 2, 3, 9, 5, 6


def tokens(name: str, size: int = 2, **fields: object) -> LvrTokens:
    protocol = replace(PROTOCOLS[name], **fields)  # type: ignore[arg-type]
    return LvrTokens(START, SLOT, END, size, protocol)


def walked(name: str, ids: list[int], size: int = 2, **fields: object) -> list[Walked]:
    return walk_blocks([A, *ids], 1, tokens(name, size, **fields), {EOS})


def test_lantern_closes_after_all_slots():
    assert walked("lantern", [START, SLOT, SLOT, END, B]) == [Walked(1, 2, 2, 4)]


def test_an_early_end_leaves_fewer_slots():
    assert walked("ilvr", [START, SLOT, END, B]) == [Walked(1, 2, 1, 3)]


def test_a_fed_marker_is_the_first_slot():
    assert walked("monet", [START, A, END, B]) == [Walked(1, 1, 2, 3)]


def test_without_an_end_marker_the_next_token_closes_whatever_it_is():
    assert walked("lvr", [START, A, START, B]) == [Walked(1, 2, 2, 4)]
    assert walked("lvr", [START, A, B, START, A, B]) == [Walked(1, 2, 2, 4), Walked(4, 5, 2, None)]
    assert walked("lvr", [START, A, END, EOS, B]) == [Walked(1, 2, 2, 4)]


def test_a_start_marker_inside_begins_the_block_anew_where_it_may():
    first, second = walked("ilvr", [START, SLOT, START, SLOT, SLOT, END])
    assert first == Walked(1, 2, 1, None, restarted=True) and second == Walked(3, 4, 2, 6)
    assert walked("monet", [START, START, END]) == [Walked(1, 1, 2, 3)]


def test_an_end_of_text_leaves_the_block_open():
    assert walked("monet", [START, EOS, A, A]) == [Walked(1, 1, 1, None)]


@pytest.mark.parametrize(
    ("name", "opened"), [("lantern", 0), ("monet", 0), ("lvr", 1), ("skila", 1), ("swimbird", 1)]
)
def test_a_prompt_that_ends_with_the_marker_opens_under_some_protocols(name: str, opened: int):
    assert len(walk_blocks([A, START, B, B], 2, tokens(name))) == opened


@pytest.mark.parametrize("name", PROTOCOLS)
def test_blocks_without_slots_are_two_markers_under_every_protocol(name: str):
    walk = BlockWalk(tokens(name, 0))
    assert walk.take(START, 4) == "start" and walk.turn() == Turn(END)
    assert walk.take(END, 5) == "end" and walk.spans == [Walked(4, 5, 0, 5)]


@pytest.mark.parametrize(
    ("name", "inside", "full"),
    [
        ("lantern", Turn(SLOT), Turn(END)),
        ("lvr", Turn(end_of_text=False), Turn()),
        ("monet", Turn(), Turn(END)),
        ("monet-hf", Turn(SLOT, (END, START)), Turn(END, (START,))),
        ("ilvr", Turn(SLOT, (END, START)), Turn(END, (START,))),
        ("mirage", Turn(SLOT, (END, START)), Turn(END, (START,))),
        ("skila", Turn(SLOT, (END,)), Turn(END)),
        ("swimbird", Turn(SLOT, (END,)), Turn(END)),
    ],
)
def test_what_may_be_written_in_a_block(name: str, inside: Turn, full: Turn):
    walk = BlockWalk(tokens(name, 2))
    assert walk.turn() == Turn()
    walk.take(START, 0)
    assert walk.turn() == inside
    if walk.open is not None and not walk.open.slots:  # a fed marker is a slot already
        walk.take(SLOT, 1)
    walk.take(SLOT, 2)
    assert walk.turn() == full
