"""A probe and all its controls, as one row: neither is to be had without the other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.probing.classify import fit_predict, grid_predict
from lantern_probe.probing.controls import (
    Labels,
    control_task,
    encode,
    missing,
    shuffled,
)
from lantern_probe.probing.folds import Groups, group_folds
from lantern_probe.probing.mdl import online_code
from lantern_probe.probing.ridge import ridge_predict
from lantern_probe.stats import clustered_share, mean_difference, permutation_p
from lantern_probe.stats.ties import SINGLE_TIE

TRIES = 100
"""Draws of control tasks until enough of them can be fitted."""

CS = (0.001, 0.01, 0.1)
"""Inverse penalties a classifier chooses from, inside its training folds."""

TEST_C = 0.01
"""Inverse penalty of the permutation test: the same for the truth and for every permutation, so
that the two are exchangeable, and chosen by nothing."""

ALPHAS = (1e1, 1e3, 1e5)
"""Penalties a regression chooses from, inside its training folds."""


@dataclass(frozen=True)
class Settings:
    """How probes are fitted and tested.

    Attributes:
        folds: Of cross-validation, by image.
        controls: Control tasks that the mean control score is over.
        permutations: Of the permutation test; the smallest p is 1 / (permutations + 1).
        seed: Of folds, control tasks and permutations.
    """

    folds: int = 5
    controls: int = 3
    permutations: int = 99
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Target:
    """What a probe is to read: a column with everything that does not depend on the site.

    Attributes:
        name: Of the column.
        kind: `class` (accuracy) or `value` (R^2).
        used: The samples that have it, [n] indices.
        truth: Classes or values of these, [n].
        problems: Truth, control tasks and permutations of it, [1 + controls + permutations, n].
        controls: How many control tasks there are: fewer than asked for, or none, where the types
            are too few to label at random.
        folds: Fold of each of these samples, alike in their labels, [n].
        test_folds: Folds of the permutation test, which know no labels, [n].
        groups: Image of each of these samples.
        classes: Number of classes; 0 for a value.
        majority: Share of the most frequent class; 0 for a value, whose mean has R^2 0.
        left_out: Samples whose value is too rare for every fold.
        settings: What it was made with.
    """

    name: str
    kind: Literal["class", "value"]
    used: Int[Tensor, " n"]
    truth: Tensor
    problems: Tensor
    controls: int
    folds: Int[Tensor, " n"]
    test_folds: Int[Tensor, " n"]
    groups: list[Any]
    classes: int
    majority: float
    left_out: int
    settings: Settings


@dataclass(frozen=True)
class Scores:
    """One site's probe under the truth and under all labels without content.

    Attributes:
        score: Accuracy or R^2 out of fold.
        low: 95 % bootstrap interval, clustered by image.
        high: Its upper end.
        control: Mean over the control tasks; None without any.
        tested: What the permutation test compares: the score at one penalty set beforehand.
        null: The same under every permutation.
        bits: Online code length; None for values.
        uniform_bits: Of a code that knows only the number of classes.
    """

    score: float
    low: float
    high: float
    control: float | None
    tested: float
    null: list[float]
    bits: float | None
    uniform_bits: float | None


def make_target(
    name: str,
    values: Sequence[Any],
    groups: Groups,
    types: Sequence[Any],
    settings: Settings,
) -> Target:
    """A target from a column: numbers that are not whole are values, all else classes.

    Args:
        name: Of the column.
        values: One per sample; None without one.
        groups: The image of each sample.
        types: What control tasks give a label to, such as the question.
        settings: Folds, controls, permutations, seed.

    Raises:
        LanternError: there are not two classes in enough images for the folds.
    """
    values = [None if missing(value) else value for value in values]
    continuous = [isinstance(v, float) and not float(v).is_integer() for v in values]
    kind: Literal["class", "value"] = "value" if any(continuous) else "class"
    labels: Labels | None = None
    if kind == "class":
        labels = encode(values, groups, settings.folds)
        every: Tensor = labels.codes
        used = (every >= 0).nonzero()[:, 0]
    else:
        every = torch.tensor([float("nan") if v is None else float(v) for v in values])
        used = every.isfinite().nonzero()[:, 0]
    truth = every[used]
    some = [groups[i] for i in used.tolist()]
    kinds = [types[i] for i in used.tolist()]
    folds = group_folds(some, settings.folds, truth if labels is not None else None, settings.seed)
    # Folds that know the labels would make the truth unlike its permutations.
    test_folds = group_folds(some, settings.folds, None, settings.seed)
    # Few samples of few types may draw a control of one class: it is drawn again.
    draw = control_task if labels is not None else _control_values
    drawn = (draw(truth, kinds, seed) for seed in range(settings.seed, settings.seed + TRIES))
    fitting = (c for c in drawn if labels is None or _fits(c, folds))
    controls = list(itertools.islice(fitting, settings.controls))
    rows = [truth, *controls]
    if settings.permutations and (labels is None or _fits(truth, test_folds)):
        permuted = shuffled(truth, some, settings.permutations, settings.seed)
        rows += [row for row in permuted if labels is None or _fits(row, test_folds)]
    problems = torch.stack(rows)
    return Target(
        name=name,
        kind=kind,
        used=used,
        truth=truth,
        problems=problems,
        controls=len(controls),
        folds=folds,
        test_folds=test_folds,
        groups=some,
        classes=0 if labels is None else len(labels.classes),
        majority=0.0 if labels is None else labels.majority,
        left_out=0 if labels is None else labels.left_out,
        settings=settings,
    )


def _fits(codes: Tensor, folds: Tensor) -> bool:
    """Whether two classes are left wherever a fold, and one more to choose a penalty, is held
    out."""
    numbers = range(int(folds.max()) + 1)
    return all(
        len(torch.unique(codes[(folds != f) & (folds != g)])) > 1
        for f, g in itertools.combinations(numbers, 2)
    )


def score_site(
    features: Float[Tensor, "samples dim"], target: Target, *, tests: bool = True
) -> Scores:
    """Probe one site for one target.

    Args:
        features: Of all samples, in the order of the target's column.
        target: What to read.
        tests: Whether to run control tasks, permutations and the online code; a baseline, such
            as the question, needs none.

    Raises:
        LanternError: a feature that is used is not finite.
    """
    x = features[target.used].float()
    controls = target.controls if tests else 0
    problems = target.problems[: 1 + controls]
    permuted = target.problems[1 + target.controls :]
    null: list[float] = []
    if target.kind == "class":
        held = fit_predict(x, problems, target.folds, CS)
        right = (held.predicted[0] == target.truth).numpy()
        scores = held.accuracy(problems).tolist()
        interval = clustered_share(right, target.groups, resamples=2_000)
        low, high = interval.low, interval.high
        code = None
        if tests:
            penalty = float(held.Cs[0].median())
            code = online_code(x, target.truth, target.groups, C=penalty, seed=target.settings.seed)
        if tests and len(permuted):
            test = torch.cat([target.truth[None], permuted])
            null = grid_predict(x, test, target.test_folds, (TEST_C,)).accuracy(test)[0].tolist()
        bits = None if code is None else code.bits
        uniform = None if code is None else code.uniform
    else:
        # Closed form: the permutations cost nothing, and choose their penalty as the truth does.
        problems = torch.cat([problems, permuted]) if tests else problems
        found = ridge_predict(x, problems.T.contiguous(), target.folds, ALPHAS).predicted.double()
        truths = problems.T.double()
        total = (truths - truths.mean(0)).square().sum(0)
        scores = (1 - (found - truths).square().sum(0) / total).tolist()
        # R^2 = 1 - mean(error^2) / variance: the bootstrap is over the errors.
        gains = 1 - (found[:, 0] - truths[:, 0]).square() * len(truths) / total[0]
        spread = mean_difference(gains.numpy(), target.groups, resamples=2_000)
        low, high, bits, uniform = spread.low, spread.high, None, None
        null = [scores[0], *scores[1 + controls :]]
    return Scores(
        score=scores[0],
        low=low,
        high=high,
        control=float(np.mean(scores[1 : 1 + controls])) if controls else None,
        tested=null[0] if null else scores[0],
        null=null[1:],
        bits=bits,
        uniform_bits=uniform,
    )


def probe_row(
    site: str,
    slot: int | None,
    target: Target,
    scores: Scores,
    baselines: Mapping[str, float | None],
) -> dict[str, Any]:
    """One line of the table: a probe with its controls.

    Args:
        site: Label of the site.
        slot: 0-based; None for a site of one position.
        target: What was read.
        scores: How well.
        baselines: The score of every other input: `question`, `image_mean`, `untrained` (the same
            site of an untrained model), `distractor` (the same site, for the same attribute of an
            object nobody asked for); None where there is none.
    """
    return {
        "sample": f"{site}#{'-' if slot is None else slot}",
        "condition": target.name,
        "status": "ok",
        "site": site,
        "slot": slot,
        "target": target.name,
        "kind": target.kind,
        "n": len(target.used),
        "images": len(set(target.groups)),
        "classes": target.classes,
        "left_out": target.left_out,
        "score": scores.score,
        "low": scores.low,
        "high": scores.high,
        "majority": target.majority,
        **baselines,
        "control": scores.control,
        "selectivity": None if scores.control is None else scores.score - scores.control,
        "p": score_p(scores.tested, scores.null) if scores.null else None,
        "tested": scores.tested,
        "null": scores.null,
        "bits": scores.bits,
        "uniform_bits": scores.uniform_bits,
    }


def family_p(rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """For rows of one target, p over the whole family of sites (Westfall & Young 1993).

    Every site saw the same permutations, so the largest score over the sites has a null
    distribution of its own; a site's p is the share of permutations whose largest score reaches
    it. It holds for correlated sites, where Holm gives away power.
    """
    found: list[float | None] = [None] * len(rows)
    for target in dict.fromkeys(row["target"] for row in rows):
        places = [i for i, row in enumerate(rows) if row["target"] == target and row["null"]]
        if places:
            largest = np.max([rows[i]["null"] for i in places], axis=0).tolist()
            for i in places:
                found[i] = score_p(rows[i]["tested"], largest)
    return found


def score_p(score: float, null: Sequence[float]) -> float:
    """`permutation_p` of an accuracy or R^2, which are computed in float32 and at most 1."""
    return permutation_p(score, null, scale=1.0, tie=SINGLE_TIE)


def _control_values(truth: Float[Tensor, " n"], types: Sequence[Any], seed: int) -> Tensor:
    """A random value for every type, drawn among the true ones."""
    rng = np.random.default_rng([seed, 4])
    names = sorted({str(t) for t in types})
    drawn = dict(zip(names, rng.choice(truth.numpy(), size=len(names)).tolist(), strict=True))
    return torch.tensor([drawn[str(t)] for t in types], dtype=truth.dtype)
