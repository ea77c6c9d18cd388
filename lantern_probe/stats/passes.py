"""Accuracies over several passes of sampled decoding: means over a sample's texts, compared.

A sample is right in a share of its passes. Accuracy is the mean of these shares, every sample
counting the same, however many of its texts count. Texts of one sample are repeated measures, as
samples of one image are: all variances are those of whole clusters, so that both the spread between
samples and the spread between passes are in every interval. With one text per sample each function
gives what its counterpart for single texts gives (`accuracy_test` and the others).

Texts may also be made under several seeds, of noise or of donors, that all samples share. A seed
may shift all samples together. Then the variance is two-way (`stats.two_way`): what seeds add is in
every interval, and the quantiles are those of t with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.accuracy import (
    EXACT_BOUND,
    TANGO,
    WILSON,
    PairedTest,
    accuracy_difference,
    accuracy_test,
    clustered_share,
)
from lantern_probe.stats.bootstrap import Difference
from lantern_probe.stats.clusters import (
    PSEUDO_CLUSTERS,
    Clusters,
    check_level,
    check_rate,
    paired_outcomes,
)
from lantern_probe.stats.equivalence import (
    Equivalence,
    accuracy_equivalence,
    equivalence_of_counts,
)
from lantern_probe.stats.paired import Proportion, proportion, wilson
from lantern_probe.stats.permutation import sign_flip_test
from lantern_probe.stats.score import interval_of_tail, paired_score, score_law
from lantern_probe.stats.two_way import TWO_WAY, indices, satterthwaite, two_way

LARGEST_MULTIPLE = 10_000
"""Largest common multiple of the numbers of passes by which means become whole numbers."""


@dataclass(frozen=True)
class _Texts:
    """Values of texts, weighted so that every sample counts once."""

    values: Int[np.ndarray, " texts"]
    sample: Int[np.ndarray, " texts"]
    """Index of each text's sample."""
    clusters: list[Hashable]
    """Cluster of each sample, or the sample's index."""
    seed: Int[np.ndarray, " texts"] | None = None
    """Index of each text's seed; None where there is one only."""

    @cached_property
    def passes(self) -> Int[np.ndarray, " samples"]:
        """Number of texts of each sample."""
        return np.bincount(self.sample, minlength=len(self.clusters))

    @property
    def n(self) -> int:
        return len(self.clusters)

    @property
    def single(self) -> bool:
        """True if every sample has one text."""
        return self.n == len(self.values)

    @cached_property
    def weights(self) -> Float[np.ndarray, " texts"]:
        return 1 / self.passes[self.sample]

    @cached_property
    def group(self) -> Int[np.ndarray, " samples"]:
        """Index of each sample's cluster."""
        index = {name: i for i, name in enumerate(dict.fromkeys(self.clusters))}
        return np.array([index[name] for name in self.clusters], dtype=np.int64)

    def total(self, values: ArrayLike) -> float:
        """Sum over samples of the mean over their texts."""
        return float((self.weights * np.asarray(values)).sum())

    def means(self) -> Float[np.ndarray, " samples"]:
        """Mean over the texts of each sample."""
        sums = np.bincount(self.sample, self.values.astype(np.float64), self.n)
        return np.asarray(sums / self.passes)

    def scale(self) -> float:
        """Number of texts that weigh as much as one sample, if all texts were independent."""
        return self.n / float((self.weights**2).sum())

    def effect(self) -> tuple[float, int]:
        """Design effect for n samples, and the number of clusters, seeds counted in both.

        Of several seeds it is larger by what they add, and the number of clusters is that of t's
        degrees of freedom, plus 1, rounded down.
        """
        effect, groups = self.effect_of_clusters()
        values = self.values.astype(np.float64)
        if self.seed is None or np.ptp(values) == 0:
            return effect, groups
        parts = two_way(values, self.sample, self.group[self.sample], self.seed)
        independent = self.total((values - self.total(values) / self.n) ** 2) / self.n**2
        seeds = parts.seeds / independent
        whole = effect + parts.added / independent
        freedom = satterthwaite(effect, seeds, whole, groups, parts.count)
        return whole, min(groups, math.floor(freedom + 1e-9) + 1)  # but for rounding

    def effect_of_clusters(self) -> tuple[float, int]:
        """Design effect for n samples, and the number of clusters, for these very seeds.

        It is `clusters.outcome_effect` of the texts, with weights, over the number of passes: 1
        where the passes of a sample are all the same, 1 / passes where they are independent.
        """
        by_text = self.group[self.sample]
        groups = int(self.group.max()) + 1
        sizes = np.bincount(by_text, self.weights, groups)
        full = float((sizes**2).sum() / self.n)
        if groups == 1 or np.ptp(self.values) == 0:
            return full, groups
        away = self.values - self.total(self.values) / self.n
        independent = self.total(away**2)
        robust = float((np.bincount(by_text, self.weights * away, groups) ** 2).sum())
        effect = max(1 / self.scale(), robust / independent * groups / (groups - 1))
        kinds, counts = np.unique(self.values, return_counts=True)
        rare = self.values != kinds[counts.argmax()]
        telling = len(np.unique(by_text[rare]))
        blend = (telling * effect + PSEUDO_CLUSTERS * full) / (telling + PSEUDO_CLUSTERS)
        return max(effect, blend), groups


def _texts(
    values: Int[np.ndarray, " texts"],
    samples: Sequence[Hashable],
    clusters: Clusters,
    seeds: Sequence[Hashable] | None = None,
) -> _Texts:
    index = {name: i for i, name in enumerate(dict.fromkeys(samples))}
    place = np.array([index[name] for name in samples], dtype=np.int64)
    if seeds is not None and len(seeds) != len(values):
        raise LanternError(f"{len(seeds)} seeds for {len(values)} texts; give one for each text")
    seed = None if seeds is None or len(set(seeds)) < 2 else indices(seeds)
    if clusters is None:
        return _Texts(values, place, list(range(len(index))), seed)
    of_sample = dict(zip(samples, clusters, strict=True))
    return _Texts(values, place, [of_sample[name] for name in index], seed)


def mean_share(
    outcomes: ArrayLike,
    samples: Sequence[Hashable],
    clusters: Clusters = None,
    *,
    seeds: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Proportion:
    """Mean over samples of the share of their texts that have a property, with its interval.

    The interval is Wilson's, of as many independent samples as have the variance of the mean.

        >>> mean_share([1, 0, 1, 1], ["a", "a", "b", "b"]).estimate
        0.75

    Args:
        outcomes: 1 or 0 (True, False) per text [m].
        samples: Sample of each text [m].
        clusters: Image (or other unit) of each text [m], the same for all texts of a sample; None
            makes each sample its own cluster.
        seeds: Seed of each text [m], shared by all samples; None (default) where nothing is drawn
            that samples share.
        level: Nominal coverage, default 0.95.

    Raises:
        LanternError: a value is neither 0 nor 1, or the level is out of range.
    """
    values, _ = paired_outcomes(outcomes, outcomes)
    check_level(level)
    texts = _texts(values, samples, clusters, seeds)
    if texts.single:
        return proportion(values, clusters, level=level)
    (effect, groups), scale, count = texts.effect(), texts.scale(), texts.total(values)
    n, hits = texts.n * scale, min(count, texts.n) * scale
    found = wilson(min(hits, n), n, level, effect=max(1.0, effect * scale), clusters=groups)
    return replace(found, count=count, n=texts.n, estimate=count / texts.n)


def mean_clustered_share(
    outcomes: ArrayLike,
    samples: Sequence[Hashable],
    clusters: Clusters = None,
    *,
    seeds: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Difference:
    """`mean_share` in the form of `clustered_share`, which it is for one text per sample.

    Args:
        outcomes: 1 or 0 (True, False) per text [m].
        samples: Sample of each text [m].
        clusters: As in `mean_share`.
        seeds: As in `mean_share`.
        level: Nominal coverage, default 0.95.

    Raises:
        LanternError: as for `mean_share`.
    """
    values, _ = paired_outcomes(outcomes, outcomes)
    texts = _texts(values, samples, clusters, seeds)
    if texts.single:
        return clustered_share(values, clusters, level=level)
    found = mean_share(values, samples, clusters, seeds=seeds, level=level)
    effect, groups = texts.effect()
    return Difference(
        found.n, groups, found.estimate, found.low, found.high, level, WILSON, 0, 0, None, effect
    )


def mean_test(
    first: ArrayLike,
    second: ArrayLike,
    samples: Sequence[Hashable],
    clusters: Clusters = None,
    *,
    seeds: Sequence[Hashable] | None = None,
    resamples: int = 9_999,
    seed: int = 0,
) -> PairedTest:
    """Test that two conditions are right equally often: sign flips of the mean differences.

    The difference of a sample is the mean over its passes. The signs of all samples of a cluster
    flip together. That is a test of these very seeds; of several, p is the larger of its own and
    that of the score with the variance over samples and seeds. b and c of the result are the
    numbers of samples that the first, and the second, gets right more often.

        >>> mean_test([1, 1] * 5, [0, 1] * 5, [i // 2 for i in range(10)]).p
        0.0625

    Args:
        first: Right (1, True) or wrong (0, False) per text [m].
        second: The same samples and passes in the same order [m].
        samples: Sample of each text [m].
        clusters: As in `mean_share`.
        seeds: As in `mean_share`.
        resamples: Number of sign patterns drawn if the test is not exact, default 9,999.
        seed: Seed of the generator of sign patterns, default 0.

    Raises:
        LanternError: lengths differ, or a value is neither 0 nor 1.
    """
    one, two = paired_outcomes(first, second)
    texts = _texts(one - two, samples, clusters, seeds)
    if texts.single:
        return accuracy_test(one, two, clusters, resamples=resamples, seed=seed)
    return _test(texts, resamples, seed)


def _test(texts: _Texts, resamples: int = 9_999, seed: int = 0) -> PairedTest:
    means, multiple = texts.means(), math.lcm(*np.unique(texts.passes).tolist())
    if multiple <= LARGEST_MULTIPLE:  # whole numbers have an exact test
        means = np.rint(means * multiple)
    flips = sign_flip_test(means, texts.clusters, resamples=resamples, seed=seed)
    name = "sign flip of means" if flips.clusters == texts.n else "clustered sign flip of means"
    method, p = name + (", drawn" if flips.method != "exact" else ""), flips.p
    if texts.seed is not None:
        over_seeds = _p_over_seeds(texts)
        method, p = (f"{method}, and {TWO_WAY}", max(p, over_seeds))
    b, c = int((means > 0).sum()), int((means < 0).sum())
    return PairedTest(texts.n, flips.clusters, b, c, p, method)


def _p_over_seeds(texts: _Texts) -> float:
    """p value of Tango's score at 0 with the variance over samples and seeds."""
    (effect, groups), scale = texts.effect(), texts.scale()
    b, c, n = _counts(texts, scale)
    worth = math.sqrt(n / max(1.0, effect * scale))
    score = abs(worth * float(paired_score(b / n, c / n, 1.0, 0.0)))
    return min(1.0, 2 * float(score_law(n, groups).sf(score)))


def mean_accuracy_difference(
    first: ArrayLike,
    second: ArrayLike,
    samples: Sequence[Hashable],
    clusters: Clusters = None,
    *,
    seeds: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Difference:
    """Interval of the difference of two accuracies over passes, paired by sample and pass.

    Tango's score interval (`accuracy_difference`) of as many independent samples as have the
    cluster-robust variance of the mean difference, with a quantile of t. It contains 0 unless
    `mean_test` rejects. Without a discordant text it is the exact bound of n samples: passes that
    all agree count once.

    Args:
        first: Right (1, True) or wrong (0, False) per text [m].
        second: The same samples and passes in the same order [m].
        samples: Sample of each text [m].
        clusters: As in `mean_share`.
        seeds: As in `mean_share`.
        level: Nominal coverage, default 0.95.

    Raises:
        LanternError: lengths differ, a value is neither 0 nor 1, or the level is out of range.
    """
    one, two = paired_outcomes(first, second)
    check_level(level)
    texts = _texts(one - two, samples, clusters, seeds)
    if texts.single:
        return accuracy_difference(one, two, clusters, level=level)
    (effect, groups), scale = texts.effect(), texts.scale()
    b, c, n = _counts(texts, scale)
    low, high = interval_of_tail(b, c, n, (1 - level) / 2, max(1.0, effect * scale), groups)
    if (low > 0 or high < 0) and _test(texts).p > 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    apart = len(np.unique(texts.sample[texts.values != 0]))
    estimate = texts.total(texts.values) / texts.n
    method = TANGO if apart else EXACT_BOUND
    return Difference(
        texts.n, groups, estimate, min(low, estimate), max(high, estimate), level, method, 0, 0,
        apart, effect,
    )  # fmt: skip


def _counts(texts: _Texts, scale: float) -> tuple[float, float, float]:
    """Discordant texts either way and all texts, as counts of independent ones."""
    n = texts.n * scale
    b = min(texts.total(texts.values > 0) * scale, n)
    c = min(texts.total(texts.values < 0) * scale, n - b)
    return b, c, n


def mean_accuracy_equivalence(
    first: ArrayLike,
    second: ArrayLike,
    samples: Sequence[Hashable],
    clusters: Clusters = None,
    *,
    seeds: Sequence[Hashable] | None = None,
    margin: float,
    alpha: float = 0.05,
) -> Equivalence:
    """Test that two accuracies over passes differ by less than a margin.

    The counterpart of `accuracy_equivalence`, with the variance of `mean_accuracy_difference`. b
    and c of the result are sums over samples of the share of discordant passes.

    Args:
        first: Right (1, True) or wrong (0, False) per text [m].
        second: The same samples and passes in the same order [m].
        samples: Sample of each text [m].
        clusters: As in `mean_share`.
        seeds: As in `mean_share`.
        margin: Accuracies that differ by less are called equivalent; in (0, 1).
        alpha: Level of the claim, default 0.05.

    Raises:
        LanternError: lengths differ, a value is neither 0 nor 1, or an option is out of range.
    """
    one, two = paired_outcomes(first, second)
    check_rate("the margin of equivalence", margin)
    texts = _texts(one - two, samples, clusters, seeds)
    if texts.single:
        return accuracy_equivalence(one, two, clusters, margin=margin, alpha=alpha)
    (effect, groups), scale = texts.effect(), texts.scale()
    b, c, n = _counts(texts, scale)
    found = equivalence_of_counts(
        b, c, n, margin=margin, alpha=alpha, effect=max(1.0, effect * scale), clusters=groups
    )
    return replace(found, n=texts.n, b=b / scale, c=c / scale, design_effect=effect)
