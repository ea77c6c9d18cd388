"""Folds keep groups whole, and are as alike as whole groups allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.probing import group_folds
from lantern_probe.probing.folds import check_folds


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(-1, 3)), min_size=2, max_size=60),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_no_group_is_split_and_no_fold_is_empty(
    rows: list[tuple[int, int]], n_folds: int, seed: int
) -> None:
    groups = [f"image {row[0]}" for row in rows]
    labels = torch.tensor([row[1] for row in rows])
    if len(set(groups)) < n_folds:
        with pytest.raises(LanternError, match=f"cannot fill {n_folds} folds"):
            group_folds(groups, n_folds, labels, seed)
        return
    for given_labels in (labels, None):
        folds = group_folds(groups, n_folds, given_labels, seed)
        assert sorted(set(folds.tolist())) == list(range(n_folds))
        assert len(set(zip(groups, folds.tolist(), strict=True))) == len(set(groups))


def test_labels_and_sizes_are_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    labels = torch.tensor(rng.choice(4, size=600, p=[0.7, 0.2, 0.07, 0.03]))
    groups = np.arange(600) // 3
    folds = group_folds(groups, 5, labels)
    table = torch.stack([labels[folds == fold].bincount(minlength=4) for fold in range(5)])
    assert (table - table.double().mean(0)).abs().max() <= 3  # one group
    assert table.sum(1).max() - table.sum(1).min() <= 6
    sizes = group_folds(groups, 7).bincount()
    assert sizes.max() - sizes.min() <= 3


def test_the_seed_decides_and_nothing_else() -> None:
    groups = np.arange(100) // 2
    first = group_folds(groups, 5)
    assert torch.equal(first, group_folds(groups.tolist(), 5, seed=0))
    assert not torch.equal(first, group_folds(groups, 5, seed=1))


def test_what_cannot_be_dealt_out_is_refused() -> None:
    with pytest.raises(LanternError, match="at least 2 folds, not 1"):
        group_folds(range(9), 1)
    with pytest.raises(LanternError, match="3 labels for the 4 samples"):
        group_folds(range(4), 2, torch.zeros(3, dtype=torch.long))
    with pytest.raises(LanternError, match="3 fold numbers for 4 samples"):
        check_folds(torch.tensor([0, 1, 1]), 4)
