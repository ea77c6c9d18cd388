"""Reading a concept after its linear erasure, by a linear probe and by a small network.

LEACE leaves nothing that a linear probe could find. A concept may still be there in another form,
such as the product of two coordinates, and a model may read it. So after the erasure a multilayer
perceptron of a fixed size and a fixed budget reads it too. Its control is the same with the labels
permuted over images, erasure included: an eraser fitted on few samples leaves traces of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.controls import encode, shuffled
from lantern_probe.probing.erasure import fit_eraser
from lantern_probe.probing.folds import Groups, group_folds
from lantern_probe.probing.intervals import (
    Repeated,
    accuracy_interval,
    contrast,
    mean_variance,
    t_contrast,
)
from lantern_probe.stats.two_way import satterthwaite

Kind = Literal["linear", "mlp"]

COMPONENTS, HIDDEN, PENALTY, STEPS = 16, 32, 0.3, 300
"""Principal components that are read, units of the hidden layer, its L2 penalty, and its steps."""

REPEATS, CONTROLS = 2, 3
"""Repetitions of the folds, and permutations of the labels."""


@dataclass(frozen=True)
class AfterErasure:
    """A concept read from features before and after its linear erasure, by one kind of probe.

    Of several seeds, scores are means, and the spread between seeds is in both intervals.

    Attributes:
        target: Name of the concept.
        probe: Kind of probe, `linear` or `mlp`.
        n: Number of samples.
        images: Number of images.
        classes: Number of classes.
        majority: Fraction of samples in the most frequent class.
        before: Accuracy out of fold on the features as they are.
        after: Accuracy out of fold after the erasure, which is fitted on the same training part.
        low: Lower end of the 95 % interval of `after` (Nadeau & Bengio).
        high: Upper end of the interval.
        shuffled: Mean accuracy after the erasure with labels permuted over images.
        contrast: `after` minus `shuffled`: `difference`, its `variance` and `freedom`, the ends
            `low` and `high` of its 95 % interval, and `p`, paired by sample.
        by_seed: `after` under each seed.
    """

    target: str
    probe: Kind
    n: int
    images: int
    classes: int
    majority: float
    before: float
    after: float
    low: float
    high: float
    shuffled: float
    contrast: dict[str, float]
    by_seed: dict[int, float] = field(default_factory=dict)


def read_after_erasure(
    features: Float[Tensor, "samples dim"],
    values: Sequence[Any],
    groups: Groups,
    *,
    target: str = "concept",
    probe: Kind = "mlp",
    folds: int = 5,
    seeds: Sequence[int] = (0,),
) -> AfterErasure:
    """Read a concept after its erasure, with the control of permuted labels.

    In every fold the principal components, the eraser and the probe are fitted on the training
    part alone.

        >>> features = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> found = read_after_erasure(features, [0, 1] * 30, range(60), probe="linear")
        >>> found.classes, found.majority
        (2, 0.5)

    Args:
        features: Features of all samples, such as the latents of all slots, one after the other.
        values: Class of each sample, [samples]; None for a sample without one.
        groups: Image of each sample, [samples].
        target: Name of the concept.
        probe: Kind of probe, `linear` or `mlp`.
        folds: Number of folds, default 5; an image is never split.
        seeds: Seeds of the folds, the permutations and the network, default one.

    Raises:
        LanternError: there are not two classes in enough images, or no seed.
    """
    if not seeds:
        raise LanternError("reading after erasure needs a seed")
    labels = encode(values, groups, folds)
    used = (labels.codes >= 0).nonzero()[:, 0]
    codes, x = labels.codes[used], features[used].double()
    some = [groups[i] for i in used.tolist()]
    found = [_of_seed(x, codes, some, probe, folds, seed) for seed in seeds]
    whole, freedom = _pooled([o["variance"] for o in found], [o["after"] for o in found],
                             found[0]["freedom"])  # fmt: skip
    after = float(np.mean([one["after"] for one in found]))
    low, high = accuracy_interval(after, len(codes), len(set(some)), whole, freedom, folds)
    contrasts = [one["contrast"] for one in found]
    parts = _pooled([c["variance"] for c in contrasts], [c["difference"] for c in contrasts],
                    contrasts[0]["freedom"])  # fmt: skip
    return AfterErasure(
        target=target,
        probe=probe,
        n=len(codes),
        images=len(set(some)),
        classes=len(labels.classes),
        majority=labels.majority,
        before=float(np.mean([one["before"] for one in found])),
        after=after,
        low=low,
        high=high,
        shuffled=float(np.mean([one["shuffled"] for one in found])),
        contrast=t_contrast(float(np.mean([c["difference"] for c in contrasts])), *parts),
        by_seed={seed: one["after"] for seed, one in zip(seeds, found, strict=True)},
    )


def _pooled(
    variances: Sequence[float], values: Sequence[float], freedom: float
) -> tuple[float, float]:
    """Variance of a mean over seeds, that between seeds included, and its degrees of freedom."""
    within, count = float(np.mean(variances)), len(values)
    if count == 1:
        return within, freedom
    between = float(np.var(values, ddof=1)) / count
    return within + between, satterthwaite(
        within, between, within + between, int(freedom) + 1, count
    )


def _of_seed(
    x: Float[Tensor, "n dim"],
    codes: Int[Tensor, " n"],
    groups: Groups,
    probe: Kind,
    folds: int,
    seed: int,
) -> dict[str, Any]:
    permuted = list(shuffled(codes, groups, CONTROLS, seed))
    splits = {
        again: group_folds(groups, folds, codes, again) for again in range(seed, seed + REPEATS)
    }

    def repeated(labels: Tensor, *, erase: bool) -> Repeated:
        gains = {s: _gains(x, labels, fold, probe, s, erase) for s, fold in splits.items()}
        return Repeated(gains, splits, groups)

    after = repeated(codes, erase=True)
    controls = [repeated(labels, erase=True) for labels in permuted]
    variance, freedom = mean_variance(after)
    return {
        "before": _score(repeated(codes, erase=False)),
        "after": _score(after),
        "shuffled": float(np.mean([_score(one) for one in controls])),
        "variance": variance,
        "freedom": freedom,
        "contrast": contrast(after, controls),
    }


def _score(repeated: Repeated) -> float:
    return float(next(iter(repeated.gains.values())).mean())


def _gains(
    x: Float[Tensor, "n dim"],
    codes: Int[Tensor, " n"],
    folds: Int[Tensor, " n"],
    probe: Kind,
    seed: int,
    erase: bool,
) -> Float[Tensor, " n"]:
    """1 for each sample that is read right out of fold, else 0."""
    right = torch.zeros(len(codes), dtype=torch.float64)
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        train, test = x[~held], x[held]
        size = min(COMPONENTS, train.shape[1], len(train) - 1)
        basis = PCA(size, random_state=seed).fit(train.numpy())
        parts = [torch.from_numpy(basis.transform(one.numpy())) for one in (train, test)]
        scale = parts[0].std(0).max().clamp(min=1e-12)  # one for all: directions keep their weight
        parts = [one / scale for one in parts]
        if erase:
            eraser = fit_eraser(parts[0], codes[~held].tolist())
            parts = [eraser(one) for one in parts]
        model = _model(probe, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the budget is fixed
            model.fit(parts[0].numpy(), codes[~held].numpy())
        right[held] = torch.from_numpy(
            (model.predict(parts[1].numpy()) == codes[held].numpy()).astype(np.float64)
        )
    return right


def _model(probe: Kind, seed: int) -> Any:
    if probe == "linear":
        return LogisticRegression(C=1 / PENALTY, max_iter=STEPS)
    return MLPClassifier(
        (HIDDEN,), solver="lbfgs", alpha=PENALTY, max_iter=STEPS, random_state=seed
    )
