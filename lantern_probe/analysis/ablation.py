"""From the rows of an ablation to its table; no model is needed.

Every comparison is paired by sample. A sample without a latent block makes every condition on
the slots a no-op, so accuracies and comparisons are over the samples *with* a block, and the
others are counted (METHODS: interpretation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lantern_probe.records.rows import Row
from lantern_probe.stats import (
    Difference,
    Proportion,
    accuracy_difference,
    clustered_share,
    discordant,
    holm,
    mcnemar,
    wilson,
)


@dataclass(frozen=True)
class ConditionSummary:
    """One condition of one model.

    Attributes:
        model: Name of the model.
        condition: Label of the condition.
        samples: Samples that ran, with or without a block.
        failed: Samples that could not be run.
        n: Samples with at least one block in which the condition does something; what follows is
            over these.
        accuracy: Share of right answers, a text that cannot be parsed counting as wrong, with
            its 95 % Wilson interval.
        chance: Mean of 1 / number of candidates.
        diff_to_own: Accuracy minus that of `own` on the same samples, with its 95 % paired
            bootstrap interval, clustered by image. Under a corruption of the image `own` is
            that under the same corruption (`zeros@blur` minus `own@blur`), and `own@blur` is
            compared with `own` on the clean image.
        pairs: Samples in that comparison; `only_own` and `only_this` are the discordant ones.
        mcnemar_p: Exact McNemar test of the two; `holm_p` after Holm over the model's conditions.
        emission: Share of the samples that ran with at least one block.
        parse_failures: Texts without a readable answer.
        accuracy_all: Accuracy over all samples that ran, blocks or not.
        by_parser: Accuracy as each parser reads the texts that it can read.
        likelihood_accuracy: Share in which the right candidate is the most probable one, over
            the `scored` texts that open an answer; no parsing.
        p_gold: Mean probability of the right candidate among the candidates, over the same.
        donor_rate: For swaps: share of answers that are the donor's, over the `donor_n` samples
            whose donor has a different answer among the same candidates, with its 95 % Wilson
            interval, or where images repeat a bootstrap interval clustered by image.
    """

    model: str
    condition: str
    samples: int
    failed: int
    n: int
    accuracy: float | None
    ci_low: float | None
    ci_high: float | None
    chance: float | None
    diff_to_own: float | None
    diff_low: float | None
    diff_high: float | None
    pairs: int
    only_own: int
    only_this: int
    mcnemar_p: float | None
    holm_p: float | None
    emission: float | None
    parse_failures: int
    accuracy_all: float | None
    by_parser: dict[str, float]
    likelihood_accuracy: float | None
    scored: int
    p_gold: float | None
    donor_rate: float | None
    donor_low: float | None
    donor_high: float | None
    donor_n: int


def summarize(
    rows: Sequence[Row], *, model: str, conditions: Sequence[str] | None = None
) -> list[ConditionSummary]:
    """One summary per condition, in the given order or that of the rows.

    Args:
        rows: Of one model; failed ones are counted and left out.
        model: Its name, for the table.
        conditions: Labels; all that occur by default.
    """
    labels = list(conditions or dict.fromkeys(row["condition"] for row in rows))
    by_condition = {
        label: {row["sample"]: row for row in rows if row["condition"] == label} for label in labels
    }
    parts = [
        _condition(model, label, by_condition[label], by_condition.get(reference(label), {}))
        for label in labels
    ]
    adjusted = holm([part["mcnemar_p"] for part in parts])
    return [ConditionSummary(**part, holm_p=p) for part, p in zip(parts, adjusted, strict=True)]


def reference(label: str) -> str:
    """What a condition is compared with: `own` under the same corruption, or `own` itself."""
    condition, _, corruption = label.partition("@")
    return f"own@{corruption}" if corruption and condition != "own" else "own"


def as_records(summaries: Sequence[ConditionSummary]) -> list[dict[str, Any]]:
    """The summaries as plain objects, for `summary.json`."""
    return [asdict(summary) for summary in summaries]


def _analysed(rows: dict[str, Row]) -> dict[str, Row]:
    return {
        key: row
        for key, row in rows.items()
        if row["status"] == "ok"
        and row["emitted"]
        and row.get("acted", True)
        and row["correct"] is not None
    }


def _condition(
    model: str, label: str, rows: dict[str, Row], reference: dict[str, Row]
) -> dict[str, Any]:
    ran = [row for row in rows.values() if row["status"] == "ok"]
    used = _analysed(rows)
    accuracy = wilson(sum(row["correct"] for row in used.values()), len(used))
    graded = [row for row in ran if row["correct"] is not None]
    part: dict[str, Any] = {
        "model": model,
        "condition": label,
        "samples": len(ran),
        "failed": len(rows) - len(ran),
        "n": accuracy.n,
        "accuracy": _number(accuracy.estimate),
        "ci_low": accuracy.low if accuracy.n else None,
        "ci_high": accuracy.high if accuracy.n else None,
        "chance": _mean([1 / row["candidates"] for row in used.values() if row["candidates"]]),
        "emission": _mean([row["emitted"] for row in ran]),
        "parse_failures": sum(row["answer"] is None for row in used.values()),
        "accuracy_all": _mean([row["correct"] for row in graded]),
        "by_parser": {
            parser: _mean([row["parsed"][parser] == row["gold"] for row in used.values()])
            for parser in next((row.get("parsed", {}) for row in used.values()), {})
        },
    }
    versus = _versus_own(label, used, _analysed(reference))
    return part | versus | _likelihood(used) | _donors(used)


def _versus_own(label: str, used: dict[str, Row], own: dict[str, Row]) -> dict[str, Any]:
    shared = [key for key in used if key in own] if label != "own" else []
    this = [bool(used[key]["correct"]) for key in shared]
    other = [bool(own[key]["correct"]) for key in shared]
    only_this, only_own = discordant(this, other)
    difference = accuracy_difference(this, other, [used[key]["cluster"] for key in shared])
    known = bool(shared)
    return {
        "diff_to_own": difference.estimate if known else None,
        "diff_low": difference.low if known else None,
        "diff_high": difference.high if known else None,
        "pairs": len(shared),
        "only_own": only_own,
        "only_this": only_this,
        "mcnemar_p": mcnemar(only_own, only_this).p if known else None,
    }


def _likelihood(used: dict[str, Row]) -> dict[str, Any]:
    best, gold = [], []
    for row in used.values():
        scores = row["logprobs"]
        if not scores or any(value is None for value in scores.values()):
            continue
        top = max(scores.values())
        weights = {key: math.exp(value - top) for key, value in scores.items()}
        best.append(max(scores, key=scores.__getitem__) == row["gold"])
        gold.append(weights[row["gold"]] / sum(weights.values()))
    return {"likelihood_accuracy": _mean(best), "scored": len(best), "p_gold": _mean(gold)}


def _donors(used: dict[str, Row]) -> dict[str, Any]:
    rows = [row for row in used.values() if row.get("donor_answer") not in (None, row["gold"])]
    swapped = [row["answer"] == row["donor_answer"] for row in rows]
    images = [row["cluster"] for row in rows]
    if len(set(images)) < len(images):
        rate: Proportion | Difference = clustered_share(swapped, images)
    else:
        rate = wilson(sum(swapped), len(swapped))
    return {
        "donor_rate": _number(rate.estimate),
        "donor_low": rate.low if rate.n else None,
        "donor_high": rate.high if rate.n else None,
        "donor_n": rate.n,
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
