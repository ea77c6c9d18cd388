"""The samples of a run on disk: `samples.jsonl`, one line per sample, written before its first row.

A sample is identified by its content, never by its position. A run goes on with data in another
order, and stops if a question was edited under an old id. `run.json` has the length and hash of the
file, which tell a line torn by a kill from an edited one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, NotRequired, TypedDict

import numpy as np
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained, to_line, to_plain
from lantern_probe.records.rows import Row, lines_in
from lantern_probe.tasks.images import UNREADABLE, ImageSource
from lantern_probe.tasks.sample import Sample

SAMPLES_FILE = "samples.jsonl"


class ImageRecord(TypedDict, total=False):
    """One image of a sample."""

    path: str
    """Path relative to the data's image folder if the file is in it, else as given."""
    sha256: str | None
    """Hash of the file, or of the pixels of an image that is no file; null if it is missing."""
    bytes: int | None
    """Size of the file in bytes."""
    size: list[int]
    """Width and height in pixels, of an image that is no file."""
    task: str
    """Generated task that made the image."""
    seed: int
    """Seed of the generated task."""
    index: int
    """Index in the generated task."""


class SampleRecord(TypedDict):
    """One sample as a run records it."""

    id: str
    """Id, unique in the run."""
    question: str
    """Bare question."""
    prompt: str
    """Text that the model is given in the user turn."""
    options: list[str]
    """Options without letters; empty for an open question."""
    lettered: bool
    """True if the answer is the letter of an option."""
    answer: str | None
    """Right answer, one of the candidates; null where it is unknown."""
    category: str | None
    """Category from the data set."""
    cluster: str
    """Key shared by dependent samples."""
    boxes: list[list[float]]
    """Evidence boxes: left, top, right, bottom in pixels of the first image."""
    images: list[ImageRecord]
    """Images in the order in which the model is given them."""
    attributes: dict[str, Any]
    """Plain attributes: texts, numbers and truth values."""
    match: NotRequired[str]
    """Comparison of a free text with the answer, where it is not `exact`."""
    accepted: NotRequired[list[str]]
    """Further right answers of an open question, where there are any."""


_IDENTITY = ("question", "prompt", "options", "lettered", "answer", "boxes", "match", "accepted")
"""Fields that must not change under an id, in addition to the content of the images."""


def sample_record(sample: Sample, root: str | Path | None = None) -> SampleRecord:
    """Describe a sample as `samples.jsonl` holds it.

    Args:
        sample: Its images are hashed; one that cannot be read is recorded without a hash.
        root: Folder to which image paths are relative.
    """
    plain = {k: v for k, v in sample.attributes.items() if isinstance(v, str | int | float)}
    category = sample.attributes.get("category")
    record = SampleRecord(
        id=sample.id,
        question=sample.question,
        prompt=sample.text,
        options=list(sample.options),
        lettered=sample.lettered,
        answer=sample.answer,
        category=None if category is None else str(category),
        cluster=sample.cluster,
        boxes=[[float(edge) for edge in box] for box in sample.boxes],
        images=[_image_record(image, sample, root) for image in sample.images],
        attributes=plain,
    )
    if sample.match != "exact":
        record["match"] = sample.match
    if sample.accepted:
        record["accepted"] = list(sample.accepted)
    found: SampleRecord = to_plain(record, "sample")
    return found


def _image_record(source: ImageSource, sample: Sample, root: str | Path | None) -> ImageRecord:
    if isinstance(source, str | Path):
        path = Path(source)
        shown = str(path)
        if root is not None and path.is_relative_to(root):
            shown = str(path.relative_to(root))
        digest, size = _file_hash(str(path))
        return ImageRecord(path=shown, sha256=digest, bytes=size)
    if isinstance(source, bytes):
        return ImageRecord(sha256=hashlib.sha256(source).hexdigest(), bytes=len(source))
    try:
        pixels = np.asarray(source)
    except UNREADABLE:  # its sample will fail by name
        assert isinstance(source, Image.Image)
        return ImageRecord(sha256=None, size=list(source.size))
    mode = source.mode if isinstance(source, Image.Image) else "array"
    head = f"{mode} {pixels.shape}".encode()
    record = ImageRecord(
        sha256=hashlib.sha256(head + pixels.tobytes()).hexdigest(),
        size=[pixels.shape[1], pixels.shape[0]],
    )
    if sample.made is not None:
        record["task"], record["seed"], record["index"] = sample.made
    return record


def _file_hash(path: str) -> tuple[str | None, int | None]:
    try:
        status = Path(path).stat()
        return _hashed(path, status.st_mtime_ns, status.st_size), status.st_size
    except (OSError, ValueError):  # missing, or no path at all: its sample will fail by name
        return None, None


@lru_cache(maxsize=100_000)
def _hashed(path: str, modified: int, size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_samples(folder: str | Path) -> dict[str, SampleRecord]:
    """Read the samples of a run by id; none for a run of format 1, which did not record them.

    Raises:
        LanternError: a line of the file is corrupt (named by number).
    """
    found: dict[str, Any] = {row["id"]: row for row in lines_in(Path(folder) / SAMPLES_FILE)}
    return found


def matched(
    samples: Sequence[Sample], records: Sequence[SampleRecord], known: Mapping[str, SampleRecord]
) -> list[Sample]:
    """Give samples that are only numbered the ids under which a run has recorded their content.

    Lines that changed their position keep their ids. A new line gets a new id if content that has
    moved holds its number. If the content recorded under its number no longer occurs, the line was
    edited: it keeps the id and is refused later.

    Args:
        samples: Samples about to be run.
        records: Their records, in the same order.
        known: Records of the run by id.

    Returns:
        The samples, with the attributes `twin` and `pair` following their ids.
    """
    free: dict[str, list[str]] = {}
    for key, record in known.items():
        free.setdefault(_content(record), []).append(key)
    present = {_content(record) for record in records}
    ids: dict[str, str] = {}
    fresh: list[str] = []
    for sample, record in zip(samples, records, strict=True):
        if not sample.numbered:
            continue
        recorded = free.get(_content(record))
        if recorded:
            ids[sample.id] = sample.id if sample.id in recorded else recorded[0]
            recorded.remove(ids[sample.id])
        elif sample.id in known and _content(known[sample.id]) in present:
            fresh.append(sample.id)
    taken = {*known, *ids.values(), *(s.id for s in samples)}
    for old in fresh:
        new = f"{old}-new"
        while new in taken:
            new += "-new"
        taken.add(new)
        ids[old] = new
    if all(old == new for old, new in ids.items()):
        return list(samples)
    return [_renamed(sample, ids) for sample in samples]


def _renamed(sample: Sample, ids: Mapping[str, str]) -> Sample:
    linked = {
        name: ids.get(str(value), value) if name in ("twin", "pair") else value
        for name, value in sample.attributes.items()
    }
    return replace(sample, id=ids.get(sample.id, sample.id), attributes=linked)


def _content(record: SampleRecord) -> str:
    """Reduce a record to its content, which is equal for equal samples at any position."""
    content: dict[str, Any] = {name: value for name, value in record.items() if name in _IDENTITY}
    content["images"] = [image.get("sha256") or image.get("path") for image in record["images"]]
    return json.dumps(content, sort_keys=True)


class SampleFile:
    """The `samples.jsonl` of a run that is being written.

    Args:
        folder: Folder of the run.
        covered: `samples` of `run.json`: number of lines, bytes and hash; None if it has none.

    Raises:
        LanternError: the file differs from its description in `run.json`.
    """

    def __init__(self, folder: Path, covered: Mapping[str, Any] | None):
        self._path = folder / SAMPLES_FILE
        with explained(self._path):
            data = self._path.read_bytes() if self._path.exists() else b""
            kept = data[: covered["bytes"]] if covered else b""
            if covered and hashlib.sha256(kept).hexdigest() != covered["sha256"]:
                raise LanternError(
                    f"'{self._path}' is not what run.json says it was: it was edited or cut; put "
                    "it back, or start again in another --output"
                )
            if len(kept) < len(data):  # lines of a kill between the file and run.json
                with self._path.open("r+b") as file:
                    file.truncate(len(kept))
                    os.fsync(file.fileno())
        self._hash = hashlib.sha256(kept)
        self._bytes = len(kept)
        self._known: dict[str, Any] = {row["id"]: row for row in lines_in(self._path)}

    @property
    def known(self) -> Mapping[str, SampleRecord]:
        """The recorded samples by id."""
        return self._known

    @property
    def covered(self) -> dict[str, Any]:
        """Description of the file for `run.json`: number of lines, bytes and hash."""
        return {
            "count": len(self._known),
            "bytes": self._bytes,
            "sha256": self._hash.hexdigest(),
        }

    def add(
        self,
        records: Iterable[SampleRecord],
        rows: Sequence[Row] = (),
        retried: Container[str] = frozenset(),
    ) -> bool:
        """Write the samples that are not there yet, and wait until they are on disk.

        Args:
            records: Samples about to be run.
            rows: Rows that are there already, of a run of format 1: their right answers are held
                against the samples.
            retried: Ids of samples that failed and are due again; their images may be mended.

        Returns:
            True if any sample was new, so that `run.json` must be rewritten.

        Raises:
            LanternError: a sample differs from the one recorded under its id, or the disk refuses.
        """
        answers = {row["sample"]: row["gold"] for row in rows if "gold" in row}
        lines = []
        for record in records:
            key = record["id"]
            if key in self._known:
                changed = _changed(self._known[key], record)
                if changed and (changed != ["images"] or key not in retried):
                    _refuse_changed(changed[0], self._known[key], record)
                if not changed:
                    continue
            if key in answers and answers[key] != record["answer"]:
                raise LanternError(
                    f"sample {key!r}: the right answer was {answers[key]!r} when its rows were "
                    f"written, and is {record['answer']!r} now; give the data that the run was "
                    "made with, or another --output"
                )
            self._known[key] = record
            lines.append(to_line(dict(record)))
        if not lines:
            return False
        data = b"".join(lines)
        with explained(self._path), self._path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._hash.update(data)
        self._bytes += len(data)
        return True


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the fields of a sample that are not as they were recorded."""
    changed = [name for name in _IDENTITY if old.get(name) != new.get(name)]
    hashes = [[image.get("sha256") for image in one.get("images", ())] for one in (old, new)]
    known = [a == b or a is None or b is None for a, b in zip(*hashes, strict=False)]
    if len(hashes[0]) != len(hashes[1]) or not all(known):
        changed.append("images")
    return changed


def _refuse_changed(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> NoReturn:
    raise LanternError(
        f"sample {new['id']!r} is not the one that this run recorded under that id: its "
        f"{name} was {_short(old.get(name))}, and is {_short(new.get(name))}; give the "
        "data that the run was made with, or another --output"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
