"""Data sets, each brought into the form of `Sample`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lantern_probe.errors import LanternError
from lantern_probe.tasks.blink import SUB_TASKS, blink
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.tasks.tetris import tetris
from lantern_probe.tasks.vstar import CATEGORIES, QUESTIONS, vstar

TASKS: dict[str, Callable[[int, int], list[Sample]]] = {
    "scenes": lambda n, seed: scenes(n, seed),
    "scenes-grey": lambda n, seed: scenes(n, seed, hide_asked=True),
    "tetris": lambda n, seed: tetris(n, seed),
    "tetris-held-out": lambda n, seed: tetris(n, seed, held_out=True),
}
"""Generated tasks by name: (n, seed) -> samples."""


def load_task(name: str, n: int, seed: int = 0) -> list[Sample]:
    """`n` samples of a generated task.

    Raises:
        LanternError: there is no task of that name.
    """
    if name not in TASKS:
        raise LanternError(f"no task {name!r}; known: {', '.join(TASKS)}")
    return TASKS[name](n, seed)


def load_folder(folder: Path, seed: int = 0) -> list[Sample]:
    """The samples of a benchmark's folder in its original layout: BLINK or V*.

    Args:
        folder: A copy of the benchmark.
        seed: Of the order of the options of V*, where its files give none.

    Raises:
        LanternError: it is neither, or a file in it is not as it should be.
    """
    if folder_kind(folder) == "V*":
        return vstar(folder, seed=seed)
    return blink(folder, sub_tasks=[name for name in SUB_TASKS if name in _names(folder)])


def folder_kind(folder: Path) -> str:
    """Which benchmark a folder is a copy of: `BLINK` or `V*`.

    Raises:
        LanternError: it is neither.
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


def _names(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.iterdir()}


__all__ = [
    "TASKS",
    "Sample",
    "blink",
    "folder_kind",
    "load_folder",
    "load_task",
    "scenes",
    "tetris",
    "vstar",
]
