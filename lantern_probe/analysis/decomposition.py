"""Decomposition of the gain into slot content, slots, markers and format (arXiv 2606.01287).

Each condition takes something away: `own` has everything, a replacement keeps the slots without
their content, `skip` keeps the markers without slots, `ban` keeps the written format without
markers, `direct` is the answer at once. The part of the gain over `direct` that a condition
retains shows where the gain comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.truncation import truncated_share
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, counts, refuse_passes
from lantern_probe.stats import (
    Difference,
    PairedTest,
    Proportion,
    Ratio,
    accuracy_difference,
    accuracy_test,
    holm,
    proportion,
)
from lantern_probe.stats.ratio import ratio_of_means

FULL, BASE = "own", "direct"


@dataclass(frozen=True)
class RetainedGain:
    """Fraction of the gain over the base condition that one condition retains.

    Attributes:
        model: Name of the model.
        condition: Label of the condition.
        keeps: Parts of the block that the condition leaves in place.
        accuracy: Accuracy on the samples used, with its 95 % Wilson interval.
        truncated: Fraction of texts cut off at the token limit; None if the rows do not record it.
        gain: Accuracy minus the base condition's, paired, with its 95 % interval (Tango's, n
            divided by the design effect where images repeat).
        retained: (accuracy - base) / (full - base), with its 95 % interval by Fieller. Not
            defined if the whole gain may be zero, or is within 3.2 standard errors of it.
        test: Test that the gain is 0: exact McNemar, or a sign flip of whole images where they
            repeat. None for the base.
        holm_p: p value of `test` after Holm over the conditions.
    """

    model: str
    condition: str
    keeps: str
    accuracy: Proportion
    truncated: Proportion | None
    gain: Difference
    retained: Ratio
    test: PairedTest | None = None
    holm_p: float | None = None


def summarize(
    rows: Sequence[Row],
    *,
    model: str,
    full: str = FULL,
    base: str = BASE,
    conditions: Sequence[str] | None = None,
) -> list[RetainedGain]:
    """Compute every condition's retained gain, on the samples with a block that ran under all.

    Args:
        rows: Rows of one ablation with the conditions `full` and `base`.
        model: Name of the model.
        full: Label of the condition with everything in place; default `own`.
        base: Label of the condition with nothing in place; default `direct`.
        conditions: Labels of the conditions, in the order wanted; all that occur by default.

    Raises:
        LanternError: one of the two is missing, no sample ran under all conditions, or there are
            several passes.
    """
    refuse_passes(rows, "the decomposition of a gain")
    labels = list(conditions or dict.fromkeys(row["condition"] for row in rows))
    for needed in (full, base):
        if needed not in labels:
            raise LanternError(f"the run has no condition {needed!r}, only {', '.join(labels)}")
    used = {(row["sample"], row["condition"]): row for row in rows if counts(row)}
    samples = [
        sample
        for sample in dict.fromkeys(row["sample"] for row in rows)
        if all((sample, label) in used for label in labels)
    ]
    if not samples:
        raise LanternError("no sample with a latent block ran under every condition")
    right = {label: [int(used[s, label]["correct"]) for s in samples] for label in labels}
    images = [used[s, full]["cluster"] for s in samples]
    whole = [a - b for a, b in zip(right[full], right[base], strict=True)]
    # It has a bound where no sample is discordant, and contains 0 unless the test rejects.
    gain = accuracy_difference(right[full], right[base], images)
    known = gain.low > 0 or gain.high < 0

    def retained(label: str) -> Ratio:
        part = [a - b for a, b in zip(right[label], right[base], strict=True)]
        found = ratio_of_means(part, whole, images)
        return found if known else found.withheld()

    tests = {
        label: None if label == base else accuracy_test(right[label], right[base], images)
        for label in labels
    }
    adjusted = holm([None if test is None else test.p for test in tests.values()])
    return [
        RetainedGain(
            model=model,
            condition=label,
            keeps=str(used[samples[0], label].get("kept", "-")),
            accuracy=proportion(right[label], images),
            truncated=truncated_share(used[s, label] for s in samples),
            gain=accuracy_difference(right[label], right[base], images)
            if label != base
            else replace(gain, estimate=0.0, low=0.0, high=0.0, method="by definition"),
            retained=retained(label),
            test=tests[label],
            holm_p=p,
        )
        for label, p in zip(labels, adjusted, strict=True)
    ]
