"""Forks, conditions and replays of other reasoners: the same as generation alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe.causal import Branch, run_branches, run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import Block, RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.recordings import Recordings, loadable, read_recordings
from lantern_probe.model.replay import replay
from lantern_probe.model.roles import find_roles, position_sets
from lantern_probe.model.teacher_forcing import check_followable

RECORDED = Path(__file__).parents[1] / "conformance"
SYSTEMS = ("lvr", "monet", "ilvr", "skila", "swimbird")
LIMIT = 30


@pytest.fixture(scope="module", params=SYSTEMS)
def reasoner(request: pytest.FixtureRequest) -> tuple[LanternModel, Recordings]:
    folder = RECORDED / request.param
    with loadable(folder / "checkpoint") as checkpoint:
        lantern = LanternModel(str(checkpoint), protocol=request.param, offline=True)
    return lantern, read_recordings(folder)


def asked(lantern: LanternModel, recordings: Recordings, batch: str) -> dict[str, Any]:
    return dict(recordings.inputs(batch, lantern.hf.config.image_token_id))


def biased(lantern: LanternModel) -> dict[str, Any]:
    tokens = lantern.require_lvr()
    bias = [[[tokens.start], 3.0], [[tokens.end], 3.0]]
    return {"sequence_bias": bias, "max_new_tokens": LIMIT}


def places(blocks: list[Block], first: int) -> list[tuple[Any, ...]]:
    moved = [block.moved(-first) for block in blocks]
    return [(b.start, b.slots, b.end, len(b.latents), b.restarted) for b in moved]


@pytest.mark.parametrize("batch", ["batch1", "batch4"])
def test_forks_are_what_generation_alone_writes_and_feeds(
    reasoner: tuple[LanternModel, Recordings], batch: str
):
    """Batch 4's prompt ends with the start marker, which opens a block under some protocols."""
    lantern, recordings = reasoner
    inputs, settings = asked(lantern, recordings, batch), biased(lantern)
    plans = [
        RowPlan(),
        RowPlan(size=2),
        RowPlan(mode="skip"),
        RowPlan(mode="stock"),
        RowPlan(ban=True),
        RowPlan(edit=lambda own, slot: torch.full_like(own, 0.3)),
    ]
    (prefix,) = run_prefixes(lantern, inputs, **settings)
    del settings["max_new_tokens"]
    rows = [Branch(prefix, plan) for plan in plans]
    forked = run_branches(lantern, rows, score=False, **settings)
    assert prefix.emitted and any(result.blocks for result in forked)
    for plan, result in zip(plans, forked, strict=True):
        alone = lantern.generate(inputs, plans=[plan], max_new_tokens=LIMIT, **settings)
        assert torch.equal(alone.sequences[0, : len(result.ids)], result.ids)
        assert places(alone.blocks[0], 0) == places(result.blocks, 0)
        for one, other in zip(alone.blocks[0], result.blocks, strict=True):
            torch.testing.assert_close(one.latents, other.latents, atol=1e-4, rtol=0)


def test_conditions_mean_the_same_under_every_protocol(
    reasoner: tuple[LanternModel, Recordings],
):
    lantern, recordings = reasoner
    inputs, tokens = asked(lantern, recordings, "batch1"), lantern.require_lvr()
    settings = {"sequence_bias": [[[tokens.start], 100.0]], "max_new_tokens": LIMIT}

    def written(plan: RowPlan) -> tuple[list[int], list[Block]]:
        output = lantern.generate(inputs, plans=[plan], **settings)
        return output.sequences[0, output.prompt_length :].tolist(), output.blocks[0]

    text, blocks = written(RowPlan(mode="skip"))
    assert text[:2] == [tokens.start, tokens.end] and not any(len(b.latents) for b in blocks)
    assert blocks and all(not b.slots for b in blocks)
    assert written(RowPlan(size=0))[0] == text
    text, blocks = written(RowPlan(ban=True))
    assert not blocks and not set(tokens.banned) & set(text)
    assert written(RowPlan(mode="stock"))[1] == []


def test_one_forward_over_a_finished_text_has_the_states_of_its_generation(
    reasoner: tuple[LanternModel, Recordings],
):
    lantern, recordings = reasoner
    padded = "batch5" if "batch5/input_ids" in recordings.generation else "batch1"
    inputs, settings = asked(lantern, recordings, padded), biased(lantern)
    output = lantern.generate(inputs, **settings)
    states = {"output_hidden_states": True, "return_dict_in_generate": True}
    result, _ = lantern.decode(inputs, **settings, **states)
    again = replay(lantern, inputs, output)
    with torch.no_grad():
        found = lantern.hf.model.language_model(**again.inputs).last_hidden_state
    assert any(output.emitted)
    for row, prompt in enumerate(again.prompt_lengths):
        steps = torch.stack([step[-1][row, -1] for step in result.hidden_states])
        count = len(again.own_ids(row)) - prompt
        begin = again.first[row] + prompt - 1
        torch.testing.assert_close(
            found[row, begin : begin + count], steps[:count], atol=1e-4, rtol=0
        )


def test_roles_are_the_same_live_and_afterwards_and_texts_can_be_followed(
    reasoner: tuple[LanternModel, Recordings],
):
    lantern, recordings = reasoner
    inputs = asked(lantern, recordings, "batch1")
    output = lantern.generate(inputs, **biased(lantern))
    ids, prompt = output.sequences[0], output.prompt_length
    roles = find_roles(lantern, ids, prompt, output.blocks[0])
    assert roles.names == find_roles(lantern, ids, prompt).names
    live = position_sets(lantern, ids, prompt)
    first = output.blocks[0][0]
    assert roles.positions("lvr_start", block=0).tolist() == [first.source]
    assert roles.positions("slot", block=0).tolist() == list(first.slots)
    for place in range(prompt, len(ids)):
        if roles.names[place] in ("slot", "lvr_start"):
            assert roles.names[place] in live[place]
    check_followable(ids[prompt:].tolist(), RowPlan(), lantern.lvr)
    with pytest.raises(LanternError, match="opens another block"):
        check_followable(ids[prompt:].tolist(), RowPlan(ban=True), lantern.lvr)


def test_markers_with_nothing_fed_behind_them_are_called_stock(
    reasoner: tuple[LanternModel, Recordings], caplog: pytest.LogCaptureFixture
):
    lantern, recordings = reasoner
    inputs = asked(lantern, recordings, "batch1")
    with caplog.at_level(logging.WARNING):
        lantern.generate(inputs, **biased(lantern))
        assert not caplog.records
        lantern.generate(inputs, plans=[RowPlan(mode="stock")], **biased(lantern))
    assert "the condition 'stock'" in caplog.text


def test_a_marker_that_is_fed_itself_cannot_be_gone_on_from():
    lantern = LanternModel(str(RECORDED / "monet" / "checkpoint"), protocol="monet", offline=True)
    start = torch.tensor([[5, 6, lantern.require_lvr().start]])
    with pytest.raises(LanternError, match="begin with the token before it"):
        lantern.decode({"input_ids": start, "attention_mask": start > 0}, resume=True)
