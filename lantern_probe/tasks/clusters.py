"""Clusters of dependent samples in layouts that are known to have them: MMVP and HR-Bench."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.tables import Table

CYCLES = "cycle_category"
"""Column by which HR-Bench names the order of a question's options."""

PAIRED = "mmvp"
"""Name in the name of a file whose questions come in pairs of consecutive numbers."""


def cluster_keys(table: Table, samples: Sequence[Sample]) -> tuple[list[str] | None, str]:
    """The cluster of every sample, if the layout is a known one, and its name.

    With a column `cycle_category` (HR-Bench), samples with the same question and the same options
    in any order are one cluster, and so are samples of the same image. In a file with `MMVP` in its
    name, the first two indices are a pair, the next two another.

    Args:
        table: The table that the samples are of.
        samples: The samples.
    """
    if CYCLES in table.columns:
        asked = [("question", s.question, *sorted(s.options)) for s in samples]
        images = [("image", s.image_key) for s in samples]
        groups = joined([asked, images])
        return [samples[group].id for group in groups], f"image and cycle ({CYCLES})"
    if PAIRED in Path(table.where).name.lower() and all(s.id.isdecimal() for s in samples):
        numbers = [int(sample.id) for sample in samples]
        return [f"pair-{(n - min(numbers)) // 2}" for n in numbers], "MMVP's pairs of indices"
    return None, "image"


def joined(keys: Iterable[Sequence[Hashable]]) -> list[int]:
    """The number of each item's group: the first item with which it is linked by equal keys.

    Args:
        keys: Lists with a key of every item. Equal keys link items, from one list to another too.
    """
    sorts = [list(sort) for sort in keys]
    parent = list(range(len(sorts[0])))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[Hashable, int] = {}
    for sort in sorts:
        for item, key in enumerate(sort):
            one, other = root(first.setdefault(key, item)), root(item)
            parent[max(one, other)] = min(one, other)
    return [root(item) for item in range(len(parent))]
