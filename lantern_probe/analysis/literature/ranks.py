"""Published retrieval figures next to measured ones, in both readings.

The authors compare recall at k with k / n and find chance. The mean rank uses all ranks, so its
test can detect what recall at small k misses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm

from lantern_probe.analysis.literature.figures import ALL, PublishedFigure
from lantern_probe.errors import LanternError
from lantern_probe.geometry.retrieval_tests import RankTest, rank_test_from_summary
from lantern_probe.stats import mean_difference, wilson
from lantern_probe.stats.score import independent_difference
from lantern_probe.stats.ties import TIE


@dataclass(frozen=True)
class RetrievalLine:
    """One measure of retrieval, published and measured.

    Attributes:
        measure: Name of the measure: `R@1` and so on, `mean rank` or `MRR`.
        published: Published value.
        published_p: One-sided p value of the published value against random pairing, unadjusted: of
            recall by the exact binomial test against k / n, of the means by z, from n alone.
        chance: Expected value under random pairing of the published n samples.
        measured: Measured value.
        low: Lower end of the 95 % interval of `measured`: Wilson's for recall, else a bootstrap
            by image.
        high: Upper end of that interval.
        n: Number of samples measured.
        agrees: True if published and measured do not differ: 0 lies in the 95 % interval of their
            difference, as of independent samples (Newcombe's). The published recall has Wilson's
            interval; a published mean, of which no spread was published, has the measured one's
            distances. None if the published n is another one, since every measure depends on n.
    """

    measure: str
    published: float
    published_p: float
    chance: float
    measured: float
    low: float
    high: float
    n: int
    agrees: bool | None


@dataclass(frozen=True)
class RetrievalComparison:
    """Published retrieval of a figure next to one measured set of queries.

    Attributes:
        query: Name of the set of queries: own latents as generated, or teacher-forced.
        lines: One line per published measure.
        published_test: Rank test of the published mean rank, computed from it and n alone.
        measured_test: Rank test of the measured ranks, by random pairings.
        among_alike: Rank test of the mean place, from 0 to 1, among the samples of the same
            question. None if all questions differ.
        n_alike: Number of samples that share their question with another.
    """

    query: str
    lines: tuple[RetrievalLine, ...]
    published_test: RankTest
    measured_test: RankTest
    among_alike: RankTest | None
    n_alike: int


def compare_retrieval(
    figure: PublishedFigure, record: Mapping[str, Any], *, query: str, seed: int = 0
) -> RetrievalComparison:
    """Put a published figure of retrieval next to the pooled latents of one set of queries.

    Args:
        figure: Published figure of kind `retrieval`.
        record: One model's object in the `retrieval.json` of `experiments.map_latents`.
        query: Name of the set of queries in the record.
        seed: Seed of the bootstrap, default 0.

    Raises:
        LanternError: the record lacks what is needed.
    """
    if figure.retrieval is None:
        raise LanternError(f"{figure.name} is no figure of retrieval")
    try:
        view = _pooled(record["among_all"][query])
        alike = _pooled(record["among_alike"][query])
        images, ranks = record["images"], np.asarray(view["ranks"], dtype=float)
        n, recall = int(view["n"]), {int(k): share for k, share in view["recall"].items()}
        measured = RankTest(**view["mean_rank"])
        mrr = float(view["mrr"]["estimate"])
        place = RankTest(**alike["place"]) if alike["n"] else None
        tried = int(alike["n"])
    except (KeyError, TypeError, StopIteration) as error:
        raise LanternError(
            f"the retrieval record lacks {error}; make it with python -m experiments.map_latents"
        ) from None
    known = figure.n[ALL]
    lines = [
        _recall_line(k, share, known, recall[k], n) for k, share in figure.retrieval.recall.items()
    ]
    lines.append(_mean_line("mean rank", figure.retrieval.mean_rank, known, ranks, images, seed))
    lines.append(_mean_line("MRR", figure.retrieval.mrr, known, 1 / ranks, images, seed, mrr))
    return RetrievalComparison(
        query,
        tuple(lines),
        rank_test_from_summary(known, figure.retrieval.mean_rank),
        measured,
        place,
        tried,
    )


def chance_of(measure: str, n: int) -> float:
    """Expected value of a measure under random pairing of n queries with n candidates.

    Raises:
        LanternError: there is no such measure.
    """
    if measure.startswith("R@"):
        return int(measure.removeprefix("R@")) / n
    if measure == "mean rank":
        return (n + 1) / 2
    if measure == "MRR":
        return float((1 / np.arange(1, n + 1)).mean())
    raise LanternError(f"no measure of retrieval {measure!r}")


def _pooled(views: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(view for view in views if view["view"] == "pooled")


def _recall_line(k: int, published: float, known: int, share: float, n: int) -> RetrievalLine:
    # A tie counts by its share of the places, so hits may be a fraction: a half is rounded up.
    interval = wilson(math.floor(share * n + 0.5 + TIE * n), n)
    test = binomtest(round(published * known), known, k / known, alternative="greater")
    told = wilson(round(published * known), known)
    return RetrievalLine(
        f"R@{k}",
        published,
        float(test.pvalue),
        k / known,
        share,
        interval.low,
        interval.high,
        n,
        _agree(
            (share, interval.low, interval.high),
            (told.estimate, told.low, told.high),
            same_n=n == known,
        ),
    )


def _mean_line(
    measure: str,
    published: float,
    known: int,
    values: Any,
    images: Sequence[Any],
    seed: int,
    exact: float | None = None,
) -> RetrievalLine:
    """Make the line of a mean over queries.

    Args:
        measure: Name of the measure.
        published: Published value.
        known: Published n.
        values: Value of every query.
        images: Image of every query.
        seed: Seed of the bootstrap.
        exact: The mean with ties averaged over their places, where `values` has the reciprocal of
            the expected rank; the interval moves with it. Default: the mean of the values.
    """
    found = mean_difference(values, images, seed=seed)
    moved = 0.0 if exact is None else exact - found.estimate
    estimate, low, high = (found.estimate + moved, found.low + moved, found.high + moved)
    # The ranks behind a published mean are taken to spread as the measured ones do.
    told = (published, published - (estimate - low), published + (high - estimate))
    n = len(values)
    return RetrievalLine(
        measure,
        published,
        _mean_p(measure, published, known),
        chance_of(measure, known),
        estimate,
        low,
        high,
        n,
        _agree((estimate, low, high), told, same_n=n == known),
    )


def _mean_p(measure: str, published: float, n: int) -> float:
    """One-sided p value of a mean over n queries, of which each has a random rank from 1 to n."""
    values = np.arange(1, n + 1) if measure == "mean rank" else 1 / np.arange(1, n + 1)
    z = (published - values.mean()) / (values.std() / math.sqrt(n))
    return float(norm.cdf(z) if measure == "mean rank" else norm.sf(z))


def _agree(
    measured: tuple[float, float, float], told: tuple[float, float, float], *, same_n: bool
) -> bool | None:
    """True if 0 lies in the interval of the difference; None for another n."""
    if not same_n:
        return None
    low, high = independent_difference(measured, told)
    return low <= 0 <= high
