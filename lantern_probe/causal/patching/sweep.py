"""Patching of all cells on all pairs, into a run: one row per sample and cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lantern_probe.causal.patching.forward import check_cell, run_cells
from lantern_probe.causal.patching.recording import LeftOut, Recording, check_layout, record
from lantern_probe.errors import LanternError
from lantern_probe.interventions.patches import Patch
from lantern_probe.model.facts import finish_of, running_facts
from lantern_probe.model.memory import Batches
from lantern_probe.records.engines import OneStage, Sink
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.writer import carry_out_alone
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.twins import TWIN, TWIN_ANSWER

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

MOST_PAIRS = 8
"""Largest number of pairs that are generated and recorded together."""

Pair = tuple[Sample, Sample]


@dataclass
class Sweep(OneStage):
    """Engine that patches every cell on every pair of samples, in both directions.

    The donor's answer is the pair's `twin_answer`, or the top candidate of the donor's run if the
    former is unknown. A row has the status `left out`, with the reason, if target and donor call
    for the same answer or their texts do not line up. It has the status `failed` if the pair could
    not be run.

    Attributes:
        lantern: Model to patch.
        samples: Samples, each followed by its twin, as made by `tasks.twins.with_twins`.
        cells: Patches to run.
        run: Run that takes the rows, for `execute`; None if only chunks are run. Rows that it
            already has are not made again.
        max_new_tokens: Limit of every text in tokens; the model's own by default.
        batch_rows: Number of cells run together, by default as many as fit into memory.
        advance: Function called with the number of rows just recorded.
    """

    lantern: LanternModel
    samples: Sequence[Sample]
    cells: Sequence[Patch]
    run: Run | None
    max_new_tokens: int | None = None
    batch_rows: int | None = None
    advance: Callable[[int], None] = lambda rows: None
    _recording: Batches = field(default_factory=Batches, init=False)
    _patching: Batches = field(default_factory=Batches, init=False)
    _finish: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        pairs = zip(self.samples[::2], self.samples[1::2], strict=True)
        if wrong := [one for one, other in pairs if one.attributes.get(TWIN) != other.id]:
            raise LanternError(f"sample {wrong[0].id!r} is not followed by its twin")

    def execute(self) -> None:
        """Run every sample and cell that the run lacks.

        Raises:
            LanternError: there is no run.
        """
        if self.run is None:
            raise LanternError("a sweep without a run has chunks only; give it a run")
        carry_out_alone(self, self.run, self.advance)

    @property
    def size(self) -> int:
        """Samples of a chunk, both of every pair."""
        return 2 * MOST_PAIRS

    def labels(self, stage: int) -> list[str]:
        """The cells, as rows name them.

        Args:
            stage: Index of the stage.
        """
        return [cell.label for cell in self.cells]

    def facts(self) -> dict[str, Any]:
        """Facts of the loaded model."""
        return running_facts(self.lantern, self.max_new_tokens)

    def run_units(self, stage: int, units: Sequence[tuple[str, int]], sink: Sink) -> None:
        """Make the rows of a chunk that are missing.

        Args:
            stage: Index of the stage.
            units: Ids of samples, with 0 for the only pass; a sample alone is run with its twin.
            sink: Place for rows.
        """
        asked = {key for key, _ in units}
        due = {s.id: self._due(s, sink) for s in self.samples if s.id in asked}
        every = zip(self.samples[::2], self.samples[1::2], strict=True)
        # Texts are generated together as they were, if a part of the rows is there.
        pairs: list[Pair] = [
            pair for pair in every
            if any(s.id in asked if sink.together else due.get(s.id) for s in pair)
        ]  # fmt: skip
        for some, recorded in self._recording.run(pairs, MOST_PAIRS, self._record):
            for pair, recordings in zip(some, recorded, strict=True):
                for sample, target, donor in zip(pair, recordings, recordings[::-1], strict=True):
                    if cells := due.get(sample.id):
                        sink.append_many(self._rows(sample, target, donor, cells))

    def failures(self, unit: tuple[str, int], error: Exception) -> list[Row]:
        """The rows of a sample that cannot be run.

        Args:
            unit: Id of the sample, and 0.
            error: Reason.
        """
        sample = next(sample for sample in self.samples if sample.id == unit[0])
        return failed_cells(sample, self.cells, LanternError(str(error)))

    def _due(self, sample: Sample, sink: Sink) -> list[Patch]:
        return [cell for cell in self.cells if not sink.has(sample.id, cell.label)]

    def _record(self, pairs: Sequence[Pair]) -> list[tuple[Recording | LanternError, ...]]:
        """The recordings of each pair, or the errors that prevented them."""
        samples = [sample for pair in pairs for sample in pair]
        limit = {"max_new_tokens": self.max_new_tokens} if self.max_new_tokens else {}
        try:
            output = self.lantern.generate(samples, **limit)
        except LanternError as error:
            # Such as an image that cannot be read: find the pair it belongs to.
            if len(pairs) == 1:
                return [(error, error)]
            return [one for pair in pairs for one in self._record([pair])]
        for sample, sequence in zip(samples, output.sequences, strict=True):
            written = sequence[output.prompt_length :].tolist()
            self._finish[sample.id] = finish_of(written, self.lantern)
        found = record(self.lantern, samples, output, [cell.site for cell in self.cells])
        return list(zip(found[::2], found[1::2], strict=True))

    def _rows(
        self,
        sample: Sample,
        target: Recording | LanternError,
        donor: Recording | LanternError,
        due: Sequence[Patch],
    ) -> list[Row]:
        """The rows of one target."""
        shared = {
            "cluster": sample.cluster,
            "direction": "noise" if sample.attributes.get("pair") == sample.id else "denoise",
            "donor": sample.attributes.get(TWIN),
            "gold": sample.answer,
            "finish": self._finish.get(sample.id, "failed"),
        }
        try:
            for one in (target, donor):
                if isinstance(one, LanternError):
                    raise one
            assert isinstance(target, Recording) and isinstance(donor, Recording)
            check_layout(target, donor)
            shared |= _reference(target, donor)
        except LanternError as error:
            return [_row(sample, cell, shared | _problem(error)) for cell in due]
        rows, able = [], []
        for cell in due:
            try:
                check_cell(target, donor, cell)
            except LeftOut as error:
                rows.append(_row(sample, cell, shared | _problem(error)))
            else:
                able.append(cell)
        if not able:
            return rows
        result = run_cells(
            self.lantern,
            target,
            donor,
            able,
            batch_rows=self.batch_rows,
            batches=self._patching,
        )
        names = list(target.candidates)
        gold, foil = names.index(str(shared["gold"])), names.index(str(shared["foil"]))
        for cell, base, patched in zip(able, result.base, result.patched, strict=True):
            measured = {
                "status": "ok",
                "base": float(base[gold] - base[foil]),
                "patched": float(patched[gold] - patched[foil]),
                "base_answer": names[int(base.argmax())],
                "answer": names[int(patched.argmax())],
            }
            rows.append(_row(sample, cell, shared | measured))
        return rows


def failed_cells(sample: Sample, cells: Sequence[Patch], error: LanternError) -> list[Row]:
    """Make the rows of a sample that cannot be swept at all, as one without a twin.

    Args:
        sample: The sample.
        cells: Cells under each of which it fails.
        error: Reason; its text is recorded.
    """
    shared = {
        "cluster": sample.cluster,
        "direction": "noise",
        "donor": None,
        "gold": sample.answer,
        "finish": "failed",
    }
    return [_row(sample, cell, shared | _problem(error)) for cell in cells]


def _reference(target: Recording, donor: Recording) -> Row:
    """The donor's answer, and the logit difference in the donor's run.

    Raises:
        LeftOut: there is no answer to measure, or both call for the same.
    """
    sample = target.sample
    names = list(donor.candidates)
    foil = sample.attributes.get(TWIN_ANSWER) or names[int(donor.scores.argmax())]
    if target.candidates != donor.candidates:
        raise LeftOut(f"{sample.id!r} and {donor.sample.id!r} have other options")
    for answer in (sample.answer, foil):
        if answer not in names:
            raise LeftOut(f"sample {sample.id!r}: {answer!r} is none of its options")
    if foil == sample.answer:
        raise LeftOut(f"{sample.id!r} and {donor.sample.id!r} have the same answer")
    scores = dict(zip(names, donor.scores.tolist(), strict=True))
    return {"foil": foil, "donor_value": scores[str(sample.answer)] - scores[foil]}


def _problem(error: LanternError) -> Row:
    status = "left out" if isinstance(error, LeftOut) else "failed"
    return {"status": status, "error": str(error)}


def _row(sample: Sample, cell: Patch, values: Row) -> Row:
    site = cell.site
    return {
        "sample": sample.id,
        "condition": cell.label,
        "component": site.component,
        "layer": site.layer,
        "role": site.role,
        "slot": cell.slot,
        "sham": cell.sham,
        **values,
    }
