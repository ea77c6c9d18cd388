"""Targets of probes: a column with everything that does not depend on the site."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.probing.controls import (
    Labels,
    control_task,
    encode,
    lone_types,
    missing,
    numbers,
    shuffled,
)
from lantern_probe.probing.folds import Groups, group_folds
from lantern_probe.vocabulary import VALUE

TRIES = 100
"""Most draws of control tasks in search of enough that can be fitted."""


@dataclass(frozen=True)
class ProbeSettings:
    """Numbers of folds, control tasks and permutations, and the seed of all three.

    Attributes:
        folds: Number of cross-validation folds, default 5; an image is never split.
        controls: Number of control tasks in the mean control score, default 3.
        permutations: Number of permutations of the test, default 99. The smallest possible p is
            1 / (permutations + 1).
        seed: Seed of the folds, the control tasks and the permutations, default 0.
        test_seed: Seed of the permutations and of the bootstrap of the best slot, where it is not
            `seed`: the same for all seeds of one probe, so that their mean has a permutation
            distribution. None (default) for `seed`.
    """

    folds: int = 5
    controls: int = 3
    permutations: int = 99
    seed: int = 0
    test_seed: int | None = None

    @property
    def shared_seed(self) -> int:
        """Seed of whatever must be alike in all sites and seeds."""
        return self.seed if self.test_seed is None else self.test_seed


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
        permuted = shuffled(truth, some, settings.permutations, settings.shared_seed)
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


def _control_values(truth: Float[Tensor, " n"], types: Sequence[Any], seed: int) -> Tensor:
    """Draw a random value for every type among the true ones."""
    rng = np.random.default_rng([seed, 4])
    names = sorted({str(t) for t in types})
    drawn = dict(zip(names, rng.choice(truth.numpy(), size=len(names)).tolist(), strict=True))
    return torch.tensor([drawn[str(t)] for t in types], dtype=truth.dtype)
