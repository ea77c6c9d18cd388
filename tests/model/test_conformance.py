"""The conformance bar: met by this model, and by no model or recording with a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.agreement import Report
from lantern_probe.model.conformance import compare, relative_differences
from lantern_probe.model.decoding import LatentDecoding
from lantern_probe.model.recordings import Case, Recordings, read_recordings

NOISE = 1e-5
"""Relative difference that float32 on another processor stays below, a hundredth of the bar."""
OWN, SKIP = "batch4/bias28/own", "batch4/bias28/skip"
"""Two rows each; both rows of the first have a block."""


@pytest.fixture(scope="module")
def recordings(conformance: Path) -> Recordings:
    return read_recordings(conformance)


@pytest.fixture(scope="module")
def some(recordings: Recordings) -> Recordings:
    """A batch of two rows under every condition."""
    cases = [case for case in recordings.cases if case.name.startswith("batch4/bias28/")]
    assert len(cases) == 4
    return replace(recordings, cases=cases)


@pytest.fixture
def checked(official: Any) -> Callable[[Recordings], Report]:
    return partial(compare, official)


def edited(recordings: Recordings, **arrays: Tensor | None) -> Recordings:
    """The same recordings with other arrays of `OWN`; None leaves one out."""
    generation = dict(recordings.generation)
    for name, array in arrays.items():
        del generation[f"{OWN}/{name}"]
        if array is not None:
            generation[f"{OWN}/{name}"] = array
    return replace(recordings, generation=generation)


def rounded(states: Tensor) -> Tensor:
    return states.bfloat16().float()


def test_some_recordings_meet_it_under_the_usual_attention(
    checked: Callable[..., Report], some: Recordings
) -> None:
    report = checked(some)
    assert report.passed and report.cases == 4 and report.tokens == 424
    assert report.states == 16 and report.state_difference <= NOISE
    assert report.fed == 48 and report.fed_difference == 0
    assert report.crops == report.crops_identical == 24
    assert report.compressions == 2 and report.compression_difference <= 1e-4


def test_a_recording_of_the_slot_before_fails(
    checked: Callable[..., Report], some: Recordings
) -> None:
    latents = some.array(f"{OWN}/latents1")
    report = checked(edited(some, latents1=latents.roll(1, 0)))
    assert not report.passed
    assert {(state.row, state.kind) for state in report.state_differences} == {(1, "produced")}
    assert report.state_difference > 0.1


def test_one_recorded_latent_in_bfloat16_fails(
    checked: Callable[..., Report], some: Recordings
) -> None:
    latents = some.array(f"{OWN}/latents0").clone()
    latents[7] = rounded(latents[7])
    report = checked(edited(some, latents0=latents))
    assert not report.passed
    (state,) = report.state_differences
    assert (state.case, state.row, state.latent, state.kind) == (OWN, 0, 7, "produced")
    assert 2e-3 < state.difference < 1e-2


def test_bfloat16_is_beyond_the_bar_for_every_recorded_state(recordings: Recordings) -> None:
    states = [
        array
        for case in recordings.cases
        if case.condition == "own"
        for name, array in recordings.generation.items()
        if name.startswith(f"{case.name}/latents")
    ]
    own = torch.cat(states)
    assert len(own) == 200 and min(relative_differences(rounded(own), own)) > 2e-3


def round_states(feed: Any, self: Any, embeddings: Tensor, latent: Any) -> Tensor:
    """The hard cast of the official loop."""
    if self.state is not None:
        self.state = rounded(self.state)
    return feed(self, embeddings, latent)


def feed_the_state_before(feed: Any, self: Any, embeddings: Tensor, latent: Any) -> Tensor:
    current = self.state
    if current is not None:
        self.state = getattr(self, "before", torch.zeros_like(current))
        self.before = current
    return feed(self, embeddings, latent)


@pytest.mark.parametrize("fault", [round_states, feed_the_state_before])
def test_a_decoder_with_other_states_fails(
    fault: Any, checked: Callable[..., Report], some: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = LatentDecoding.feed
    monkeypatch.setattr(
        LatentDecoding, "feed", lambda self, *arguments: fault(feed, self, *arguments)
    )
    report = checked(some)
    assert not report.passed and report.state_difference > 1e-3
    assert {state.case for state in report.state_differences} == {OWN}


def test_latents_rounded_on_their_way_in_fail(
    checked: Callable[..., Report], official: Any, some: Recordings
) -> None:
    handle = official.hf.latent.register_forward_hook(lambda *call: rounded(call[-1]))
    try:
        report = checked(some)
    finally:
        handle.remove()
    assert not report.passed and report.fed_difference > 1e-3


def test_a_decoder_that_does_not_close_a_block_fails(
    checked: Callable[..., Report], some: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LatentDecoding, "__call__", lambda self, input_ids, scores: scores)
    monkeypatch.setattr(LatentDecoding, "blocks", lambda self, sequences, _: [[]] * len(sequences))
    report = checked(replace(some, cases=[case for case in some.cases if case.name == SKIP]))
    assert not report.passed
    token = report.wrong_tokens[0]
    assert (token.case, token.recorded, token.gap) == (SKIP, 349, float("inf"))


def test_recordings_without_latents_do_not_meet_the_bar(
    checked: Callable[..., Report], some: Recordings
) -> None:
    report = checked(replace(some, cases=[case for case in some.cases if case.name == SKIP]))
    assert report.tokens > 0 and not report.token_differences and not report.passed


@pytest.mark.parametrize("kept", [None, 7])
def test_a_missing_latent_fails(
    kept: int | None, checked: Callable[..., Report], some: Recordings
) -> None:
    latents = None if kept is None else some.array(f"{OWN}/latents0")[:kept]
    report = checked(edited(some, latents0=latents))
    assert not report.passed and report.state_difference == float("inf")


def test_another_token_fails_and_the_free_run_deviates_there(
    checked: Callable[..., Report], some: Recordings
) -> None:
    sequences = some.array(f"{OWN}/sequences").clone()
    prompt = some.array("batch4/input_ids").shape[1]
    sequences[1, prompt + 40] = 300
    report = checked(edited(some, sequences=sequences))
    assert not report.passed
    token = report.wrong_tokens[0]
    assert (token.case, token.row, token.step) == (OWN, 1, 40) and token.gap > 1e-3
    (deviation,) = report.deviations
    assert deviation.token == replace(token, gap=deviation.token.gap)
    assert deviation.token.gap == pytest.approx(token.gap, rel=1e-3)
    assert deviation.state_difference <= NOISE
    assert report.rows == 8 and report.rows_identical == 7


@pytest.mark.parametrize(
    ("ties", "shrink", "passed"), [(3, 1e-5, True), (5, 1e-5, False), (3, 1e-3, False)]
)
def test_near_ties_are_listed_and_limited(
    ties: int, shrink: float, passed: bool, conformance: Path, some: Recordings
) -> None:
    """A token's twin has its weights, a little shorter, so its logit is a little lower."""
    from lantern_probe.model.lantern import LanternModel

    lantern = LanternModel(str(conformance / "checkpoint"), offline=True)
    token, twin = lantern.require_lvr().end, 300
    sequences = some.array(f"{OWN}/sequences").clone()
    text = sequences[0, some.array("batch4/input_ids").shape[1] :]
    steps = list(range(20, 20 + ties))
    assert text[steps].tolist() == [token] * ties
    assert not any((some.array(f"{case.name}/sequences") == twin).any() for case in some.cases)
    text[steps] = twin
    with torch.no_grad():
        weight = lantern.hf.get_input_embeddings().weight
        weight[twin] = (1 - shrink) * weight[token]
    report = compare(lantern, edited(some, sequences=sequences))
    assert report.tokens == 424 and report.passed is passed
    found = [(other.row, other.step, other.recorded) for other in report.token_differences]
    assert found == [(0, step, twin) for step in steps]
    near = shrink < 1e-4
    for other in report.token_differences:
        assert other.ours == token and other.near_tie is near and (other.gap < 1e-3) is near
    assert len(report.near_ties) == ties * near


@torch.no_grad()
def written_by_a_loop(
    lantern: Any, inputs: dict[str, Tensor], bias: float, limit: int, replacement: Tensor | None
) -> tuple[list[int], list[Tensor]]:
    """Plain forwards with the K slots of a block, as the official loop: no hook, no `generate`."""
    hf, tokens = lantern.hf, lantern.require_lvr()
    ids, mask = inputs["input_ids"][0].tolist(), inputs["attention_mask"]
    latents: list[Tensor] = []
    slot: int | None = None
    keep = {"use_cache": True, "output_hidden_states": True}
    out = hf(**inputs, **keep)
    for _ in range(limit):
        fed = None
        logits = out.logits[0, -1].clone()
        logits[tokens.start] += bias
        token = int(logits.argmax())
        if slot is not None and slot < tokens.size:
            token, fed = tokens.sep, out.hidden_states[-1][0, -1]
            fed = fed if replacement is None else replacement[slot]
            latents.append(fed)
            slot += 1
        elif slot is not None:
            token, slot = tokens.end, None
        elif token == tokens.start:
            slot = 0
        ids.append(token)
        mask = torch.cat([mask, mask.new_ones(1, 1)], 1)
        text, rotary = int(mask.sum()) - 1, int(mask.sum()) - 1 + int(hf.model.rope_deltas)
        out = hf(
            inputs_embeds=hf.get_input_embeddings().weight[token][None, None]
            if fed is None
            else fed[None, None],
            attention_mask=mask,
            position_ids=torch.tensor([text, rotary, rotary, rotary]).view(4, 1, 1),
            past_key_values=out.past_key_values,
            **keep,
        )
    return ids, latents


@pytest.fixture(scope="module")
def looped(official: Any, official_inputs: Any, recordings: Recordings) -> Recordings:
    """Two whole blocks and one cut off after four slots, as written by a plain loop."""
    inputs = official_inputs("batch0")
    injected = recordings.array("batch0/injected_latents")
    replacements = {"own": None, "zeros": torch.zeros_like(injected[0]), "injected": injected[0]}
    generation = {
        name: array for name, array in recordings.generation.items() if "bias" not in name
    }
    cases = []
    for condition, replacement in replacements.items():
        ids, latents = written_by_a_loop(official, inputs, 1000.0, 25, replacement)
        assert len(latents) == 20 and ids[-1] == official.lvr.sep
        cases.append(Case(f"batch0/loop/{condition}", "batch0", condition, 1000.0, 25))
        generation[f"batch0/loop/{condition}/sequences"] = torch.tensor([ids])
        generation[f"batch0/loop/{condition}/latents0"] = torch.stack(latents)
    return replace(recordings, cases=cases, generation=generation)


def test_several_blocks_and_one_cut_off_meet_the_bar(
    checked: Callable[..., Report], looped: Recordings
) -> None:
    report = checked(looped)
    assert report.passed and report.rows_identical == 3
    assert report.states == 20 and report.state_difference <= NOISE
    assert report.fed == 3 * 19 and report.fed_difference == 0


def test_the_latent_that_was_never_fed_counts(
    checked: Callable[..., Report], looped: Recordings
) -> None:
    name = "batch0/loop/own/latents0"
    latents = looped.array(name).clone()
    latents[19] = rounded(latents[19])
    report = checked(replace(looped, generation={**looped.generation, name: latents}))
    assert not report.passed
    assert [state.latent for state in report.state_differences] == [19]


def test_relative_differences_are_never_lost() -> None:
    ours = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [torch.nan, 1.0], [torch.inf, 1.0]])
    recorded = torch.tensor([[3.0, 4.5], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [torch.inf, 1.0]])
    found = relative_differences(ours, recorded)
    assert found[0] == pytest.approx(0.5 / np.sqrt((3**2 + 4.5**2) / 2)) and found[1] == 0
    assert found[2:] == [np.inf] * 3


def test_other_layouts_are_refused_by_name(some: Recordings, checked: Any) -> None:
    short = some.array(f"{OWN}/sequences")[:, :-1]
    with pytest.raises(LanternError, match="neither an end-of-text token nor the limit of 60"):
        checked(edited(some, sequences=short))
    with pytest.raises(LanternError, match="does not continue its prompts"):
        checked(edited(some, sequences=some.array(f"{OWN}/sequences") + 1))
    with pytest.raises(LanternError, match=f"no array {OWN}/sequences"):
        checked(edited(some, sequences=None))
    foreign = some.array(f"{OWN}/sequences").clone()
    foreign[0, -1] = 350
    with pytest.raises(LanternError, match="token 350 is not in the model's vocabulary"):
        checked(edited(some, sequences=foreign))
    with pytest.raises(LanternError, match="unknown condition 'other'"):
        checked(replace(some, cases=[replace(some.cases[0], condition="other")]))
