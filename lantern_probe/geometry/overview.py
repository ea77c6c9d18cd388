"""All measures of a set of latents, with their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lantern_probe.geometry.alignment import alignment_rows
from lantern_probe.geometry.dimensionality import rank_rows
from lantern_probe.geometry.norms import norm_rows, path_rows
from lantern_probe.geometry.oracle_preference import preference_rows
from lantern_probe.geometry.row import GeometryRow
from lantern_probe.geometry.similarity import cosine_rows
from lantern_probe.geometry.vectors import VectorSet


def geometry_rows(
    own: VectorSet,
    oracle: VectorSet | None = None,
    references: Sequence[VectorSet] = (),
    *,
    labels: Sequence[Any] | None = None,
    seed: int = 0,
) -> list[GeometryRow]:
    """Compute every measure of this room with its defaults, retrieval excepted.

    Args:
        own: Own latents, [n, slots, dim].
        oracle: Oracle latents of the same samples; None (default) leaves out the measures that
            compare the two.
        references: Sets to compare with, such as dummy tokens, ordinary tokens and image tokens.
            They get the same cosines, norms and ranks. With labels they must be of the same
            samples.
        labels: Label of each sample, [n], such as its question, for cosines between samples with
            the same label. None (default) leaves these out.
        seed: Seed of every bootstrap, draw and permutation, default 0.

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
