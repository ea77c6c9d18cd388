"""The one writer of a run: hands out chunks that lack something, and writes what they give.

A single process, a shard and the driver of a fleet all write through it. Tensors are on disk before
the rows of their batch. A chunk of which a kill has left a part is run again as a whole, and gives
the rows that are missing, to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantern_probe.errors import LanternError
from lantern_probe.records.engines import Engine, Kept, Key, Unit
from lantern_probe.records.json_files import explained, replace_file
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.work import Division, Done, Task, block_size, cut, run_task
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor

FILES, LEFT = "*.safetensors", ".*.tmp"


class Writer:
    """Writer of what the engines of one run give.

    Args:
        run: The run. Its samples are registered.
        samples: All samples of the run, in order.
        block: Samples between cuts that all engines share.
        division: Part of the samples that this process runs; all by default.
        parts: Folders of all runs among which the samples are divided, this one included; that of
            the run alone by default.
        advance: Function called with the number of rows just written.
    """

    def __init__(
        self,
        run: Run,
        samples: Sequence[Sample],
        block: int,
        division: Division | None = None,
        parts: Sequence[Path] = (),
        advance: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.run, self.samples, self.block, self.division = run, samples, block, division
        self._parts = parts or (run.folder,)
        self._advance = advance
        self._kept: dict[str, dict[str, Tensor]] = {}

    def begin(self, engine: Engine) -> None:
        """Record the facts of an engine, and read the tensors that an earlier start has kept.

        Args:
            engine: The engine.

        Raises:
            LanternError: facts differ from those of the run, or a file is out of reach.
        """
        self.run.note(**engine.facts())
        known = self.run.manifest.get("kept", [])
        for folder in engine.keeps:
            if folder not in self._kept:
                self._kept[folder] = {}
                if folder in known:
                    self._kept[folder] = read_kept(self.run.folder / folder, mend=True)
                else:  # of another run that was here before
                    _clear(self.run.folder / folder, FILES, LEFT)

    def tasks(self, engine: Engine, stage: int) -> Iterator[Task]:
        """The chunks of a stage that lack a row, or a tensor that the next stage needs.

        Args:
            engine: The engine.
            stage: Index of the stage.
        """
        owing: set[Unit] = set()
        if stage + 1 < engine.stages:
            owing = engine.owing(self.run.rows(), self._kept)
        labels = engine.labels(stage)
        due: list[tuple[tuple[Unit, ...], set[Key], frozenset[Unit]]] = []
        for units in cut(engine, self.samples, self.block, self.division):
            keys = {(key, label, number) for key, number in units for label in labels}
            missing = {key for key in keys if not self.run.has(*key)}
            owed = frozenset(owing.intersection(units))
            if missing or owed:
                due.append((units, missing, owed))
        # Samples that had failed were never run with the others.
        fresh = {key[1] for _, keys, _ in due for key in keys if key[0] not in self.run.retried}
        group = self._together(labels, fresh)
        for units, missing, owed in due:
            again = not owed and {key[0] for key in missing} <= self.run.retried
            together = frozenset() if again else frozenset(labels) if owed else group
            keys = {(key, label, number) for key, number in units for label in labels}
            yield Task(stage, units, frozenset(keys - missing), owed, together)

    def _together(self, labels: Sequence[str], due: Collection[str]) -> frozenset[str]:
        """Conditions of a stage that were begun together with those that are due.

        They are recorded before the first of their rows, since a chunk of which a kill has left a
        part must be run in the batches that it had.
        """
        if not due:
            return frozenset()
        groups = self.run.manifest.get("together", [])
        for group in reversed(groups):
            if {*due} <= {*group}:
                return frozenset(group).intersection(labels)
        self.run.note(together=[*groups, sorted(due)])
        return frozenset(due)

    def write(self, done: Done) -> None:
        """Write the result of a chunk; rows that are there are left out.

        Args:
            done: The result.

        Raises:
            LanternError: the disk refuses.
        """
        for file, tensors in done.tensors.items():
            self._keep(file, tensors)
        rows = [
            row for row in done.rows
            if not self.run.has(row["sample"], row["condition"], row.get("pass", 0))
        ]  # fmt: skip
        self.run.append_many(rows)
        self._advance(len(rows))

    def _keep(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save

        folder = file.rpartition("/")[0]
        if folder in self._kept:
            tensors = {k: v for k, v in tensors.items() if k not in self._kept[folder]}
            self._kept[folder].update(tensors)
            known = self.run.manifest.get("kept", [])
            if folder not in known:
                self.run.note(kept=sorted([*known, folder]))
        if not tensors:
            return
        with explained(self.run.folder / folder):
            (self.run.folder / folder).mkdir(parents=True, exist_ok=True)
        # One after another, as they are kept: contiguous, and on the CPU.
        plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        replace_file(self.run.folder / file, save(plain))

    def pool(self, engine: Engine) -> Any:
        """The pool of all samples for the second stage of an engine; its digest is recorded.

        Args:
            engine: The engine.

        Raises:
            LanternError: the tensors of another part are out of reach.
        """
        kept: dict[str, dict[str, Tensor]] = {folder: {} for folder in engine.keeps}
        for part in self._parts:
            for folder, found in kept.items():
                same = part == self.run.folder
                found.update(self._kept[folder] if same else read_kept(part / folder))
        pool = engine.prepare(kept)
        recorded = self.run.manifest.get("pools", {})
        name = engine.keeps[0].partition("/pass-")[0]
        digest = digest_of(kept, engine.samples)
        if digest not in recorded.get(name, []):
            # More than one: a failed sample was retried, and rows of both pools are there.
            self.run.note(pools={**recorded, name: [*recorded.get(name, []), digest]})
        return pool


@dataclass
class Live:
    """Sink that writes at once, in the process that has the run.

    Attributes:
        writer: Writer of the run.
        owed: Units whose tensors are missing, though they have rows.
        together: Conditions that are run for all units, also where rows are there.
        refused: True once something could not be written; False at first.
    """

    writer: Writer
    owed: frozenset[Unit]
    together: frozenset[str]
    refused: bool = False

    def has(self, sample: str, condition: str, number: int = 0) -> bool:
        """True if there is a row for this sample, condition and pass.

        Args:
            sample: Id of the sample.
            condition: Label of the condition.
            number: Index of the pass (0-based), default 0.
        """
        return self.writer.run.has(sample, condition, number)

    def append_many(self, rows: Iterable[Row]) -> None:
        """Write rows.

        Args:
            rows: Rows that are not there yet.
        """
        self._write(Done(list(rows)))

    def keep(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        """Write the tensors of a file.

        Args:
            file: Path of the file, relative to the folder of the run.
            tensors: Tensors by name.
        """
        self._write(Done([], {file: tensors}))

    def _write(self, done: Done) -> None:
        self.refused = True
        self.writer.write(done)
        self.refused = False


def digest_of(kept: Kept, samples: Sequence[Sample]) -> str:
    """The digest of a pool: names and content of its tensors.

    Args:
        kept: Tensors by folder and name.
        samples: Samples of the pool; tensors of others do not count.
    """
    ids = {sample.id for sample in samples}
    digest = hashlib.sha256()
    for folder in sorted(kept):
        for name in sorted(kept[folder]):
            if name in ids or name.partition(" ")[2] in ids:
                tensor = kept[folder][name]
                digest.update(f"{folder}\0{name}\0{tuple(tensor.shape)}\0".encode())
                digest.update(tensor.float().numpy().data)
    return digest.hexdigest()


def read_kept(folder: Path, *, mend: bool = False) -> dict[str, Tensor]:
    """Read the tensors of a folder by name.

    Args:
        folder: The folder; it may be missing.
        mend: Delete what a kill has left, and files that are damaged on disk, so that their samples
            are run again; default False.

    Raises:
        LanternError: a file is out of reach, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if mend:
        _clear(folder, LEFT)
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob(FILES)):
        try:
            found |= load_file(file)
        except SafetensorError as error:
            if not mend:
                raise LanternError(
                    f"'{file}' is damaged ({error}); start the run of its folder again"
                ) from None
            file.unlink(missing_ok=True)
        except OSError as error:  # it may be whole, and only out of reach now
            raise LanternError(f"cannot read '{file}': {error.strerror or error}") from None
    return found


def _clear(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def carry_out(writer: Writer, engines: Sequence[Engine], *, ready: bool = True) -> bool:
    """Make in this process what a run lacks.

    Args:
        writer: Writer of the run.
        engines: Engines, one after the other.
        ready: True (default) if the tensors of all parts are there for a second stage.

    Returns:
        False if a second stage is due, and waits for other parts.
    """
    whole = True
    for engine in engines:
        writer.begin(engine)
        for stage in range(engine.stages):
            tasks = list(writer.tasks(engine, stage))
            if not tasks:
                continue
            if stage and not ready:
                whole = False
                continue
            if stage:
                engine.take(writer.pool(engine))
            for task in tasks:
                run_task(engine, task, Live(writer, task.owed, task.together))
    return whole


def carry_out_alone(engine: Engine, run: Run, advance: Callable[[int], None]) -> None:
    """Make in this process what one engine can, for a run that has no other.

    Args:
        engine: The engine; its samples are registered with the run.
        run: The run.
        advance: Function called with the number of rows just written.
    """
    engine.samples = run.register(engine.samples)
    writer = Writer(run, engine.samples, block_size([engine]), advance=advance)
    carry_out(writer, [engine])
