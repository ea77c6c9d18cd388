"""Latent exchange from rows: does the answer follow the latents fed at the slots?

The rows are those of an ablation on pairs (`tasks.pairs`) with the conditions `own`,
`self-swap` (sham), `twin` and `swap` (unrelated donor), each possibly within a scope of slots.
With a known expected answer this is interchange intervention accuracy (arXiv 2303.02536). Both
directions of a pair are samples, and a pair is one cluster. Exchanges whose labels differ in seeds
alone are one, with means over samples and seeds (`analysis.seeds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.scores import margin_of
from lantern_probe.analysis.seeds import mean_of_rows, pools, units_of
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, counts, refuse_passes
from lantern_probe.stats import Difference, PairedTest, SignFlip, holm, sign_flip_test
from lantern_probe.stats.passes import mean_accuracy_difference, mean_clustered_share, mean_test
from lantern_probe.stats.two_way import TwoWayTest

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
        seeds: Number of seeds. Of several, all measures are means over samples and seeds, and every
            interval and test counts the spread between seeds (`stats.two_way`).
    """

    model: str
    condition: str
    n: int
    donor_rate: Difference
    lift: Difference
    kept: Difference
    margin: Difference | None
    scored: int
    lift_test: SignFlip | PairedTest | None
    lift_holm_p: float | None
    margin_test: SignFlip | TwoWayTest | None
    margin_holm_p: float | None
    seeds: int = 1

    @property
    def name(self) -> str:
        """The exchange, with the number of its seeds where there are several."""
        return self.condition + (f" ({self.seeds} seeds)" if self.seeds > 1 else "")


def summarize(
    rows: Sequence[Row], *, model: str, conditions: Sequence[str], donors: str | None = None
) -> list[Exchange]:
    """Summarize the exchanges of a run, one summary per condition, of all its seeds.

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
    for label, some in pools(conditions).items():
        texts = []
        for one in some:
            named = table.get(one, {})
            answers = {key: row.get("donor_answer") for key, row in named.items()}
            if not any(answers.values()) and donors is not None:
                other = table.get(donors, {})
                answers = {key: other[key].get("donor_answer") for key in named if key in other}
            texts += [
                _Text(row, table[OWN].get(key), answers.get(key)) for key, row in named.items()
            ]
        found.append(_exchange(model, label, texts))
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


@dataclass(frozen=True)
class _Text:
    """One text under an exchange, beside that with the sample's own latents."""

    row: Row
    own: Row | None
    donor: str | None
    """The donor's answer."""


def _exchange(model: str, label: str, texts: Sequence[_Text]) -> Exchange:
    pairs = [
        (text.row, text.own, text.donor)
        for text in texts
        if text.own is not None and text.donor not in (None, text.own["gold"])
    ]
    rows = [row for row, _, _ in pairs]
    moved = [row["answer"] == donor for row, _, donor in pairs]
    before = [own["answer"] == donor for _, own, donor in pairs]
    same = [row["answer"] == own["answer"] for row, own, _ in pairs]
    shifts = [
        (row, shift)
        for row, own, donor in pairs
        if (shift := _margin_shift(row, own, str(donor))) is not None
    ]
    margin = mean_of_rows(shifts) if shifts else None
    sham = label.partition(":")[0] == SHAM
    unit = units_of(rows)
    seeds = len(set(unit["seeds"]))
    gains = [int(a) - int(b) for a, b in zip(moved, before, strict=True)]
    lift_test: SignFlip | PairedTest | None = None
    if gains and not sham:
        lift_test = (
            sign_flip_test(gains, unit["clusters"])
            if seeds == 1
            else mean_test(moved, before, **unit)
        )
    return Exchange(
        model=model,
        condition=label,
        n=len(set(unit["samples"])),
        donor_rate=mean_clustered_share(moved, **unit),
        lift=mean_accuracy_difference(moved, before, **unit),
        kept=mean_clustered_share(same, **unit),
        margin=margin[0] if margin else None,
        scored=len({row["sample"] for row, _ in shifts}),
        lift_test=lift_test,
        lift_holm_p=None,
        margin_test=margin[1] if margin and not sham else None,
        margin_holm_p=None,
        seeds=max(seeds, 1),
    )


def _margin_shift(row: Row, own: Row, donor: str) -> float | None:
    """Shift, in nats, of the donor's answer against the right one; None if not scored."""
    after, before = margin_of(row, donor, own["gold"]), margin_of(own, donor, own["gold"])
    return None if after is None or before is None else after - before
