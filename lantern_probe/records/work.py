"""Units of work: chunks of samples, cut where a single process cuts them, and what they give.

An engine turns a chunk into rows and tensors without a folder. Whoever has the run hands out chunks
and writes what comes back: one process, a shard or the driver of a fleet. All of them cut alike, so
that batches, and with them the last bits of every number, are the same.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError
from lantern_probe.records.engines import Engine, Key, Sink, Unit
from lantern_probe.records.rows import Row, key_of

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.tasks.sample import Sample

FRAMES = 3
"""Innermost frames of an exception that the row of its sample names."""


@dataclass
class Collector:
    """Sink in memory, which takes the place of a run where there is none.

    Attributes:
        done: Keys of rows that are not to be made.
        owed: Units whose tensors are missing, though they have rows.
        together: Conditions that are run for all units, also where rows are there; none by default.
        refused: False: memory takes everything.
        rows: Rows so far.
        tensors: Tensors so far, by file and name.
    """

    done: set[Key] = field(default_factory=set)
    owed: frozenset[Unit] = frozenset()
    together: frozenset[str] = frozenset()
    refused: bool = False
    rows: list[Row] = field(default_factory=list)
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def has(self, sample: str, condition: str, number: int = 0) -> bool:
        """True if there is a row for this sample, condition and pass.

        Args:
            sample: Id of the sample.
            condition: Label of the condition.
            number: Index of the pass (0-based), default 0.
        """
        return (sample, condition, number) in self.done

    def append_many(self, rows: Iterable[Row]) -> None:
        """Take rows.

        Args:
            rows: Rows that are not there yet.
        """
        for row in rows:
            sample, condition, number = key_of(row)
            self.done.add((sample, condition, number))
            self.rows.append(row)

    def keep(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors of a file.

        Args:
            file: Path of the file, relative to the folder of the run.
            tensors: Tensors by name.
        """
        self.tensors.setdefault(file, {}).update(tensors)


@dataclass(frozen=True)
class Task:
    """A chunk of one stage of an engine.

    Attributes:
        stage: Index of the stage.
        units: Units, in the order of the samples.
        done: Keys of their rows that are not to be made.
        owed: Units whose tensors are missing, though they have rows.
        together: Conditions that are run for all units, also where rows are there; none by default.
    """

    stage: int
    units: tuple[Unit, ...]
    done: frozenset[Key] = frozenset()
    owed: frozenset[Unit] = frozenset()
    together: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Done:
    """Rows and tensors of a chunk.

    Attributes:
        rows: Rows.
        tensors: Tensors by file, relative to the folder of the run, and by name.
    """

    rows: list[Row]
    tensors: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Division:
    """Part of the blocks of samples: every n-th, from the i-th on.

    Attributes:
        index: Index of the part (0-based).
        count: Number of parts.
    """

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def file_of(folder: str, names: Iterable[str]) -> str:
    """The path of a file of tensors, made from what it holds.

    Args:
        folder: Folder, relative to that of the run.
        names: Names of the tensors, or of what they belong to.
    """
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]
    return f"{folder}/{digest}.safetensors"


def block_size(engines: Sequence[Engine]) -> int:
    """The number of samples between cuts that all engines share: the largest chunk.

    Args:
        engines: Engines of one run.
    """
    return max(max(1, engine.size // engine.passes) for engine in engines)


def cut(
    engine: Engine,
    samples: Sequence[Sample],
    block: int,
    division: Division | None = None,
) -> Iterator[tuple[Unit, ...]]:
    """Cut the units of an engine into chunks.

    Chunks end at the end of a block, so that engines with other chunks can be divided alike.

    Args:
        engine: The engine.
        samples: All samples of the run, in order.
        block: Samples of a block.
        division: Part of the blocks; all by default.
    """
    part = division or Division()
    own = {sample.id for sample in engine.samples}
    for number, first in enumerate(range(0, len(samples), block)):
        if number % part.count != part.index:
            continue
        some = [s.id for s in samples[first : first + block] if s.id in own]
        units = [(key, number) for key in some for number in range(engine.passes)]
        for start in range(0, len(units), engine.size):
            yield tuple(units[start : start + engine.size])


def run_task(engine: Engine, task: Task, sink: Sink) -> None:
    """Run a chunk; where that raises, its units one by one, so that a bad one fails alone.

    Args:
        engine: The engine.
        task: The chunk.
        sink: Place for rows and tensors.

    Raises:
        Exception: no unit of several could be run, and all for the same reason, so that it is not
            the fault of a sample; or the device is out of order; or the sink refuses.
    """
    try:
        engine.run_units(task.stage, task.units, sink)
    except Exception as error:
        if sink.refused or _is_of_the_device(error):
            raise
        units, errors = task.units, {}
        if len(units) == 1:
            errors[units[0]] = error
        else:
            errors = _one_by_one(engine, task, sink)
            if len(errors) == len(units) and len({str(e) for e in errors.values()}) == 1:
                raise
        for unit, reason in errors.items():
            sink.append_many(_failed(engine, task.stage, unit, reason, sink))


def _one_by_one(engine: Engine, task: Task, sink: Sink) -> dict[Unit, Exception]:
    """Run the units of a chunk alone; the errors of those that cannot be run."""
    errors: dict[Unit, Exception] = {}
    for unit in task.units:
        try:
            engine.run_units(task.stage, (unit,), sink)
        except Exception as error:
            if sink.refused or _is_of_the_device(error):
                raise
            errors[unit] = error
    return errors


def _failed(engine: Engine, stage: int, unit: Unit, error: Exception, sink: Sink) -> list[Row]:
    rows = engine.failures(unit, RaisedError(error))
    # A stage without rows of its own fails all that the next would make.
    labels = {*engine.labels(stage)} or {row["condition"] for row in rows}
    return [
        row for row in rows
        if row["condition"] in labels and not sink.has(unit[0], row["condition"], unit[1])
    ]  # fmt: skip


class RaisedError(LanternError):
    """Error that names the type of an exception, its message and its innermost frames.

    Args:
        error: The exception.
    """

    def __init__(self, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        where = ", ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
        if isinstance(error, LanternError):
            super().__init__(str(error))
        else:
            super().__init__(f"{type(error).__name__}: {error} (in {where})")


def _is_of_the_device(error: Exception) -> bool:
    """True if a GPU can compute nothing more in this process."""
    return "CUDA error" in str(error) or type(error).__name__ == "AcceleratorError"
