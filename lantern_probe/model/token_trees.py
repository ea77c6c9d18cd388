"""Log-probabilities of continuations: those of a row are a tree of tokens, run in one forward.

Continuations that begin alike share the tokens of their beginning. Every token attends to its own
row, up to a place, and to its ancestors in the tree. So a row costs as many tokens as its own tree
has, whatever the other rows are asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lantern_probe.model.attention import takes_masks
from lantern_probe.model.kv_cache import FinishedRows, rope_positions

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

Form = tuple[int, ...]
"""Tokens of a continuation."""

MOST_TOKENS = 48
"""Most tokens of a row in one forward; larger trees are run in pieces."""

MOST_LOGITS = 2**25
"""Most logits that are held at once."""


class Tree:
    """The beginnings of some continuations, each a node that stands behind its parent."""

    def __init__(self) -> None:
        self.nodes: list[Form] = [()]
        self.forms: list[Form] = []
        self._known: dict[Form, int] = {(): 0}

    def missing(self, form: Form) -> int:
        """The number of nodes that a continuation would add.

        Args:
            form: The continuation.
        """
        return sum(form[:length] not in self._known for length in range(1, len(form)))

    def add(self, form: Form) -> None:
        """Add a continuation; its last token is read off its parent, and needs no node.

        Args:
            form: The continuation.
        """
        self.forms.append(form)
        for length in range(1, len(form)):
            if form[:length] not in self._known:
                self._known[form[:length]] = len(self.nodes)
                self.nodes.append(form[:length])

    def steps(self) -> list[tuple[int, int]]:
        """(node, next token) of all steps that the continuations take."""
        return sorted(
            {(self._known[f[:at]], token) for f in self.forms for at, token in enumerate(f)}
        )

    def path(self, form: Form) -> list[tuple[int, int]]:
        """(node, next token) of the steps of one continuation.

        Args:
            form: The continuation.
        """
        return [(self._known[form[:at]], token) for at, token in enumerate(form)]

    def ancestors(self, node: int) -> list[int]:
        """The nodes that a node attends to, itself included.

        Args:
            node: Index of the node.
        """
        form = self.nodes[node]
        return [self._known[form[:length]] for length in range(len(form) + 1)]


def trees(forms: Sequence[Form]) -> list[Tree]:
    """The continuations of a row as trees of at most `MOST_TOKENS` nodes; at least one tree.

    Args:
        forms: The continuations, none of them empty.
    """
    found = [Tree()]
    for form in sorted(set(forms)):
        if len(found[-1].nodes) + found[-1].missing(form) > MOST_TOKENS and found[-1].forms:
            found.append(Tree())
        found[-1].add(form)
    return found


@torch.no_grad()
def form_logprobs(
    lantern: LanternModel,
    rows: FinishedRows,
    places: Sequence[int | None],
    forms: Sequence[Sequence[Form]],
) -> list[dict[Form, float]]:
    """Log-probability of every continuation of every finished row at its place.

    Args:
        lantern: The model.
        rows: Finished rows; their cache is left as it was.
        places: For every row, the index in `rows.sequences` of the token before the continuation;
            None for a row without one.
        forms: For every row, its continuations.

    Returns:
        For every row, the log-probabilities in nats; empty for a row without a place.
    """
    grown = [
        trees([] if place is None else some) for place, some in zip(places, forms, strict=True)
    ]
    found: list[dict[Form, float]] = [{} for _ in rows.first]
    with _with_masks(lantern):
        for number in range(max(map(len, grown))):
            piece = [some[number] if number < len(some) else Tree() for some in grown]
            steps = _step_logprobs(lantern, rows, places, piece)
            for row, tree in enumerate(piece):
                for form in tree.forms:
                    found[row][form] = sum(steps[row][step] for step in tree.path(form))
    return found


def _step_logprobs(
    lantern: LanternModel,
    rows: FinishedRows,
    places: Sequence[int | None],
    grown: Sequence[Tree],
) -> list[dict[tuple[int, int], float]]:
    """For every row, the log-probability of every step of its tree."""
    states = _states(lantern, rows, places, grown)
    wanted = [(row, *step) for row, tree in enumerate(grown) for step in tree.steps()]
    at = sorted({(row, node) for row, node, _ in wanted})
    index = {place: number for number, place in enumerate(at)}
    size = max(1, MOST_LOGITS // lantern.hf.config.get_text_config().vocab_size)
    found: list[dict[tuple[int, int], float]] = [{} for _ in grown]
    for first in range(0, len(at), size):
        some = torch.tensor(at[first : first + size], device=states.device)
        logprobs = lantern.hf.lm_head(states[some[:, 0], some[:, 1]]).float().log_softmax(-1)
        here = [step for step in wanted if first <= index[step[:2]] < first + size]
        which = torch.tensor([(index[s[:2]] - first, s[2]) for s in here], device=logprobs.device)
        values = logprobs[which[:, 0], which[:, 1]].tolist()
        for (row, node, token), value in zip(here, values, strict=True):
            found[row][node, token] = value
    return found


def _states(
    lantern: LanternModel,
    rows: FinishedRows,
    places: Sequence[int | None],
    grown: Sequence[Tree],
) -> Float[Tensor, "rows nodes dim"]:
    """The final hidden states at all nodes; the root is the token at the place, run once more."""
    device, cached = rows.sequences.device, rows.cache.get_seq_length()
    first = torch.tensor(rows.first, device=device)
    # A row without a place takes part with its first token, and nobody looks.
    at = torch.tensor(
        [
            begin if place is None else place
            for begin, place in zip(rows.first, places, strict=True)
        ],
        device=device,
    )
    nodes = max(len(tree.nodes) for tree in grown)
    ids = rows.sequences.gather(1, at[:, None]).repeat(1, nodes)
    depths = torch.zeros(len(grown), nodes, dtype=torch.long)
    among = torch.eye(nodes, dtype=torch.bool).repeat(len(grown), 1, 1)
    for row, tree in enumerate(grown):
        for node, form in enumerate(tree.nodes[1:], 1):
            ids[row, node], depths[row, node] = form[-1], len(form)
            among[row, node, tree.ancestors(node)] = True
    column = torch.arange(cached, device=device)
    seen = (column >= first[:, None]) & (column < at[:, None])
    for row, hidden in enumerate(rows.hidden):
        seen[row, [position for position in hidden if position < cached]] = False
    mask = torch.cat([seen[:, None].expand(-1, nodes, -1), among.to(device)], dim=2)
    text = (at - first)[:, None] + depths.to(device)
    states = lantern.hf.model(
        input_ids=ids,
        attention_mask=mask[:, None],
        position_ids=rope_positions(text, rows.deltas),
        past_key_values=rows.cache,
        use_cache=True,
    ).last_hidden_state
    rows.cache.crop(-nodes)
    return states


@contextmanager
def _with_masks(lantern: LanternModel) -> Iterator[None]:
    """Let attention take a mask for every query; where it cannot, sdpa stands in."""
    language = lantern.hf.model.language_model
    before = language.config._attn_implementation
    if takes_masks(before):
        yield
        return
    language.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        language.set_attn_implementation(before)
