"""The forward of patching: many patches of one run, each in a row of its own.

Nothing before the first patched position changes. Its keys and values are taken from the cache of
the recorded run, and only the positions from there to the answer are computed: from the start
marker on for all patches at or after it, from the first patched token on for patches in the
prompt. Patches are the rows of one batch; a hook at every patched component puts the donor's
activations into the rows that ask for them. The first row of each batch is not patched: the others
are compared with it, and shams take their own activations from it. A sham changes nothing, bit for
bit, where equal rows are computed alike, as by one thread; several threads may divide a batch so
that it differs by rounding.

The reading is *frozen*: the target's own tokens and latents are fed, whatever the patch did
before them. A patch acts through what later positions attend to, and not by another text or
other latents; patched image tokens do not reach the answer by way of newly made latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import Cache

from lantern_probe.causal.patching.recording import LeftOut, Recording, candidate_scores
from lantern_probe.errors import LanternError
from lantern_probe.interventions.patches import Patch
from lantern_probe.model.hooks import Place, component_hooks
from lantern_probe.model.kv_cache import SharedPrefixLayer
from lantern_probe.model.memory import Batches

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True, eq=False)
class Patched:
    """Logits of the target's candidates at the answer, one row per patch.

    Attributes:
        base: Logits without a patch, computed in the same batch as the patch.
        patched: Logits under the patch.
    """

    base: Float[Tensor, "patches candidates"]
    patched: Float[Tensor, "patches candidates"]


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
    """Patch a donor's activations into a target's run, each patch alone (see the module).

    Equal to a full forward per patch up to rounding. The positions of a role are matched in order.

    Args:
        lantern: The model.
        target: The run that is patched.
        donor: The run whose activations are put in.
        cells: The patches, at least one.
        batch_rows: Rows run together, the unpatched one included; default as many as memory holds.
            Halved whenever memory runs out.
        batches: Memory from call to call of the batch size that did not fit; default none.

    Raises:
        LanternError: target or donor lacks a patch's role, or has another number of its positions
            (`LeftOut`); an activation of the donor was not recorded.
    """
    if not cells:
        raise LanternError("there are no patches to run; pass at least one `Patch`")
    by_start: dict[int, list[int]] = {}
    for index, cell in enumerate(cells):
        check_cell(target, donor, cell)
        # Most patches stand at or after the start marker: they share one forward from there on.
        first = min(target.at(cell.site, cell.slot)[0], target.positions["lvr_start"][0])
        by_start.setdefault(first, []).append(index)
    batches = batches or Batches()
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for start, members in by_start.items():
        size = batch_rows or lantern.rows_that_fit(len(target.inputs))

        def run(some: Sequence[int], start: int = start) -> Tensor:
            return _forward(lantern, target, donor, [cells[i] for i in some], start)

        for some, scores in batches.run(members, max(1, size - 1), run):
            found |= {index: (scores[0], scores[row]) for row, index in enumerate(some, 1)}
    base, patched = zip(*(found[index] for index in range(len(cells))), strict=True)
    return Patched(torch.stack(base), torch.stack(patched))


def check_cell(target: Recording, donor: Recording, cell: Patch) -> None:
    """Refuse a patch whose positions the two runs do not both have.

    Args:
        target: The run that is to be patched.
        donor: The run whose activations are to be put in.
        cell: The patch.

    Raises:
        LeftOut: a run has no such positions, or the two have different numbers of them.
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
    """The candidates' logits without a patch and under each patch, [1 + patches, candidates]."""
    writes: dict[Place, _Writes] = {}
    for row, cell in enumerate(cells, 1):
        at_place = writes.setdefault((cell.site.component, cell.site.layer), _Writes())
        positions = [at - start for at in target.at(cell.site, cell.slot)]
        at_place.add(row, positions, None if cell.sham else donor.values(cell.site, cell.slot))
    rows, length = 1 + len(cells), len(target.inputs)
    with component_hooks(lantern, {place: one.into for place, one in writes.items()}):
        states = lantern.hf.model.language_model(
            # A copy for each row: a patch of the embedding is written into it.
            inputs_embeds=target.inputs[start:].repeat(rows, 1, 1),
            attention_mask=target.position_ids.new_ones(rows, length),
            position_ids=target.position_ids[:, None, start:].expand(-1, rows, -1),
            past_key_values=Cache(
                layers=[SharedPrefixLayer(k[:, :start], v[:, :start]) for k, v in target.cache]
            ),
            use_cache=True,
            **target.image_inputs(start, rows),
        ).last_hidden_state
    logits = lantern.hf.lm_head(states[:, -1]).float()
    return candidate_scores(logits, target.candidates)


class _Writes:
    """All that is written into the activations of one component, row by row."""

    def __init__(self) -> None:
        self._donated: tuple[list[int], list[int], list[Tensor]] = ([], [], [])
        self._own: tuple[list[int], list[int]] = ([], [])

    def add(self, row: int, positions: Sequence[int], values: Tensor | None) -> None:
        """Write values [positions, D] into a row; None writes what the unpatched row has there."""
        rows, places = (self._own if values is None else self._donated)[:2]
        rows += [row] * len(positions)
        places += positions
        if values is not None:
            self._donated[2].append(values)

    def into(self, output: Tensor) -> None:
        """Patch activations [rows, positions, D] in place: nothing else has read them yet."""
        rows, places, values = self._donated
        if rows:
            output[rows, places] = torch.cat(values).to(output)
        rows, places = self._own
        if rows:
            output[rows, places] = output[0, places]
