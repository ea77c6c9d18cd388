"""What one sequence's attention rows say, as figures that fit into a record, and their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.records.rows import Row
from lantern_probe.stats import Difference, mean_difference
from lantern_probe.vocabulary import ATTENTION_QUERIES

MEASURES = ("mass:image", "mass:question", "mass:slot", "entropy", "enrichment", "percentile")
"""Measures that are summed up by default: attention mass by role of the key, entropy in nats, and
attention to the evidence box."""


@dataclass(frozen=True)
class AttentionMean:
    """One measure over the samples, mean with its 95 % bootstrap interval clustered by image.

    Attributes:
        model: Name of the model.
        query: Group of queries.
        measure: `mass:image`, `entropy` (nats), `enrichment` or `percentile`.
        layer: 0-based; None for the mean over all layers.
        mean: The figure; its `n` counts the samples that have it.
    """

    model: str
    query: str
    measure: str
    layer: int | None
    mean: Difference


def summarize(
    rows: Sequence[Row], *, model: str, measures: Sequence[str] = MEASURES, resamples: int = 2_000
) -> list[AttentionMean]:
    """Means over the rows, per layer and over all layers.

    Args:
        rows: With the figures of `attention_figures` as `attention`; failed ones are left out.
        model: Its name.
        measures: `mass:ROLE`, `entropy`, `enrichment`, `percentile`.
        resamples: Bootstrap resamples.
    """
    good = [row for row in rows if row["status"] == "ok"]
    found = []
    for query in ATTENTION_QUERIES:
        for measure in measures:
            values = [(_values(row, query, measure), row["cluster"]) for row in good]
            known = [(v, image) for v, image in values if v is not None]
            if not known:
                continue
            images = [image for _, image in known]
            layers = len(known[0][0])
            for layer in (None, *range(layers)):
                series = [sum(v) / layers if layer is None else v[layer] for v, _ in known]
                mean = mean_difference(series, images, resamples=resamples)
                found.append(AttentionMean(model, str(query), measure, layer, mean))
    return found


def _values(row: Row, query: str, measure: str) -> list[float] | None:
    """One value per layer; None where the sequence lacks it."""
    figures: Mapping[str, Any] = row["attention"].get(query, {})
    name, _, role = measure.partition(":")
    values = figures.get(name, {}).get(role) if role else figures.get(name)
    return None if not values or any(v is None for v in values) else list(values)
