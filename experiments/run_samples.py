"""One sample as a run has recorded it: its folder, its record, its rows, its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError, named
from lantern_probe.records.found_images import FoundImage, ImageFinder
from lantern_probe.records.json_files import explained
from lantern_probe.records.rows import MANIFEST, ROWS_FILE, Row, lines_in, read_manifest, read_rows
from lantern_probe.records.samples import SAMPLES_FILE
from lantern_probe.tasks import Sample

from .picks import near_ids

DEEP = ("*", "*/*", "*/*/*")
"""Patterns of the folders in which the runs of one output lie."""


@dataclass(frozen=True)
class RunSample:
    """One sample of a run."""

    folder: Path
    """Folder of the run."""
    id: str
    """Id of the sample."""
    record: Mapping[str, Any] | None
    """Line of `samples.jsonl`; None if the run has none."""
    rows: Sequence[Row]
    """Rows of the sample."""
    about: str
    """Command, model and data of the run."""
    images: Sequence[FoundImage] = ()
    """Images of the sample."""
    notes: Sequence[str] = field(default=())
    """Sentences on the state of the files."""


def find_sample(folder: Path, wanted: str) -> RunSample:
    """Find a sample in a run, or in the parts of one that several processes wrote.

    Args:
        folder: Folder of the run, or of an output that holds only one.
        wanted: Id of the sample.

    Raises:
        LanternError: there is no run, or no such sample (near ids are named), there are several
            runs, or a file is corrupt.
    """
    known: dict[str, None] = {}
    for part in run_folders(folder):
        rows = [row for row in read_rows(part) if "sample" in row]
        records = {str(r.get("id")): r for r in lines_in(part / SAMPLES_FILE)}
        known |= dict.fromkeys([*records, *(str(row["sample"]) for row in rows)])
        if wanted in known:
            own = [row for row in rows if str(row["sample"]) == wanted]
            return _found(part, wanted, records, own)
    near = near_ids(wanted, [*known])
    hint = f"near: {', '.join(near)}" if near else f"there are {named([*known])}"
    raise LanternError(
        f"the run in '{folder}' has no sample {wanted!r}; {hint if known else 'it has none yet'}"
    )


def run_folders(folder: Path) -> list[Path]:
    """The folder of a run, or the folders of the parts of one.

    Args:
        folder: Folder of the run, of its parts, or of an output that holds only one run.

    Raises:
        LanternError: there is no run, or there are several (named).
    """
    with explained(folder):
        if not folder.exists():
            raise LanternError(f"there is no run '{folder}': no such folder")
        if not folder.is_dir():
            raise LanternError(f"'{folder}' is a file; give the folder of a run")
        if (folder / MANIFEST).is_file():
            return [folder]
        parts = sorted(path.parent for path in folder.glob(f"shard-*-of-*/{MANIFEST}"))
        inside = sorted(
            path.parent for depth in DEEP for path in folder.glob(f"{depth}/{MANIFEST}")
        )
    if parts or len(inside) == 1:
        return parts or inside
    if not inside:
        raise LanternError(f"'{folder}' holds no run: there is no {MANIFEST} in it")
    names = [str(path.relative_to(folder)) for path in inside]
    raise LanternError(
        f"'{folder}' holds several runs: {named(names, 12)}; give one, such as '{inside[0]}'"
    )


def _found(
    folder: Path, wanted: str, records: Mapping[str, Mapping[str, Any]], rows: Sequence[Row]
) -> RunSample:
    settings = read_manifest(folder)["config"]
    record = records.get(wanted)
    images = [] if record is None else ImageFinder(records, settings).find(record)
    said = [f"{name} {settings[key]}" for key, name in _ABOUT.items() if settings.get(key)]
    return RunSample(
        folder, wanted, record, rows, ", ".join(said), images, _torn(folder / ROWS_FILE)
    )


_ABOUT = {"experiment": "command", "model": "model", "data": "data"}


def _torn(path: Path) -> list[str]:
    """A note where the last line of a file is cut off."""
    with explained(path):
        data = path.read_bytes() if path.is_file() else b""
    if not data or data.endswith(b"\n"):
        return []
    return [f"the last line of {path} is cut off, by a kill or by a run that is writing; left out"]


def as_sample(found: RunSample) -> Sample:
    """The sample with the images that can be found, to be drawn.

    Args:
        found: The sample.
    """
    record = found.record or {}
    answer = record.get("answer")
    boxes = [tuple(box) for box in record.get("boxes") or () if len(box) == 4]
    whole = bool(found.images) and found.images[0].source is not None
    return Sample(
        id=found.id,
        images=tuple(image.source for image in found.images if image.source is not None),
        question=str(record.get("question", "")),
        answer=None if answer is None else str(answer),
        boxes=tuple(boxes) if whole else (),
    )
