"""Many patches of one run in one forward.

Nothing before the first patched position changes, so its keys and values are taken from the cache
of the recorded run, and only what stands from there to the answer is computed: from the start
marker on for all cells at or behind it, from the first patched token on for cells in the prompt.
Cells are the rows of one batch; a hook at every patched module puts the donor's activations into
the rows that ask for them. The first row of each batch is not patched: what the others are
compared with, and where shams take their own activations from. A sham changes nothing, bit for
bit, where equal rows are computed alike, as by one thread; several threads may divide a batch so
that it differs by rounding.

The reading is *frozen*: the target's own tokens and latents are fed, whatever the patch did
before them. A patch acts through what later positions attend to, and not by another text or
other latents; patched image tokens do not reach the answer by way of latents made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers.cache_utils import Cache

from lantern_probe.causal.patching.recording import LeftOut, Place, Recording, candidate_scores
from lantern_probe.errors import LanternError
from lantern_probe.interventions.patches import Patch
from lantern_probe.model.kv_cache import SharedPrefixLayer
from lantern_probe.model.memory import Batches, rows_that_fit
from lantern_probe.model.sites import submodule

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True, eq=False)
class Patched:
    """Logits of the target's candidates at the answer, one row per cell.

    Attributes:
        base: Without a patch, computed in the same batch as the cell.
        patched: With it.
    """

    base: Float[Tensor, "cells candidates"]
    patched: Float[Tensor, "cells candidates"]


@torch.no_grad()
def run_cells(
    lantern: LanternModel,
    target: Recording,
    donor: Recording,
    cells: Sequence[Patch],
    *,
    batch_rows: int | None = None,
    batches: Batches | None = None,
) -> Patched:
    """Patch a donor's activations into a target's run, each cell alone (see the module).

    Equal to a full forward per cell up to rounding. A role's positions are matched in order.

    Args:
        lantern: The model.
        target: The run that is patched.
        donor: Whose activations are put in.
        cells: At least one.
        batch_rows: Rows run together, the unpatched one included; by default as many as memory
            holds. Halved when it does not.
        batches: Remembers from call to call what did not fit.

    Raises:
        LanternError: target or donor lacks a cell's role, or has another number of its positions
            (`LeftOut`); an activation of the donor was not recorded.
    """
    if not cells:
        raise LanternError("there are no cells to patch")
    by_start: dict[int, list[int]] = {}
    for index, cell in enumerate(cells):
        check_cell(target, donor, cell)
        # Nothing before the start marker is patched by most cells: they share one forward.
        first = min(target.at(cell.site, cell.slot)[0], target.positions["lvr_start"][0])
        by_start.setdefault(first, []).append(index)
    batches = batches or Batches()
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for start, members in by_start.items():
        size = batch_rows or rows_that_fit(lantern, len(target.inputs))

        def run(some: Sequence[int], start: int = start) -> Tensor:
            return _forward(lantern, target, donor, [cells[i] for i in some], start)

        for some, scores in batches.run(members, max(1, size - 1), run):
            found |= {index: (scores[0], scores[row]) for row, index in enumerate(some, 1)}
    base, patched = zip(*(found[index] for index in range(len(cells))), strict=True)
    return Patched(torch.stack(base), torch.stack(patched))


def check_cell(target: Recording, donor: Recording, cell: Patch) -> None:
    """Refuse a cell whose positions the two runs do not both have.

    Raises:
        LeftOut: one has none, or another number.
    """
    here, there = target.at(cell.site, cell.slot), donor.at(cell.site, cell.slot)
    if len(here) != len(there):
        raise LeftOut(
            f"{cell.label}: {target.sample.id!r} has {len(here)} positions and "
            f"{donor.sample.id!r} has {len(there)}"
        )


def _forward(
    lantern: LanternModel, target: Recording, donor: Recording, cells: Sequence[Patch], start: int
) -> Tensor:
    """The candidates' logits without a patch and under each, [1 + cells, candidates]."""
    patches: dict[Place, _Patch] = {}
    for row, cell in enumerate(cells, 1):
        patch = patches.setdefault((cell.site.component, cell.site.layer), _Patch())
        positions = [at - start for at in target.at(cell.site, cell.slot)]
        patch.add(row, positions, None if cell.sham else donor.values(cell.site, cell.slot))
    rows, length = 1 + len(cells), len(target.inputs)
    with _patching(lantern, patches):
        states = lantern.hf.model.language_model(
            # A copy for each row: a patch of the embedding is written into it.
            inputs_embeds=target.inputs[start:].repeat(rows, 1, 1),
            attention_mask=target.position_ids.new_ones(rows, length),
            position_ids=target.position_ids[:, None, start:].expand(-1, rows, -1),
            past_key_values=Cache(
                layers=[SharedPrefixLayer(k[:, :start], v[:, :start]) for k, v in target.cache]
            ),
            use_cache=True,
        ).last_hidden_state
    logits = lantern.hf.lm_head(states[:, -1]).float()
    return candidate_scores(logits, target.candidates)


class _Patch:
    """What is written into the output of one module, for all rows that ask for it."""

    def __init__(self) -> None:
        self._donated: tuple[list[int], list[int], list[Tensor]] = ([], [], [])
        self._own: tuple[list[int], list[int]] = ([], [])

    def add(self, row: int, positions: Sequence[int], values: Tensor | None) -> None:
        """Have [positions, D] written into a row; None for what the unpatched row has there."""
        rows, places = (self._own if values is None else self._donated)[:2]
        rows += [row] * len(positions)
        places += positions
        if values is not None:
            self._donated[2].append(values)

    def write(self, output: Tensor) -> None:
        """Patch [rows, positions, D] in place: nobody else has seen it yet."""
        rows, places, values = self._donated
        if rows:
            output[rows, places] = torch.cat(values).to(output)
        rows, places = self._own
        if rows:
            output[rows, places] = output[0, places]


@contextmanager
def _patching(lantern: LanternModel, patches: dict[Place, _Patch]) -> Iterator[None]:
    handles: list[RemovableHandle] = []
    try:
        for place, patch in patches.items():
            module = submodule(lantern, *place)
            if place[0] == "embedding":
                handle = module.register_forward_pre_hook(lambda m, args, p=patch: p.write(args[0]))
            else:
                handle = module.register_forward_hook(lambda m, a, out, p=patch: p.write(out))
            handles.append(handle)
        yield
    finally:
        for handle in handles:
            handle.remove()
