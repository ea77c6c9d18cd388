"""The geometry of latents: similarity, rank, alignment with the oracle, retrieval, projections.

No model is needed. Vectors go in as `VectorSet`. Measures come out as `GeometryRow`, one flat
record per number, from which `lantern_probe.plots.geometry` draws.

`vectors`: checked sets of vectors, and the spaces in which they are compared. `row`: the record.
`similarity`: cosines between samples and between slots. `norms`: lengths, and drift over the slots.
`dimensionality`: effective rank and spectrum at equal n. `alignment`: debiased CKA and RSA.
`oracle_preference`: cosines to the oracle, USP. `overview`: all of these at once. `retrieval`: each
sample's oracle by its own latents; `retrieval_within`: among samples alike; `retrieval_tests`: the
tests of both; `retrieval_correctness`: rank and right answers. `projection`: PCA and UMAP, the only
module here that loads torch. Bootstrap and permutations of images are in
`lantern_probe.stats.resampling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.geometry.alignment import alignment_rows, debiased_cka
    from lantern_probe.geometry.dimensionality import (
        effective_rank,
        participation_ratio,
        rank_rows,
        singular_values,
    )
    from lantern_probe.geometry.norms import norm_rows, path_rows
    from lantern_probe.geometry.oracle_preference import preference_rows
    from lantern_probe.geometry.overview import geometry_rows
    from lantern_probe.geometry.projection import embed, explained_variance
    from lantern_probe.geometry.retrieval import Retrieval, retrieve
    from lantern_probe.geometry.retrieval_correctness import RankCorrectness, rank_correctness
    from lantern_probe.geometry.retrieval_tests import RECALL_AT, RankTest, rank_test_from_summary
    from lantern_probe.geometry.retrieval_within import AlikeRetrieval, retrieve_alike
    from lantern_probe.geometry.row import GeometryRow
    from lantern_probe.geometry.similarity import cosine_rows
    from lantern_probe.geometry.vectors import SPACES, VectorSet, in_space

__all__ = [
    "RECALL_AT",
    "SPACES",
    "AlikeRetrieval",
    "GeometryRow",
    "RankCorrectness",
    "RankTest",
    "Retrieval",
    "VectorSet",
    "alignment_rows",
    "cosine_rows",
    "debiased_cka",
    "effective_rank",
    "embed",
    "explained_variance",
    "geometry_rows",
    "in_space",
    "norm_rows",
    "participation_ratio",
    "path_rows",
    "preference_rows",
    "rank_correctness",
    "rank_rows",
    "rank_test_from_summary",
    "retrieve",
    "retrieve_alike",
    "singular_values",
]

__getattr__ = lazily(
    __name__,
    alignment="alignment_rows debiased_cka",
    dimensionality="effective_rank participation_ratio rank_rows singular_values",
    norms="norm_rows path_rows",
    oracle_preference="preference_rows",
    overview="geometry_rows",
    projection="embed explained_variance",
    retrieval="Retrieval retrieve",
    retrieval_correctness="RankCorrectness rank_correctness",
    retrieval_tests="RECALL_AT RankTest rank_test_from_summary",
    retrieval_within="AlikeRetrieval retrieve_alike",
    row="GeometryRow",
    similarity="cosine_rows",
    vectors="SPACES VectorSet in_space",
)
