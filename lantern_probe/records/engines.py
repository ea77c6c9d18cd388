"""Engines: what turns chunks of samples into rows, as those see it who hand the chunks out."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.tasks.sample import Sample

Unit = tuple[str, int]
"""Id of a sample, and index of a pass (0 in greedy decoding)."""

Key = tuple[str, str, int]
"""Key of a row: sample, condition and pass."""

Kept = Mapping[str, Mapping[str, Any]]
"""Tensors by folder, relative to that of the run, and by name."""


@runtime_checkable
class Sink(Protocol):
    """Place into which an engine puts rows and tensors."""

    owed: frozenset[Unit]
    """Units whose tensors are missing, though they have rows."""
    together: frozenset[str]
    """Conditions that are run for all units of a chunk, also where their rows are there, so that
    rows that a kill took have the bits that they had; if empty, only what is missing is run."""
    refused: bool
    """True once it could not take something, as on a full disk, which is no sample's fault."""

    def has(self, sample: str, condition: str, number: int = 0) -> bool:
        """True if there is a row for this sample, condition and pass."""

    def append_many(self, rows: Iterable[Row]) -> None:
        """Take rows."""

    def keep(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors of a file, whose path is relative to the run's folder."""


@runtime_checkable
class Engine(Protocol):
    """Something that turns chunks into rows, in one stage or in two with a pool between them."""

    samples: Sequence[Sample]
    """Samples of the engine, in order."""

    @property
    def size(self) -> int:
        """Most units of a chunk."""

    @property
    def passes(self) -> int:
        """Number of passes of sampled decoding; 1 for greedy decoding."""

    @property
    def stages(self) -> int:
        """Number of stages; before the second stands the pool of all samples."""

    @property
    def keeps(self) -> Sequence[str]:
        """Folders of tensors that are kept for a second stage."""

    def labels(self, stage: int) -> Sequence[str]:
        """Conditions of whose rows a stage makes those that are missing."""

    def owing(self, rows: Sequence[Row], kept: Kept) -> set[Unit]:
        """Units of which tensors are missing that the second stage needs."""

    def facts(self) -> dict[str, Any]:
        """Facts of the loaded model, for `Run.note`."""

    def run_units(self, stage: int, units: Sequence[Unit], sink: Sink) -> None:
        """Make what a chunk lacks in a stage."""

    def failures(self, unit: Unit, error: Exception) -> list[Row]:
        """Rows of a unit that cannot be run, under all conditions."""

    def prepare(self, kept: Kept) -> Any:
        """The pool of all samples, for the second stage."""

    def take(self, pool: Any) -> None:
        """Take the pool."""


class OneStage:
    """Common part of engines that keep nothing for a second stage, and run one pass."""

    passes, stages, keeps = 1, 1, ()

    def owing(self, rows: Sequence[Row], kept: Kept) -> set[Unit]:
        """No units: nothing is kept.

        Args:
            rows: Rows of the run.
            kept: Tensors by folder.
        """
        return set()

    def prepare(self, kept: Kept) -> Any:
        """No pool.

        Args:
            kept: Tensors by folder.
        """
        return None

    def take(self, pool: Any) -> None:
        """Take no pool.

        Args:
            pool: Nothing.
        """


class Outline:
    """Engine without its model: all that the driver of a fleet needs to know of it.

    Args:
        engine: The engine, in the process that has the model.
    """

    def __init__(self, engine: Engine) -> None:
        self.size, self.passes, self.stages = engine.size, engine.passes, engine.stages
        self.keeps = engine.keeps
        self._labels = [list(engine.labels(stage)) for stage in range(engine.stages)]
        self._facts = engine.facts()
        self._ids = [sample.id for sample in engine.samples]
        self._engine: Any = copy.copy(engine)
        # Samples are there already where this goes, and the model cannot go there.
        for name, value in (("lantern", None), ("run", None), ("advance", None), ("samples", [])):
            setattr(self._engine, name, value)
        self.samples: Sequence[Sample] = []

    def with_samples(self, samples: Sequence[Sample]) -> Outline:
        """This outline with the samples of the engine.

        Args:
            samples: Samples of the run.
        """
        own = {*self._ids}
        self.samples = self._engine.samples = [s for s in samples if s.id in own]
        return self

    def labels(self, stage: int) -> Sequence[str]:
        """Conditions of a stage.

        Args:
            stage: Index of the stage.
        """
        return self._labels[stage]

    def facts(self) -> dict[str, Any]:
        """Facts of the loaded model."""
        return self._facts

    def owing(self, rows: Sequence[Row], kept: Kept) -> set[Unit]:
        """Units of which tensors are missing that the second stage needs.

        Args:
            rows: Rows of the run.
            kept: Tensors by folder.
        """
        found: set[Unit] = self._engine.owing(rows, kept)
        return found

    def failures(self, unit: Unit, error: Exception) -> list[Row]:
        """Rows of a unit that cannot be run.

        Args:
            unit: The unit.
            error: Reason.
        """
        found: list[Row] = self._engine.failures(unit, error)
        return found

    def prepare(self, kept: Kept) -> Any:
        """The pool of all samples.

        Args:
            kept: Tensors by folder.
        """
        return self._engine.prepare(kept)

    def run_units(self, stage: int, units: Sequence[Unit], sink: Sink) -> None:
        """Refuse: there is no model here.

        Args:
            stage: Index of the stage.
            units: Units.
            sink: Place for rows.
        """
        raise LanternError("an outline has no model, and makes no rows")

    def take(self, pool: Any) -> None:
        """Take no pool: the engines in the workers do.

        Args:
            pool: The pool.
        """
