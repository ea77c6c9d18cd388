"""Probes under several seeds of the folds and the control tasks, as one row with their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lantern_probe.errors import LanternError
from lantern_probe.probing.families import by_permutation, score_p
from lantern_probe.probing.intervals import accuracy_interval, t_contrast, value_interval
from lantern_probe.stats.two_way import satterthwaite

MEANS = (
    *("score", "majority", "question", "image_mean", "untrained", "distractor", "control"),
    *("control_majority", "selectivity", "tested", "bits", "baseline_bits", "uniform_bits"),
    *("control_bits", "control_baseline_bits"),
)
"""Fields of a row of which the mean over seeds is taken."""


def pool_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put the rows of one probe under several seeds together, in the order of the first.

    The variance of a mean score is the mean of the seeds' variances (`mean_variance`), plus the
    variance of the mean between seeds; t has Satterthwaite's degrees of freedom. The permutation
    test is that of the mean statistic, as all seeds see the same permutations. So with contrasts.

    Args:
        rows: Rows of `probe_row`.

    Raises:
        LanternError: there are several seeds, and a row is one of an earlier version.

    Returns:
        A row for each site, slot and target, with `seeds`, their number, and `score_by_seed`.
    """
    groups: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["sample"], row["target"]), []).append(row)
    return [_pooled(some) for some in groups.values()]


def _pooled(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = dict(rows[0])
    if len(rows) == 1:
        return {**first, "seeds": 1}
    if any("variance" not in row for row in rows):
        raise LanternError(
            f"the probe of {first['target']!r} at {first['sample']} was made by an earlier "
            "version, so that it has no mean over seeds; give --overwrite, or --seeds 1"
        )
    found = {name: _mean([row.get(name) for row in rows]) for name in MEANS if name in first}
    variance, freedom = _variance(rows, [row["score"] for row in rows])
    if first["kind"] == "class":
        low, high = accuracy_interval(
            found["score"], first["n"], first["images"], variance, freedom, first["folds"]
        )
    else:
        low, high = value_interval(found["score"], variance, freedom)
    nulls = [by_permutation(row) for row in rows]
    drawn = sorted(set.intersection(*(set(null) for null in nulls)))
    null = [float(np.mean([one[k] for one in nulls])) for k in drawn]
    off = np.mean([row["deviations"] for row in rows], axis=0)
    spread = float(off.std()) if off.size else 0.0
    return {
        **first,
        **found,
        "condition": first["target"],
        "low": low,
        "high": high,
        "variance": variance,
        "freedom": freedom,
        "null": null,
        "drawn": drawn,
        "p": score_p(found["tested"], null) if null else None,
        "deviations": (off / spread if spread else off).round(3).tolist(),
        "contrasts": _contrasts(rows),
        "seed": None,
        "seeds": len(rows),
        "score_by_seed": {str(row["seed"]): row["score"] for row in rows},
    }


def _mean(values: Sequence[Any]) -> Any:
    """Mean of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _variance(rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> tuple[float, float]:
    """Variance of the mean of one value for each seed, and its degrees of freedom."""
    within = float(np.mean([row["variance"] for row in rows]))
    between = float(np.var(values, ddof=1)) / len(values)
    whole, few = within + between, int(min(row["freedom"] for row in rows))
    return whole, satterthwaite(within, between, whole, few + 1, len(values))


def _contrasts(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float] | None]:
    found: dict[str, dict[str, float] | None] = {}
    for name in rows[0]["contrasts"]:
        some = [row["contrasts"][name] for row in rows if row["contrasts"].get(name)]
        if len(some) < len(rows):
            found[name] = None
            continue
        values = [one["difference"] for one in some]
        found[name] = t_contrast(float(np.mean(values)), *_variance(some, values))
    return found


def best_contrast(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float] | None:
    """Contrast of the best of several probes with a control, which counts the choice of the best.

    Interval and p are Bonferroni's over the probes, so that they hold for any of them.

    Args:
        rows: Rows of one target and capture, such as the slots of a site.
        name: Name of the control: `control`, `untrained`, `question` or `image_mean`.

    Returns:
        What `probing.intervals.contrast` returns; None where the row has no such contrast.
    """
    best = max(rows, key=lambda row: row["score"])
    one = (best.get("contrasts") or {}).get(name)
    if one is None:
        return None
    return t_contrast(one["difference"], one["variance"], one["freedom"], looks=len(rows))
