"""A probe together with all its controls, as one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.probing.classify import fit_predict
from lantern_probe.probing.families import family_p as family_p
from lantern_probe.probing.families import score_p as score_p
from lantern_probe.probing.intervals import (
    REPEATS,
    Repeated,
    as_gains,
    contrast,
    deviations,
    interval_of,
    mean_variance,
    repeated_gains,
)
from lantern_probe.probing.likelihoods import mean_log_likelihood
from lantern_probe.probing.online_code import online_code
from lantern_probe.probing.ridge import ridge_predict
from lantern_probe.probing.targets import ProbeSettings as ProbeSettings
from lantern_probe.probing.targets import Target as Target
from lantern_probe.probing.targets import make_target as make_target

CS = (0.001, 0.01, 0.1)
"""Inverse penalties from which a classifier chooses inside its training folds."""

STATISTICS = {"class": "log-likelihood", "value": "R2"}
"""Statistic of the permutation test of each kind of target. The accuracy of a probe with a strong
penalty is that of the majority wherever classes are unbalanced, so that it could not be tested."""

ALPHAS = tuple(10 ** (step / 2) for step in range(11))
"""Penalties from which a regression chooses inside its training folds: 1 to 1e5 in half decades. In
closed form a fine grid costs little, and a coarse one loses most of a weak signal."""


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
        variance: Variance of the score, of its interval.
        freedom: Degrees of freedom of the variance.
        repeated: Scores of each sample in every repetition of the folds.
        controls: The same of each control task.
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
    variance: float
    freedom: int
    repeated: Repeated
    controls: list[Repeated]
    bits: float | None = None
    baseline_bits: float | None = None
    uniform_bits: float | None = None
    control_bits: float | None = None
    control_baseline_bits: float | None = None


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
        gains = (held.predicted[: 1 + controls] == problems).double()
        penalties = held.Cs.median(1).values.tolist()
        codes = _codes(x, problems[:2], held.Cs, target) if tests else {}
        if tests and len(permuted):
            test = torch.cat([target.truth[None], permuted])
            null = mean_log_likelihood(x, test, target.test_folds).tolist()
    else:
        # In closed form permutations are cheap, so they choose their penalty as the truth does.
        problems = torch.cat([problems, permuted]) if tests else problems
        ridge = ridge_predict(x, problems.T.contiguous(), target.folds, ALPHAS)
        found, penalties = ridge.predicted.double(), ridge.alphas.median(1).values.tolist()
        truths = problems.T.double()
        total = (truths - truths.mean(0)).square().sum(0)
        scores = (1 - (found - truths).square().sum(0) / total).tolist()
        # R^2 = 1 - mean(error^2) / variance is a mean over samples, as an accuracy is.
        gains = torch.stack([as_gains(found[:, p], truths[:, p]) for p in range(1 + controls)])
        codes = {}
        null = [scores[0], *scores[1 + controls :]]
    classes = target.kind == "class"
    repeated, *of_controls = (
        repeated_gains(
            x,
            labels,
            gain,
            penalty,
            target.folds,
            target.groups,
            classes=classes,
            seed=target.settings.seed,
            repeats=REPEATS,
            balance=target.truth,
        )
        for labels, gain, penalty in zip(problems, gains, penalties, strict=False)
    )
    variance, freedom = mean_variance(repeated)
    low, high = interval_of(repeated, variance, freedom, classes=classes)
    return Scores(
        score=scores[0],
        low=low,
        high=high,
        control=float(np.mean(scores[1 : 1 + controls])) if controls else None,
        statistic=STATISTICS[target.kind],
        tested=null[0] if null else scores[0],
        null=null[1:],
        drawn=target.drawn if null else [],
        deviations=(
            deviations(gains[0], target.groups, target.settings.shared_seed) if tests else []
        ),
        variance=variance,
        freedom=freedom,
        repeated=repeated,
        controls=of_controls,
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
    others: Mapping[str, Repeated] | None = None,
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
        others: Scores by sample of baselines that read the same target, by name, for the contrasts
            of the probe with each.
    """
    return {
        "sample": f"{site}#{'-' if slot is None else slot}",
        "condition": label_of(target),
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
        "contrasts": _contrasts(target, scores, others or {}),
        "variance": scores.variance,
        "freedom": scores.freedom,
        "seed": target.settings.seed,
        "folds": target.settings.folds,
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


def label_of(target: Target) -> str:
    """Label of a target's rows: its name, and its seed where it is one of several.

    The first seed, which is that of the permutations too, is not named.
    """
    settings = target.settings
    if settings.seed == settings.shared_seed:
        return target.name
    return f"{target.name}{',' if ':' in target.name else ':'}seed={settings.seed}"


def _contrasts(
    target: Target, scores: Scores, others: Mapping[str, Repeated]
) -> dict[str, dict[str, float] | None]:
    """Score minus that of each control, with interval and test, by the name of the control.

    That of the control tasks is the selectivity, and None where there is none.
    """
    found = {name: contrast(scores.repeated, [other]) for name, other in others.items()}
    if _selectivity(target, scores) is None or target.control_majority is None:
        return {"control": None, **found}
    offset = target.majority - target.control_majority
    return {"control": contrast(scores.repeated, scores.controls, offset), **found}


def _selectivity(target: Target, scores: Scores) -> float | None:
    """Score above the majority, minus that of the control tasks; None where they teach nothing."""
    if scores.control is None or target.control_majority is None or target.note is not None:
        return None
    return (scores.score - target.majority) - (scores.control - target.control_majority)
