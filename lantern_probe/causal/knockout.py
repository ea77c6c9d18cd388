"""Attention knockout: the edges from some positions to others are cut, and the answer is read.

Geva et al. (arXiv 2304.14767) cut edges in a window of layers to find the way by which
information reaches the answer. Here the edges are cut while the text is written, so that the
answer itself may change: from the fork of a prefix on, at every decode step, and for scoring.
The computations of the prefix, before the fork, are not cut.

`run_cut_branches` decodes branches under cuts that are named by position sets
(`interventions.edges.Cut`). `cutting_edges` cuts given edges in one forward over a finished text,
and `cut_edges` finds the edges of a named cut there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lantern_probe.causal.branching import Branch, merge_size, run_branches
from lantern_probe.errors import LanternError
from lantern_probe.interventions.edges import Cut
from lantern_probe.model.attention import AttentionHook, causal, hooked
from lantern_probe.model.blocks import BranchResult
from lantern_probe.model.roles import follow_sets, position_sets, tokens_in_box
from lantern_probe.tasks.crops import first_image
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Sets

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


class EdgeCuts(AttentionHook):
    """An attention hook that takes edges out of the mask. Subclasses name them at every forward.

    Args:
        layers: For every row, True for the layers in which its edges are cut.
    """

    reads_keys: ClassVar[bool] = False

    def __init__(self, layers: Bool[Tensor, "rows layers"]):
        self._all_layers = self._layers = layers
        self._now: Bool[Tensor, "rows queries keys"] | None = None

    def select(self, rows: Sequence[int]) -> None:
        self._layers = self._all_layers[list(rows)]

    def edges(self, queries: int, keys: int) -> Bool[Tensor, "rows queries keys"]:
        """The edges to be cut in this forward, True where cut; asked for once per forward.

        Args:
            queries: Number of queries, which are the last of the keys.
            keys: Number of keys.
        """
        raise NotImplementedError

    def cut(self, layer: int, mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
        queries, keys = query.shape[2], key.shape[2]
        if layer == 0:
            edges = self.edges(queries, keys).cpu().clone()
            edges.diagonal(keys - queries, dim1=1, dim2=2).fill_(False)
            self._now = edges if edges.any() else None
        if self._now is None or not self._layers[:, layer].any():
            return mask
        cut = self._now & self._layers[:, layer, None, None]
        if not cut.any():
            return mask
        if mask is None:
            mask = causal(queries, keys, query.device)
        return mask & ~cut[:, None].to(mask.device)


class _Fixed(EdgeCuts):
    def __init__(self, edges: Tensor, layers: Tensor):
        super().__init__(layers)
        self._all_edges = self._edges = edges

    def select(self, rows: Sequence[int]) -> None:
        super().select(rows)
        self._edges = self._all_edges[list(rows)]

    def edges(self, queries: int, keys: int) -> Tensor:
        shape = (len(self._layers), queries, keys)
        if tuple(self._edges.shape) != shape:
            raise LanternError(
                f"edges [rows, queries, keys] of shape {list(self._edges.shape)} do not fit a "
                f"forward of {list(shape)}"
            )
        return self._edges


@contextmanager
def cutting_edges(
    lantern: LanternModel,
    edges: Bool[Tensor, "rows queries keys"],
    layers: Sequence[int] | None = None,
) -> Iterator[None]:
    """Cut the same edges in every forward of a batch, such as that of a `Replay`.

    Args:
        lantern: The model.
        edges: True where a query may not attend to a key, positions counted as in the forward, so
            with padding.
        layers: Layers (0-based) in which the edges are cut; default all.

    Raises:
        LanternError: the edges do not fit the forward, or the model's attention is not sdpa.
    """
    count = len(lantern.hf.model.language_model.layers)
    chosen = torch.zeros(len(edges), count, dtype=torch.bool)
    chosen[:, list(range(count) if layers is None else layers)] = True
    with hooked(lantern, _Fixed(edges, chosen)):
        yield


def cut_edges(
    lantern: LanternModel,
    cut: Cut,
    ids: Int[Tensor, " length"],
    prompt_length: int,
    sample: Sample | str = "",
    grid: Int[Tensor, " 3"] | None = None,
) -> Bool[Tensor, "length length"]:
    """The edges of a cut in a finished sequence, for `cutting_edges`.

    Args:
        lantern: The model.
        cut: The cut; its layers play no part.
        ids: Tokens of prompt and continuation, without padding.
        prompt_length: Number of prompt tokens.
        sample: The sample, or its id, from which a random cut is drawn. Cuts of `box` and `rest`
            need the sample.
        grid: Patch grid of its first image (time, height, width), which these cuts need too.

    Returns:
        [queries, keys], True where cut.

    Raises:
        LanternError: the cut names the box, and the sample has none.
    """
    sets = position_sets(lantern, ids, prompt_length)
    if cut.by_box:
        sets = box_sets(lantern, sets, sample if isinstance(sample, Sample) else None, grid)
    keys = torch.tensor([cut.has_key(s) for s in sets])
    if cut.random:
        start = next((at for at, s in enumerate(sets) if "lvr_start" in s), prompt_length - 1)
        name = sample.id if isinstance(sample, Sample) else sample
        drawn = cut.drawn(sets[: start + 1], lantern.latent_size, name)
        keys = torch.tensor([at in drawn for at in range(len(sets))])
    return torch.tensor([cut.has_query(s) for s in sets])[:, None] & keys


def box_sets(
    lantern: LanternModel, sets: list[Sets], sample: Sample | None, grid: Tensor | None
) -> list[Sets]:
    """Position sets in which image tokens are also in `box` or in `rest`.

    All evidence boxes are in `box`. They lie in the first image; further images are `rest`.

    Args:
        lantern: The model.
        sets: Sets of all positions.
        sample: The sample; None for ready inputs, which have no box.
        grid: Patch grid of the first image.

    Raises:
        LanternError: there is no box or no image.
    """
    if sample is None or not sample.boxes or grid is None:
        name = "ready inputs" if sample is None else f"sample {sample.id!r}"
        raise LanternError(f"{name}: no box, so that its image tokens cannot be told from the rest")
    size = first_image(sample).size
    inside = {
        token
        for box in sample.boxes
        for token in tokens_in_box(box, size, grid, merge_size=merge_size(lantern)).tolist()
    }
    image = [at for at, names in enumerate(sets) if "image" in names]
    part = {at: "box" if index in inside else "rest" for index, at in enumerate(image)}
    return [names | {part[at]} if at in part else names for at, names in enumerate(sets)]


def check_cut(lantern: LanternModel, branch: Branch, cut: Cut) -> None:
    """Refuse a cut that cannot be made of a branch, such as one of a box that there is not.

    Args:
        lantern: The model.
        branch: The row.
        cut: The cut.

    Raises:
        LanternError: the sample has no box, or too few image tokens to draw from.
    """
    if (cut.random or cut.by_box) and branch.goes_on:
        _CutRow(lantern, branch, cut, 0)


@torch.no_grad()
def run_cut_branches(
    lantern: LanternModel,
    branches: Sequence[Branch],
    cuts: Sequence[Cut | None],
    *,
    score: bool = True,
    **kwargs: Any,
) -> list[BranchResult]:
    """Decode branches as `run_branches` does, each row with its own edges cut.

    A branch with nothing left to decode is returned as it is, uncut.

        >>> from lantern_probe import Branch, RowPlan, run_prefixes
        >>> from lantern_probe.causal import run_cut_branches
        >>> from lantern_probe.interventions.edges import Cut
        >>> (prefix,) = run_prefixes(lantern, [sample])
        >>> branches = [Branch(prefix, RowPlan())] * 2
        >>> whole, cut = run_cut_branches(lantern, branches, [None, Cut("after", "slot")])
        >>> whole.logprobs[sample.answer] > cut.logprobs[sample.answer] + 1         # in nats
        True

    Args:
        lantern: The model.
        branches: The rows.
        cuts: One per branch; None cuts nothing.
        score: Compute the candidates' log-probabilities under the cut; default True.
        **kwargs: Settings of `generate`, the same that the prefixes were run with.

    Returns:
        One finished text per branch, in their order.

    Raises:
        LanternError: the model lacks a layer of a cut, a random cut has not enough image tokens to
            draw from, a sample has no box for a cut of it, or the model's attention is not sdpa.
    """
    going = {
        index: cut
        for index, (branch, cut) in enumerate(zip(branches, cuts, strict=True))
        if cut is not None and branch.goes_on
    }
    plain = [index for index in range(len(branches)) if index not in going]
    found = run_branches(lantern, [branches[index] for index in plain], score=score, **kwargs)
    results = dict(zip(plain, found, strict=True))
    if going:
        rows = [branches[index] for index in going]
        steps = _CutSteps(lantern, rows, list(going.values()))
        handle = lantern.hf.get_input_embeddings().register_forward_pre_hook(steps.take_tokens)
        try:
            with hooked(lantern, steps):
                found = run_branches(lantern, rows, score=score, **kwargs)
        finally:
            handle.remove()
        results |= zip(going, found, strict=True)
    return [results[index] for index in range(len(branches))]


class _CutRow:
    """One row of a decoding under its cut, token by token."""

    def __init__(self, lantern: LanternModel, branch: Branch, cut: Cut, first: int):
        size = branch.plan.size if branch.plan.size is not None else lantern.latent_size
        size = 0 if branch.plan.mode == "skip" else size
        ids, prompt = branch.prefix.ids[: branch.length], branch.prefix.prompt_length
        self._cut = cut
        self._drawn: frozenset[int] | None = None
        opens = branch.writes_marker and size > 0
        sets, self._follow = follow_sets(lantern, ids, prompt, size, opens=opens)
        if cut.by_box:
            sets = box_sets(lantern, sets, branch.prefix.sample, branch.prefix.grid)
        if cut.random:
            if branch.prefix.sample is None:
                raise LanternError(f"cut {cut.label!r} is drawn by sample id, and there is none")
            drawn = cut.drawn(sets, size, branch.prefix.sample.id)
            self._drawn = frozenset(first + at for at in drawn)
        self.prefix = [(False, False)] * first
        self.prefix += [self._flags(first + at, s) for at, s in enumerate(sets)]

    def _flags(self, column: int, sets: Sets) -> tuple[bool, bool]:
        key = self._cut.has_key(sets) if self._drawn is None else column in self._drawn
        return self._cut.has_query(sets), key

    def take(self, column: int, token: int) -> tuple[bool, bool]:
        """Flags of the token that comes next: one for a query of the cut, one for a key.

        Args:
            column: Column of the token.
            token: The token.
        """
        return self._flags(column, self._follow(token))


class _CutSteps(EdgeCuts):
    """The edges to be cut in each step of a decoding.

    Columns are positions of the packed rows. The columns of the prefixes are known beforehand, and
    those of a step are learned from its tokens. A forward that scores comes after the decoded
    columns; its own columns are forgotten.
    """

    def __init__(self, lantern: LanternModel, branches: Sequence[Branch], cuts: Sequence[Cut]):
        layers = len(lantern.hf.model.language_model.layers)
        super().__init__(torch.stack([cut.in_layers(layers) for cut in cuts]))
        self._width = max(branch.length for branch in branches)
        self._rows = [
            _CutRow(lantern, branch, cut, self._width - branch.length)
            for branch, cut in zip(branches, cuts, strict=True)
        ]
        # [rows, columns, 2]: whether a position is a query of its row's cut, and whether a key.
        self._flags = torch.tensor([row.prefix for row in self._rows])
        self._present = list(range(len(branches)))
        self._tokens: list[list[int]] = []

    def select(self, rows: Sequence[int]) -> None:
        super().select(rows)
        self._present = list(rows)

    def take_tokens(self, module: Any, args: tuple[Tensor]) -> None:
        """Keep the tokens of the forward that begins; a hook before the embedding."""
        self._tokens = args[0].tolist()

    def edges(self, queries: int, keys: int) -> Tensor:
        known = max(self._width, keys - queries)
        self._flags = self._flags[:, :known]
        if keys > known:
            # Rows that left the batch have neither queries nor keys in the columns to come.
            new = torch.zeros(len(self._rows), keys - known, 2, dtype=torch.bool)
            for number, tokens in zip(self._present, self._tokens, strict=True):
                row = self._rows[number]
                taken = [row.take(column, tokens[column - keys]) for column in range(known, keys)]
                new[number] = torch.tensor(taken)
            self._flags = torch.cat([self._flags, new], dim=1)
        query, key = self._flags[self._present].unbind(-1)
        return query[:, keys - queries :, None] & key[:, None]
