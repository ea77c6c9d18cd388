"""Folds for cross-validation that keep the samples of one image together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from lantern_probe.errors import LanternError

Groups = Sequence[Hashable] | NDArray[Any]
"""One name per sample, [n]: the image, or another unit that folds must not split."""


def group_folds(
    groups: Groups, n_folds: int, labels: Int[Tensor, " n"] | None = None, seed: int = 0
) -> Int[Tensor, " n"]:
    """Assign each sample to a fold: groups stay whole, folds are alike in size and in labels.

    Groups are assigned one by one, the largest first, groups of equal size in a random order. Each
    goes to the fold that so far has least of the labels the group brings, and among those to the
    smallest. Folds come out as alike as whole groups allow.

    Args:
        groups: Group of each sample, [n], such as its image.
        n_folds: Number of folds, none of them empty.
        labels: Class of each sample, [n], to be spread evenly; -1 (no label) is a class of its own.
            None (default) balances the sizes only.
        seed: Seed of the order of the groups, default 0.

    Returns:
        Fold of each sample, [n], counted from 0.

    Raises:
        LanternError: fewer than 2 folds, fewer groups than folds, or labels of another length.
    """
    names = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    if n_folds < 2:
        raise LanternError(f"cross-validation needs at least 2 folds, not {n_folds}")
    if len(index) < n_folds:
        raise LanternError(
            f"{len(index)} groups cannot fill {n_folds} folds, as a group is never split; use at "
            f"most {len(index)} folds"
        )
    if labels is not None and len(labels) != len(names):
        raise LanternError(f"{len(labels)} labels for the {len(names)} samples of the folds")
    place = np.array([index[name] for name in names])
    classes = np.zeros(len(names), np.int64) if labels is None else labels.cpu().numpy()
    _, classes = np.unique(classes, return_inverse=True)
    brings = np.zeros((len(index), classes.max() + 1))
    np.add.at(brings, (place, classes), 1)
    # Relative to the size of the class, so that a rare one is spread as evenly as a common one.
    shares = brings / brings.sum(0)
    has = np.zeros((n_folds, brings.shape[1]))
    fold_of = np.zeros(len(index), np.int64)
    order = np.random.default_rng(seed).permutation(len(index))
    for group in order[np.argsort(-brings.sum(1)[order], kind="stable")]:
        fold = np.lexsort((has.sum(1), (has * shares[group]).sum(1).round(12)))[0]
        has[fold] += brings[group]
        fold_of[group] = fold
    return torch.from_numpy(fold_of[place])


def check_folds(folds: Int[Tensor, " n"], samples: int) -> int:
    """Number of folds, after checking that none is empty.

    Raises:
        LanternError: there is not one fold per sample, there are fewer than 2 folds, or one of them
            is empty.
    """
    if len(folds) != samples:
        raise LanternError(f"{len(folds)} fold numbers for {samples} samples; give each one")
    used = sorted(set(folds.tolist()))
    if len(used) < 2 or used != list(range(len(used))):
        raise LanternError(f"folds are numbered from 0 and none is empty, at least 2; got {used}")
    return len(used)
