"""The online code: its length by hand, and portions that keep images whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.probing.online_code import FRACTIONS, online_code


def planted(
    n: int, dim: int, classes: int, strength: float, seed: int = 0
) -> tuple[torch.Tensor, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    means = rng.normal(size=(classes, dim)) * strength
    x = torch.tensor(rng.normal(size=(n, dim)) + means[labels], dtype=torch.float32)
    return x, [f"c{label}" for label in labels]


def test_the_online_code_by_hand_on_what_teaches_nothing_and_everything():
    n = 256
    x, labels = planted(n, 8, 4, strength=8)
    codes = torch.tensor([int(label[1:]) for label in labels])
    groups = list(range(n))
    told = online_code(x, codes, groups, C=1.0)
    noise = online_code(
        torch.randn(n, 8, generator=torch.Generator().manual_seed(0)), codes, groups, C=0.01
    )
    assert told.uniform == noise.uniform == n * 2
    ends = sorted({max(1, math.ceil(f * n)) for f in FRACTIONS})
    assert list(told.portions) == ends
    # The first samples cost two bits each; what follows is nearly free.
    assert told.bits < 0.25 * told.uniform and told.compression > 4
    assert 0.9 * noise.uniform < noise.bits < 1.3 * noise.uniform
    again = online_code(x, codes, groups, C=1.0)
    assert again.bits == told.bits


def test_constant_features_cost_what_the_frequencies_do():
    codes = torch.tensor([0] * 80 + [1] * 40 + [2] * 10)
    code = online_code(torch.ones(130, 3), codes, range(130), C=0.1)
    assert code.bits == pytest.approx(code.frequencies, rel=1e-4) and code.compression < 1.001
    assert code.frequencies < code.uniform, "unbalanced classes are short without features"


def test_what_teaches_nothing_is_not_compressed():
    """Classes of .4 to .05, 300 samples, means of 10 sets: the uniform code is longer by far."""
    shares = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    found, uniform = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        codes = torch.tensor(rng.choice(5, p=shares, size=300))
        x = torch.tensor(rng.normal(size=(300, 32)), dtype=torch.float32)
        code = online_code(x, codes, range(300), C=0.001)
        found.append(code.compression)
        uniform.append(code.uniform / code.bits)
    assert 0.95 < np.mean(found) < 1.01 < 1.05 < np.mean(uniform)


def test_a_portion_never_parts_an_image():
    x, labels = planted(90, 4, 2, strength=1)
    codes = torch.tensor([int(label[1:]) for label in labels])
    code = online_code(x, codes, [i // 3 for i in range(90)], C=1.0)
    assert all(end % 3 == 0 for end in code.portions) and code.portions[-1] == 90


@pytest.mark.parametrize("codes", [[0, -1, -1], [0, 0, 0], [-1, -1, -1]])
def test_fewer_than_two_labels_or_classes_are_refused(codes: list[int]) -> None:
    with pytest.raises(LanternError, match="two labels and two classes"):
        online_code(torch.randn(3, 2), torch.tensor(codes), range(3), C=1.0)
