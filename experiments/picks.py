"""Samples picked by their ids, from all of the data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError, named
from lantern_probe.tasks import Sample

from .data import TASK_SAMPLES, load_samples

if TYPE_CHECKING:
    from .data_options import DataOptions

FARTHEST = 20_000
"""Largest index up to which a task is generated in search of a sample; its images take 0.4 GB."""

MOST_COMPARED = 20_000
"""Number of ids among which near ones are looked for; more would take seconds."""


def load_picked(options: DataOptions, model: str) -> tuple[str, list[Sample]]:
    """The name of the data, and the samples of `--sample-ids`, in the order of the data.

    Args:
        options: The data, which have been checked.
        model: Name of the model that is asked.

    Raises:
        LanternError: the data cannot be read, or lack one of the ids (named, with near ones).
    """
    wanted = dict.fromkeys(options.sample_ids or ())
    data, samples = load_samples(options, model)
    known = dict.fromkeys(sample.id for sample in samples)
    missing = [key for key in wanted if key not in known]
    if missing:
        near = f"; near: {', '.join(found)}" if (found := near_ids(missing[0], [*known])) else ""
        raise LanternError(
            f"--sample-ids: {data}, which {model} is asked, has no sample {named(missing)}{near} "
            f"(its ids are such as {', '.join([*known][:2])})"
        )
    return data, [sample for sample in samples if sample.id in wanted]


def farthest(ids: Iterable[str]) -> int:
    """The number of samples of a task that reach as far as these ids, which end in the index.

    Args:
        ids: Ids of samples.
    """
    ends = [re.search(r"-(\d{1,9})$", key) for key in ids]
    last = max((int(end[1]) for end in ends if end), default=0)
    return max(TASK_SAMPLES, min(last, FARTHEST) + 1)


def near_ids(wanted: str, known: Sequence[str], most: int = 3) -> list[str]:
    """The ids that are spelled most like one that does not exist.

    Args:
        wanted: The id that does not exist.
        known: Ids that exist.
        most: Largest number of them.
    """
    return difflib.get_close_matches(wanted, known[:MOST_COMPARED], n=most, cutoff=0.5)
