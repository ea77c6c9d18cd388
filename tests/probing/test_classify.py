"""Out-of-fold predictions of many problems at once, against loops of scikit-learn pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing import (
    classify,
    fit_predict,
    grid_predict,
    group_folds,
    predict_split,
    ridge_predict,
)
from lantern_probe.probing.classify import check_problems

CS = (1e-3, 1e-1, 10.0)


def planted(n: int, dim: int, classes: int, strength: float, seed: int = 0) -> tuple[Tensor, ...]:
    """Features in which a label stands, the label, and folds of groups of two samples."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    features = rng.normal(size=(n, dim)) + strength * rng.normal(size=(classes, dim))[labels]
    features = features * rng.uniform(0.1, 10, dim) + rng.normal(size=dim) * 5
    labels = torch.tensor(labels)
    return torch.tensor(features), labels, group_folds(np.arange(n) // 2, 4, labels)


def controls(labels: Tensor, count: int, seed: int = 0) -> Tensor:
    """Permutations of the labels, after the labels themselves."""
    rng = np.random.default_rng(seed)
    return torch.stack([labels] + [labels[rng.permutation(len(labels))] for _ in range(count)])


def pipeline(C: float = 1.0) -> object:
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-10, max_iter=20_000))


def by_scikit_learn(
    features: Tensor, labels: Tensor, folds: Tensor, C: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and log-probabilities of the true class, out of fold; -1 labels left out."""
    x, y, f = features.double().numpy(), labels.numpy(), folds.numpy()
    predicted, logprobs = np.full(len(y), -1), np.full(len(y), np.nan)
    for fold in np.unique(f):
        train, test = (f != fold) & (y >= 0), (f == fold) & (y >= 0)
        model = pipeline(C).fit(x[train], y[train])
        predicted[test] = model.predict(x[test])
        shares = dict(zip(model.classes_, model.predict_log_proba(x[test]).T, strict=True))
        absent = np.full(test.sum(), -np.inf)
        logprobs[test] = [shares.get(k, absent)[i] for i, k in enumerate(y[test])]
    return predicted, logprobs


@pytest.mark.parametrize(
    ("n", "dim", "strength"), [(60, 8, 0.0), (60, 8, 0.4), (60, 8, 4.0), (40, 90, 0.4)]
)
def test_every_problem_is_scikit_learns(n: int, dim: int, strength: float) -> None:
    features, labels, folds = planted(n, dim, 4, strength)
    problems = torch.stack([*controls(labels, 1), labels % 2])
    loose = grid_predict(features, problems, folds, CS)
    single = grid_predict(features.float(), problems, folds, CS)
    tight = grid_predict(features, problems, folds, CS, tol=1e-6)
    accuracy = np.zeros((len(CS), len(problems)))
    for c, C in enumerate(CS):
        for p, problem in enumerate(problems):
            predicted, logprobs = by_scikit_learn(features, problem, folds, C)
            accuracy[c, p] = np.mean(predicted == problem.numpy())
            assert tight.predicted[c, p].tolist() == predicted.tolist()
            assert tight.logprobs[c, p].numpy() == pytest.approx(logprobs, abs=1e-3, rel=1e-3)
            for held in (loose, single):
                assert held.logprobs[c, p].numpy() == pytest.approx(logprobs, abs=0.02, rel=0.02)
    for held in (loose, single):
        # A sample on the fence may fall to either side: half a point, where one is 1.7 points.
        assert held.accuracy(problems).mean() == pytest.approx(accuracy.mean(), abs=0.005)


def test_a_planted_label_is_found_and_a_control_is_not() -> None:
    features, labels, folds = planted(200, 128, 5, 0.6)
    problems = controls(labels, 20)
    accuracy = fit_predict(features.float(), problems, folds, CS).accuracy(problems)
    assert accuracy[0] > 0.95
    # 21 guesses among 5: the mean of 20 x 200 has a standard error of .006.
    assert accuracy[1:].mean() == pytest.approx(0.2, abs=0.03)


def test_the_choice_of_c_is_that_of_a_grid_search_inside_the_training_folds() -> None:
    features, labels, folds = planted(60, 40, 3, 0.3)
    problems = controls(labels, 2)
    held = fit_predict(features, problems, folds, CS, tol=1e-6)
    assert len(held.Cs.unique()) > 1, "nothing to choose between"
    for p, problem in enumerate(problems):
        for fold in range(4):
            train = (folds != fold).numpy()
            search = GridSearchCV(
                pipeline(),
                {"logisticregression__C": CS},
                cv=PredefinedSplit(folds.numpy()[train]),
            ).fit(features.numpy()[train], problem.numpy()[train])
            assert held.Cs[p, fold] == search.best_params_["logisticregression__C"]
            expected = search.predict(features.numpy()[~train])
            assert held.predicted[p, ~train].tolist() == expected.tolist()


def test_the_fold_held_out_plays_no_part() -> None:
    features, labels, folds = planted(48, 20, 3, 0.3)
    problems = controls(labels, 1)
    before = fit_predict(features, problems, folds, CS)
    inside = folds == 2
    changed = features.clone()
    changed[inside] = 100 * changed[inside].flip(0) + 7
    relabelled = problems.clone()
    relabelled[:, inside] = relabelled[:, inside].flip(1)
    one = fit_predict(changed, problems, folds, CS)
    two = fit_predict(features, relabelled, folds, CS)
    assert torch.equal(one.Cs[:, 2], before.Cs[:, 2])
    assert torch.equal(two.Cs[:, 2], before.Cs[:, 2])
    assert torch.equal(two.predicted[:, inside], before.predicted[:, inside])
    assert not torch.equal(one.predicted[:, ~inside], before.predicted[:, ~inside])


def test_samples_without_a_label_are_left_out_of_that_problem() -> None:
    features, labels, folds = planted(80, 20, 3, 0.5)
    partly = labels.clone()
    partly[::3] = -1
    problems = torch.stack([labels, partly, controls(labels, 1)[1]])
    held = grid_predict(features, problems, folds, (0.1,), tol=1e-6)
    for p, problem in enumerate(problems):
        predicted, logprobs = by_scikit_learn(features, problem, folds, 0.1)
        assert held.predicted[0, p].tolist() == predicted.tolist()
        assert held.logprobs[0, p].numpy() == pytest.approx(logprobs, abs=1e-4, nan_ok=True)
    assert torch.equal(held.logprobs[0, 1].isnan(), partly < 0)
    right = (held.predicted[0, 1] == partly)[partly >= 0].double().mean()
    assert held.accuracy(problems)[0, 1] == pytest.approx(right)


def test_a_class_absent_from_a_training_part_is_never_predicted_there() -> None:
    features, labels, folds = planted(60, 15, 3, 1.0)
    labels = labels.clone()
    labels[folds == 1] = labels[folds == 1] % 2
    labels[(folds == 1).nonzero()[0]] = 7
    labels[(labels == 2).nonzero()[:1]] = 5
    predicted, logprobs = by_scikit_learn(features, labels, folds, 1.0)
    held = grid_predict(features, labels[None], folds, (1.0,), tol=1e-6)
    assert held.predicted[0, 0].tolist() == predicted.tolist()
    assert np.isneginf(logprobs).sum() == 2
    assert held.logprobs[0, 0].numpy() == pytest.approx(logprobs, abs=1e-3)


def test_problems_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, folds = planted(48, 30, 4, 0.3)
    partly = labels.clone()
    partly[5:15] = -1
    problems = torch.stack([*controls(labels, 1), partly, labels % 2])
    together = fit_predict(features, problems, folds, CS[1:])
    order = torch.tensor([2, 0, 3, 1])
    shuffled = fit_predict(features, problems[order], folds, CS[1:])
    monkeypatch.setattr(classify, "_STACK", 1)  # every problem in a stack of its own
    alone = fit_predict(features, problems, folds, CS[1:])
    for other, back in ((shuffled, order.argsort()), (alone, torch.arange(4))):
        assert torch.equal(other.predicted[back], together.predicted)
        assert torch.equal(other.Cs[back], together.Cs)
        torch.testing.assert_close(other.logprobs[back], together.logprobs, equal_nan=True)


def test_a_split_is_any_two_sets_of_samples() -> None:
    features, labels, _ = planted(60, 20, 3, 0.5)
    train, test = torch.arange(60) < 30, (torch.arange(60) >= 30) & (torch.arange(60) < 50)
    held = predict_split(features, labels[None], train, test, torch.tensor([[0.1]]), tol=1e-6)
    model = pipeline(0.1).fit(features.numpy()[:30], labels.numpy()[:30])
    assert held.predicted.shape == (1, 1, 20)
    assert held.predicted[0, 0].tolist() == model.predict(features.numpy()[30:50]).tolist()


def test_what_cannot_be_probed_is_refused() -> None:
    features, labels, folds = planted(40, 5, 2, 0.5)
    problems = labels[None]
    one_class = torch.stack([labels, torch.ones_like(labels)])
    with pytest.raises(LanternError, match="problem 1 .* has only class 1 among the 30 training"):
        fit_predict(features, one_class, folds)
    with pytest.raises(LanternError, match="problem 0 .* has no label"):
        fit_predict(features, torch.where(folds == 1, problems, -1), folds)
    broken = features.clone()
    broken[5, 2] = torch.nan
    for predict in (fit_predict, grid_predict):
        with pytest.raises(LanternError, match=r"features\[5, 2\] is nan"):
            predict(broken, problems, folds, (1.0,))
    with pytest.raises(LanternError, match="at least 3 folds, not 2"):
        fit_predict(features, problems, folds % 2, CS)
    assert fit_predict(features, problems, folds % 2, (1.0,)).Cs.shape == (1, 2)
    for bad in ((), (1.0, 0.1), (0.0,), (float("inf"),)):
        with pytest.raises(LanternError, match="Cs must be one or more positive numbers in rising"):
            fit_predict(features, problems, folds, bad)
    with pytest.raises(LanternError, match="numbered from 0 and none is empty"):
        fit_predict(features, problems, folds * 2)
    with pytest.raises(LanternError, match=r"\[p, 40\], not shape \[1, 39\]"):
        check_problems(problems[:, 1:], 40)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_made_on_another_device(dtype: torch.dtype) -> None:
    """A tensor made without a device would be on `meta` here, and mixing devices fails."""
    features, labels, folds = planted(40, 10, 3, 0.5)
    problems = controls(labels, 1)
    with torch.device("meta"):
        held = fit_predict(features.to(dtype), problems, folds, CS)
        ridge = ridge_predict(features.to(dtype), features[:, :2].to(dtype), folds, (0.1, 1.0))
    for result in (held.predicted, held.logprobs, held.Cs, ridge.predicted, ridge.alphas):
        assert result.device == features.device
    assert held.logprobs.dtype == ridge.predicted.dtype == dtype
