"""Erasure: what no linear probe finds any more, how little else changes, and the transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from lantern_probe.errors import LanternError
from lantern_probe.probing import LeaceEraser, LinearProbe
from lantern_probe.probing.erasure import fit_eraser, random_eraser


def planted(n: int, dim: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, list[int]]:
    """Correlated noise with class means on top."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    means = rng.normal(size=(classes, dim)) * 2
    x = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) / dim**0.5 + means[labels]
    return torch.tensor(x, dtype=torch.float32), labels.tolist()


def covariance(x: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """Between vectors and one-hot labels."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(labels)).double()
    centred = x.double() - x.double().mean(0)
    return centred.T @ (one_hot - one_hot.mean(0)) / len(x)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 60), st.integers(1, 40), st.integers(2, 5), st.integers(0, 1000))
def test_nothing_linear_is_left_on_the_fitted_vectors(n: int, dim: int, classes: int, seed: int):
    x, labels = planted(n, dim, classes, seed)
    if len(set(labels)) < 2:
        return
    eraser = fit_eraser(x, labels)
    erased = eraser(x)
    assert eraser.rank <= min(len(set(labels)) - 1, dim)
    assert covariance(erased, labels).abs().max() < 1e-5 * max(1, x.abs().max().item()) ** 2
    assert torch.allclose(erased.double().mean(0), x.double().mean(0), atol=1e-4)
    assert torch.allclose(eraser(erased), erased, atol=1e-3)  # nothing is left to take
    assert erased.dtype == x.dtype and erased.shape == x.shape


def test_a_probe_falls_to_chance_on_new_samples_and_little_else_changes():
    x, labels = planted(8000, 20, 4)
    eraser = fit_eraser(x[:4000], labels[:4000])
    before = cross_val_score(LogisticRegression(max_iter=2000), x[4000:], labels[4000:]).mean()
    after = cross_val_score(
        LogisticRegression(max_iter=2000), eraser(x[4000:]), labels[4000:]
    ).mean()
    assert before > 0.9 and abs(after - 0.25) < 0.08
    control = random_eraser(x[:4000], eraser.rank, torch.Generator().manual_seed(0))
    kept = cross_val_score(
        LogisticRegression(max_iter=2000), control(x[4000:]), labels[4000:]
    ).mean()
    assert control.rank == eraser.rank == 3 and kept > 0.8
    # Three of twenty directions are gone, the rest of each vector is where it was.
    moved = (eraser(x) - x).double()
    assert torch.linalg.matrix_rank(moved, rtol=1e-4) == 3


def test_few_samples_of_many_dimensions():
    """n = 30, D = 2048: exact on the fitted ones, and no explosion on others."""
    x, labels = planted(60, 2048, 3)
    eraser = fit_eraser(x[:30], labels[:30])
    assert covariance(eraser(x[:30]), labels[:30]).abs().max() < 1e-4
    others = x[30:]
    assert (eraser(others) - others).norm(dim=1).max() < 2 * others.norm(dim=1).max()


def test_refusals():
    x, labels = planted(20, 5, 3)
    with pytest.raises(LanternError, match="20 vectors for 19 labels"):
        fit_eraser(x, labels[:-1])
    with pytest.raises(LanternError, match="at least two different labels"):
        fit_eraser(x, ["a"] * 20)
    with pytest.raises(LanternError, match="do not differ"):
        fit_eraser(torch.ones(20, 5), labels)
    with pytest.raises(LanternError, match="vary in as many dimensions; these vary in 5"):
        random_eraser(x, 6, torch.Generator())
    x[4, 2] = torch.nan
    with pytest.raises(LanternError, match="vector 4 "):
        fit_eraser(x, labels)


def array(of: type, x: torch.Tensor) -> np.ndarray | torch.Tensor:
    return x if of is torch.Tensor else x.numpy()


@parametrize_with_checks(
    [LeaceEraser()],
    expected_failed_checks=lambda estimator: {
        "check_do_not_raise_errors_in_init_or_set_params": "annotations are enforced under pytest"
    },
    xfail_strict=True,
)
def test_scikit_learns_checks_of_a_transformer(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("of", [np.ndarray, torch.Tensor])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_transformer_is_the_eraser(of: type, dtype: torch.dtype) -> None:
    x, labels = planted(200, 12, 3)
    x = x.to(dtype)
    expected = fit_eraser(x, labels)
    found = LeaceEraser().fit(array(of, x), array(of, torch.tensor(labels)))
    erased = found.transform(array(of, x))
    assert isinstance(erased, of) and erased.dtype == array(of, x).dtype
    torch.testing.assert_close(torch.as_tensor(erased), expected(x))
    assert found.eraser_.rank == expected.rank == 2 and found.n_features_in_ == 12
    # Names, and the other kind of array, say the same.
    named = LeaceEraser().fit(x, np.array(["a", "b", "c"])[labels]).transform(x.numpy())
    torch.testing.assert_close(torch.from_numpy(named), expected(x))


def test_a_tensor_may_have_further_dimensions() -> None:
    x, labels = planted(60, 5, 2)
    eraser = LeaceEraser().fit(x, labels)
    torch.testing.assert_close(
        eraser.transform(x.view(6, 10, 5)), eraser.transform(x).view(6, 10, 5)
    )


def test_the_transformer_leaves_a_probe_the_most_frequent_class() -> None:
    x, labels = planted(300, 10, 4)
    y = np.array([0 if label == 3 else label for label in labels])  # one class twice as frequent
    most = float((y == 0).mean())
    assert LinearProbe().fit(x.numpy(), y).score(x.numpy(), y) > most + 0.3
    pipeline = make_pipeline(LeaceEraser(), LinearProbe())
    assert pipeline.fit(x.numpy(), y).score(x.numpy(), y) == pytest.approx(most)


def test_the_transformer_is_cloned_with_its_parameters() -> None:
    x, labels = planted(50, 6, 2)
    eraser = LeaceEraser(rcond=1e-3).fit(x.numpy(), labels)
    copy = clone(eraser)
    assert copy.get_params() == {"rcond": 1e-3} and not hasattr(copy, "eraser_")
    assert copy.set_params(rcond=1e-6).rcond == 1e-6
    with pytest.raises(NotFittedError):
        copy.transform(x.numpy())


def test_the_transformer_refuses_what_it_cannot_erase() -> None:
    x, labels = planted(20, 5, 2)
    with pytest.raises(LanternError, match="at least two different labels"):
        LeaceEraser().fit(x.numpy(), np.zeros(20, int))
    with pytest.raises(ValueError, match="Unknown label type"):
        LeaceEraser().fit(x.numpy(), np.linspace(0, 1, 20))
    with pytest.raises(LanternError, match=r"features \[n, dim\], not \[20\]"):
        LeaceEraser().fit(x[:, 0], labels)
    eraser = LeaceEraser().fit(x, labels)
    with pytest.raises(LanternError, match="fitted on 5 features, not 4"):
        eraser.transform(x[:, :4])
    with pytest.raises(ValueError, match="4 features"):
        eraser.transform(x[:, :4].numpy())
