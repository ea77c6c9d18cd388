"""The full paired analysis of several conditions, from their rows alone.

Every comparison is over the samples that both conditions have. Accuracy counts a text without a
readable answer as wrong; parse failure is also tested by itself, and accuracy once more among the
jointly parsed, so that a loss of format is not taken for a loss of content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

from lantern_probe.analysis import likelihood
from lantern_probe.analysis.comparison_results import (
    CompareSettings,
    Comparison,
    ConditionReport,
    PairReport,
)
from lantern_probe.analysis.likelihood import mass_notes
from lantern_probe.analysis.scores import log_odds_of, most_probable
from lantern_probe.analysis.truncation import truncated_share, truncation_notes
from lantern_probe.errors import LanternError, named
from lantern_probe.records.rows import Row, counts, refuse_passes
from lantern_probe.stats import (
    Proportion,
    accuracy_difference,
    accuracy_equivalence,
    accuracy_test,
    detectable_difference,
    holm,
    mean_difference,
    outcome,
    outcome_table,
    proportion,
    sign_flip_test,
)

__all__ = [
    "CompareSettings",
    "Comparison",
    "ConditionReport",
    "PairReport",
    "adjust_family",
    "compare",
]

FEW_CLUSTERS = 30
"""Number of clusters below which their spread is poorly known.

Source: Cameron, Gelbach & Miller 2008.
"""


def compare(
    conditions: Mapping[str, Sequence[Row]],
    pairs: Sequence[tuple[str, str]] | None = None,
    settings: CompareSettings | None = None,
    family: int | None = None,
) -> Comparison:
    """Analyse conditions one by one and pair by pair.

    Args:
        conditions: Rows of each condition, by its name.
        pairs: Pairs of conditions to compare; all by default. They are the family over which p
            values are adjusted.
        settings: Margin, levels, clusters and bootstrap; the defaults of `CompareSettings` if None.
        family: Number of comparisons in the family, where it has others beside these pairs, over
            which `adjust_family` then adjusts; the number of pairs if None (default).

    Raises:
        LanternError: a sample occurs twice in a condition, has two labels or no cluster, or two
            conditions to be compared share no sample.
    """
    settings = settings or CompareSettings()
    usable = {name: _usable(name, rows) for name, rows in conditions.items()}
    _check_labels(usable)
    every = list(dict.fromkeys(key for rows in usable.values() for key in rows))
    joint = [
        key
        for key in every
        if all(key in rows and rows[key]["answer"] is not None for rows in usable.values())
    ]
    scored = [
        key
        for key in every
        if all(key in rows and _gold_odds(rows[key]) is not None for rows in usable.values())
    ]
    reports = [
        _condition(name, usable[name], len(rows), joint, scored, settings)
        for name, rows in conditions.items()
    ]
    wanted = list(combinations(conditions, 2)) if pairs is None else list(pairs)
    size = len(wanted) if family is None else family
    found = [_pair(one, two, usable[one], usable[two], settings, size) for one, two in wanted]
    return Comparison(
        settings,
        tuple(reports),
        tuple(adjust_family(found)),
        (
            *_missing(usable, every),
            *_other_prompts(usable),
            *_few_clusters(found, settings.cluster),
            *mass_notes({name: likelihood.summarize(rows) for name, rows in usable.items()}),
            *truncation_notes({r.condition: r.truncated for r in reports}, wanted),
        ),
    )


def _usable(name: str, rows: Sequence[Row]) -> dict[Any, Row]:
    found: dict[Any, Row] = {}
    refuse_passes(rows, f"{name}: a comparison of records")
    for row in rows:
        if counts(row, block=False):
            if row["sample"] in found:
                raise LanternError(f"{name}: two rows for sample {row['sample']!r}")
            found[row["sample"]] = row
    if not found:
        raise LanternError(f"{name}: no sample has both an answer and a label")
    return found


def _check_labels(usable: Mapping[str, Mapping[Any, Row]]) -> None:
    known: dict[Any, tuple[str, Any]] = {}
    for name, rows in usable.items():
        for key, row in rows.items():
            other, gold = known.setdefault(key, (name, row["gold"]))
            if gold != row["gold"]:
                raise LanternError(
                    f"sample {named([key])!r} is labelled {gold!r} in {other} and {row['gold']!r} "
                    f"in {name}: these are not the same samples"
                )


def _missing(usable: Mapping[str, Mapping[Any, Row]], every: Sequence[Any]) -> list[str]:
    notes = []
    for name, rows in usable.items():
        lacking = [key for key in every if key not in rows]
        if lacking:
            notes.append(
                f"{name} lacks {len(lacking)} of {len(every)} samples ({named(lacking)}); its "
                "comparisons are without them"
            )
    return notes


def _other_prompts(usable: Mapping[str, Mapping[Any, Row]]) -> list[str]:
    """Say which conditions were answered by a server that counts other prompts."""
    numbers = {
        name: sum(bool(row.get("prompt_mismatch")) for row in rows.values())
        for name, rows in usable.items()
    }
    return [
        f"{name}: --allow-prompt-mismatch, {n} of {len(usable[name])} prompts have another number "
        "of tokens at the server, so its input is not shown to be the same"
        for name, n in numbers.items()
        if n
    ]


def _few_clusters(pairs: Sequence[PairReport], field: str) -> list[str]:
    fewest = min((pair.difference.clusters for pair in pairs if pair.clustered), default=None)
    if fewest is None or fewest >= FEW_CLUSTERS:
        return []
    return [
        f"only {fewest} clusters by {field}: their spread is poorly known from so few, so that "
        f"intervals are wide, and no p value is below {2.0 ** (1 - fewest):.2g}"
    ]


def _condition(
    name: str,
    rows: Mapping[Any, Row],
    all_rows: int,
    joint: Sequence[Any],
    scored: Sequence[Any],
    settings: CompareSettings,
) -> ConditionReport:
    def share(some: Sequence[Row], hits: Sequence[bool]) -> Proportion:
        images = [row.get(settings.cluster) for row in some]
        level = 1 - settings.alpha
        return proportion(hits, None if None in images else images, level=level)

    graded, parsed = list(rows.values()), [rows[key] for key in joint]
    known = [rows[key] for key in scored]
    return ConditionReport(
        condition=name,
        n=len(rows),
        failed=all_rows - len(rows),
        accuracy=share(graded, [bool(row["correct"]) for row in graded]),
        truncated=truncated_share(graded),
        unparsed=sum(row["answer"] is None for row in graded),
        jointly_parsed=share(parsed, [bool(row["correct"]) for row in parsed]),
        likelihood=share(known, [most_probable(row) == row["gold"] for row in known]),
        emitted=sum(bool(row["emitted"]) for row in graded),
    )


def _pair(
    first: str,
    second: str,
    one: Mapping[Any, Row],
    two: Mapping[Any, Row],
    settings: CompareSettings,
    family: int,
) -> PairReport:
    shared = [key for key in one if key in two]
    if not shared:
        raise LanternError(
            f"{first} and {second} have no sample in common: {named(list(one), 1)!r} is one of "
            f"the first, {named(list(two), 1)!r} of the second"
        )
    level = 1 - settings.alpha
    draws: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed}
    right = [bool(one[key]["correct"]) for key in shared]
    other = [bool(two[key]["correct"]) for key in shared]
    groups = [_cluster(one[key], settings.cluster) for key in shared]
    table = outcome_table(
        [_outcome(one[key]) for key in shared], [_outcome(two[k]) for k in shared]
    )
    test = table.accuracy_test()
    readable = [
        i
        for i, key in enumerate(shared)
        if one[key]["answer"] is not None and two[key]["answer"] is not None
    ]
    scores = [(_gold_odds(one[key]), _gold_odds(two[key])) for key in shared]
    shifts = [
        (a - b, g)
        for (a, b), g in zip(scores, groups, strict=True)
        if a is not None and b is not None
    ]
    values, units = [shift for shift, _ in shifts], [unit for _, unit in shifts]
    difference = accuracy_difference(right, other, groups, level=level)
    same = accuracy_equivalence(right, other, groups, margin=settings.margin, alpha=settings.alpha)
    signs = [a - b for a, b in zip(right, other, strict=True)]
    lost, gone = ([rows[key]["answer"] is None for key in shared] for rows in (one, two))
    joint, joint_other = ([values[i] for i in readable] for values in (right, other))
    joint_groups = [groups[i] for i in readable]
    seen = partial(
        detectable_difference,
        len(shared),
        (test.b + test.c) / len(shared),
        alpha=settings.alpha,
        power=settings.power,
        effect=same.design_effect,
    )
    clustered = difference.clusters < len(shared)
    return PairReport(
        first=first,
        second=second,
        n=len(shared),
        outcomes=table,
        mcnemar=test,
        difference=difference,
        clustered=sign_flip_test(signs, groups, **draws) if clustered else None,
        equivalence=same,
        detectable=seen(),
        detectable_in_family=seen(family=family),
        parse_failure=table.parse_failure_test(),
        parse_failure_test=accuracy_test(lost, gone, groups, **draws),
        joint_n=len(readable),
        joint=table.jointly_parsed_test(),
        joint_test=accuracy_test(joint, joint_other, joint_groups, **draws),
        joint_difference=accuracy_difference(joint, joint_other, joint_groups, level=level),
        log_odds=mean_difference(values, units, level=level, **draws) if values else None,
        log_odds_test=sign_flip_test(values, units, **draws) if values else None,
    )


def _outcome(row: Row) -> str:
    return outcome(bool(row["correct"]), row["answer"] is not None)


def _cluster(row: Row, name: str) -> Any:
    if row.get(name) is None:
        raise LanternError(
            f"sample {named([row['sample']])!r} has no {name!r} to cluster by; its fields are "
            f"{', '.join(field for field in row if row[field] is not None)}"
        )
    return row[name]


def _gold_odds(row: Row) -> float | None:
    return log_odds_of(row, row["gold"])


def adjust_family(pairs: Sequence[PairReport]) -> list[PairReport]:
    """Adjust the p values of pairs by Holm, over all of them.

    Args:
        pairs: Reports of the pairs, of one comparison or of several.
    """
    adjusted = zip(
        pairs,
        holm([pair.mcnemar.p for pair in pairs]),
        holm([pair.mcnemar.p if pair.clustered is None else pair.clustered.p for pair in pairs]),
        holm([pair.parse_failure_test.p for pair in pairs]),
        holm([pair.joint_test.p for pair in pairs]),
        holm([pair.equivalence.p for pair in pairs]),
        holm([None if pair.log_odds_test is None else pair.log_odds_test.p for pair in pairs]),
        strict=True,
    )
    return [
        replace(
            pair,
            holm_p=plain,
            clustered_holm_p=None if pair.clustered is None else clustered,
            parse_failure_holm_p=failure,
            joint_holm_p=joint,
            equivalence_holm_p=same,
            log_odds_holm_p=odds,
        )
        for pair, plain, clustered, failure, joint, same, odds in adjusted
    ]
