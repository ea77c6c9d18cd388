"""From the rows of an ablation to its table; no model is needed.

Every comparison is paired by sample. A sample without a latent block makes every condition on the
slots the same, so accuracies and comparisons are over the samples *with* a block, and the others
are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lantern_probe.analysis.scores import most_probable, probability_of
from lantern_probe.analysis.truncation import truncated_share, truncation_notes
from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import (
    Difference,
    McNemar,
    Proportion,
    accuracy_difference,
    clustered_share,
    discordant,
    holm,
    mcnemar,
    wilson,
)

OWN = "own"


@dataclass(frozen=True)
class ConditionSummary:
    """One condition of one model.

    Attributes:
        model: Name of the model.
        condition: Label of the condition.
        samples: Number of samples that ran, with or without a block.
        failed: Number of samples that could not be run.
        n: Number of samples with a block on which the condition acted; what follows is over these,
            unless it says otherwise.
        accuracy: Share of right answers with its 95 % Wilson interval; a text that cannot be parsed
            counts as wrong.
        truncated: Share of texts cut off at the token limit; None where the rows do not say.
        unparsed: Number of texts without a readable answer.
        chance: Mean of 1 / number of candidates; None without candidates.
        difference: Accuracy minus that of the reference on the same samples, with its 95 % paired
            bootstrap interval, clustered; None for the reference itself. The reference is `own`;
            under a corruption of the image it is `own` under the same corruption, and
            `own@black-box` is compared with `own`.
        mcnemar: Exact test of that difference; `b` are the samples that only the reference gets
            right, `c` those that only this condition does.
        holm_p: Its p value after Holm over the model's conditions.
        emission: Share of the samples that ran with at least one block.
        accuracy_all: Share of right answers over all samples that ran, blocks or not.
        by_parser: Accuracy as each parser reads the texts.
        likelihood: Share of samples whose most probable candidate is the right one, over the texts
            that open an answer; needs no parsing.
        p_gold: Mean probability of the right candidate among the candidates, over the same texts.
        donor: For swaps, the share of answers that are the donor's, over the samples whose donor
            has another answer among the same candidates; with a 95 % Wilson interval, or a
            clustered bootstrap interval where images repeat. None without such samples.
    """

    model: str
    condition: str
    samples: int
    failed: int
    n: int
    accuracy: Proportion
    truncated: Proportion | None
    unparsed: int
    chance: float | None
    difference: Difference | None
    mcnemar: McNemar | None
    holm_p: float | None
    emission: Proportion
    accuracy_all: Proportion
    by_parser: dict[str, float]
    likelihood: Proportion
    p_gold: float | None
    donor: Proportion | Difference | None


def summarize(
    rows: Sequence[Row], *, model: str, conditions: Sequence[str] | None = None
) -> list[ConditionSummary]:
    """Sum up each condition of an ablation, in the given order or that of the rows.

        >>> right = {"status": "ok", "emitted": True, "gold": "A", "answer": "A", "correct": True,
        ...          "candidates": 2, "cluster": "1", "logprobs": None, "finish": "closed"}
        >>> wrong = {**right, "answer": "B", "correct": False}
        >>> rows = [{**right, "sample": "1", "condition": "own"},
        ...         {**wrong, "sample": "1", "condition": "zeros"}]
        >>> [(s.condition, s.accuracy.estimate) for s in summarize(rows, model="m")]
        [('own', 1.0), ('zeros', 0.0)]

    Args:
        rows: Rows of one model; failed ones are counted and left out.
        model: Name of the model, for tables.
        conditions: Labels; all that occur by default.
    """
    labels = list(conditions or dict.fromkeys(row["condition"] for row in rows))
    by_condition = {
        label: {row["sample"]: row for row in rows if row["condition"] == label} for label in labels
    }
    found = [
        _condition(model, label, by_condition[label], by_condition.get(reference(label), {}))
        for label in labels
    ]
    adjusted = holm([None if item.mcnemar is None else item.mcnemar.p for item in found])
    return [replace(item, holm_p=p) for item, p in zip(found, adjusted, strict=True)]


def reference(label: str) -> str:
    """Label of what a condition is compared with: `own` under the same corruption, or `own`."""
    condition, _, corruption = label.partition("@")
    return f"{OWN}@{corruption}" if corruption and condition != OWN else OWN


def length_notes(summaries: Sequence[ConditionSummary]) -> list[str]:
    """Warn of conditions whose texts were cut off more or less often than their reference's."""
    shares = {item.condition: item.truncated for item in summaries}
    pairs = [(item.condition, reference(item.condition)) for item in summaries]
    return truncation_notes(shares, pairs)


def as_records(summaries: Sequence[ConditionSummary]) -> list[dict[str, Any]]:
    """Flatten summaries into plain objects, one number per field, for `summary.json` and frames.

    An interval becomes three fields, such as `accuracy`, `ci_low` and `ci_high`; what is undefined
    is None.
    """
    return [_record(item) for item in summaries]


def _record(item: ConditionSummary) -> dict[str, Any]:
    difference, test, donor = item.difference, item.mcnemar, item.donor
    accuracy = item.accuracy if item.n else None
    return {
        "model": item.model,
        "condition": item.condition,
        "samples": item.samples,
        "failed": item.failed,
        "n": item.n,
        "accuracy": accuracy and accuracy.estimate,
        "ci_low": accuracy and accuracy.low,
        "ci_high": accuracy and accuracy.high,
        "truncated": _estimate(item.truncated),
        "chance": item.chance,
        "diff_to_own": difference and difference.estimate,
        "diff_low": difference and difference.low,
        "diff_high": difference and difference.high,
        "pairs": difference.n if difference else 0,
        "only_own": test.b if test else 0,
        "only_this": test.c if test else 0,
        "mcnemar_p": test and test.p,
        "holm_p": item.holm_p,
        "emission": _estimate(item.emission),
        "parse_failures": item.unparsed,
        "accuracy_all": _estimate(item.accuracy_all),
        "by_parser": item.by_parser,
        "likelihood_accuracy": _estimate(item.likelihood),
        "scored": item.likelihood.n,
        "p_gold": item.p_gold,
        "donor_rate": donor and donor.estimate,
        "donor_low": donor and donor.low,
        "donor_high": donor and donor.high,
        "donor_n": donor.n if donor else 0,
    }


def _estimate(share: Proportion | None) -> float | None:
    return None if share is None or math.isnan(share.estimate) else share.estimate


def _counted(rows: Mapping[str, Row]) -> dict[str, Row]:
    return {key: row for key, row in rows.items() if counts(row)}


def _condition(
    model: str, label: str, rows: Mapping[str, Row], reference: Mapping[str, Row]
) -> ConditionSummary:
    ran = [row for row in rows.values() if row["status"] == "ok"]
    used = _counted(rows)
    graded = [bool(row["correct"]) for row in ran if row["correct"] is not None]
    difference, test = _versus(label, used, _counted(reference))
    tops = [(most_probable(row), row["gold"]) for row in used.values()]
    best = [top == right for top, right in tops if top is not None]
    gold = [p for row in used.values() if (p := probability_of(row, row["gold"])) is not None]
    parsers: dict[str, Any] = next((row.get("parsed", {}) for row in used.values()), {})
    return ConditionSummary(
        model=model,
        condition=label,
        samples=len(ran),
        failed=len(rows) - len(ran),
        n=len(used),
        accuracy=wilson(sum(bool(row["correct"]) for row in used.values()), len(used)),
        truncated=truncated_share(used.values()),
        unparsed=sum(row["answer"] is None for row in used.values()),
        chance=_mean([1 / row["candidates"] for row in used.values() if row["candidates"]]),
        difference=difference,
        mcnemar=test,
        holm_p=None,
        emission=wilson(sum(bool(row["emitted"]) for row in ran), len(ran)),
        accuracy_all=wilson(sum(graded), len(graded)),
        by_parser={
            parser: sum(row["parsed"][parser] == row["gold"] for row in used.values()) / len(used)
            for parser in parsers
        },
        likelihood=wilson(sum(best), len(best)),
        p_gold=_mean(gold),
        donor=_donors(used),
    )


def _versus(
    label: str, used: Mapping[str, Row], own: Mapping[str, Row]
) -> tuple[Difference | None, McNemar | None]:
    shared = [key for key in used if key in own] if label != OWN else []
    if not shared:
        return None, None
    this = [bool(used[key]["correct"]) for key in shared]
    other = [bool(own[key]["correct"]) for key in shared]
    only_this, only_own = discordant(this, other)
    clusters = [used[key]["cluster"] for key in shared]
    return accuracy_difference(this, other, clusters), mcnemar(only_own, only_this)


def _donors(used: Mapping[str, Row]) -> Proportion | Difference | None:
    rows = [row for row in used.values() if row.get("donor_answer") not in (None, row["gold"])]
    if not rows:
        return None
    swapped = [row["answer"] == row["donor_answer"] for row in rows]
    clusters = [row["cluster"] for row in rows]
    if len(set(clusters)) < len(clusters):
        return clustered_share(swapped, clusters)
    return wilson(sum(swapped), len(swapped))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
