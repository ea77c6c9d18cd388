"""Families of probes: the largest score over sites that saw the same permutations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lantern_probe.probing.families import family_p
from lantern_probe.probing.site_scores import ProbeSettings, make_target, probe_row, score_site


def rows_of(n: int, sites: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Probes of noise, with 6 rare labels of which a permutation may bring too few to training."""
    rng = np.random.default_rng(0)
    names = ["rare" if i < 6 else "common" for i in range(60)][:n]
    settings = ProbeSettings(folds=5, controls=0, permutations=count)
    target = make_target("color", names, list(range(n)), ["t"] * n, settings)
    rows = []
    for site in sites:
        x = torch.tensor(rng.normal(size=(n, 8)), dtype=torch.float32)
        rows.append(probe_row(site, None, target, score_site(x, target), {}))
    return rows


def test_views_of_other_samples_are_families_of_their_own():
    """6 rare samples of 60: 95 or so of 99 permutations can be fitted, others with 57 samples."""
    own = rows_of(60, ("residual.0@slot", "latent@slot"), 99)
    oracle = rows_of(57, ("oracle:latent@slot",), 99)
    lengths = {len(row["null"]) for row in own + oracle}
    assert len(lengths) == 2 and max(lengths) < 99
    assert family_p(own + oracle) == family_p(own) + family_p(oracle)
    assert family_p(oracle) == [oracle[0]["p"]]


def test_the_maximum_is_over_the_same_permutation():
    rows: list[dict[str, Any]] = [
        {"target": "c", "site": "a", "tested": 0.5, "null": [0.9, 0.1, 0.2], "drawn": [0, 1, 3]},
        {"target": "c", "site": "b", "tested": 0.5, "null": [0.6, 0.1, 0.1], "drawn": [1, 2, 3]},
        {"target": "c", "site": "c", "tested": 0.5, "null": []},
    ]
    # Shared are 1 and 3, with maxima .6 and .2.
    assert family_p(rows) == [2 / 3, 2 / 3, None]
