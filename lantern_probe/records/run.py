"""A run on disk: its settings (`run.json`) and one row per sample and condition (`rows.jsonl`).

Sampled decoding has one row per sample, condition and pass.

`run.json` has everything needed to repeat a run; tables and figures are made from the rows alone. A
run may be killed at any moment. Rows are on disk once `append` has returned. A line torn by the
kill is removed when the run is opened again, and the run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lantern_probe.errors import LanternError, named
from lantern_probe.records.json_files import (
    explained,
    fingerprint,
    replace_file,
    to_line,
    to_plain,
    write_json,
)
from lantern_probe.records.provenance import now, provenance
from lantern_probe.records.resuming import DECIDING, compare_facts, made_with, refuse_changed
from lantern_probe.records.resumption import modern_manifest, resumed_manifest
from lantern_probe.records.rows import (
    FORMAT,
    KEY,
    MANIFEST,
    ROWS_FILE,
    Row,
    key_of,
    key_text,
    read_manifest,
    rows_in,
    unique_keys,
)
from lantern_probe.records.run_folder import (
    cut_torn_line,
    is_leftover,
    locked,
    refuse_foreign,
    write_all,
)
from lantern_probe.records.samples import SAMPLES_FILE, SampleFile, matched, sample_record
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import redefined

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A run that is being written, opened by `Run.open`; best used as a context manager.

        >>> with Run.open("runs/example", {"seed": 1}, overwrite=True) as run:
        ...     run.append({"sample": "1", "condition": "own", "status": "ok", "correct": True})
        >>> run.has("1", "own"), run.frame().shape
        (True, (1, 4))

    Leaving the context sets the status in `run.json` unless `finish` was called: `complete`, or
    `interrupted` (Ctrl-C, exit) or `failed` (any other exception). A run killed outright keeps
    the status `running`.

    Attributes:
        folder: Folder of the run.
        manifest: Content of `run.json`.
    """

    def __init__(
        self,
        folder: Path,
        lock: Any,
        manifest: Row,
        keys: set[tuple[Any, ...]],
        samples: SampleFile,
        retried: set[str],
        allowed: Collection[str] = (),
    ) -> None:
        """Not for users: `Run.open` makes the checks and repairs that come before."""
        self._samples = samples
        self._retried = retried
        self._allowed = allowed
        self.folder = folder
        self.manifest = manifest
        self._lock = lock
        self._keys = keys
        self._broken = False
        with explained(folder):
            self._open_rows()

    def _open_rows(self) -> None:
        # Unbuffered, so that a row is written at once; O_APPEND always writes at the end.
        self._rows = (self.folder / ROWS_FILE).open("ab", buffering=0)
        self._opened = os.fstat(self._rows.fileno())
        self._size = self._opened.st_size

    @classmethod
    def open(
        cls,
        folder: str | Path,
        config: Mapping[str, Any],
        *,
        overwrite: bool = False,
        retry_failed: bool = False,
        facts: Mapping[str, Any] | None = None,
        allow_changed: Sequence[str] = (),
    ) -> Run:
        """Start a run in a folder, or resume the run of the same configuration found there.

        A run is resumed only by the code and packages that began it; see `records.resuming`.

        Args:
            folder: Folder of the run; made if missing.
            config: All settings that decide the rows, compared after conversion to JSON. Its
                `seed`, if any, is also put at the top of `run.json`.
            overwrite: Delete the rows of an earlier run and start again; default False. Other
                files stay.
            retry_failed: Drop rows with `"status": "failed"`, so that their samples are due again;
                default False.
            facts: Facts that are known before the model is loaded, such as `threads`; none by
                default. Those that decide rows are compared, all are recorded.
            allow_changed: Names of parts that may differ from the run in the folder, such as
                `code` or `threads`; none by default. The change is recorded in `resumed`.

        Raises:
            LanternError: the folder cannot be written, holds files but no run, holds a run of
                another configuration (each part is named, with both values), is being written by
                another process, or its files are corrupt. Without `overwrite`, existing rows stay
                as they were.
        """
        folder = Path(folder)
        wanted = to_plain(config, "config")
        if not isinstance(wanted, dict):
            raise LanternError("the configuration of a run is a mapping")
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            refuse_foreign(folder)
        lock = locked(folder)
        try:
            if overwrite or not (folder / MANIFEST).exists():
                with explained(folder):
                    # Rows first: if killed in between, no row has a wrong configuration.
                    (folder / ROWS_FILE).unlink(missing_ok=True)
                    (folder / SAMPLES_FILE).unlink(missing_ok=True)
                manifest: Row = {"format": FORMAT, "status": "running", **provenance()}
                manifest |= {"seed": wanted.get("seed"), "fingerprint": fingerprint(wanted)}
                manifest |= {"config": wanted, "made_with": made_with(), "resumed": []}
                manifest |= to_plain(facts or {}, "facts")
                rows = rows_in(folder / ROWS_FILE)
            else:
                manifest = modern_manifest(read_manifest(folder), wanted)
                rows = rows_in(folder / ROWS_FILE)
                manifest = resumed_manifest(
                    folder, manifest, wanted, facts or {}, allow_changed, rows
                )
            keys = unique_keys(folder / ROWS_FILE, rows)
            with explained(folder):
                for path in filter(is_leftover, list(folder.iterdir())):
                    path.unlink(missing_ok=True)
                cut_torn_line(folder / ROWS_FILE)
            retried: set[str] = set()
            if retry_failed and any(row.get("status") == "failed" for row in rows):
                kept = [row for row in rows if row.get("status") != "failed"]
                retried = {row["sample"] for row in rows} - {row["sample"] for row in kept}
                replace_file(folder / ROWS_FILE, b"".join(map(to_line, kept)))
                keys = {key_of(row) for row in kept}
            samples = SampleFile(folder, manifest.get("samples"))
            write_json(folder / MANIFEST, manifest)
            return cls(folder, lock, manifest, keys, samples, retried, allow_changed)
        except BaseException:
            lock.close()
            raise

    def register(self, samples: Sequence[Sample]) -> list[Sample]:
        """Record the samples that are about to be run, before their first row.

        A sample that is recorded already must be the same: equal question, options, answer, boxes
        and image content under an equal id, in whatever order the data come. Samples of data
        without ids of their own are found by their content. The images of a sample whose rows all
        failed, and were dropped by `retry_failed`, may have been mended.

        Args:
            samples: Samples to run. Paths of images are recorded relative to `image_root` of the
                configuration.

        Returns:
            The samples, with the ids under which this run has recorded them.

        Raises:
            LanternError: a sample has changed under its id (named), or the disk refuses.
        """
        root = self.manifest["config"].get("image_root")
        records = [sample_record(sample, root) for sample in samples]
        found = matched(samples, records, self._samples.known)
        for record, sample in zip(records, found, strict=True):
            record["id"] = sample.id
        old = () if self.manifest.get("samples") or not self._keys else self.rows()
        if self._samples.add(records, old, self._retried):
            self.note(samples=self._samples.covered)
        return found

    def note(self, **facts: Any) -> None:
        """Record facts in `run.json`, such as the threads and the decoding of a loaded model.

        Facts that decide the rows, `threads`, `decoding` and `extensions`, must be those recorded
        before, unless a change was allowed; `extensions` may get further entries.

        Raises:
            LanternError: such a fact has changed (named, with both values), a fact has a value that
                JSON cannot represent, or the disk refuses.
        """
        facts = {name: to_plain(fact, name) for name, fact in facts.items()}
        if "extensions" in facts:
            facts["extensions"] = {**self.manifest.get("extensions", {}), **facts["extensions"]}
        deciding = {name: fact for name, fact in facts.items() if name in DECIDING}
        parts = compare_facts(self.manifest, deciding)
        changed = refuse_changed(
            self.folder, [p for p in parts if p.name.partition(".")[0] in deciding], self._allowed
        )
        if changed and self.manifest["resumed"]:
            last = self.manifest["resumed"][-1]
            last["changed"] = {**last.get("changed", {}), **changed}
        if any(self.manifest.get(name) != fact for name, fact in facts.items()):
            self.manifest |= facts
            write_json(self.folder / MANIFEST, self.manifest)

    @property
    def retried(self) -> frozenset[str]:
        """Ids of samples whose rows had all failed, and were dropped to be run again."""
        return frozenset(self._retried)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; see `append_many`."""
        self.append_many([row])

    def append_many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows in one piece and wait until they are on disk: all of them, or none.

        Values may be JSON values, numpy and torch scalars and arrays, paths, enums and
        dataclasses; NaN and infinities become null. A sample that failed is a row too:
        `{"sample": ..., "condition": ..., "status": "failed", "error": ...}`.

        Raises:
            LanternError: a row has no sample or condition, repeats an existing row, or has a value
                that JSON cannot represent; the run is closed; or the disk refuses (full, gone), in
                which case the file is left as it was before the call.
        """
        if self._rows.closed:
            raise LanternError(f"the run in '{self.folder}' is closed; open it again to add rows")
        lines, new = [], set()
        for row in rows:
            plain = to_plain(row, "row")
            key = key_of(plain)
            self.refuse_outdated([str(key[1])])
            if key in self._keys or key in new:
                raise LanternError(f"a row for {key_text(key)} is already in '{self.folder}'")
            new.add(key)
            lines.append(to_line(plain))
        if not lines:
            return
        data = b"".join(lines)
        with explained(self.folder):
            self._check_place()
            if self._broken:
                self._roll_back()
            self._broken = True  # until size and keys agree with the disk again
            try:
                write_all(self._rows.fileno(), data)
                os.fsync(self._rows.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    self._roll_back()
                raise
        self._size += len(data)
        self._keys |= new
        self._broken = False

    def forget_failed(self, conditions: Collection[str]) -> None:
        """Drop the failed rows of some conditions, so that their samples are due again.

        Args:
            conditions: Labels of the conditions.

        Raises:
            LanternError: the disk refuses, or the rows were deleted meanwhile.
        """
        rows = self.rows()
        kept = [r for r in rows if r.get("status") != "failed" or r["condition"] not in conditions]
        if len(kept) == len(rows):
            return
        with explained(self.folder):
            self._check_place()
            self._rows.close()
            replace_file(self.folder / ROWS_FILE, b"".join(map(to_line, kept)))
            self._open_rows()
        self._keys = {key_of(row) for row in kept}

    def _check_place(self) -> None:
        """Refuse a deleted or replaced file: an open one would take rows that nobody can find."""
        path = self.folder / ROWS_FILE
        if not path.exists() or not os.path.samestat(path.stat(), self._opened):
            raise LanternError(
                f"'{path}' was deleted or replaced while the run was going on; start the same "
                "command again: it goes on from what is there"
            )

    def _roll_back(self) -> None:
        os.ftruncate(self._rows.fileno(), self._size)
        os.fsync(self._rows.fileno())
        self._broken = False

    def rows(self) -> list[Row]:
        """All rows, in the order written."""
        return rows_in(self.folder / ROWS_FILE)

    def frame(self) -> pd.DataFrame:
        """All rows as a pandas frame; see `records.to_frame`."""
        from lantern_probe.records.frame import to_frame  # pandas takes half a second

        return to_frame(self.rows())

    def done(self, key: Sequence[str] = KEY) -> set[tuple[Any, ...]]:
        """Combinations of values of the given fields in the rows, failed ones included."""
        if tuple(key) == KEY:
            return {known[: len(KEY)] for known in self._keys}
        return {tuple(row.get(name) for name in key) for row in self.rows()}

    def has(self, sample: str | int, condition: str | int, number: int = 0) -> bool:
        """True if there is a row for this sample under this condition, failed or not.

        Args:
            sample: Id of the sample.
            condition: Label of the condition.
            number: Index of the pass of sampled decoding (0-based), default 0.
        """
        return (sample, condition, number) in self._keys

    def refuse_outdated(self, conditions: Iterable[str]) -> None:
        """Refuse conditions of which the run holds rows made before their meaning changed.

        Args:
            conditions: Labels of conditions that are about to be run, or shown.

        Raises:
            LanternError: naming a condition, and what changed.
        """
        old = self.manifest.get("outdated", ())
        if found := [label for label in dict.fromkeys(conditions) if label in old]:
            raise LanternError(
                f"'{self.folder}' holds rows of {named(found)} from before the condition changed "
                f"({found[0]}: {redefined(found[0])}); run it in another --output, or pass "
                "--overwrite to delete all rows and start again"
            )

    def finish(self, status: str = "complete", error: str | None = None) -> None:
        """Set the final status in `run.json`, with the time and the number of rows."""
        self.manifest |= {"status": status, "finished": now(), "rows": len(self._keys)}
        if error is not None:
            self.manifest["error"] = error
        write_json(self.folder / MANIFEST, self.manifest)

    def close(self) -> None:
        """Release the folder; `run.json` keeps its status. May be called twice."""
        self._rows.close()
        self._lock.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                stopped = not isinstance(error, Exception)
                # The first exception says more than a failure to record it.
                with contextlib.suppress(LanternError):
                    self.finish(
                        "interrupted" if stopped else "failed", f"{type(error).__name__}: {error}"
                    )
            elif self.manifest["status"] == "running":
                self.finish()
        finally:
            self.close()
