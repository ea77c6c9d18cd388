"""What latents look like: alike or not, how many directions, near their oracles or not.

No model is needed: vectors go in as `VectorSet`, and everything comes out as `GeometryRow`, one
flat record per number, from which tables and figures (`geometry_plots`) are made.

`similarity`: cosines between samples and between slots. `rank`: effective rank at equal n.
`alignment`: debiased CKA and RSA. `preference`: cosines to the oracle, USP. `path`: norms and
drift over the slots. `vectors`: checks and spaces. `resampling`: bootstrap and exchanges of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lantern_probe.geometry.alignment import alignment_rows, debiased_cka
from lantern_probe.geometry.effective_rank import (
    effective_rank,
    participation_ratio,
    rank_rows,
    singular_values,
)
from lantern_probe.geometry.norms import norm_rows, path_rows
from lantern_probe.geometry.oracle_preference import preference_rows
from lantern_probe.geometry.row import GeometryRow
from lantern_probe.geometry.similarity import cosine_rows
from lantern_probe.geometry.vectors import SPACES, VectorSet, in_space

__all__ = [
    "SPACES",
    "GeometryRow",
    "VectorSet",
    "alignment_rows",
    "cosine_rows",
    "debiased_cka",
    "effective_rank",
    "geometry_rows",
    "in_space",
    "norm_rows",
    "participation_ratio",
    "path_rows",
    "preference_rows",
    "rank_rows",
    "singular_values",
]


def geometry_rows(
    own: VectorSet,
    oracle: VectorSet | None = None,
    references: Sequence[VectorSet] = (),
    *,
    labels: Sequence[Any] | None = None,
    seed: int = 0,
) -> list[GeometryRow]:
    """Every measure of this package with its defaults.

    Args:
        own: Own latents [n, slots, dim].
        oracle: Oracle latents of the same samples, if there are any.
        references: What to compare with: the same cosines, norms and ranks of dummy tokens,
            ordinary tokens, image tokens; of the same samples where there are labels.
        labels: Of each sample, such as its question, for cosines between samples alike.
        seed: Of every bootstrap, draw and permutation.

    Raises:
        LanternError: own and oracle are not of the same samples, or a set has too few images.
    """
    latents = [own] if oracle is None else [own, oracle]
    rows = []
    for vectors in (*latents, *references):
        rows += cosine_rows(vectors, labels=labels, seed=seed) + norm_rows(vectors, seed=seed)
    for vectors in latents:
        rows += path_rows(vectors, seed=seed)
    rows += rank_rows([*latents, *references], seed=seed)
    if oracle is not None:
        rows += alignment_rows(own, oracle, seed=seed) + preference_rows(own, oracle, seed=seed)
    return rows
