"""Knockout while decoding: known truths of organisms, and the same edges as in one forward."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.causal.knockout import cut_edges, cutting_edges, run_cut_branches
from lantern_probe.errors import LanternError
from lantern_probe.interventions.edges import parse_cut
from lantern_probe.model.answer_tokens import closed_forms
from lantern_probe.model.blocks import OWN, BranchResult, RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import replay
from lantern_probe.stats import Proportion, wilson
from lantern_probe.tasks.answers import parse_answer
from lantern_probe.tasks.scenes import CHANCE, scenes

CUTS = [parse_cut(text) for text in ("after->slot", "lvr_start+slot->image", "answer->question")]


@pytest.mark.parametrize("extra", [0.0, 9.0])  # 9: some texts open a block again
@pytest.mark.parametrize(
    ("name", "edge", "hidden"),
    [("faithful", "after->slot", "slot"), ("bypass", "after->image", "image")],
)
def test_cuts_behind_the_block_equal_hiding(name: str, edge: str, hidden: Any, extra: float):
    """Two ways to the same texts: positions masked for a whole row, and edges of queries."""
    lantern = LanternModel(name)
    bias = {"sequence_bias": [[[lantern.lvr.start], extra]]}  # type: ignore[union-attr]
    # One option has several tokens, and is scored by a forward of its own.
    samples = [replace(s, options=(*s.options, "red blue green")) for s in scenes(8, seed=3)]
    prefixes = run_prefixes(lantern, samples, **bias)
    plan = RowPlan(hide=(hidden,))
    expected = run_branches(lantern, [Branch(p, plan) for p in prefixes], **bias)
    branches = [Branch(p, OWN) for p in prefixes]
    own = run_branches(lantern, branches, **bias)
    found = run_cut_branches(lantern, branches, [parse_cut(edge)] * len(branches), **bias)
    assert any(len(r.blocks) > 1 for r in found) == (extra > 0)
    assert [r.ids.tolist() for r in found] == [r.ids.tolist() for r in expected]
    scores = [[[*(r.logprobs or {}).values()] for r in rows] for rows in (found, expected, own)]
    assert all(scores[0][0])
    for cut, hid, plain in zip(*scores, strict=True):
        assert cut == pytest.approx(hid, abs=1e-3)
        assert cut != pytest.approx(plain, abs=1e-2) or not cut


def test_a_decoding_under_cuts_is_the_one_forward_under_the_same_edges():
    """Rows of different lengths and cuts, all in one batch: each latent is the hidden state of
    the position before, each word the one that the forward prefers, each score its own."""
    lantern = LanternModel("faithful")
    scenes_of_prefixes = scenes(6, seed=3)
    texts = [
        "lvr_start+slot->image",
        "after->slot:layers=1-2",
        "lvr_start+slot+after->image+thought",
        "slot+after->box",
        "after->rest:random=1",
    ]
    cuts = [parse_cut(text) for text in texts] + [parse_cut(texts[0]).control]
    prefixes = run_prefixes(lantern, scenes_of_prefixes)
    pairs = list(itertools.product(prefixes, cuts))
    samples = [sample for sample in scenes_of_prefixes for _ in cuts]
    assert len({len(p.ids) for p in prefixes}) > 1
    branches = [Branch(p, OWN) for p, _ in pairs]
    results = run_cut_branches(lantern, branches, [cut for _, cut in pairs])
    for cut in cuts:
        chosen = [i for i, (_, used) in enumerate(pairs) if used is cut]
        again = replay(lantern, [samples[i] for i in chosen], [results[i] for i in chosen])
        length = again.ids.shape[1]
        edges = torch.zeros(len(chosen), length, length, dtype=torch.bool)
        for row, (index, first) in enumerate(zip(chosen, again.first, strict=True)):
            own = again.own_ids(row)
            edges[row, first:, first:] = cut_edges(
                lantern, cut, own, again.prompt_lengths[row], samples[index], again.grids[row][0]
            )
        layers = cut.in_layers(4).nonzero()[:, 0].tolist()
        with torch.no_grad(), cutting_edges(lantern, edges, layers):
            forward = lantern.hf(**again.inputs, output_hidden_states=True)
        for row, (index, first) in enumerate(zip(chosen, again.first, strict=True)):
            states = forward.hidden_states[-1][row, first:]
            blocks = results[index].blocks
            for block in blocks:
                fed = states[block.start : block.slots.stop - 1]
                assert torch.allclose(fed, block.latents, atol=1e-4)
            end = blocks[-1].end
            assert end is not None
            logprobs = forward.logits[row, first:].log_softmax(-1)
            assert torch.equal(logprobs[end:-1].argmax(-1), again.own_ids(row)[end + 1 :])
            answer = int((again.own_ids(row) == token(lantern, "<answer>")).nonzero()[-1])
            scores = results[index].logprobs
            assert scores is not None
            words = again.own_ids(row)
            for option, score in scores.items():
                first = float(logprobs[answer, token(lantern, option)])
                assert score <= first + 1e-3  # a score holds the end of the answer too
                if int(words[answer + 1]) == token(lantern, option):
                    forms = closed_forms(lantern.processor.tokenizer, list(scores))[option]
                    ends = torch.tensor(sorted({form[-1] for form in forms}))
                    last = float(logprobs[answer + 1, ends].logsumexp(0))
                    assert score == pytest.approx(first + last, abs=1e-3)


def token(lantern: Any, text: str) -> int:
    return int(lantern.processor.tokenizer.convert_tokens_to_ids(text))


def test_rows_without_a_cut_are_as_ever_and_a_branch_may_stand_there_twice():
    lantern = LanternModel("faithful")
    branches = [Branch(p, OWN) for p in run_prefixes(lantern, scenes(6, seed=3))]
    own = run_branches(lantern, branches)
    alone = run_cut_branches(lantern, branches, [CUTS[0]] * 6)
    cuts = [None] * 6 + [CUTS[0]] * 6 + [CUTS[2]] * 6
    mixed = run_cut_branches(lantern, branches * 3, cuts)
    for expected, found in zip([*own, *alone], mixed[:12], strict=True):
        assert torch.equal(expected.ids, found.ids)
        assert (expected.logprobs or {}) == pytest.approx(found.logprobs or {}, abs=1e-4)
    texts = [r.text for r in mixed]
    assert texts[:6] != texts[6:12] != texts[12:]


def test_a_text_without_a_block_cannot_be_cut(untrained: Any):
    ban = {"sequence_bias": [[[untrained.lvr.start], -1e4]]}
    prefixes = run_prefixes(untrained, scenes(2), max_new_tokens=4, **ban)
    results = run_cut_branches(
        untrained, [Branch(p, OWN) for p in prefixes], [CUTS[0]] * 2, score=False, **ban
    )
    for prefix, result in zip(prefixes, results, strict=True):
        assert torch.equal(result.ids, prefix.ids)


def test_the_model_is_clean_after_a_failure():
    lantern = LanternModel("faithful")
    branches = [Branch(p, OWN) for p in run_prefixes(lantern, scenes(2))]
    with pytest.raises(LanternError, match="no layer 9; the model has layers 0 to 3"):
        run_cut_branches(lantern, branches, [parse_cut("after->slot:layers=9")] * 2)

    def broken(own: torch.Tensor, slot: Any) -> torch.Tensor:
        raise LanternError("on purpose")

    failing = [replace(branch, plan=RowPlan(edit=broken)) for branch in branches]
    with pytest.raises(LanternError, match="on purpose"):
        run_cut_branches(lantern, failing, [CUTS[0]] * 2)
    assert lantern.hf.model.language_model.config._attn_implementation == "sdpa"
    assert not lantern.hf.get_input_embeddings()._forward_pre_hooks


# -- the truth of organisms ------------------------------------------------------

TRUTH_SCENES = 64


def accuracies(name: str, edges: list[str]) -> tuple[Proportion, dict[str, Proportion]]:
    lantern = LanternModel(name)
    samples = scenes(TRUTH_SCENES, seed=77)
    branches = [Branch(p, OWN) for p in run_prefixes(lantern, samples)]

    def accuracy(results: list[BranchResult]) -> Proportion:
        answers = [parse_answer(r.text, s) for r, s in zip(results, samples, strict=True)]
        right = sum(a == s.answer for a, s in zip(answers, samples, strict=True))
        return wilson(right, len(samples))

    own = accuracy(run_branches(lantern, branches))
    cuts = {edge: [parse_cut(edge)] * len(branches) for edge in edges}
    return own, {
        edge: accuracy(run_cut_branches(lantern, branches, cut)) for edge, cut in cuts.items()
    }


def guesses(accuracy: Proportion) -> bool:
    return accuracy.low <= CHANCE <= accuracy.high


def test_faithful_answers_through_the_slots_alone():
    halves = ["after->image:random=1", "after->image:random=1,other=1"]
    boxes = ["after->box", "after->rest", "after->box:random=1"]
    own, cut = accuracies(
        "faithful",
        ["after->slot", "after->image", "after->slot:random=1", *halves, *boxes],
    )
    assert own.estimate == 1
    assert guesses(cut["after->slot"])
    assert cut["after->image"].estimate == 1
    assert cut["after->slot:random=1"].estimate > 0.9
    assert all(cut[edge].estimate > 0.9 for edge in (*halves, *boxes))


def test_bypass_looks_at_the_box_and_at_no_other_part_of_the_image():
    """With the slots hidden it answers from the evidence's token alone."""
    lantern = LanternModel("bypass")
    samples = scenes(TRUTH_SCENES, seed=77)
    plan = RowPlan(hide=("slot",))
    branches = [Branch(p, plan) for p in run_prefixes(lantern, samples)]

    def accuracy(edge: str) -> Proportion:
        results = run_cut_branches(lantern, branches, [parse_cut(edge)] * len(branches))
        answers = [parse_answer(r.text, s) for r, s in zip(results, samples, strict=True)]
        right = sum(a == s.answer for a, s in zip(answers, samples, strict=True))
        return wilson(right, len(samples))

    assert accuracy("after->box").high < 0.5
    assert accuracy("after->box:random=1").low > 0.8


@pytest.mark.slow
def test_bypass_needs_no_slots_but_has_two_ways():
    """With the slots cut it looks at the image; with the image cut, at what the slots hold of it:
    only both together leave it guessing."""
    own, cut = accuracies(
        "bypass",
        ["after->slot", "after->image", "after->slot+image", "after->slot:random=1"],
    )
    assert own.estimate == 1
    assert cut["after->slot"].estimate == 1
    assert cut["after->image"].estimate > 0.9
    assert guesses(cut["after->slot+image"])
    assert cut["after->slot:random=1"].estimate > 0.9
