"""Attention of a whole data set, written into a run: one row per sample.

Every sample is answered, and its text is run once more in one forward that computes the attention
rows of the start marker, the slots, the end marker and the answer, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lantern_probe.capture.attention import default_queries, read_attention
from lantern_probe.capture.attention_measures import attention_figures, image_maps
from lantern_probe.capture.batch import readable
from lantern_probe.errors import LanternError
from lantern_probe.model.facts import finish_of, running_facts
from lantern_probe.model.memory import Batches
from lantern_probe.model.replay import replay
from lantern_probe.model.roles import find_roles
from lantern_probe.records.engines import OneStage, Sink
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.schema import AttentionRow, failed_row
from lantern_probe.records.writer import carry_out_alone
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Role

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

CONDITION = "own"
"""Condition of every row: attention is read while the model feeds its own latents."""

ROWS_TOGETHER = 8
"""Default number of samples read together; one needs layers x heads x queries x keys weights."""

OVERLAID = (Role.LVR_START, Role.SLOT, Role.ANSWER)
"""Roles whose attention over the image is drawn."""


@dataclass
class AttentionReader(OneStage):
    """Engine that reads the attention of one model on one data set into a run.

    Attributes:
        lantern: Model to read.
        samples: Samples with different ids.
        run: Run that takes the rows, for `execute`; None if only chunks are run. Rows that it
            already has are not made again.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of samples run together, default 8. It is halved if memory runs out.
        advance: Function called with the number of rows just recorded.
    """

    lantern: LanternModel
    samples: Sequence[Sample]
    run: Run | None
    max_new_tokens: int | None = None
    batch_rows: int | None = None
    advance: Callable[[int], None] = lambda rows: None
    _batches: Batches = field(default_factory=Batches, init=False)

    def execute(self) -> None:
        """Read the attention of every sample that the run lacks.

        Raises:
            LanternError: there is no run.
        """
        if self.run is None:
            raise LanternError("a reader of attention without a run has chunks only; give it a run")
        carry_out_alone(self, self.run, self.advance)

    @property
    def size(self) -> int:
        """Samples of a chunk."""
        return self.batch_rows or ROWS_TOGETHER

    def labels(self, stage: int) -> list[str]:
        """The one condition.

        Args:
            stage: Index of the stage.
        """
        return [CONDITION]

    def facts(self) -> dict[str, Any]:
        """Facts of the loaded model."""
        return running_facts(self.lantern, self.max_new_tokens)

    def run_units(self, stage: int, units: Sequence[tuple[str, int]], sink: Sink) -> None:
        """Make the rows of a chunk that are missing.

        Args:
            stage: Index of the stage.
            units: Ids of samples, with 0 for the only pass.
            sink: Place for rows.
        """
        known = {sample.id: sample for sample in self.samples}
        due = [known[key] for key, _ in units if not sink.has(key, CONDITION)]
        for _, rows in self._batches.run(due, self.size, self._rows):
            sink.append_many(rows)

    def failures(self, unit: tuple[str, int], error: Exception) -> list[Row]:
        """The row of a sample that cannot be run.

        Args:
            unit: Id of the sample, and 0.
            error: Reason.
        """
        return [dict(failed_row(unit[0], CONDITION, error))]

    def _rows(self, samples: Sequence[Sample]) -> list[Row]:
        return rows_of(self.lantern, samples, self.max_new_tokens)


def rows_of(lantern: LanternModel, samples: Sequence[Sample], limit: int | None) -> list[Row]:
    """Make one row per sample: its attention, or the reason why it could not be run.

    Args:
        lantern: The model.
        samples: Samples that are run together.
        limit: Limit of every continuation; None for the model's own.
    """
    good, reasons = readable(lantern, samples, boxes=True)
    rows: list[Row] = [
        dict(failed_row(sample, CONDITION, LanternError(reason)))
        for sample, reason in reasons.items()
    ]
    if not good:
        return rows
    output = lantern.generate(good, **_limited(limit))
    again = replay(lantern, good, output)
    roles = [
        find_roles(lantern, again.own_ids(i), length, again.blocks[i])
        for i, length in enumerate(again.prompt_lengths)
    ]
    queries = [default_queries(one) for one in roles]
    weights = read_attention(lantern, again, queries)
    for index, sample in enumerate(good):
        figures = attention_figures(
            weights[index], queries[index], roles[index], again.grids[index], sample
        )
        written = output.sequences[index][output.prompt_length :].tolist()
        row: AttentionRow = {
            "sample": sample.id,
            "condition": CONDITION,
            "status": "ok",
            "cluster": sample.cluster,
            "emitted": bool(output.blocks[index]),
            "gold": sample.answer,
            "answer": output.answers[index],
            "attention": figures,
            "finish": finish_of(written, lantern, output.blocks[index]),
        }
        rows.append(dict(row))
    return rows


class Overlay(NamedTuple):
    """The attention of one role over a sample's first image.

    `attention` is the mean over layers, heads and queries, by the rows and columns of the token
    grid, [height, width]; `by_query` is the mean over layers and heads, [queries, height, width].
    """

    sample: Sample
    role: Role
    image: Image.Image
    attention: Float[Tensor, "height width"]
    by_query: Float[Tensor, "queries height width"]


def overlays(lantern: LanternModel, samples: Sequence[Sample], limit: int | None) -> list[Overlay]:
    """The attention of the start marker, the slots and the answer over the image, by sample.

    A sample without an image, or whose image cannot be read, gives none.

    Args:
        lantern: The model.
        samples: Samples, run one by one.
        limit: Limit of every continuation; None for the model's own.
    """
    found = []
    for sample in samples:
        try:
            image = sample.open_images()[0]
            again = replay(lantern, [sample], lantern.generate(sample, **_limited(limit)))
        except (LanternError, IndexError):
            continue  # the rows record it as failed
        roles = find_roles(lantern, again.own_ids(0), again.prompt_lengths[0], again.blocks[0])
        for role in OVERLAID:
            at = roles.positions(role)
            if len(at):
                (weights,) = read_attention(lantern, again, [at])
                maps = image_maps(weights, roles, again.grids[0])[0].mean((0, 1))
                found.append(Overlay(sample, role, image, maps.mean(0), maps))
    return found


def overlay_maps(overlays: Sequence[Overlay]) -> dict[str, tuple[list[str], np.ndarray]]:
    """Names and maps by sample, as `records.overlays.write_overlay` takes them.

    Args:
        overlays: Attention by sample and role. Of the slots every one has a map, of the other roles
            the mean.
    """
    found: dict[str, tuple[list[str], list[np.ndarray]]] = {}
    for sample, role, _, mean, by_query in overlays:
        names, maps = found.setdefault(sample.id, ([], []))
        slots = role == Role.SLOT
        names += [f"slot {slot}" for slot in range(len(by_query))] if slots else [role.value]
        maps += [one.float().cpu().numpy() for one in (by_query if slots else [mean])]
    return {key: (names, np.stack(maps)) for key, (names, maps) in found.items()}


def _limited(limit: int | None) -> dict[str, Any]:
    return {} if limit is None else {"max_new_tokens": limit}
