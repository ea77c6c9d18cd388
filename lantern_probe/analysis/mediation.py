"""Causal mediation from rows: how much of the image's effect passes through the latents?

Y is the right answer's log-odds over the candidates, in nats. With X the image, X' its twin, Z and
Z' the latents of each (docs/methods.md, Causal mediation):

    total effect                TE  = Y(X', Z') - Y(X, Z)
    natural indirect effect     NIE = Y(X, Z')  - Y(X, Z)
    natural direct effect       NDE = Y(X', Z)  - Y(X, Z)
    total indirect effect       TIE = Y(X', Z') - Y(X', Z)

so that TE = NDE + TIE. All four outcomes are rows of one exchange: `own` and `twin` of a sample
and of its twin, scored for the *sample's* answer. The mediated share is TIE / TE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lantern_probe.analysis.exchange import OWN, by_condition
from lantern_probe.analysis.scores import log_odds_of
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, leads
from lantern_probe.stats import (
    Difference,
    Ratio,
    SignFlip,
    holm,
    mean_difference,
    sign_flip_test,
)
from lantern_probe.stats.ratio import ratio_of_means

EFFECTS = ("te", "nie", "nde", "tie")


@dataclass(frozen=True)
class Effects:
    """The four outcomes of one sample, in nats, and the effects computed from them."""

    sample: str
    image: str
    clean: float
    """Y(X, Z)"""
    latents: float
    """Y(X, Z')"""
    direct: float
    """Y(X', Z)"""
    both: float
    """Y(X', Z')"""

    @property
    def te(self) -> float:
        """Total effect."""
        return self.both - self.clean

    @property
    def nie(self) -> float:
        """Natural indirect effect."""
        return self.latents - self.clean

    @property
    def nde(self) -> float:
        """Natural direct effect."""
        return self.direct - self.clean

    @property
    def tie(self) -> float:
        """Total indirect effect."""
        return self.both - self.direct


@dataclass(frozen=True)
class Mediation:
    """Mean effects of one exchange over a data set.

    Each effect is a mean in nats with its 95 % bootstrap interval clustered by pair.

    Attributes:
        model: Name of the model.
        condition: Label of the exchange.
        n: Number of samples for which all four outcomes are known.
        left_out: Number of samples with a block that lack an outcome, because no answer was begun
            or the twin has no block.
        te: Total effect.
        nie: Natural indirect effect.
        nde: Natural direct effect.
        tie: Total indirect effect.
        share: Mediated share, TIE / TE, with Fieller's interval; not defined unless TE is clearly
            not 0 (`stats.ratio.FEWEST_ERRORS`).
        share_nie: NIE / TE, under the same condition. It differs from `share` if image and
            latents interact.
        tests: Sign-flip test of each of `EFFECTS` against 0, whole pairs flipped together; empty
            without samples.
        holm_p: p values of `tests` after Holm over the four.
    """

    model: str
    condition: str
    n: int
    left_out: int
    te: Difference
    nie: Difference
    nde: Difference
    tie: Difference
    share: Ratio
    share_nie: Ratio
    tests: dict[str, SignFlip]
    holm_p: dict[str, float | None]


def effects(rows: Sequence[Row], condition: str = "twin") -> tuple[list[Effects], int]:
    """Collect every sample's four outcomes, and count the samples that lack one.

    If the twin's answer is unknown, as for a corrupted image, only the direction from the sample
    to its twin counts. The opposite direction is its mirror image and would cancel it in every
    mean.

    Raises:
        LanternError: the run has no exchange, or the effects of a sample do not add up.
    """
    table = by_condition(rows)
    if condition not in table:
        raise LanternError(f"the run has no rows of {condition!r}")
    own, exchanged = table[OWN], table[condition]
    found: list[Effects] = []
    both = any(row["donor_answer"] is not None for row in exchanged.values())
    ways = [key for key, row in own.items() if both or leads(row)]
    for key in ways:
        if key not in exchanged:  # its twin has no block to lend
            continue
        row = exchanged[key]
        twin = row["donor"]
        four = (own[key], row, exchanged.get(twin), own.get(twin))
        values = [log_odds_of(one, row["gold"]) for one in four]
        if any(value is None for value in values):
            continue
        one = Effects(key, row["cluster"], *(value for value in values if value is not None))
        if not math.isclose(one.te, one.nde + one.tie, abs_tol=1e-6):
            raise LanternError(f"sample {key!r}: the effects do not add up: {one}")
        found.append(one)
    return found, len(ways) - len(found)


def summarize(
    rows: Sequence[Row], *, model: str, conditions: Sequence[str] = ("twin",)
) -> list[Mediation]:
    """Average the effects over all samples of a run, for each exchange.

    Args:
        rows: Rows of one exchange run.
        model: Name of the model.
        conditions: Labels of exchanges; `twin`, the twin's own latents, by default.

    Raises:
        LanternError: the run has no such exchange, or the effects of a sample do not add up.
    """
    return [_mediation(rows, model, condition) for condition in conditions]


def _mediation(rows: Sequence[Row], model: str, condition: str) -> Mediation:
    found, left_out = effects(rows, condition)
    images = [one.image for one in found]
    values = {name: [getattr(one, name) for one in found] for name in EFFECTS}
    tests = {name: sign_flip_test(some, images) for name, some in values.items() if some}
    return Mediation(
        model=model,
        condition=condition,
        n=len(found),
        left_out=left_out,
        **{name: mean_difference(some, images) for name, some in values.items()},
        share=ratio_of_means(values["tie"], values["te"], images),
        share_nie=ratio_of_means(values["nie"], values["te"], images),
        tests=tests,
        holm_p=dict(zip(tests, holm([test.p for test in tests.values()]), strict=True)),
    )
