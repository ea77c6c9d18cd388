"""Samples for a command: a task or a data set, pairs of twins, and their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lantern_probe import extensions, organisms
from lantern_probe.causal.twin_pairs import SCENE_TWINS, TwinPairs, pair, usual_twin
from lantern_probe.errors import LanternError
from lantern_probe.interventions.image import CORRUPTIONS, parse_image_corruption
from lantern_probe.model.location import locate
from lantern_probe.tasks import (
    TASKS,
    DataReading,
    Sample,
    check_task,
    is_published,
    load_folder,
    load_task,
    read_data,
)
from lantern_probe.tasks.twins import GIVEN, UNRELATED
from lantern_probe.tasks.viscot import is_viscot, viscot

from .console import console

if TYPE_CHECKING:
    from .data_options import DataOptions

TASK_SAMPLES = 256
"""Samples of a generated task unless another number is asked for."""

ABOUT_TABLES = ("fields", "prompt", "options", "answers", "match", "split")
"""Options with which --data is read as a table, whatever its layout."""

ABOUT_DATA = ("image_root", "boxes", *ABOUT_TABLES)
"""Options that mean something for --data only."""

_SAID: set[str] = set()
"""Readings that were printed, so that each is said once however often its data are loaded."""


def check_data(options: DataOptions, model: str) -> None:
    """Refuse data that cannot be asked for.

    Args:
        options: The data.
        model: Name of the model that is asked.

    Raises:
        LanternError: there is no such model, task, file or folder, or it is not said which.
    """
    locate(model)
    if options.data is None:
        given = [f"--{name.replace('_', '-')}" for name in ABOUT_DATA if getattr(options, name)]
        if given or options.malformed != "raise":
            flags = ", ".join(given or ["--malformed"])
            raise LanternError(f"{flags}: such flags are about --data; give it too")
        check_task(task_of(options, model))
        return
    if options.task is not None:
        raise LanternError("give --task or --data, not both")
    if not options.data.exists():
        raise LanternError(f"--data: there is no file or folder '{options.data}'")
    if options.image_root is not None and not options.image_root.is_dir():
        raise LanternError(f"--image-root: there is no folder '{options.image_root}'")


def task_of(options: DataOptions, model: str) -> str:
    """The task that is asked for, or the one an organism's truth is stated for.

    Raises:
        LanternError: neither is known.
    """
    if options.task is not None:
        return options.task
    card = organisms.find_card(model)
    if card is None:
        raise LanternError(
            f"say what to ask {model!r}: --data FILE.jsonl --image-root DIR, or --task "
            f"({', '.join(extensions.names('data', TASKS))})"
        )
    return card.task


def load_samples(options: DataOptions, model: str) -> tuple[str, list[Sample]]:
    """The name of the data, and the samples for one model.

    Args:
        options: The data, which have been checked.
        model: Name of the model that is asked.

    Raises:
        LanternError: the data cannot be read.
    """
    if options.data is None:
        task = task_of(options, model)
        return task, load_task(task, options.limit or TASK_SAMPLES, options.seed)
    if options.data.is_dir() and options.reading is None:
        found = load_folder(
            options.data, options.seed, malformed=options.malformed, boxes=options.boxes or "xywh"
        )
        return options.data.resolve().name, found[: options.limit]
    if options.reading is not None:
        return options.data.name, options.reading.samples
    found = viscot(
        options.data,
        options.image_root,
        options.limit,
        malformed=options.malformed,
        boxes=options.boxes or "xyxy",
    )
    return options.data.name, found


def read_table_data(options: DataOptions) -> DataReading | None:
    """Read a table of `--data`, and say how it was read.

    Args:
        options: The data, which have been checked.

    Returns:
        How it was read, with its samples; None for a task, and for data in a published layout of
        which nothing else was asked.

    Raises:
        LanternError: the data cannot be read.
    """
    data = options.data
    if data is None:
        return None
    asked = any(getattr(options, name) for name in ABOUT_TABLES)
    if not asked and (is_published(data) if data.is_dir() else is_viscot(data)):
        return None
    reading = read_data(
        data,
        image_root=options.image_root,
        fields=options.fields,
        prompt=options.prompt,
        options=options.options,
        answers=options.answers,
        match=options.match,
        boxes=options.boxes,
        split=options.split,
        malformed=options.malformed,
        limit=options.limit,
    )
    said = "\n".join(reading.lines())
    if said not in _SAID:
        _SAID.add(said)
        console.print(said, markup=False, highlight=False)
    return reading


def check_twin(twin: str, scenes: Sequence[str]) -> None:
    """Refuse an edit that makes no twins.

    Args:
        twin: Label of the edit.
        scenes: Edits of scenes that can be taken.

    Raises:
        LanternError: it is no edit of scenes and no corruption of the image.
    """
    if twin in (*scenes, GIVEN):
        return
    if twin in SCENE_TWINS:
        raise LanternError(f"--twin {twin}: twins by {twin} have the same answer; take another")
    if twin.partition(":")[0] not in CORRUPTIONS:
        raise LanternError(
            f"--twin: no twins by {twin!r}; there are {', '.join((*scenes, *CORRUPTIONS, GIVEN))}"
        )
    parse_image_corruption(twin)


def load_pairs(config: DataOptions, twin: str, model: str) -> tuple[str, TwinPairs]:
    """The name of the data, and the samples of a model, each followed by its twin.

    Args:
        config: Says which samples.
        twin: Label of the edit, as for `causal.twin_pairs.pair`.
        model: Name of the model.

    Raises:
        LanternError: the data cannot be read, or no sample has a twin.
    """
    data, samples = config.load_samples(model)
    pairs = pair_samples(config, samples, twin, model)
    said = {UNRELATED: "in unrelated pairs", GIVEN: "with its own twins"}
    return f"{data} {said.get(pairs.twin, f'with twins by {pairs.twin}')}", pairs


def pair_samples(
    config: DataOptions, samples: Sequence[Sample], twin: str | None, model: str
) -> TwinPairs:
    """Samples of the data, each followed by its twin.

    Args:
        config: Says which samples were picked.
        samples: The samples.
        twin: Label of the edit, as for `causal.twin_pairs.pair`; None for the data's usual one.
        model: Name of the model.

    Raises:
        LanternError: no sample has a twin.
    """
    # A twin need not be picked too.
    picked = config.sample_ids is not None and twin in (None, GIVEN)
    every = load_samples(config, model)[1] if picked else ()
    twin = twin or usual_twin(every or samples)
    return pair(samples, twin, config.seed, among=every if twin == GIVEN else ())


COLUMNS = (
    *("prompt", "gold", "answer", "correct", "emitted", "blocks", "cluster", "text"),
    *("box_x", "box_y", "box_width", "box_height"),
)
"""Columns of every capture, beside the attributes of its samples."""


def check_columns(options: DataOptions, model: str, **flags: Sequence[str]) -> None:
    """Refuse columns that a capture will not have.

    Args:
        options: The data.
        model: Name of the model that is asked.
        **flags: Names of columns, by the flag that they were given with.

    Raises:
        LanternError: naming the column, and those that there are.
    """
    # All samples of a task have the same attributes; those of a file may differ.
    few = options if options.data else replace(options, samples=1, sample_ids=None)
    _, samples = few.load_samples(model)
    known = [*COLUMNS, *dict.fromkeys(key for sample in samples for key in sample.attributes)]
    for flag, names in flags.items():
        for name in names:
            if name.removeprefix("attribute_") not in known:
                raise LanternError(f"--{flag}: no column {name!r}; there are {', '.join(known)}")
