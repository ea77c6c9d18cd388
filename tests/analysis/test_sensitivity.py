"""How far latents move: by hand, from rows, and on models of which it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe.analysis import sensitivity
from lantern_probe.capture.sensitivity import between, distances
from lantern_probe.errors import LanternError

ROOT = Path(__file__).parents[2]


def test_the_shortest_latents_have_a_direction():
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 5, 3, 6, generator=generator)
    for unit in (2.0**-110, 2.0**110):
        assert torch.allclose(distances(one * unit, two / unit), distances(one, two))
        assert torch.allclose(between(one * unit), between(one))
    least = torch.tensor([[[1e-45, 0.0]], [[0.0, 1e-45]], [[0.0, 0.0]]])
    assert distances(least, least.flip(-1)).flatten().tolist() == [1, 1, 1]


def test_distances_by_hand():
    one = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [3.0, 3.0]]])
    two = torch.tensor([[[0.0, 5.0], [2.0, 0.0]], [[0.0, -1.0], [1.0, 1.0]]])
    assert distances(one, two).flatten().tolist() == pytest.approx([1, 0, 2, 0])
    assert (distances(one, one) >= 0).all()


def test_distance_between_samples_leaves_out_the_sample_itself():
    clean = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]]])
    # To the others: 1 and 2; 1 and 1; 2 and 1.
    assert between(clean).flatten().tolist() == pytest.approx([1.5, 1.0, 1.5])
    with pytest.raises(LanternError, match="need two of them, not 1"):
        between(clean[:1])


def test_shares_from_rows():
    rows: list[dict[str, Any]] = [
        {
            "sample": str(i),
            "condition": "blur",
            "status": "ok",
            "cluster": str(i),
            "moved": {"latent@slot": [0.1 + 0.01 * i, 0.3], "text": [0.0]},
            "between": {"latent@slot": [1.0, 0.6], "text": [0.5]},
        }
        for i in range(10)
    ]
    rows.append({"sample": "x", "condition": "blur", "status": "failed", "error": "gone"})
    found = {(s.site, s.slot): s for s in sensitivity.summarize(rows, model="m")}
    assert set(found) == {("latent@slot", s) for s in (None, 0, 1)} | {("text", None)}
    assert found["latent@slot", 0].moved.estimate == pytest.approx(0.145)
    assert found["latent@slot", 1].share.estimate == pytest.approx(0.5)
    assert found["latent@slot", None].share.estimate == pytest.approx((0.145 + 0.3) / 1.6)
    assert found["text", None].moved.n == 10 and found["text", None].share.estimate == 0
