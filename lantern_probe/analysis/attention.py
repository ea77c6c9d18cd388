"""Means of attention measures over samples, from the rows of an attention run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.records.rows import Row
from lantern_probe.stats import Difference, mean_difference
from lantern_probe.vocabulary import ATTENTION_QUERIES

MEASURES = ("mass:image", "mass:question", "mass:slot", "entropy", "enrichment", "percentile")
"""Measures averaged by default.

Attention mass by role of the key, entropy in nats, and two measures of attention to the evidence
box.
"""


@dataclass(frozen=True)
class AttentionMean:
    """Mean of one attention measure over the samples.

    Attributes:
        model: Name of the model.
        query: Role of the queries, such as `slot`.
        measure: Name of the measure: `mass:ROLE`, `entropy` (nats), `enrichment` or `percentile`.
        layer: 0-based layer; None for the mean over all layers.
        mean: Mean with its 95 % bootstrap interval clustered by image. Its `n` is the number of
            samples that have the measure.
    """

    model: str
    query: str
    measure: str
    layer: int | None
    mean: Difference


def summarize(
    rows: Sequence[Row], *, model: str, measures: Sequence[str] = MEASURES, resamples: int = 2_000
) -> list[AttentionMean]:
    """Average the measures over the rows, per layer and over all layers.

    Args:
        rows: Rows of an attention run, with the figures of `attention_figures` in `attention`.
            Failed rows are left out.
        model: Name of the model.
        measures: Names of measures: `mass:ROLE`, `entropy`, `enrichment`, `percentile`.
        resamples: Number of bootstrap resamples, default 2,000.
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
    """Values of one measure, one per layer; None if the text lacks it."""
    figures: Mapping[str, Any] = row["attention"].get(query, {})
    name, _, role = measure.partition(":")
    values = figures.get(name, {}).get(role) if role else figures.get(name)
    return None if not values or any(v is None for v in values) else list(values)
