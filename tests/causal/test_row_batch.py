"""Rows that share prefixes and leave when they are done say what rows with copies say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from lantern_probe.causal import row_batch
from lantern_probe.causal.branching import Branch, Prefix, run_branches, run_prefixes
from lantern_probe.causal.knockout import run_cut_branches
from lantern_probe.causal.row_batch import RowBatch, Start
from lantern_probe.interventions import STANDARD, parse_condition
from lantern_probe.interventions.edges import parse_cut
from lantern_probe.model import partial_attention
from lantern_probe.model.attention import AttentionHook, hooked, sharing_prefixes
from lantern_probe.model.blocks import OWN, BranchResult, RowPlan, fed
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.memory import cache_bytes_per_token
from lantern_probe.tasks.scenes import scenes

ALONE = [name for name in STANDARD if not parse_condition(name).needs_pool]
CUTS = [
    *("slot->image", "after->slot", "answer->image", "after->slot:random=1"),
    *("after->image:layers=1", "after->image+question+system+thought+lvr_start"),
]


@pytest.fixture(scope="module", params=["faithful", "bypass"])
def lantern(request: pytest.FixtureRequest) -> LanternModel:
    return LanternModel(request.param)


@pytest.fixture(scope="module")
def prefixes(lantern: LanternModel) -> list[Prefix]:
    """Of unequal lengths; an option of several tokens is scored as a tail."""
    samples = [replace(s, options=(*s.options, "red blue green")) for s in scenes(7, seed=3)]
    samples[2] = replace(samples[2], question=f"{'well , ' * 9}{samples[2].question}")
    found = run_prefixes(lantern, samples)
    assert max(len(p.ids) for p in found) > 10 + min(len(p.ids) for p in found)
    return found


def same(found: Sequence[BranchResult], expected: Sequence[BranchResult], close: float) -> None:
    """The same tokens and blocks, and scores that are as close for every token of a candidate."""
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert one.ids.tolist() == two.ids.tolist()
        assert [(b.start, b.slots, b.end) for b in one.blocks] == [
            (b.start, b.slots, b.end) for b in two.blocks
        ]
        for first, second in zip(one.blocks, two.blocks, strict=True):
            assert torch.allclose(first.latents, second.latents, atol=1e-3)
        for candidate, score in (one.logprobs or {}).items():
            tokens = len(candidate.split())
            assert score == pytest.approx((two.logprobs or {})[candidate], abs=close * tokens)
        assert (one.logprobs is None) == (two.logprobs is None)


def mixed(prefixes: Sequence[Prefix], lantern: LanternModel) -> list[Branch]:
    """Rows of every kind, in no order, unequally many of each prefix."""
    branches = []
    for number, prefix in enumerate(prefixes):
        assert prefix.sample is not None
        for name in [*ALONE, "direct"][: 1 + 3 * number]:
            plan = parse_condition(name).plan(prefix.sample, lantern, None)
            branches += [Branch(prefix, plan), Branch(prefix, replace(plan, hide=("image",)))]
    random.Random(0).shuffle(branches)
    return branches


@pytest.mark.parametrize("extra", [0.0, 9.0])  # 9: some texts open a block again
@pytest.mark.parametrize("products", [False, True])
def test_rows_of_every_condition_equal_rows_with_copies(
    lantern: LanternModel,
    prefixes: list[Prefix],
    extra: float,
    products: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    if products:
        monkeypatch.setattr(partial_attention, "cpu_kernel", lambda: None)
    bias = {"sequence_bias": [[[lantern.require_lvr().start], extra]]}
    branches = mixed(prefixes, lantern)
    expected = run_branches(lantern, branches, share=False, **bias)
    assert not extra or any(len(r.blocks) > 1 for r in expected)
    assert len({len(r.ids) - r.prompt_length for r in expected}) > 3
    same(run_branches(lantern, branches, **bias), expected, 1e-4)


def test_a_row_says_what_it_says_alone(lantern: LanternModel, prefixes: list[Prefix]):
    branches = mixed(prefixes[:4], lantern)
    alone = [run_branches(lantern, [branch])[0] for branch in branches]
    same(run_branches(lantern, branches), alone, 1e-4)


def test_scores_under_forced_latents_agree_closely(lantern: LanternModel, prefixes: list[Prefix]):
    width, size = lantern.hf.config.get_text_config().hidden_size, lantern.latent_size
    stream = torch.Generator().manual_seed(0)
    latents = torch.randn(2, size, width, generator=stream)
    plans = [RowPlan(edit=fed(latents[0])), RowPlan(edit=fed(latents[1]), hide=("slot",))]
    plans += [RowPlan(edit=fed(latents[1]), hide=("image",)), RowPlan(mode="skip")]
    branches = [Branch(prefix, plan) for prefix in prefixes for plan in plans]
    together = run_branches(lantern, branches)
    same(together, run_branches(lantern, branches, share=False), 1e-5)
    same(together, [run_branches(lantern, [branch])[0] for branch in branches], 1e-5)


def test_cut_rows_equal_rows_with_copies(
    lantern: LanternModel, prefixes: list[Prefix], monkeypatch: pytest.MonkeyPatch
):
    """Edges are rows of the mask, and follow rows that are put into order and leave."""
    cuts = [parse_cut(text) for text in CUTS]
    branches = [Branch(prefix, OWN) for prefix in prefixes for _ in cuts]
    branches = [replace(b, prefix=replace(b.prefix)) for b in branches[:3]] + branches[3:]
    found = run_cut_branches(lantern, branches, cuts * len(prefixes))
    plain = run_branches(lantern, branches)
    assert [r.logprobs for r in found] != [r.logprobs for r in plain]
    monkeypatch.setattr(row_batch, "can_share", lambda lantern: False)
    expected = run_cut_branches(lantern, branches, cuts * len(prefixes))
    same(found, expected, 1e-4)


@pytest.mark.parametrize("last", [0, 1, 7, 8, 9, 10])
def test_rows_leave_anywhere_in_a_block(
    lantern: LanternModel, prefixes: list[Prefix], last: int, monkeypatch: pytest.MonkeyPatch
):
    """In a first or second block: at its start marker (0), slot 0 (1), slot 7 (8), end marker (9)
    and behind, one row after the other, while others are anywhere in theirs."""
    monkeypatch.setattr(row_batch, "LEAVING", 0.0)
    bias = {"sequence_bias": [[[lantern.require_lvr().start], 9.0]]}
    own = run_branches(lantern, [Branch(prefix, OWN) for prefix in prefixes], **bias)
    short = []
    for prefix, result in zip(prefixes, own, strict=True):
        for block in result.blocks[:2]:
            limit = block.start + 1 + last
            short += [replace(prefix, limit=limit), replace(prefix, limit=limit + 3)]
    assert len(short) > 2 * len(prefixes)
    plans = [OWN, RowPlan(edit=lambda own, slot: own / 2), RowPlan(ban=True), RowPlan(size=3)]
    branches = [Branch(prefix, plan) for prefix in [*short, *prefixes] for plan in plans]
    expected = run_branches(lantern, branches, share=False, **bias)
    calls = []
    decode = lantern.decode
    monkeypatch.setattr(
        lantern, "decode", lambda inputs, **kw: calls.append(1) or decode(inputs, **kw)
    )
    found = run_branches(lantern, branches, **bias)
    assert len(calls) > 4
    assert any(len(r.ids) == b.prefix.limit for r, b in zip(found, branches, strict=True))
    same(found, expected, 1e-4)


def test_a_random_model_says_the_same_in_company(untrained: Any):
    """Long texts that feed rounding back, cut off at limits of their own."""
    start, eos = untrained.lvr.start, next(iter(untrained.eos_ids))
    kwargs = {"sequence_bias": [[[start], 4.0], [[eos], -1e4]]}
    prefixes = run_prefixes(untrained, scenes(5, seed=4), max_new_tokens=60, **kwargs)
    assert sum(p.emitted for p in prefixes) > 2
    prefixes = [replace(p, limit=p.limit - 11 * number) for number, p in enumerate(prefixes)]
    branches = mixed(prefixes, untrained)
    found = run_branches(untrained, branches, **kwargs)
    expected = run_branches(untrained, branches, share=False, **kwargs)
    assert [r.ids.tolist() for r in found] == [r.ids.tolist() for r in expected]


def starts(prefixes: Sequence[Prefix], copies: int) -> list[Start]:
    return [
        Start(p.ids, p.cache, p.rope_delta, p.limit, OWN) for p in prefixes for _ in range(copies)
    ]


def test_the_cache_grows_with_conditions_by_their_own_tokens_alone(
    lantern: LanternModel, prefixes: list[Prefix]
):
    token = cache_bytes_per_token(lantern.hf.config, torch.float32)
    room, sizes = 20, {}
    with sharing_prefixes(lantern):
        for copies in (1, 2, 8):
            batch = RowBatch(lantern, starts(prefixes, copies), room, share=True)
            sizes[copies] = sum(layer.nbytes for layer in batch.cache.layers)
    rows = len(prefixes)
    longest = max(len(p.ids) - 1 for p in prefixes)
    assert sizes[1] == token * rows * (longest + room)
    assert sizes[2] - sizes[1] == token * rows * room
    assert sizes[8] - sizes[2] == token * 6 * rows * room


def test_rows_that_begin_much_earlier_share_a_prefix_of_their_own(
    lantern: LanternModel, prefixes: list[Prefix]
):
    (prefix,) = [p for p in prefixes if p.emitted][:1]
    rows = [Start(prefix.ids[:n], prefix.cache, 0, 99, OWN) for n in (len(prefix.ids),) * 2]
    one_shorter = replace_ids(rows[0], prefix.ids[:-1])
    direct = replace_ids(rows[0], prefix.ids[: prefix.prompt_length - 9])
    groups = row_batch._groups([direct, rows[0], one_shorter, rows[1]])
    assert sorted(map(sorted, groups)) == [[0], [1, 2, 3]]


def replace_ids(start: Start, ids: torch.Tensor) -> Start:
    return Start(ids, start.cache, start.rope_delta, start.limit, start.plan)


class Look(AttentionHook):
    """Keeps the keys of the first layer."""

    def __init__(self) -> None:
        self.keys: list[torch.Tensor] = []

    def look(self, layer: int, mask: Any, query: Any, key: Any, scaling: float) -> None:
        if layer == 0:
            self.keys.append(key)


def test_hooks_that_read_keys_get_whole_keys(lantern: LanternModel, prefixes: list[Prefix]):
    branches = [Branch(prefix, OWN) for prefix in prefixes if prefix.emitted for _ in range(2)]
    look = Look()
    with hooked(lantern, look):
        found = run_branches(lantern, branches)
    assert all(isinstance(keys, torch.Tensor) and keys.isfinite().all() for keys in look.keys)
    assert {len(keys) for keys in look.keys} == {len(branches)}
    same(found, run_branches(lantern, branches), 1e-4)


def test_sampled_rows_keep_their_tokens(lantern: LanternModel, prefixes: list[Prefix]):
    branches = [Branch(prefix, OWN) for prefix in reversed(prefixes) for _ in range(2)]
    texts = []
    for share in (True, False):
        torch.manual_seed(5)
        results = run_branches(lantern, branches, share=share, do_sample=True, temperature=2.0)
        texts.append([r.ids.tolist() for r in results])
    assert texts[0] == texts[1]
    assert len({tuple(ids) for ids in texts[0]}) > len(prefixes)


@pytest.mark.parametrize("settings", [{"min_new_tokens": 30}, {"begin_suppress_tokens": [5]}])
def test_settings_that_count_from_the_beginning_of_a_call_keep_rows_together(
    lantern: LanternModel, prefixes: list[Prefix], settings: dict[str, Any]
):
    branches = mixed(prefixes, lantern)
    expected = run_branches(lantern, branches, share=False, **settings)
    same(run_branches(lantern, branches, **settings), expected, 1e-4)
