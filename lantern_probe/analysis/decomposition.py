"""What the gain is made of: content of the slots, slots, markers, format (arXiv 2606.01287).

Each condition takes something away: `own` has everything, a replacement keeps the slots without
their content, `skip` keeps the markers without slots, `ban` keeps the written format without
markers, `direct` is the answer at once. How much of the gain over the last one is still there
says what it came from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import Difference, Proportion, Ratio, accuracy_difference, wilson
from lantern_probe.stats.ratio import ratio_of_means

FULL, BASE = "own", "direct"


@dataclass(frozen=True)
class RetainedGain:
    """How much of the gain one condition keeps.

    Attributes:
        model: Name of the model.
        condition: Label.
        keeps: What this condition leaves in place.
        accuracy: On the samples used, with its 95 % Wilson interval.
        gain: Accuracy minus that of the base, paired, 95 % bootstrap, clustered by image.
        retained: (accuracy - base) / (full - base), percentile bootstrap; not defined where the
            whole gain may be zero.
    """

    model: str
    condition: str
    keeps: str
    accuracy: Proportion
    gain: Difference
    retained: Ratio


def summarize(
    rows: Sequence[Row],
    *,
    model: str,
    full: str = FULL,
    base: str = BASE,
    conditions: Sequence[str] | None = None,
) -> list[RetainedGain]:
    """The retained gain of every condition, on the samples with a block that ran under all.

    Args:
        rows: Of one ablation with the conditions `full` and `base`.
        model: Name of the model.
        full: The condition with everything.
        base: The condition without any of it.
        conditions: Labels, in the order wanted; all that occur by default.

    Raises:
        LanternError: one of the two is missing, or no sample ran under all conditions.
    """
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
    # Of outcomes that are all alike a resample knows nothing; this interval has a bound for them.
    gain = accuracy_difference(right[full], right[base], images)
    known = gain.low > 0 or gain.high < 0

    def retained(label: str) -> Ratio:
        part = [a - b for a, b in zip(right[label], right[base], strict=True)]
        found = ratio_of_means(part, whole, images)
        if known:
            return found
        return replace(found, defined=False, estimate=math.nan, low=-math.inf, high=math.inf)

    return [
        RetainedGain(
            model=model,
            condition=label,
            keeps=str(used[samples[0], label].get("kept", "-")),
            accuracy=wilson(sum(right[label]), len(samples)),
            gain=accuracy_difference(right[label], right[base], images)
            if label != base
            else replace(gain, estimate=0.0, low=0.0, high=0.0, method="by definition"),
            retained=retained(label),
        )
        for label in labels
    ]
