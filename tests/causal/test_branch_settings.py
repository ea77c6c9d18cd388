"""Settings of `generate` mean the same in branches as in a whole generation, or are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.sampling import Sampling
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

PLANS = [
    RowPlan(),
    RowPlan(edit=lambda own, slot: torch.zeros_like(own)),
    RowPlan(mode="skip"),
    RowPlan(ban=True),
]


@pytest.fixture(scope="module")
def lantern() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Of unequal lengths, so that packed rows are padded."""
    found = scenes(2, seed=3)
    return [found[0], replace(found[1], question=f"{'well , ' * 9}{found[1].question}")]


@pytest.fixture
def config(lantern: LanternModel) -> Iterator[Any]:
    """The checkpoint's generation config, put back after the test."""
    config = lantern.hf.generation_config
    before = config.to_dict()
    yield config
    config.update(**before)


def check_same(lantern: LanternModel, samples: list[Sample], draws: Any = None) -> list[list[int]]:
    """Branches together say what a whole generation of one row says."""
    streams = None if draws is None else [[draws.draws(s.id, "own", 0)] for s in samples]
    prefixes = run_prefixes(lantern, samples, max_new_tokens=40, draws=streams)
    plans = PLANS if draws is None else PLANS[:1]
    jobs = [(n, plan) for n in range(len(samples)) for plan in plans]
    if streams is not None:
        jobs = [(n, replace(plan, draws=streams[n][0])) for n, plan in jobs]
    found = run_branches(lantern, [Branch(prefixes[n], plan) for n, plan in jobs])
    for (n, plan), result in zip(jobs, found, strict=True):
        whole = lantern.generate([samples[n]], plans=[plan], max_new_tokens=40).sequences[0]
        assert whole[: len(result.ids)].tolist() == result.ids.tolist()
        assert set(whole[len(result.ids) :].tolist()) <= lantern.eos_ids
    return [result.ids.tolist() for result in found]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", 4.0),
        ("repetition_penalty", 0.3),
        ("bad_words_ids", [[23, 22], [26]]),
        ("suppress_tokens", [26]),
        ("sequence_bias", [[[26], -20.0]]),
    ],
)
def test_a_checkpoints_setting_means_the_same_in_branches(
    lantern: LanternModel, samples: list[Sample], config: Any, name: str, value: Any
) -> None:
    plain = check_same(lantern, samples)
    setattr(config, name, value)
    assert check_same(lantern, samples) != plain
    check_same(lantern, samples, Sampling(2.0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_new_tokens", 30),
        ("min_length", 30),
        ("no_repeat_ngram_size", 2),
        ("begin_suppress_tokens", [26]),
        ("exponential_decay_length_penalty", (5, 1.5)),
        ("forced_eos_token_id", 5),
    ],
)
def test_a_setting_that_counts_from_the_beginning_of_a_call_is_refused_by_name(
    lantern: LanternModel, samples: list[Sample], config: Any, name: str, value: Any
) -> None:
    with pytest.raises(LanternError, match=name):
        run_prefixes(lantern, samples, **{name: value})
    setattr(config, name, value)
    with pytest.raises(LanternError, match=name):
        run_prefixes(lantern, samples)
    # The call's own value comes first.
    nothing: Any = 0 if name in ("min_new_tokens", "min_length", "no_repeat_ngram_size") else None
    assert run_prefixes(lantern, samples[:1], **{name: nothing})


def test_sampled_rows_of_a_random_model_equal_rows_alone(
    untrained: LanternModel, samples: list[Sample]
) -> None:
    """Its texts are noise, so that a slip of one number changes all that follows."""
    sampling = Sampling(1.0, 0.9, passes=2)
    draws = [[sampling.draws(s.id, "own", number) for number in range(2)] for s in samples]
    more: dict[str, Any] = {"max_new_tokens": 30}
    bias: dict[str, Any] = {"sequence_bias": [[[untrained.require_lvr().start], 4.0]]}
    bias["repetition_penalty"] = 1.2
    prefixes = run_prefixes(untrained, samples, draws=draws, **more, **bias)
    flat = [(s, one) for s, some in zip(samples, draws, strict=True) for one in some]
    jobs = [
        (sample, Branch(prefix, replace(plan, draws=one)))
        for (sample, one), prefix in zip(flat, prefixes, strict=True)
        for plan in PLANS
    ]
    found = run_branches(untrained, [branch for _, branch in jobs], **bias)
    for (sample, branch), result in zip(jobs, found, strict=True):
        (alone,) = run_branches(untrained, [branch], **bias)
        assert alone.ids.tolist() == result.ids.tolist()
        if not branch.plan.ban:
            (whole,) = untrained.generate([sample], plans=[branch.plan], **more, **bias).sequences
            assert whole[: len(result.ids)].tolist() == result.ids.tolist()
    assert any(result.blocks for result in found)
    assert len({tuple(result.ids.tolist()) for result in found}) > len(prefixes)
