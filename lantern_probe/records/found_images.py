"""Images of a run as they are found again: files by place and hash, generated ones by seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.records.samples import sample_record
from lantern_probe.tasks import TASKS, Sample
from lantern_probe.tasks.families import family_task
from lantern_probe.tasks.images import ImageSource
from lantern_probe.tasks.scenes import twin as scene_twin

FARTHEST = 20_000
"""Index in a generated task up to which its samples are made again."""

SCENE_EDITS = ("color", "shape", "cell")
"""Attributes by whose change the twin of a scene is made again."""


@dataclass(frozen=True)
class FoundImage:
    """One recorded image, and where it is now."""

    about: str
    """Words on its place, its size, and why it cannot be shown."""
    source: ImageSource | None = None
    """The image; None if it cannot be found."""
    changed: bool = False
    """True if the file is not the one that the run recorded."""


class ImageFinder:
    """Finds the images of the samples of one run.

    Args:
        records: Lines of `samples.jsonl` by id.
        settings: `config` of `run.json`: its image folder and its seed.
        roots: Folders to look in first.
    """

    def __init__(
        self,
        records: Mapping[str, Mapping[str, Any]],
        settings: Mapping[str, Any],
        roots: Sequence[str | Path] = (),
    ):
        self._records = records
        self._settings = settings
        own = settings.get("image_root")
        self._roots = [Path(root) for root in dict.fromkeys([*map(str, roots), str(own or ""), ""])]
        self._given = [Path(root) for root in roots]
        self._made: dict[tuple[str, int], list[Sample]] = {}
        self._last = _last_indices(records.values())

    def find(self, record: Mapping[str, Any]) -> list[FoundImage]:
        """Find every image of a sample.

        Args:
            record: Its line of `samples.jsonl`.
        """
        return [
            self._find(image, number, record) for number, image in enumerate(image_records(record))
        ]

    def _find(self, image: Mapping[str, Any], number: int, record: Mapping[str, Any]) -> FoundImage:
        if "path" in image:
            return self._file(image)
        size = image.get("size")
        sides = " x ".join(map(str, size)) if isinstance(size, list) else ""
        about = f"{sides} pixels" if sides else "not a file"
        for sample in self._again(record):
            again = sample_record(sample)["images"]
            if number < len(again) and again[number].get("sha256") == image.get("sha256"):
                return FoundImage(f"{about}, generated", sample.images[number])
        return FoundImage(f"{about}; it was no file, and is not kept")

    def _file(self, image: Mapping[str, Any]) -> FoundImage:
        name = str(image["path"])
        paths = [path for path in dict.fromkeys(self._places(name)) if _is_file(path)]
        same = [path for path in paths if _digest(path) == image.get("sha256")]
        if same:
            return FoundImage(str(same[0]), same[0])
        if paths:
            return FoundImage(f"{paths[0]}: the file has changed since", paths[0], changed=True)
        return FoundImage(f"{name}: there is no such file here")

    def _places(self, name: str) -> Iterator[Path]:
        """The recorded path below every root; below a given one also its last parts alone."""
        yield from (root / name for root in self._roots)
        parts = Path(name).parts
        for root in self._given:
            yield from (root.joinpath(*parts[at:]) for at in range(1, len(parts)))

    def _again(self, record: Mapping[str, Any]) -> list[Sample]:
        """The generated samples that may have the image: the sample itself, or a pair's twins."""
        made = self._generated(record)
        if made is not None:
            return [made]
        pair = self._records.get(str((record.get("attributes") or {}).get("pair")), {})
        first = self._generated(pair)
        edit = re.search(r"~([a-z]+)\d*$", str(record.get("id")))
        if first is None or edit is None or edit[1] not in SCENE_EDITS:
            return []
        seed = self._settings.get("seed")
        try:
            return [scene_twin(first, edit[1], int(seed or 0))]  # type: ignore[arg-type]
        except (LanternError, ValueError, TypeError):
            return []

    def _generated(self, record: Mapping[str, Any]) -> Sample | None:
        for place in _made_at(record):
            task, seed, index = place
            if (task, seed) not in self._made:
                self._made[task, seed] = _own_task(task, self._last[task, seed] + 1, seed)
            samples = self._made[task, seed]
            return samples[index] if len(samples) > index else None
        return None


def image_records(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The images that a sample records; none where it records anything else.

    Args:
        record: Line of `samples.jsonl`.
    """
    images = record.get("images")
    found = images if isinstance(images, list) else []
    return [image for image in found if isinstance(image, Mapping)]


def _made_at(record: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    for image in image_records(record):
        task, seed, index = (image.get(name) for name in ("task", "seed", "index"))
        if isinstance(seed, int) and isinstance(index, int) and 0 <= index < FARTHEST:
            yield str(task), seed, index


def _last_indices(records: Any) -> dict[tuple[str, int], int]:
    last: dict[tuple[str, int], int] = {}
    for record in records:
        for task, seed, index in _made_at(record):
            last[task, seed] = max(index, last.get((task, seed), 0))
    return last


def _own_task(task: str, n: int, seed: int) -> list[Sample]:
    """Samples of a task of this package; none of another task, whose code a record may not run."""
    try:
        mixed = family_task(task, n, seed)
        return TASKS[task](n, seed) if mixed is None and task in TASKS else mixed or []
    except LanternError:  # a share or a seed that cannot be
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that can be no file
        return False


def _digest(path: Path) -> str | None:
    return sample_record(Sample("", (path,), ""))["images"][0].get("sha256")
