"""Trigger endogeneity: is a block emitted where the question is hard, and what does it bring?

A model opens a block when it chooses to, so that accuracy with and without one compares different
questions and is no effect of the block. Reported are both, apart: the association of emission and
correctness (Fisher's exact test), and the effect, on the same samples, of a block that is forced
(`force`) against one that is banned (`ban`). docs/methods.md, Triggers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, counts, refuse_passes
from lantern_probe.stats import (
    Difference,
    FisherExact,
    PairedTest,
    Proportion,
    accuracy_difference,
    accuracy_test,
    fisher_exact,
    holm,
    proportion,
)

OWN, FORCED, BANNED = "own", "force", "ban"

CONTRASTS = (
    ("all samples", FORCED, BANNED),
    ("texts with a block", OWN, BANNED),
    ("texts without a block", FORCED, OWN),
)
"""Contrasts on the same samples: the samples they are over, and the two conditions."""


@dataclass(frozen=True)
class TriggerEffect:
    """Effect of a block on the same samples.

    Attributes:
        samples: Samples that it is over, such as `texts without a block`.
        first: Label of the condition with a block.
        second: Label of the condition without one.
        n: Number of samples.
        difference: Accuracy under the first minus that under the second, paired, with its interval.
        test: McNemar's exact test, or where images repeat the sign-flip test of whole images.
            None without samples.
        holm_p: p value of `test` after Holm over the contrasts.
    """

    samples: str
    first: str
    second: str
    n: int
    difference: Difference
    test: PairedTest | None
    holm_p: float | None


@dataclass(frozen=True)
class Triggers:
    """Emission of a block, its association with correctness, and its effect.

    Attributes:
        model: Name of the model.
        n: Number of samples with all three conditions and a right answer.
        emission: Fraction whose own text opens a block.
        with_block: Accuracy of the own texts with a block.
        without_block: Accuracy of the own texts without one. The two are of different questions.
        association: Fisher's exact test of emission (rows) and correctness (columns) of own texts;
            samples count as independent.
        images: Number of independent units; below n where images repeat.
        effects: Contrasts on the same samples, in the order of `CONTRASTS`.
    """

    model: str
    n: int
    emission: Proportion
    with_block: Proportion
    without_block: Proportion
    association: FisherExact
    images: int
    effects: tuple[TriggerEffect, ...]


def summarize(rows: Sequence[Row], *, model: str) -> Triggers:
    """Summarize the triggers of a run with the conditions `own`, `force` and `ban`.

        >>> from lantern_probe.analysis import triggers
        >>> row = {"status": "ok", "correct": True, "emitted": True, "cluster": "1", "sample": "1"}
        >>> rows = [{**row, "condition": "own"}, {**row, "condition": "force"}]
        >>> rows += [{**row, "condition": "ban", "correct": False}]
        >>> triggers.summarize(rows, model="m").effects[0].difference.estimate
        1.0

    Args:
        rows: Rows of one model. Samples without a right answer or without one of the conditions are
            left out.
        model: Name of the model.

    Raises:
        LanternError: no sample has all three conditions, or there are several passes.
    """
    refuse_passes(rows, "the analysis of triggers")
    table: dict[str, dict[str, Row]] = {label: {} for label in (OWN, FORCED, BANNED)}
    for row in rows:
        if row["condition"] in table and counts(row, block=False):
            table[row["condition"]][row["sample"]] = row
    keys = [key for key in table[OWN] if key in table[FORCED] and key in table[BANNED]]
    if not keys:
        raise LanternError(
            f"no sample ran under all of {OWN}, {FORCED} and {BANNED} with a known right answer"
        )
    own = table[OWN]
    emitted = [key for key in keys if own[key]["emitted"]]
    silent = [key for key in keys if not own[key]["emitted"]]
    over = dict(zip((name for name, _, _ in CONTRASTS), (keys, emitted, silent), strict=True))
    effects = [_effect(name, over[name], table, one, two) for name, one, two in CONTRASTS]
    adjusted = holm([None if e.test is None else e.test.p for e in effects])
    right = [sum(bool(own[key]["correct"]) for key in some) for some in (emitted, silent)]
    return Triggers(
        model=model,
        n=len(keys),
        emission=_share([bool(own[key]["emitted"]) for key in keys], own, keys),
        with_block=_share([bool(own[key]["correct"]) for key in emitted], own, emitted),
        without_block=_share([bool(own[key]["correct"]) for key in silent], own, silent),
        association=fisher_exact(
            right[0], len(emitted) - right[0], right[1], len(silent) - right[1]
        ),
        images=len({own[key]["cluster"] for key in keys}),
        effects=tuple(replace(e, holm_p=p) for e, p in zip(effects, adjusted, strict=True)),
    )


def _share(values: Sequence[bool], rows: Mapping[str, Row], keys: Sequence[str]) -> Proportion:
    return proportion(values, [rows[key]["cluster"] for key in keys])


def _effect(
    name: str, keys: Sequence[str], table: Mapping[str, Mapping[str, Row]], one: str, two: str
) -> TriggerEffect:
    first, second = ([bool(table[label][key]["correct"]) for key in keys] for label in (one, two))
    clusters = [table[OWN][key]["cluster"] for key in keys]
    return TriggerEffect(
        samples=name,
        first=one,
        second=two,
        n=len(keys),
        difference=accuracy_difference(first, second, clusters),
        test=accuracy_test(first, second, clusters) if keys else None,
        holm_p=None,
    )
