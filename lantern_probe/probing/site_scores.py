"""A probe together with all its controls, as one row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.probing.classify import fit_predict
from lantern_probe.probing.controls import (
    Labels,
    control_task,
    encode,
    lone_types,
    missing,
    numbers,
    shuffled,
)
from lantern_probe.probing.families import family_p as family_p
from lantern_probe.probing.families import score_p as score_p
from lantern_probe.probing.folds import Groups, group_folds
from lantern_probe.probing.intervals import (
    REPEATS,
    as_gains,
    deviations,
    score_interval,
)
from lantern_probe.probing.likelihoods import mean_log_likelihood
from lantern_probe.probing.online_code import online_code
from lantern_probe.probing.ridge import ridge_predict
from lantern_probe.vocabulary import VALUE

TRIES = 100
"""Most draws of control tasks in search of enough that can be fitted."""

CS = (0.001, 0.01, 0.1)
"""Inverse penalties from which a classifier chooses inside its training folds."""

STATISTICS = {"class": "log-likelihood", "value": "R2"}
"""Statistic of the permutation test of each kind of target. The accuracy of a probe with a strong
penalty is that of the majority wherever classes are unbalanced, so that it could not be tested."""

ALPHAS = tuple(10 ** (step / 2) for step in range(11))
"""Penalties from which a regression chooses inside its training folds: 1 to 1e5 in half decades. In
closed form a fine grid costs little, and a coarse one loses most of a weak signal."""


@dataclass(frozen=True)
class ProbeSettings:
    """Numbers of folds, control tasks and permutations, and the seed of all three.

    Attributes:
        folds: Number of cross-validation folds, default 5; an image is never split.
        controls: Number of control tasks in the mean control score, default 3.
        permutations: Number of permutations of the test, default 99. The smallest possible p is
            1 / (permutations + 1).
        seed: Seed of the folds, the control tasks and the permutations, default 0.
    """

    folds: int = 5
    controls: int = 3
    permutations: int = 99
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Target:
    """A column for probes to read, with everything that does not depend on the site.

    Attributes:
        name: Name of the column.
        kind: `class`, scored by accuracy, or `value`, scored by R^2.
        used: Indices of the n samples that have a class or value, [n].
        truth: Classes or values of the used samples, [n].
        problems: Truth, control tasks and permutations of the truth, one row each,
            [1 + controls + permutations, n].
        controls: Number of control tasks: fewer than the settings ask for where the types are too
            few to label at random.
        drawn: Index of each permutation among those of the settings, rising. A permutation is
            missing where it leaves a training part without two classes.
        folds: Fold of each used sample, [n], balanced by label.
        test_folds: Fold of each used sample in the permutation test, [n], made without the labels.
        groups: Image of each used sample.
        classes: Number of classes; 0 for a value.
        majority: Fraction of the used samples in the most frequent class; 0 for a value, as
            predicting the mean gives an R^2 of 0.
        control_majority: Mean over the control tasks of the fraction of samples in the most
            frequent class; 0 for a value, None without any.
        note: Reason why the control tasks give no selectivity; None where they do.
        left_out: Number of samples whose value is too rare to occur in every fold.
        settings: Settings with which the target was made.
    """

    name: str
    kind: Literal["class", "value"]
    used: Int[Tensor, " n"]
    truth: Tensor
    problems: Tensor
    controls: int
    drawn: list[int]
    folds: Int[Tensor, " n"]
    test_folds: Int[Tensor, " n"]
    groups: list[Any]
    classes: int
    majority: float
    control_majority: float | None
    note: str | None
    left_out: int
    settings: ProbeSettings


@dataclass(frozen=True)
class Scores:
    """Scores of a probe at one site, on the true labels and on labels without content.

    Attributes:
        score: Accuracy or R^2 out of fold.
        low: Lower end of the score's 95 % interval, with the variance of Nadeau & Bengio over
            `REPEATS` repetitions of the folds: it counts training on other samples.
        high: Upper end of the same interval.
        control: Mean score over the control tasks; None without any.
        statistic: Name of the statistic of the permutation test: `log-likelihood` for classes,
            `R2` for values.
        tested: Statistic of the true labels: `mean_log_likelihood` for classes, and the score
            itself for values.
        null: Score under every permutation, computed like `tested`.
        drawn: Index of each of these permutations among those of the settings.
        deviations: Bootstrapped deviations of the score in its standard errors, for the interval of
            the best of several slots; empty for a baseline.
        bits: Length of the online code in bits; None for values.
        baseline_bits: Length in bits of the online code of the class frequencies alone; None for
            values.
        uniform_bits: Length in bits of a code that knows only the number of classes; None for
            values.
        control_bits: Length of the online code of the first control task; None for values, and
            without a control.
        control_baseline_bits: Length in bits of the online code of its class frequencies.
    """

    score: float
    low: float
    high: float
    control: float | None
    statistic: str
    tested: float
    null: list[float]
    drawn: list[int]
    deviations: list[float]
    bits: float | None = None
    baseline_bits: float | None = None
    uniform_bits: float | None = None
    control_bits: float | None = None
    control_baseline_bits: float | None = None


def make_target(
    name: str,
    values: Sequence[Any],
    groups: Groups,
    types: Sequence[Any],
    settings: ProbeSettings,
) -> Target:
    """Make a target from a column.

    A column with a number that is not whole holds values; all other columns hold classes. A name
    that ends in `:value` makes values of whole numbers too, such as counts and pixels.

    Args:
        name: Name of the column, with or without `:value`.
        values: Class or value of each sample, [n]; None and NaN for a sample without one.
        groups: Image of each sample, [n].
        types: Type of each sample, [n], such as its question. Control tasks label types at random.
        settings: Numbers of folds, controls and permutations, and the seed.

    Raises:
        LanternError: there are not two classes in enough images for the folds, or values are asked
            for and the column holds something that is no finite number.
    """
    values = [None if missing(value) else value for value in values]
    forced = name.endswith(VALUE)
    if forced:
        values = numbers(name, values)
    continuous = [isinstance(v, float) and not float(v).is_integer() for v in values]
    kind: Literal["class", "value"] = "value" if forced or any(continuous) else "class"
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
    # Folds balanced by the true labels would treat the truth unlike its permutations.
    test_folds = group_folds(some, settings.folds, None, settings.seed)
    # With few types, a draw may give one class only, which cannot be fitted: draw again.
    draw = control_task if labels is not None else _control_values
    drawn = (draw(truth, kinds, seed) for seed in range(settings.seed, settings.seed + TRIES))
    fitting = (c for c in drawn if labels is None or _fits(c, folds))
    controls = list(itertools.islice(fitting, settings.controls))
    rows = [truth, *controls]
    drawn_permutations: list[int] = []
    if settings.permutations and (labels is None or _fits(truth, test_folds)):
        permuted = shuffled(truth, some, settings.permutations, settings.seed)
        fit = [labels is None or _fits(row, test_folds) for row in permuted]
        drawn_permutations = [index for index, good in enumerate(fit) if good]
        rows += [permuted[index] for index in drawn_permutations]
    problems = torch.stack(rows)
    return Target(
        name=name,
        kind=kind,
        used=used,
        truth=truth,
        problems=problems,
        controls=len(controls),
        drawn=drawn_permutations,
        folds=folds,
        test_folds=test_folds,
        groups=some,
        classes=0 if labels is None else len(labels.classes),
        majority=0.0 if labels is None else labels.majority,
        control_majority=_control_majority(controls, labels) if controls else None,
        note=lone_types(kinds, some),
        left_out=0 if labels is None else labels.left_out,
        settings=settings,
    )


def _control_majority(controls: Sequence[Tensor], labels: Labels | None) -> float:
    if labels is None:
        return 0.0
    return float(np.mean([torch.bincount(c).max().item() / len(c) for c in controls]))


def _fits(codes: Tensor, folds: Tensor) -> bool:
    """True if two classes are left without any two folds: one held out, one to choose a penalty."""
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
        features: Hidden states of all samples at the site, [samples, dim], in the order of the
            target's column.
        target: Column to read.
        tests: Run control tasks, permutations and the online code too (default). A baseline, such
            as the question, needs none of them.

    Raises:
        LanternError: a feature of a used sample is not finite.
    """
    x = features[target.used].float()
    controls = target.controls if tests else 0
    problems = target.problems[: 1 + controls]
    permuted = target.problems[1 + target.controls :]
    null: list[float] = []
    if target.kind == "class":
        held = fit_predict(x, problems, target.folds, CS)
        scores = held.accuracy(problems).tolist()
        gains = (held.predicted[0] == target.truth).double()
        penalty = float(held.Cs[0].median())
        codes = _codes(x, problems[:2], held.Cs, target) if tests else {}
        if tests and len(permuted):
            test = torch.cat([target.truth[None], permuted])
            null = mean_log_likelihood(x, test, target.test_folds).tolist()
    else:
        # In closed form permutations are cheap, so they choose their penalty as the truth does.
        problems = torch.cat([problems, permuted]) if tests else problems
        ridge = ridge_predict(x, problems.T.contiguous(), target.folds, ALPHAS)
        found, penalty = ridge.predicted.double(), float(ridge.alphas[0].median())
        truths = problems.T.double()
        total = (truths - truths.mean(0)).square().sum(0)
        scores = (1 - (found - truths).square().sum(0) / total).tolist()
        # R^2 = 1 - mean(error^2) / variance is a mean over samples, as an accuracy is.
        gains, codes = as_gains(found[:, 0], truths[:, 0]), {}
        null = [scores[0], *scores[1 + controls :]]
    low, high = score_interval(
        x,
        target.truth,
        gains,
        penalty,
        target.folds,
        target.groups,
        classes=target.kind == "class",
        seed=target.settings.seed,
        repeats=REPEATS if tests else 1,
    )
    return Scores(
        score=scores[0],
        low=low,
        high=high,
        control=float(np.mean(scores[1 : 1 + controls])) if controls else None,
        statistic=STATISTICS[target.kind],
        tested=null[0] if null else scores[0],
        null=null[1:],
        drawn=target.drawn if null else [],
        deviations=deviations(gains, target.groups, target.settings.seed) if tests else [],
        **codes,
    )


def _codes(
    x: Float[Tensor, "n dim"],
    problems: Int[Tensor, "p n"],
    Cs: Float[Tensor, "q folds"],
    target: Target,
) -> dict[str, float]:
    """Code lengths of the truth and of the first control task, by field of `Scores`."""
    found: dict[str, float] = {}
    for prefix, labels, chosen in zip(("", "control_"), problems, Cs, strict=False):
        penalty, seed = float(chosen.median()), target.settings.seed
        code = online_code(x, labels, target.groups, C=penalty, seed=seed)
        found |= {f"{prefix}bits": code.bits, f"{prefix}baseline_bits": code.frequencies}
        if not prefix:
            found["uniform_bits"] = code.uniform
    return found


def probe_row(
    site: str,
    slot: int | None,
    target: Target,
    scores: Scores,
    baselines: Mapping[str, float | None],
) -> dict[str, Any]:
    """Make one row of the table: a probe with its controls.

    Args:
        site: Label of the site.
        slot: Slot, counted from 0; None for a site of one position.
        target: Column that was read.
        scores: Scores of the probe.
        baselines: Score of every baseline by name, None where there is none. Names are `question`,
            `image_mean`, `untrained` (the same site of an untrained model) and `distractor` (the
            same site, read for an object that the question does not ask for).
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
        "control_majority": target.control_majority,
        "selectivity": _selectivity(target, scores),
        "note": target.note,
        "p": score_p(scores.tested, scores.null) if scores.null else None,
        "statistic": scores.statistic,
        "tested": scores.tested,
        "null": scores.null,
        "drawn": scores.drawn,
        "deviations": scores.deviations,
        "bits": scores.bits,
        "baseline_bits": scores.baseline_bits,
        "uniform_bits": scores.uniform_bits,
        "control_bits": scores.control_bits,
        "control_baseline_bits": scores.control_baseline_bits,
    }


def _selectivity(target: Target, scores: Scores) -> float | None:
    """Score above the majority, minus that of the control tasks; None where they teach nothing."""
    if scores.control is None or target.control_majority is None or target.note is not None:
        return None
    return (scores.score - target.majority) - (scores.control - target.control_majority)


def _control_values(truth: Float[Tensor, " n"], types: Sequence[Any], seed: int) -> Tensor:
    """Draw a random value for every type among the true ones."""
    rng = np.random.default_rng([seed, 4])
    names = sorted({str(t) for t in types})
    drawn = dict(zip(names, rng.choice(truth.numpy(), size=len(names)).tolist(), strict=True))
    return torch.tensor([drawn[str(t)] for t in types], dtype=truth.dtype)
