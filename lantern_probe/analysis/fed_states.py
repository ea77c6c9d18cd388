"""Fed states from rows: their norm against the prompt's embeddings, their drift to the end marker.

A state that is fed as an embedding may have a norm that no embedding has (the norm regime,
arXiv 2605.12374), and may turn towards the marker that closes the block (arXiv 2605.02735). One
number per slot and sample of the first block, from the fields that every row of an ablation has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import Difference, mean_difference

MEASURES = ("norm over text", "norm over image", "cosine to the end marker")
"""Measures of a fed state."""


@dataclass(frozen=True)
class FedState:
    """One measure of what is fed at one slot.

    Attributes:
        model: Name of the model.
        condition: Label of the condition.
        measure: `norm over text` (norm of the state over the median norm of the prompt's embeddings
            that are no image tokens), `norm over image` (over that of its merged image tokens), or
            `cosine to the end marker` (to that marker's input embedding).
        slot: 0-based slot; None for the mean over the slots.
        mean: Mean over samples with its 95 % bootstrap interval, clustered by image; its `n` is the
            number of samples.
    """

    model: str
    condition: str
    measure: str
    slot: int | None
    mean: Difference


def summarize(
    rows: Sequence[Row],
    *,
    model: str,
    conditions: Sequence[str] = ("own",),
    resamples: int = 2_000,
) -> list[FedState]:
    """Average each measure over samples: per condition, slot, and over the slots.

        >>> from lantern_probe.analysis import fed_states
        >>> row = {"status": "ok", "emitted": True, "condition": "own", "cluster": "1",
        ...        "latent_norms": [9.0], "text_norm": 3.0, "image_norm": None,
        ...        "end_cosines": [0.5]}
        >>> [(f.measure, f.mean.estimate) for f in fed_states.summarize([row], model="m")][:1]
        [('norm over text', 3.0)]

    Args:
        rows: Rows of one model. Rows without a block, or of a version that recorded no norms, are
            left out.
        model: Name of the model.
        conditions: Labels, default `own` alone.
        resamples: Number of bootstrap resamples, default 2,000.
    """
    found = []
    for label in conditions:
        some = [
            row
            for row in rows
            if row["condition"] == label and counts(row, graded=False) and row.get("latent_norms")
        ]
        for measure in MEASURES:
            found += _of(some, model, label, measure, resamples)
    return found


def _of(
    rows: Sequence[Row], model: str, label: str, measure: str, resamples: int
) -> list[FedState]:
    series = [(row["cluster"], values) for row in rows if (values := READ[measure](row))]
    most = max((len(values) for _, values in series), default=0)
    slots: list[int | None] = [None, *(range(most) if most > 1 else ())]
    found = []
    for slot in slots:
        known = [
            (cluster, value)
            for cluster, values in series
            if (value := _value(values, slot)) is not None
        ]
        if known:
            clusters, numbers = zip(*known, strict=True)
            mean = mean_difference(list(numbers), list(clusters), resamples=resamples)
            found.append(FedState(model, label, measure, slot, mean))
    return found


def _value(values: Sequence[float | None], slot: int | None) -> float | None:
    """The value at a slot, or the mean over the slots that have one."""
    if slot is not None:
        return values[slot] if slot < len(values) else None
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _ratios(row: Row, unit: str) -> list[float | None]:
    norm = row.get(unit)
    if not norm:
        return []
    return [None if length is None else length / norm for length in row["latent_norms"]]


READ: dict[str, Callable[[Row], list[float | None]]] = {
    MEASURES[0]: lambda row: _ratios(row, "text_norm"),
    MEASURES[1]: lambda row: _ratios(row, "image_norm"),
    MEASURES[2]: lambda row: list(row.get("end_cosines") or []),
}
"""Values of a row per slot, by measure; none where the row does not have them."""
