"""Causal mediation from rows: how much of the image's effect passes through the latents?

Y is the right answer's log-odds over the candidates, in nats. With X the image, X' its twin, Z and
Z' the latents of each (docs/methods.md, Causal mediation):

    total effect                TE  = Y(X', Z') - Y(X, Z)
    natural indirect effect     NIE = Y(X, Z')  - Y(X, Z)
    natural direct effect       NDE = Y(X', Z)  - Y(X, Z)
    total indirect effect       TIE = Y(X', Z') - Y(X', Z)

so that TE = NDE + TIE. The text between the block and the answer may change with the latents, and
carry their effect. With the words W of the sample's own text held fixed (`twin-fixed-words`),

    directly                    NIE_W   = Y(X, Z', W) - Y(X, Z)
    through the words           NIE - NIE_W

which are summarized where the run has that condition. All four outcomes are rows of one exchange:
`own` and `twin` of a sample and of its twin, scored for the *sample's* answer. The mediated share
is TIE / TE.
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

FIXED = "twin-fixed-words"
"""Label of the exchange whose words after the block are those of the sample's own text."""

ALPHA = 0.05
"""Largest Holm-adjusted p of the total effect at which a share of it is given."""


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
class Interaction:
    """Difference of TIE and NIE: the effect of the latents under the twin's image and the own one.

    It is 0 if image and latents do not interact, and then TIE / TE and NIE / TE are one share.

    Attributes:
        difference: TIE minus NIE, in nats, on the same samples, with its 95 % bootstrap interval
            clustered by pair.
        test: Sign-flip test that it is 0, whole pairs flipped together; None without samples.
    """

    difference: Difference
    test: SignFlip | None


@dataclass(frozen=True)
class WordPath:
    """Natural indirect effect, split by the words between the block and the answer.

    Each effect is a mean in nats with its 95 % bootstrap interval clustered by pair.

    Attributes:
        n: Number of samples that are scored with free words and with fixed ones.
        nie: Natural indirect effect on these samples.
        fixed: The same with the words of the sample's own text: from the latents to the answer.
        words: `nie` minus `fixed`: by way of the words.
        tests: Sign-flip test of `fixed` and of `words`, whole pairs flipped together.
        holm_p: p values of `tests` after Holm over the two.
    """

    n: int
    nie: Difference
    fixed: Difference
    words: Difference
    tests: dict[str, SignFlip]
    holm_p: dict[str, float | None]


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
            not 0 (`stats.ratio.FEWEST_ERRORS`) and its Holm-adjusted p is at most `ALPHA`.
        share_nie: NIE / TE, under the same condition. It differs from `share` if image and
            latents interact.
        tests: Sign-flip test of each of `EFFECTS` against 0, whole pairs flipped together; empty
            without samples.
        holm_p: p values of `tests` after Holm over the four.
        interaction: TIE minus NIE.
        by_words: The natural indirect effect with the words after the block free and fixed; None
            where no sample has both.
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
    interaction: Interaction
    by_words: WordPath | None = None


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
    holm_p = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    p = holm_p.get("te")
    shares = [ratio_of_means(values[name], values["te"], images) for name in ("tie", "nie")]
    if p is None or p > ALPHA:
        shares = [share.withheld() for share in shares]
    return Mediation(
        model=model,
        condition=condition,
        n=len(found),
        left_out=left_out,
        **{name: mean_difference(some, images) for name, some in values.items()},
        share=shares[0],
        share_nie=shares[1],
        tests=tests,
        holm_p=holm_p,
        interaction=_interaction(found),
        by_words=word_path(rows, found) if condition == "twin" else None,
    )


def _interaction(found: Sequence[Effects]) -> Interaction:
    values, images = [one.tie - one.nie for one in found], [one.image for one in found]
    test = sign_flip_test(values, images) if values else None
    return Interaction(mean_difference(values, images), test)


def word_path(rows: Sequence[Row], found: Sequence[Effects]) -> WordPath | None:
    """Split the natural indirect effect by the words between the block and the answer.

    Args:
        rows: Rows of one exchange run.
        found: Effects of the samples with the twin's latents and free words.

    Returns:
        None where no sample has a row of `FIXED` with scores.
    """
    held = by_condition(rows).get(FIXED, {})
    pairs = []
    for one in found:
        row = held.get(one.sample)
        score = None if row is None else log_odds_of(row, row["gold"])
        if score is not None:
            pairs.append((one, score - one.clean))
    if not pairs:
        return None
    images = [one.image for one, _ in pairs]
    values = {"fixed": [direct for _, direct in pairs]}
    values["words"] = [one.nie - direct for one, direct in pairs]
    tests = {name: sign_flip_test(some, images) for name, some in values.items()}
    return WordPath(
        n=len(pairs),
        nie=mean_difference([one.nie for one, _ in pairs], images),
        **{name: mean_difference(some, images) for name, some in values.items()},
        tests=tests,
        holm_p=dict(zip(tests, holm([test.p for test in tests.values()]), strict=True)),
    )
