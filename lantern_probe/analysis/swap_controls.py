"""Swap controls: how far the right answer's margin moves, signed and absolute, under each swap.

The margin is the log-probability of the right answer minus that of the best other candidate. Its
mean *signed* shift says whether a swap takes the right answer away; its mean *absolute* shift says
whether it does anything at all, also where shifts of either sign cancel. Both are shown for the
exchange with the twin in its two directions (`reverse`: the twin gets the sample's latents), for a
random pair's, for an unrelated sample's, and for the sham. The controls are those of
viniferagy/lvr-eval-mechanistic-audit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.exchange import OWN, SHAM, by_condition
from lantern_probe.analysis.scores import scores_of
from lantern_probe.analysis.seeds import mean_of_rows, pools, seeds_of
from lantern_probe.records.rows import Row, leads
from lantern_probe.stats import Difference, SignFlip, holm
from lantern_probe.stats.two_way import TwoWayTest

SWAPS = ("twin", "random-pair", "swap", SHAM)
"""Names of the conditions that swap latents."""


@dataclass(frozen=True)
class SwapShift:
    """Shift of the right answer's margin under one swap.

    Attributes:
        model: Name of the model.
        condition: Label of the swap.
        direction: `direct` (samples get latents), `reverse` (twins get latents) or `all`.
        n: Number of samples scored under the swap and with their own latents.
        signed: Mean shift in nats, with its 95 % bootstrap interval clustered by pair.
        absolute: Mean absolute shift in nats, with its interval.
        beyond_sham: Mean of the absolute shift minus the sham's on the same samples; None without
            a sham, and for it.
        signed_test: Sign-flip test of the signed shift, whole pairs flipped; None for the sham.
        absolute_test: Sign-flip test of `beyond_sham`; None where there is none.
        signed_holm_p: p value of `signed_test` after Holm over the swaps summarized together.
        absolute_holm_p: p value of `absolute_test` after Holm, as a family of its own.
        seeds: Number of seeds. Of several, all measures are means over samples and seeds, and every
            interval and test counts the spread between seeds (`stats.two_way`).
    """

    model: str
    condition: str
    direction: str
    n: int
    signed: Difference
    absolute: Difference
    beyond_sham: Difference | None
    signed_test: SignFlip | TwoWayTest | None
    absolute_test: SignFlip | TwoWayTest | None
    signed_holm_p: float | None = None
    absolute_holm_p: float | None = None
    seeds: int = 1

    @property
    def name(self) -> str:
        """The swap, with the number of its seeds where there are several."""
        return self.condition + (f" ({self.seeds} seeds)" if self.seeds > 1 else "")


def summarize(
    rows: Sequence[Row], *, model: str, conditions: Sequence[str] | None = None
) -> list[SwapShift]:
    """Summarize the margin's shifts, one summary per swap and direction.

    The twin's right answer must be known for `reverse`; a corrupted image has no such direction.

    Args:
        rows: Rows of one exchange run.
        model: Name of the model.
        conditions: Labels of swaps, the family of Holm's adjustment; by default all of the run that
            swap every slot.

    Raises:
        LanternError: the run has no own rows with a block.
    """
    table = by_condition(rows)
    own = table[OWN]
    labels = conditions or [
        label for label in table if label.partition(":")[0] in SWAPS and "slots=" not in label
    ]
    known = any(row.get("donor_answer") is not None for row in table.get("twin", {}).values())
    sham = {row["sample"]: shift for row, shift in _shifts(table.get(SHAM, {}), own)}
    found = []
    for label, some in pools(labels).items():
        shifts = [one for name in some for one in _shifts(table.get(name, {}), own)]
        sides = {"direct": [one for one in shifts if leads(own[one[0]["sample"]])]}
        if known:
            sides["reverse"] = [one for one in shifts if not leads(own[one[0]["sample"]])]
        found += [_shift(model, label, side, some, sham) for side, some in sides.items() if some]
    signed = holm([None if f.signed_test is None else f.signed_test.p for f in found])
    absolute = holm([None if f.absolute_test is None else f.absolute_test.p for f in found])
    return [
        replace(item, signed_holm_p=one, absolute_holm_p=two)
        for item, one, two in zip(found, signed, absolute, strict=True)
    ]


def _shift(
    model: str,
    label: str,
    side: str,
    shifts: Sequence[tuple[Row, float]],
    sham: Mapping[str, float],
) -> SwapShift:
    is_sham = label.partition(":")[0] == SHAM
    both = [(r, abs(v) - abs(sham[r["sample"]])) for r, v in shifts if r["sample"] in sham]
    beyond = mean_of_rows(both) if both and not is_sham else (None, None)
    signed, signed_test = mean_of_rows(shifts)
    return SwapShift(
        model=model,
        condition=label,
        direction=side,
        n=len({row["sample"] for row, _ in shifts}),
        signed=signed,
        absolute=mean_of_rows([(row, abs(v)) for row, v in shifts])[0],
        beyond_sham=beyond[0],
        signed_test=None if is_sham else signed_test,
        absolute_test=beyond[1],
        seeds=len({seeds_of(row) for row, _ in shifts}),
    )


def _shifts(rows: Mapping[str, Row], own: Mapping[str, Row]) -> list[tuple[Row, float]]:
    """Shift of the margin of every sample that is scored under both."""
    found = []
    for key, row in rows.items():
        if key in own:
            after, before = (gold_margin(one, own[key]["gold"]) for one in (row, own[key]))
            if after is not None and before is not None:
                found.append((row, after - before))
    return found


def gold_margin(row: Row, gold: str | None) -> float | None:
    """Margin of the right answer over the best other candidate, in nats; None if not scored.

    Args:
        row: A row with scores.
        gold: The right answer.
    """
    scores = scores_of(row)
    if scores is None or gold not in scores or len(scores) < 2:
        return None
    return float(scores[gold] - max(value for name, value in scores.items() if name != gold))
