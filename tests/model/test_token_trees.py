"""A row's continuations are scored as a tree, in as many forwards however many rows there are."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.model import token_trees
from lantern_probe.model.blocks import OWN, RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.token_trees import Tree, trees
from lantern_probe.tasks.scenes import COLORS, scenes

PAIRS = [" ".join(pair) for pair in permutations(COLORS, 2)]


def test_continuations_share_their_beginnings():
    tree = Tree()
    for form in [(1,), (1, 2), (1, 2, 3), (1, 2, 4), (5, 2)]:
        tree.add(form)
    assert tree.nodes == [(), (1,), (1, 2), (5,)]
    assert tree.steps() == [(0, 1), (0, 5), (1, 2), (2, 3), (2, 4), (3, 2)]
    assert tree.path((1, 2, 4)) == [(0, 1), (1, 2), (2, 4)]
    assert [tree.ancestors(node) for node in range(4)] == [[0], [0, 1], [0, 1, 2], [0, 3]]


def test_large_trees_come_in_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(token_trees, "MOST_TOKENS", 4)
    forms = [(1, 2, 3), (1, 2, 4), (5, 6), (7, 8, 9, 10, 11, 12), (7, 8)]
    found = trees(forms)
    assert sorted(form for tree in found for form in tree.forms) == sorted(forms)
    # One that is longer than a piece has a piece of its own.
    assert [len(tree.nodes) for tree in found] == [4, 2, 6]
    assert len(trees([])) == 1


class Forwards:
    """Counts forwards of the language model that score: those of more than one token a row."""

    def __init__(self, lantern: Any):
        self.shapes: list[tuple[int, int]] = []
        self._model = lantern.hf.model.language_model

    def __enter__(self) -> Forwards:
        def keep(module: Any, args: Any, kwargs: Any) -> None:
            self.shapes.append(tuple(kwargs["inputs_embeds"].shape[:2]))

        self._handle = self._model.register_forward_pre_hook(keep, with_kwargs=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()


def test_forwards_do_not_grow_with_samples():
    """Four candidates of two tokens and an end, other ones in each sample: nine tokens a row."""
    lantern, counts = LanternModel("bypass"), {}
    for count in (2, 12):
        samples = [
            replace(
                s, answer=None, options=tuple(PAIRS[(n + 7 * k) % len(PAIRS)] for k in range(4))
            )
            for n, s in enumerate(scenes(count, seed=3))
        ]
        prefixes = run_prefixes(lantern, samples)
        branches = [Branch(p, plan) for p in prefixes for plan in (OWN, RowPlan(mode="skip"))]
        with Forwards(lantern) as forwards:
            results = run_branches(lantern, branches)
        assert all(r.logprobs is not None and len(r.logprobs) == 4 for r in results)
        scoring = [shape for shape in forwards.shapes if shape[1] > 1]
        assert all(rows == len(branches) and 7 <= tokens <= 9 for rows, tokens in scoring)
        counts[count] = len(scoring)
    assert counts == {2: 1, 12: 1}


@pytest.mark.parametrize("share", [True, False])
def test_pieces_and_other_attention_give_the_same_scores(
    share: bool, monkeypatch: pytest.MonkeyPatch
):
    lantern = LanternModel("faithful")
    samples = [
        replace(
            s,
            answer=None,
            options=(*PAIRS[3 * n : 3 * n + 2], "red", "red blue green", "red blue red"),
        )
        for n, s in enumerate(scenes(4, seed=3))
    ]
    branches = [Branch(p, OWN) for p in run_prefixes(lantern, samples)]
    expected = run_branches(lantern, branches, share=share)
    monkeypatch.setattr(token_trees, "MOST_TOKENS", 3)
    monkeypatch.setattr(token_trees, "MOST_LOGITS", 1)
    pieces = run_branches(lantern, branches, share=share)
    language = lantern.hf.model.language_model
    language.set_attn_implementation("eager")
    try:
        eager = run_branches(lantern, branches, share=share)
        assert language.config._attn_implementation == "eager"
    finally:
        language.set_attn_implementation("sdpa")
    for found in (pieces, eager):
        for one, two in zip(found, expected, strict=True):
            assert torch.equal(one.ids, two.ids)
            assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)
