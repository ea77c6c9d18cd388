"""From the rows of an ablation to its table; no model is needed.

Every comparison is paired by sample. A sample without a latent block makes every condition on the
slots the same, so accuracies and comparisons are over the samples *with* a block, and the others
are counted. Of several passes of sampled decoding, the mean over its passes stands for a sample
(`analysis.passes`). Labels that differ in seeds alone are one condition (`analysis.seeds`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lantern_probe.analysis import controls, likelihood
from lantern_probe.analysis.ablation_results import ConditionSummary
from lantern_probe.analysis.controls import ControlContrast
from lantern_probe.analysis.passes import by_pass, compared, mean_of, sample_count, share_of
from lantern_probe.analysis.registered import adjusted, planned_label, role_of
from lantern_probe.analysis.seeds import Seeds, Unit, by_pool, by_seed, matched, pools, seeds_of
from lantern_probe.analysis.truncation import truncated_share, truncation_notes
from lantern_probe.records.preregistration import Preregistration
from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import (
    JEFFREYS,
    Detectable,
    Equivalence,
    Proportion,
    detectable_difference,
    posterior_of,
)

__all__ = [
    "ALPHA",
    "MARGIN",
    "OWN",
    "POWER",
    "ConditionSummary",
    "as_records",
    "length_notes",
    "reference",
    "reference_of",
    "summarize",
]

OWN = "own"

MARGIN = 0.02
"""Default margin of equivalence: accuracies that differ by less count as equivalent."""
ALPHA, POWER = 0.05, 0.8
"""Level of the family of tests, and power at which the detectable difference is computed."""


def summarize(
    rows: Sequence[Row],
    *,
    model: str,
    conditions: Sequence[str] | None = None,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    plan: Preregistration | None = None,
    prior: float = JEFFREYS,
) -> list[ConditionSummary]:
    """Sum up each condition of an ablation, in the given order or that of the rows.

    Labels that differ in seeds alone are one condition: one summary, of them all.

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
        margin: Margin of equivalence, a fraction in (0, 1), to be fixed before the run; default
            0.02.
        alpha: Level of the family of tests, and of the claims of equivalence; default 0.05.
        plan: Preregistration, whose conditions are the family; None (default) makes all conditions
            one family.
        prior: Prior count of each of the four cells of a comparison, default 0.5 (Jeffreys).

    Raises:
        LanternError: the margin, alpha or the prior is out of range.
    """
    pooled = pools(conditions or (row["condition"] for row in rows))
    by_condition = by_pool(rows, pooled)
    used = {label: _counted(some) for label, some in by_condition.items()}
    references = {label: reference_of(label, pooled) for label in pooled}
    found = [
        replace(
            _condition(
                model, label, by_condition[label], used.get(references[label], {}), margin, alpha
            ),
            labels=tuple(some),
        )
        for label, some in pooled.items()
    ]
    labels = [planned_label(name, some, plan) for name, some in pooled.items()]
    claims = [item.equivalence for item in found]
    tests = adjusted(labels, [None if item.test is None else item.test.p for item in found], plan)
    same = adjusted(labels, [None if one is None else one.p for one in claims], plan)
    against = controls.summarize(used, references)
    return [
        replace(
            item,
            holm_p=p,
            equivalence_holm_p=equal,
            detectable=_detectable(item.equivalence, family),
            posterior=None if item.equivalence is None else posterior_of(item.equivalence, prior),
            role=role_of(
                planned_label(item.condition, item.labels, plan), plan, references[item.condition]
            ),
            family=family,
            controls=tuple(one for one in against if one.condition == item.condition),
        )
        for item, (p, family), (equal, _) in zip(found, tests, same, strict=True)
    ]


def _detectable(same: Equivalence | None, family: int) -> Detectable | None:
    if same is None:
        return None
    n, effect = same.n, same.design_effect
    if effect < 1:  # several passes are worth more samples than there are
        n, effect = math.floor(n / effect), 1.0
    return detectable_difference(
        n,
        (same.b + same.c) / same.n,
        alpha=same.alpha,
        power=POWER,
        family=family,
        effect=effect,
    )


def reference(label: str) -> str:
    """Label of what a condition is compared with: `own` under the same corruption, or `own`."""
    condition, _, corruption = label.partition("@")
    return f"{OWN}@{corruption}" if corruption and condition != OWN else OWN


def reference_of(label: str, pooled: Mapping[str, Sequence[str]]) -> str:
    """The condition, as `pools` names it, that holds the reference of a condition's labels."""
    wanted = {reference(one) for one in pooled[label]}
    return next((name for name, some in pooled.items() if wanted & set(some)), reference(label))


def length_notes(summaries: Sequence[ConditionSummary]) -> list[str]:
    """Warn of conditions whose texts were cut off more or less often than their reference's."""
    shares = {item.condition: item.truncated for item in summaries}
    pooled = {item.condition: item.labels or (item.condition,) for item in summaries}
    pairs = [(name, reference_of(name, pooled)) for name in pooled]
    return truncation_notes(shares, pairs)


def as_records(summaries: Sequence[ConditionSummary]) -> list[dict[str, Any]]:
    """Flatten summaries into plain objects, one number per field, for `summary.json` and frames.

    An interval becomes three fields, such as `accuracy`, `ci_low` and `ci_high`; what is undefined
    is None.
    """
    return [_record(item) for item in summaries]


def _record(item: ConditionSummary) -> dict[str, Any]:
    difference, plain, donor = item.difference, item.mcnemar, item.donor
    test, same, scores = item.test, item.equivalence, item.scores
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
        "diff_method": difference and difference.method,
        "pairs": difference.n if difference else 0,
        "only_own": plain.b if plain else None if difference else 0,
        "only_this": plain.c if plain else None if difference else 0,
        "mcnemar_p": plain and plain.p,
        "p": test and test.p,
        "test": test and test.method,
        "holm_p": item.holm_p,
        "family": item.family,
        "role": item.role,
        "exploratory": None if item.role is None else item.role == "exploratory",
        "clusters": test.clusters if test else None,
        "margin": same and same.margin,
        "tost_level": same and 1 - 2 * same.alpha,
        "tost_low": same and same.low,
        "tost_high": same and same.high,
        "tost_p": same and same.p,
        "tost_holm_p": item.equivalence_holm_p,
        "equivalent": item.equivalent if same else None,
        "posterior_low": item.posterior and item.posterior.low,
        "posterior_high": item.posterior and item.posterior.high,
        "posterior_within": item.posterior and item.posterior.within,
        "prior": item.posterior and item.posterior.prior,
        "prior_within": item.posterior and item.posterior.prior_within,
        "detectable": item.detectable and item.detectable.difference,
        "detectable_alpha": item.detectable and item.detectable.alpha,
        "controls": [_control(one) for one in item.controls],
        "emission": _estimate(item.emission),
        "parse_failures": item.unparsed,
        "accuracy_all": _estimate(item.accuracy_all),
        "by_parser": item.by_parser,
        "likelihood_accuracy": _estimate(item.likelihood),
        "scored": item.likelihood.n,
        "p_gold": item.p_gold,
        "reference_likelihood": scores and _estimate(scores.reference_accuracy),
        "reference_p_gold": scores and scores.reference_p_gold,
        "candidate_mass": scores and scores.mass,
        "low_mass": scores.low if scores else 0,
        "donor_rate": donor and donor.estimate,
        "donor_low": donor and donor.low,
        "donor_high": donor and donor.high,
        "donor_n": donor.n if donor else 0,
        "seeds": len(item.by_seed) or 1,
        "seed_sd": item.seed_sd,
        "accuracy_by_seed": {_seed_text(seeds): one for seeds, one in item.by_seed.items()},
        "passes": item.passes,
        "accuracy_by_pass": list(item.by_pass.values()),
        "prompt_mismatch": item.mismatch,
    }


def _seed_text(seeds: Seeds) -> str:
    """Seeds as text: that of the condition, and that of the corruption where it is another one."""
    condition, corruption = seeds
    return str(condition) if corruption in (0, condition) else f"{condition}@{corruption}"


def _control(item: ControlContrast) -> dict[str, Any]:
    found, test = item.contrast.difference, item.contrast.test
    return {
        "control": item.control,
        "difference": found.estimate,
        "low": found.low,
        "high": found.high,
        "method": found.method,
        "p": test.p,
        "holm_p": item.holm_p,
    }


def _estimate(share: Proportion | None) -> float | None:
    return None if share is None or math.isnan(share.estimate) else share.estimate


def _counted(rows: Mapping[Unit, Row]) -> dict[Unit, Row]:
    return {key: row for key, row in rows.items() if counts(row)}


def _condition(
    model: str,
    label: str,
    rows: Mapping[Unit, Row],
    own: Mapping[Unit, Row],
    margin: float,
    alpha: float,
) -> ConditionSummary:
    ran = [row for row in rows.values() if row["status"] == "ok"]
    counted = _counted(rows)
    own = matched(counted, own)
    used = list(counted.values())
    scores = likelihood.summarize(counted, own if label != OWN and own else None)
    parsers: dict[str, Any] = next((row.get("parsed", {}) for row in used), {})
    return ConditionSummary(
        model=model,
        condition=label,
        samples=sample_count(ran),
        failed=sample_count(row for row in rows.values() if row["status"] != "ok"),
        n=sample_count(used),
        accuracy=share_of([(row, bool(row["correct"])) for row in used]),
        truncated=truncated_share(used),
        unparsed=sum(row["answer"] is None for row in used),
        chance=mean_of([(row, 1 / row["candidates"]) for row in used if row["candidates"]]),
        holm_p=None,
        emission=share_of([(row, bool(row["emitted"])) for row in ran]),
        accuracy_all=share_of(
            [(row, bool(row["correct"])) for row in ran if row["correct"] is not None]
        ),
        by_parser={
            parser: mean_of([(row, row["parsed"][parser] == row["gold"]) for row in used]) or 0.0
            for parser in parsers
        },
        likelihood=scores.accuracy,
        p_gold=scores.p_gold,
        scores=scores,
        donor=_donors(used),
        by_pass=by_pass(used),
        mismatch=sample_count(row for row in ran if row.get("prompt_mismatch")),
        by_seed=by_seed(used) if len({seeds_of(row) for row in used}) > 1 else {},
        **compared(counted, own if label != OWN else {}, margin=margin, alpha=alpha),
    )


def _donors(used: Sequence[Row]) -> Proportion | None:
    rows = [row for row in used if row.get("donor_answer") not in (None, row["gold"])]
    if not rows:
        return None
    return share_of([(row, row["answer"] == row["donor_answer"]) for row in rows])
