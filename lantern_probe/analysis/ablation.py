"""From the rows of an ablation to its table; no model is needed.

Every comparison is paired by sample. A sample without a latent block makes every condition on the
slots the same, so accuracies and comparisons are over the samples *with* a block, and the others
are counted. Of several passes of sampled decoding, the mean over its passes stands for a sample
(`analysis.passes`). Labels that differ in seeds alone are one condition (`analysis.seeds`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lantern_probe.analysis import controls, likelihood
from lantern_probe.analysis.controls import ControlContrast
from lantern_probe.analysis.likelihood import Likelihood
from lantern_probe.analysis.passes import by_pass, compared, mean_of, sample_count, share_of
from lantern_probe.analysis.seeds import Seeds, Unit, by_pool, by_seed, matched, pools, seeds_of
from lantern_probe.analysis.truncation import truncated_share, truncation_notes
from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import (
    Detectable,
    Difference,
    Equivalence,
    McNemar,
    PairedTest,
    Proportion,
    detectable_difference,
    holm,
)

OWN = "own"

MARGIN = 0.02
"""Default margin of equivalence: accuracies that differ by less count as equivalent."""
ALPHA, POWER = 0.05, 0.8
"""Level of the family of tests, and power at which the detectable difference is computed."""


@dataclass(frozen=True)
class ConditionSummary:
    """One condition of one model.

    Where images repeat, every Wilson interval has n divided by the design effect. With several
    passes of sampled decoding every share is averaged over the passes of a sample and then over
    samples; n / design effect then holds the spread between passes too.

    Attributes:
        model: Name of the model.
        condition: Label of the condition.
        samples: Number of samples that ran, with or without a block.
        failed: Number of samples that could not be run, in any pass.
        n: Number of samples with a block, in any pass, on which the condition acted; what follows
            is over these, unless it says otherwise.
        accuracy: Share of right answers with its 95 % Wilson interval; a text that cannot be parsed
            counts as wrong.
        truncated: Share of texts cut off at the token limit; None where the rows do not say.
        unparsed: Number of texts without a readable answer.
        chance: Mean of 1 / number of candidates; None without candidates.
        difference: Accuracy minus that of the reference on the same samples, with its 95 % interval
            (Tango's, n divided by the design effect where images repeat); None for the reference
            itself. The reference is `own`; under a corruption of the image it is `own` under the
            same corruption, and `own@black-box` is compared with `own`.
        mcnemar: Exact McNemar test of that difference, which takes samples as independent; `b` are
            the samples that only the reference gets right, `c` those that only this condition does.
            None with several passes.
        holm_p: p value of `test` after Holm over the model's conditions.
        emission: Share of the samples that ran with at least one block.
        accuracy_all: Share of right answers over all samples that ran, blocks or not.
        by_parser: Accuracy as each parser reads the texts.
        likelihood: Share of samples whose most probable candidate is the right one; needs no
            parsing. Over the samples whose texts open an answer under the reference too.
        p_gold: Mean probability of the right candidate among the candidates, over the same samples.
        donor: For swaps, the share of answers that are the donor's, over the samples whose donor
            has another answer among the same candidates; with a 95 % Wilson interval. None without
            such samples.
        test: Test of `difference`: exact McNemar, or a sign flip of whole images where they
            repeat; with several passes a sign flip of the samples' mean differences. None for the
            reference itself.
        equivalence: Test (TOST) that this accuracy and the reference's differ by less than the
            margin. None for the reference itself.
        equivalence_holm_p: p value of `equivalence` after Holm over the model's conditions.
        detectable: Smallest difference that the test would have shown among the model's conditions
            with 80 % power: at the level of the family divided by its size, the discordance
            observed and n divided by the design effect. None if n is too small for any difference.
        scores: `likelihood` and `p_gold` beside the reference's on the same samples, and the
            probability of all candidates together.
        controls: Contrasts with this condition's own controls (`analysis.controls`).
        by_pass: Share of right answers in each pass, by index of the pass; one entry in greedy
            decoding.
        mismatch: Number of samples whose prompt has another number of tokens at the server; 0 for
            local conditions.
        labels: Labels of its rows, which differ in their seeds alone.
        by_seed: Share of right answers under each seed; empty if there is one. With several seeds
            every share and difference is a mean over samples and seeds, and every interval and test
            counts the spread between seeds (`stats.two_way`).
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
    donor: Proportion | None
    test: PairedTest | None = None
    equivalence: Equivalence | None = None
    equivalence_holm_p: float | None = None
    detectable: Detectable | None = None
    controls: tuple[ControlContrast, ...] = ()
    scores: Likelihood | None = None
    by_pass: Mapping[int, float] = field(default_factory=dict)
    mismatch: int = 0
    labels: tuple[str, ...] = ()
    by_seed: Mapping[Seeds, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The condition, with the number of its seeds, and a mark of another prompt at a server."""
        seeds = f" ({len(self.by_seed)} seeds)" if self.by_seed else ""
        other = " (other prompt)" if self.mismatch else ""
        return f"{self.condition}{seeds}{other}"

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation of the accuracies under each seed; None if there is one."""
        return statistics.stdev(self.by_seed.values()) if self.by_seed else None

    @property
    def passes(self) -> int:
        """Number of passes with a text that counts."""
        return len(self.by_pass)

    @property
    def equivalent(self) -> bool:
        """True if equivalence with the reference is shown, after Holm over the conditions."""
        p, same = self.equivalence_holm_p, self.equivalence
        return p is not None and same is not None and p <= same.alpha


def summarize(
    rows: Sequence[Row],
    *,
    model: str,
    conditions: Sequence[str] | None = None,
    margin: float = MARGIN,
    alpha: float = ALPHA,
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

    Raises:
        LanternError: the margin or alpha is out of range.
    """
    pooled = pools(conditions or (row["condition"] for row in rows))
    by_condition = by_pool(rows, pooled)
    used = {label: _counted(some) for label, some in by_condition.items()}
    references = {label: _reference_of(label, pooled) for label in pooled}
    found = [
        replace(
            _condition(
                model, label, by_condition[label], used.get(references[label], {}), margin, alpha
            ),
            labels=tuple(some),
        )
        for label, some in pooled.items()
    ]
    family = sum(item.test is not None for item in found)
    adjusted = holm([None if item.test is None else item.test.p for item in found])
    same = holm([None if item.equivalence is None else item.equivalence.p for item in found])
    against = controls.summarize(used, references)
    return [
        replace(
            item,
            holm_p=p,
            equivalence_holm_p=equal,
            detectable=_detectable(item.equivalence, family),
            controls=tuple(one for one in against if one.condition == item.condition),
        )
        for item, p, equal in zip(found, adjusted, same, strict=True)
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


def _reference_of(label: str, pooled: Mapping[str, Sequence[str]]) -> str:
    """The condition, as `pools` names it, that holds the reference of a condition's labels."""
    wanted = {reference(one) for one in pooled[label]}
    return next((name for name, some in pooled.items() if wanted & set(some)), reference(label))


def length_notes(summaries: Sequence[ConditionSummary]) -> list[str]:
    """Warn of conditions whose texts were cut off more or less often than their reference's."""
    shares = {item.condition: item.truncated for item in summaries}
    pooled = {item.condition: item.labels or (item.condition,) for item in summaries}
    pairs = [(name, _reference_of(name, pooled)) for name in pooled]
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
        "clusters": test.clusters if test else None,
        "margin": same and same.margin,
        "tost_low": same and same.low,
        "tost_high": same and same.high,
        "tost_p": same and same.p,
        "tost_holm_p": item.equivalence_holm_p,
        "equivalent": item.equivalent if same else None,
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
