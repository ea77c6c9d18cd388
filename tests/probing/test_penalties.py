"""The choice of a penalty: grids, ties, and folds that are never seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.penalties import check_grid, choose_inside, first_best


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [-1.0], [1.0, 1.0], [2.0, 1.0], [float("inf")]])
def test_a_grid_that_is_empty_or_does_not_rise_above_zero_is_refused(values: list[float]) -> None:
    with pytest.raises(LanternError, match="Cs must be one or more positive numbers"):
        check_grid("Cs", values)


def test_a_grid_is_returned_as_floats() -> None:
    assert check_grid("Cs", (1, 10)) == [1.0, 10.0]


def test_the_first_of_the_best_scores_wins_and_rounding_is_a_tie() -> None:
    scores = torch.tensor([[0.1, 0.5], [0.7, 0.5 + 1e-12], [0.7 + 1e-12, 0.4]], dtype=torch.float64)
    assert first_best(scores).tolist() == [1, 0]


def test_each_fold_is_chosen_for_by_the_others_alone() -> None:
    """Penalty f is best on fold f only, so whoever sees the held-out fold chooses it."""
    folds = torch.arange(9) % 3
    asked: list[tuple[int, int]] = []

    def score(fold: int) -> Tensor:
        return torch.eye(3, dtype=torch.float64)[:, [fold]]

    def scores(f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        pair = int(folds[f][0]), int(folds[g][0])
        assert f.sum() == g.sum() == 3
        asked.append(pair)
        return score(pair[0]), score(pair[1])

    chosen = choose_inside(folds, 3, scores)
    assert asked == [(0, 1), (0, 2), (1, 2)], "each pair is trained once"
    assert chosen.shape == (3, 1)
    assert chosen[:, 0].tolist() == [1, 0, 0]


def test_two_folds_leave_nothing_to_choose_by() -> None:
    with pytest.raises(LanternError, match="at least 3 folds, not 2"):
        choose_inside(torch.tensor([0, 1]), 2, lambda f, g: (torch.ones(1, 1), torch.ones(1, 1)))
