"""Data sets, each brought into the form of `Sample`.

`scenes` and `tetris` are generated, and `families` mixes two families of scenes; `viscot`, `blink`
and `vstar` read published files, and `generic` reads tables of any layout (`tables`, `columns`,
`prompts`, `written_options`, `written_images`). `sample`: the form of a sample. `answers`: parsers
of answers, with `free_text` for open questions. `crops`: evidence crops and oracle latents.
`twins`: pairs of samples that differ in a known way. `fields`: checked fields of a published row.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lantern_probe import extensions
from lantern_probe.errors import LanternError
from lantern_probe.tasks.blink import SUB_TASKS, blink
from lantern_probe.tasks.families import HALVES, MIXED, SEEN, family_task
from lantern_probe.tasks.generic import DataReading, read_data, read_samples
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.tasks.tetris import tetris
from lantern_probe.tasks.vstar import CATEGORIES, QUESTIONS, vstar
from lantern_probe.vocabulary import BoxUnit

TASKS: dict[str, Callable[[int, int], list[Sample]]] = {
    "scenes": lambda n, seed: scenes(n, seed),
    "scenes-grey": lambda n, seed: scenes(n, seed, hide_asked=True),
    "tetris": lambda n, seed: tetris(n, seed),
    "tetris-held-out": lambda n, seed: tetris(n, seed, held_out=True),
}
"""Tasks of this package by name, each a function of the number of samples and the seed.

Other packages add theirs through entry points; see `lantern_probe.extensions`.
"""

_KNOWN = (*TASKS, HALVES, f"{MIXED}:SHARE", f"{SEEN}:SHARE")


def load_task(name: str, n: int, seed: int = 0) -> list[Sample]:
    """Generate the samples of a task.

    Args:
        name: Name of the task, one of `TASKS` or of those that other packages add; or
            `scenes-mixed` or `scenes-seen`, a colon and the share of one family between 0 and 1, as
            in `scenes-mixed:0.25`; or `scenes-halves`.
        n: Number of samples.
        seed: Seed of the task's series of samples, default 0. A longer list of the same seed begins
            with the shorter one.

    Raises:
        LanternError: there is no task of that name, or a number is negative.

    Examples:
        >>> from lantern_probe.tasks import load_task
        >>> sample = load_task("scenes", 100)[0]
        >>> sample.question, sample.answer
        ('what color is the diamond ?', 'yellow')
    """
    mixed = family_task(name, n, seed)
    if mixed is not None:
        return mixed
    added = extensions.look_up("data", name, _KNOWN)
    if added is None:
        return TASKS[name](n, seed)
    samples = extensions.checked_call(added, added.load(), n, seed)
    if not isinstance(samples, list | tuple) or not all(isinstance(s, Sample) for s in samples):
        raise added.refuse("gives no list of lantern_probe.Sample")
    return list(samples[:n])


def check_task(name: str) -> None:
    """Refuse the name of a task that does not exist.

    Raises:
        LanternError: naming the known ones.
    """
    if family_task(name, 0, 0) is None:
        extensions.look_up("data", name, _KNOWN)


def load_folder(
    folder: Path,
    seed: int = 0,
    *,
    malformed: Literal["raise", "skip"] = "raise",
    boxes: BoxUnit = "xywh",
) -> list[Sample]:
    """Read the samples of a benchmark's folder in its original layout: BLINK or V*.

    Args:
        folder: Folder with a copy of the benchmark.
        seed: Seed of the order of V*'s options where its files give none, default 0.
        malformed: `raise` (default) stops at a row that cannot be used; `skip` leaves such rows out
            and says how many.
        boxes: Form of V*'s boxes in its files, as for `vstar`; default `xywh`.

    Raises:
        LanternError: the folder is neither benchmark, or a file in it cannot be used.
    """
    if folder_kind(folder) == "V*":
        return vstar(folder, seed=seed, malformed=malformed, boxes=boxes)
    present = [name for name in SUB_TASKS if name in _names(folder)]
    return blink(folder, sub_tasks=present, malformed=malformed)


def folder_kind(folder: Path) -> str:
    """Name of the benchmark that a folder is a copy of, `BLINK` or `V*`.

    Raises:
        LanternError: the folder is neither benchmark.
    """
    names = _names(folder)
    if names & {*CATEGORIES, QUESTIONS.partition(".")[0]}:
        return "V*"
    if names & {*SUB_TASKS}:
        return "BLINK"
    raise LanternError(
        f"'{folder}' is a copy of neither BLINK ({' or '.join(SUB_TASKS)}) nor V* "
        f"({QUESTIONS}, or {' or '.join(CATEGORIES)})"
    )


def is_published(folder: Path) -> bool:
    """True if a folder is a copy of BLINK or V* in its original layout.

    Args:
        folder: The folder.
    """
    try:
        return folder_kind(folder) != ""
    except LanternError:
        return False


def _names(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.iterdir()}


__all__ = [
    "TASKS",
    "DataReading",
    "Sample",
    "blink",
    "check_task",
    "folder_kind",
    "is_published",
    "load_folder",
    "load_task",
    "read_data",
    "read_samples",
    "scenes",
    "tetris",
    "vstar",
]
