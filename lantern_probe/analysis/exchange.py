"""Latent exchange from rows: does the answer follow the latents fed at the slots?

The rows are those of an ablation on pairs (`tasks.pairs`) with the conditions `own`,
`self-swap` (sham), `twin` and `swap` (unrelated donor), each possibly within a scope of slots.
With a known expected answer this is interchange intervention accuracy (arXiv 2303.02536). Both
directions of a pair are samples, and a pair is one cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.scores import margin_of
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, counts, refuse_passes
from lantern_probe.stats import (
    Difference,
    SignFlip,
    accuracy_difference,
    clustered_share,
    holm,
    mean_difference,
    sign_flip_test,
)

OWN = "own"


SHAM = "self-swap"
"""Label of the sham. It differs from `own` by rounding only: it is reported, not tested."""


@dataclass(frozen=True)
class Exchange:
    """Effect of one exchange on the answers.

    All intervals are 95 % intervals clustered by pair: Wilson's of a fraction, Tango's of the lift,
    a studentised bootstrap of the margin.

    Attributes:
        model: Name of the model.
        condition: Label of the exchange.
        n: Number of samples with a block under both conditions whose donor calls for another
            answer.
        donor_rate: Fraction of answers that are the donor's. With a twin as donor this is the
            interchange intervention accuracy.
        lift: Donor rate minus the fraction of samples that give the donor's answer under `own`.
        kept: Fraction of answers that equal the answer under `own`.
        margin: Mean shift of log p(donor's answer) - log p(right answer) in nats; None without
            scored samples.
        scored: Number of samples in `margin`: those that open an answer under both conditions.
        lift_test: Sign-flip test that the lift is 0, whole pairs flipped together. None for the
            sham, and without samples.
        lift_holm_p: p value of `lift_test` after Holm over the conditions summarized together.
        margin_test: Sign-flip test that the margin's shift is 0; None as for `lift_test`.
        margin_holm_p: p value of `margin_test` after Holm, as a family of its own.
    """

    model: str
    condition: str
    n: int
    donor_rate: Difference
    lift: Difference
    kept: Difference
    margin: Difference | None
    scored: int
    lift_test: SignFlip | None
    lift_holm_p: float | None
    margin_test: SignFlip | None
    margin_holm_p: float | None


def summarize(
    rows: Sequence[Row], *, model: str, conditions: Sequence[str], donors: str | None = None
) -> list[Exchange]:
    """Summarize the exchanges of a run, one summary per condition.

    Args:
        rows: Rows of one run.
        model: Name of the model.
        conditions: Labels of exchanges, in the order wanted. Those with samples, other than shams,
            are the family of Holm's adjustment.
        donors: Label of the condition that lends its donors to conditions without donors, such as
            `self-swap`. With `twin`, the donor rate of these shows how often the twin's answer is
            given without an exchange.

    Raises:
        LanternError: the run has no own rows, or none of a condition.
    """
    table = by_condition(rows)
    found = []
    for label in conditions:
        named = table.get(label, {})
        answers = {key: row.get("donor_answer") for key, row in named.items()}
        if not any(answers.values()) and donors is not None:
            other = table.get(donors, {})
            answers = {key: other[key].get("donor_answer") for key in named if key in other}
        found.append(_exchange(model, label, named, answers, table[OWN]))
    adjusted = zip(
        found,
        holm([item.lift_test.p if item.lift_test else None for item in found]),
        holm([item.margin_test.p if item.margin_test else None for item in found]),
        strict=True,
    )
    return [
        replace(item, lift_holm_p=lift, margin_holm_p=margin) for item, lift, margin in adjusted
    ]


def by_condition(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Sort the rows that count by condition and sample; they need a block, but no right answer.

    Raises:
        LanternError: none of the rows of `own` counts, or there are several passes.
    """
    refuse_passes(rows, "an analysis of exchanges")
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        if counts(row, graded=False):
            table.setdefault(row["condition"], {})[row["sample"]] = row
    if OWN not in table:
        raise LanternError("no sample ran with its own latents and a latent block")
    return table


def _exchange(
    model: str,
    label: str,
    rows: Mapping[str, Row],
    donors: Mapping[str, str | None],
    own: Mapping[str, Row],
) -> Exchange:
    keys = [k for k in rows if k in own and donors.get(k) not in (None, own[k]["gold"])]
    clusters = [rows[k]["cluster"] for k in keys]
    moved = [rows[k]["answer"] == donors[k] for k in keys]
    before = [own[k]["answer"] == donors[k] for k in keys]
    same = [rows[k]["answer"] == own[k]["answer"] for k in keys]
    shifts = {
        k: shift
        for k in keys
        if (shift := _margin_shift(rows[k], own[k], str(donors[k]))) is not None
    }
    scored = [rows[k]["cluster"] for k in shifts]
    sham = label.partition(":")[0] == SHAM
    gains = [int(a) - int(b) for a, b in zip(moved, before, strict=True)]
    return Exchange(
        model=model,
        condition=label,
        n=len(keys),
        donor_rate=clustered_share(moved, clusters),
        lift=accuracy_difference(moved, before, clusters),
        kept=clustered_share(same, clusters),
        margin=mean_difference(list(shifts.values()), scored) if shifts else None,
        scored=len(shifts),
        lift_test=sign_flip_test(gains, clusters) if gains and not sham else None,
        lift_holm_p=None,
        margin_test=sign_flip_test(list(shifts.values()), scored) if shifts and not sham else None,
        margin_holm_p=None,
    )


def _margin_shift(row: Row, own: Row, donor: str) -> float | None:
    """Shift, in nats, of the donor's answer against the right one; None if not scored."""
    after, before = margin_of(row, donor, own["gold"]), margin_of(own, donor, own["gold"])
    return None if after is None or before is None else after - before
