"""Everything that is measured of one model's sets of latents: geometry, retrieval, correctness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lantern_probe.errors import LanternError
from lantern_probe.geometry import (
    GeometryRow,
    VectorSet,
    alignment_rows,
    cosine_rows,
    geometry_rows,
    norm_rows,
    path_rows,
    preference_rows,
)
from lantern_probe.geometry.retrieval import Retrieval, retrieve
from lantern_probe.geometry.retrieval_correctness import RankCorrectness, rank_correctness
from lantern_probe.geometry.retrieval_within import AlikeRetrieval, retrieve_alike
from lantern_probe.geometry.vectors import DUMMY, FORCED, IMAGE, ORACLE, OWN, QUESTION, WORDS

FEWEST = 5
"""Samples below which there is nothing to measure: a rank is taken of 4/5 of them."""

QUERIES = (OWN, FORCED, DUMMY, IMAGE)
"""Sets that are asked for their oracle."""


@dataclass(frozen=True, eq=False)
class LatentSets:
    """All sets of latents of one model, of the same samples in the same order.

    Attributes:
        sets: Sets by name; `word embeddings` alone is of tokens, not samples.
        samples: One record per sample, with its columns.
        left_out: Number of samples that lack a block, an oracle or a state.
    """

    sets: Mapping[str, VectorSet]
    samples: Sequence[Mapping[str, Any]]
    left_out: int

    def labels(self, column: str) -> list[Any]:
        """A column of the samples.

        Args:
            column: Name of the column.

        Raises:
            LanternError: not every sample has it.
        """
        if any(row.get(column) is None for row in self.samples):
            raise LanternError(
                f"not every sample has {column!r}; there are {', '.join(sorted(self.samples[0]))}"
            )
        return [row[column] for row in self.samples]


def measure_geometry(latents: LatentSets, alike: str, seed: int = 0) -> list[GeometryRow]:
    """Every measure of `lantern_probe.geometry`, of both ways to generate latents.

    Args:
        latents: Sets of one model.
        alike: Column whose value samples share where they are alike, such as `prompt`.
        seed: Seed of every bootstrap, draw and permutation.

    Raises:
        LanternError: not every sample has such a column.
    """
    sets = latents.sets
    own, forced, oracle = (sets[name] for name in (OWN, FORCED, ORACLE))
    references = [sets[name] for name in (FORCED, DUMMY, QUESTION, IMAGE)]
    rows = geometry_rows(own, oracle, references, labels=latents.labels(alike), seed=seed)
    rows += path_rows(forced, seed=seed) + path_rows(sets[DUMMY], seed=seed)
    rows += alignment_rows(forced, oracle, seed=seed) + preference_rows(forced, oracle, seed=seed)
    # Too few different words for a rank next to the others'.
    return rows + cosine_rows(sets[WORDS], seed=seed) + norm_rows(sets[WORDS], seed=seed)


def measure_retrieval(
    latents: LatentSets, alike: str, seed: int = 0
) -> tuple[dict[str, list[Retrieval]], dict[str, list[AlikeRetrieval]]]:
    """Retrieval of the own oracle by query: among all samples, and among samples alike.

    Args:
        latents: Sets of one model.
        alike: Column whose value samples share where they are alike, such as `prompt`.
        seed: Seed of every draw.

    Raises:
        LanternError: not every sample has such a column.
    """
    labels = latents.labels(alike)
    among_all, among_alike = {}, {}
    for name in QUERIES:
        query, gallery = latents.sets[name], latents.sets[ORACLE]
        if not query.slotted:
            gallery = gallery.mean_over_slots()
        views = retrieve(query, gallery, seed=seed)
        among = retrieve_alike(query, gallery, labels, seed=seed)
        # Of what has no slots all views are the same.
        among_all[name] = [v for v in views if query.slotted or v.view == "pooled"]
        among_alike[name] = [v for v in among if query.slotted or v.view == "pooled"]
    return among_all, among_alike


def measure_correctness(
    latents: LatentSets, views: Sequence[Retrieval], seed: int = 0
) -> dict[str, RankCorrectness]:
    """By view, how well a sample's rank predicts that the model's answer was right.

    Args:
        latents: Sets of one model; samples without a known answer are left out.
        views: Retrieval among all samples.
        seed: Seed of every draw.
    """
    known = [i for i, row in enumerate(latents.samples) if row["correct"] is not None]
    if not known:
        return {}
    right = [latents.samples[i]["correct"] for i in known]
    images = [latents.samples[i]["cluster"] for i in known]
    return {
        view.view: rank_correctness(view.ranks[known], np.array(right, int), images, seed=seed)
        for view in views
    }


def retrieval_record(
    latents: LatentSets,
    model: str,
    data: str,
    alike: str,
    among_all: Mapping[str, Sequence[Retrieval]],
    among_alike: Mapping[str, Sequence[AlikeRetrieval]],
    correctness: Mapping[str, RankCorrectness],
) -> dict[str, Any]:
    """Retrieval of one model as it is written down, in `retrieval.json`.

    Args:
        latents: Sets of latents of the model.
        model: Name of the model.
        data: Name of the data.
        alike: Column whose value samples share where they are alike.
        among_all: Retrieval among all samples, by query.
        among_alike: Retrieval among samples alike, by query.
        correctness: By view, how well ranks predict answers.
    """
    return {
        "model": model,
        "data": data,
        "n": len(latents.samples),
        "left_out": latents.left_out,
        "alike": alike,
        "samples": [row["sample"] for row in latents.samples],
        "images": latents.sets[OWN].images,
        "among_all": among_all,
        "among_alike": among_alike,
        "correctness": correctness,
    }
