"""Intervals of a probe's score that count its training too, and of the best of several probes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.stats import norm, t
from torch import Tensor

from lantern_probe.probing.classify import grid_predict
from lantern_probe.probing.folds import Groups, group_folds
from lantern_probe.probing.ridge import ridge_predict

REPEATS = 4
"""Repetitions of the folds behind the variance of a score; a baseline has one."""

RESAMPLES = 499
"""Number of resamples of the images behind the interval of the best slot."""


@dataclass(frozen=True, eq=False)
class Repeated:
    """Scores of each sample out of fold, in several repetitions of the folds.

    Attributes:
        gains: Score of each sample, [n], by the seed of the repetition; its mean is the score.
        folds: Fold of each sample, [n], by the seed of the repetition.
        groups: Image of each sample.
    """

    gains: Mapping[int, Float[Tensor, " n"]]
    folds: Mapping[int, Int[Tensor, " n"]]
    groups: Groups


def repeated_gains(
    x: Float[Tensor, "n dim"],
    labels: Tensor,
    gains: Float[Tensor, " n"],
    penalty: float,
    folds: Int[Tensor, " n"],
    groups: Groups,
    *,
    classes: bool,
    seed: int,
    repeats: int,
    balance: Tensor | None = None,
) -> Repeated:
    """Repeat the folds of a probe, whose penalty is not chosen again.

    Args:
        x: Hidden states at one site, [n, dim].
        labels: Classes or values that the probe reads, [n].
        gains: Score of each sample in the first repetition, [n].
        penalty: Penalty of the probes of further repetitions.
        folds: Fold of each sample, [n], of the first repetition.
        groups: Image of each sample.
        classes: True for classes, False for values.
        seed: Seed of the first repetition; further ones count on from it.
        repeats: Number of repetitions. One that leaves a training part with one class is left out.
        balance: Classes that the folds spread evenly, [n]; `labels` by default.
    """
    k, every, splits = int(folds.max()) + 1, {seed: gains}, {seed: folds}
    spread = (labels if balance is None else balance) if classes else None
    for again in range(seed + 1, seed + repeats):
        other = group_folds(groups, k, spread, again)
        if not classes:
            predicted = ridge_predict(x, labels[:, None], other, (penalty,)).predicted
            every[again] = as_gains(predicted[:, 0].double(), labels.double())
        elif all(len(torch.unique(labels[other != fold])) > 1 for fold in range(k)):
            held = grid_predict(x, labels[None], other, (penalty,))
            every[again] = (held.predicted[0, 0] == labels).double()
        else:
            continue
        splits[again] = other
    return Repeated(every, splits, groups)


def mean_variance(repeated: Repeated) -> tuple[float, int]:
    """Variance of a mean out of fold (`fold_variance`), and its degrees of freedom.

    It is never below what `fold_variance` expects of images that are independent and of training
    that makes no difference: few means of folds may agree by luck.
    """
    every, splits = list(repeated.gains.values()), list(repeated.folds.values())
    variance, freedom = fold_variance(every, splits)
    k = int(splits[0].max()) + 1
    inflation = k / (freedom + 1) + k / (k - 1)
    return max(variance, inflation * image_variance(every[0], repeated.groups)), freedom


def contrast(
    probe: Repeated, others: Sequence[Repeated], offset: float = 0.0
) -> dict[str, float] | None:
    """Score of a probe minus the mean score of its controls, paired by sample.

    Probe and controls were scored on the same samples in the same folds. The variance is that of
    `mean_variance` of the paired differences. Several controls, such as draws of a control task,
    add the variance of their mean over draws.

    Args:
        probe: Scores of the probe.
        others: Scores of one control, or of several draws of it.
        offset: Number that is subtracted from the difference, such as that of the majorities.

    Returns:
        `difference`, its `variance` and degrees of `freedom`, the ends `low` and `high` of the 95 %
        t interval, and `p` of the hypothesis that it is 0; None without a control.
    """
    if not others:
        return None
    shared = [s for s in probe.gains if all(s in other.gains for other in others)]
    paired = {s: probe.gains[s] - sum(o.gains[s] for o in others) / len(others) for s in shared}
    first = next(iter(paired))
    repeated = Repeated(paired, {s: probe.folds[s] for s in shared}, probe.groups)
    variance, freedom = mean_variance(repeated)
    if variance == 0:
        variance = _least_variance(repeated, freedom)
    if len(others) > 1:
        means = [float(other.gains[first].mean()) for other in others]
        variance += float(np.var(means, ddof=1)) / len(others)
    return t_contrast(float(paired[first].mean()) - offset, variance, freedom)


def _least_variance(repeated: Repeated, freedom: int) -> float:
    """Variance of a mean difference where all samples agree, as if that of one image were 1 off."""
    images, k = len(set(repeated.groups)), int(next(iter(repeated.folds.values())).max()) + 1
    return (k / (freedom + 1) + k / (k - 1)) / images**2


def t_contrast(
    difference: float, variance: float, freedom: float, *, looks: int = 1
) -> dict[str, float]:
    """A difference with its 95 % t interval and test, from its variance and degrees of freedom.

    Args:
        difference: The difference.
        variance: Its variance.
        freedom: Degrees of freedom of the variance.
        looks: Number of differences for which intervals hold together (Bonferroni); default 1.
    """
    error, law = math.sqrt(variance), t(freedom)
    half = float(law.isf(0.025 / looks)) * error
    p = 2 * float(law.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return {
        "difference": difference,
        "variance": variance,
        "freedom": freedom,
        "low": difference - half,
        "high": difference + half,
        "p": min(1.0, p * looks),
    }


def score_interval(
    x: Float[Tensor, "n dim"],
    truth: Tensor,
    gains: Float[Tensor, " n"],
    penalty: float,
    folds: Int[Tensor, " n"],
    groups: Groups,
    *,
    classes: bool,
    seed: int,
    repeats: int,
) -> tuple[float, float]:
    """95 % interval of a score out of fold, with the variance of `fold_variance`.

    The variance is never taken below what `fold_variance` expects of images that are independent
    and of training that makes no difference.

    Args:
        x: Hidden states at one site, [n, dim].
        truth: Classes or values, [n].
        gains: Score of each sample out of fold, [n], whose mean is the score.
        penalty: Penalty of the probes of further repetitions, which is not chosen again.
        folds: Fold of each sample, [n], of the first repetition.
        groups: Image of each sample, [n].
        classes: True for classes, False for values.
        seed: Seed of the first repetition; further ones count on from it.
        repeats: Number of repetitions.
    """
    repeated = repeated_gains(
        x, truth, gains, penalty, folds, groups, classes=classes, seed=seed, repeats=repeats
    )
    return interval_of(repeated, *mean_variance(repeated), classes=classes)


def interval_of(
    repeated: Repeated, variance: float, freedom: float, *, classes: bool
) -> tuple[float, float]:
    """95 % interval of a score out of fold, from the variance of its mean.

    Args:
        repeated: Scores of the probe.
        variance: Variance of `mean_variance`.
        freedom: Degrees of freedom of the variance.
        classes: True for classes, False for values.
    """
    gains, folds = (next(iter(some.values())) for some in (repeated.gains, repeated.folds))
    score = float(gains.mean())
    if not classes:
        return value_interval(score, variance, freedom)
    k, images = int(folds.max()) + 1, len(set(repeated.groups))
    return accuracy_interval(score, len(gains), images, variance, freedom, k)


def fold_variance(
    gains: Sequence[Float[Tensor, " n"]], folds: Sequence[Int[Tensor, " n"]]
) -> tuple[float, int]:
    """Variance of a mean out of fold, corrected for shared training data (Nadeau & Bengio 2003).

    (1 / J + 1 / (k - 1)) times the variance of the J means of folds, for k folds a repetition. The
    second term stands for training sets that overlap.

    Args:
        gains: Score of each sample out of fold, [n], one for each repetition of the folds.
        folds: Fold of each sample, [n], of each repetition.

    Returns:
        The variance, and the degrees of freedom J - 1.
    """
    means: list[float] = []
    k = int(folds[0].max()) + 1
    for gain, fold in zip(gains, folds, strict=True):
        means += [float(gain[fold == f].mean()) for f in range(k)]
    return (1 / len(means) + 1 / (k - 1)) * float(np.var(means, ddof=1)), len(means) - 1


def image_variance(gains: Float[Tensor, " n"], groups: Groups) -> float:
    """Variance of the mean of the gains, if images are independent and training is fixed."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    if len(names) < 2:
        return 0.0
    off = np.bincount([names[name] for name in groups], (gains - gains.mean()).double().numpy())
    return float((off**2).sum()) / len(gains) ** 2 * len(names) / (len(names) - 1)


def accuracy_interval(
    score: float, n: int, images: int, variance: float, freedom: float, k: int
) -> tuple[float, float]:
    """Score interval (Wilson) of an accuracy out of fold, at the size that has its variance.

    Args:
        score: Accuracy out of fold.
        n: Number of samples.
        images: Number of images.
        variance: Variance of `fold_variance`.
        freedom: Degrees of freedom of the variance.
        k: Number of folds.

    Returns:
        Ends of the 95 % interval.
    """
    plain = score * (1 - score) / n
    # All right or all wrong shows no variance: then that of independent folds is taken.
    least = k / (freedom + 1) + k / (k - 1)
    size = n / max(1.0, variance / plain) if plain > 0 else images / least
    z2 = float(t.ppf(0.975, freedom)) ** 2
    centre = (score + z2 / (2 * size)) / (1 + z2 / size)
    half = math.sqrt(z2 * (score * (1 - score) / size + z2 / (4 * size**2))) / (1 + z2 / size)
    return max(0.0, centre - half), min(1.0, centre + half)


def value_interval(score: float, variance: float, freedom: float) -> tuple[float, float]:
    """Ends of the 95 % t interval of an R^2 out of fold, at most 1."""
    half = float(t.ppf(0.975, freedom)) * math.sqrt(variance)
    return score - half, min(1.0, score + half)


def deviations(gains: Float[Tensor, " n"], groups: Groups, seed: int) -> list[float]:
    """Deviations of a bootstrapped mean from the mean, in its standard errors.

    Images are resampled. The same seed resamples the same images for every site, so that the
    largest deviation over sites has a distribution too.

    Args:
        gains: Score of each sample, [n].
        groups: Image of each sample, [n].
        seed: Seed of the resamples.

    Returns:
        `RESAMPLES` deviations; zeros where the score never varies.
    """
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    place = np.array([names[name] for name in groups])
    values = gains.double().numpy()
    sums: NDArray[Any] = np.bincount(place, values)
    sizes: NDArray[Any] = np.bincount(place).astype(float)
    many = len(names)
    rng = np.random.default_rng([seed, 5])
    weights = rng.multinomial(many, np.full(many, 1 / many), size=RESAMPLES)
    off = (weights @ sums) / (weights @ sizes) - values.mean()
    spread = float(off.std())
    return [0.0] * RESAMPLES if spread == 0 else (off / spread).round(3).tolist()


def best_interval(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Interval of the best of several probes, which counts its choice.

    The ends of its own interval are moved out until all intervals, widened alike, hold together:
    by the 97.5 % quantile of the largest bootstrapped deviation over the probes, over that of one.

    Args:
        rows: Rows of `probe_row` of one target and capture, such as the slots of a site.

    Returns:
        Ends of the 95 % interval of the row with the best score.
    """
    best = max(rows, key=lambda row: row["score"])
    every = [row["deviations"] for row in rows if row.get("deviations")]
    if len(every) < 2:
        return best["low"], best["high"]
    drawn = np.array(every)
    one = float(norm.ppf(0.975))
    down = max(1.0, float(np.quantile(drawn.max(0), 0.975)) / one)
    up = max(1.0, float(np.quantile(-drawn.min(0), 0.975)) / one)
    low = best["score"] - down * (best["score"] - best["low"])
    high = best["score"] + up * (best["high"] - best["score"])
    return (max(0.0, low) if best["kind"] == "class" else low), min(1.0, high)


def as_gains(predicted: Float[Tensor, " n"], truth: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Share of each sample in an R^2, whose mean is the R^2."""
    total = (truth - truth.mean()).square().sum()
    return torch.ones_like(truth) - (predicted - truth).square() * len(truth) / total
