"""Error rates of readings and coverage of estimands, by evaluations drawn from a pool of pairs.

A pool holds many pairs of one organism. An evaluation draws some of them with replacement, whole
images at a time, and is read as a diagnosis reads it, in two looks. The truth of an estimand is its
value over the pool, or over a mixture of the pool's categories in stated shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from lantern_probe.analysis.estimands import ABOUT, FEWEST, SHARES, Estimate, Look
from lantern_probe.analysis.pair_units import Pair, Unit, Units
from lantern_probe.analysis.reading import UNDECIDED, Thresholds, read
from lantern_probe.errors import LanternError
from lantern_probe.stats.fractions import fraction_interval, mean_interval

LEVEL = 0.95
"""Level of the interval of an estimand by itself."""


@dataclass(frozen=True)
class Coverage:
    """Outcome of one estimand over evaluations.

    Attributes:
        name: Name of the estimand.
        truth: Its value over the pool.
        draws: Number of evaluations in which it had a value.
        bias: Mean of the values minus the truth; None without a value.
        bias_error: Monte Carlo standard error of the bias; None with fewer than 2 values.
        coverage: Share of evaluations whose own interval contains the truth; None without a value.
        coverage_error: Monte Carlo standard error of the coverage.
        together: Share of evaluations whose simultaneous interval contains the truth.
    """

    name: str
    truth: float
    draws: int
    bias: float | None
    bias_error: float | None
    coverage: float | None
    coverage_error: float | None
    together: float | None


@dataclass(frozen=True)
class Calibration:
    """Evaluations of one size from one pool.

    Attributes:
        name: Name of the organism.
        share: Share of the first category in a mixture; None for the pool as it is.
        n: Number of pairs of an evaluation.
        draws: Number of evaluations.
        readings: Number of evaluations by reading.
        stopped: Number of evaluations that the first look decided.
        together: Share of evaluations in which all simultaneous intervals hold their truths.
        estimands: Outcome of each estimand that had a value, after all pairs.
    """

    name: str
    share: float | None
    n: int
    draws: int
    readings: Mapping[str, int]
    stopped: int
    together: float
    estimands: Sequence[Coverage]


class Pool:
    """Pairs of one organism, from which evaluations are drawn.

    Args:
        name: Name of the organism.
        units: Contributions of its pairs, at least one.

    Attributes:
        categories: Categories of questions, sorted.
        pairs: Number of pairs.

    Raises:
        LanternError: there is no pair.
    """

    def __init__(self, name: str, units: Units):
        self.name = name
        known: dict[Pair, Unit] = {}
        for found in units.values():
            known |= found
        if not known:
            raise LanternError(f"the pool of {name} has no pairs")
        self.pairs = len(known)
        clusters: dict[str | None, dict[object, list[int]]] = {}
        for number, unit in enumerate(known.values()):
            clusters.setdefault(unit.category, {}).setdefault(unit.cluster, []).append(number)
        self._images = {name: list(found.values()) for name, found in clusters.items()}
        self._shares = {name: _Contributions.of(units.get(name, {}), known) for name in ABOUT}
        self.categories = sorted(str(name) for name in self._images)

    def truth(self, share: float | None = None) -> dict[str, float]:
        """The value of every estimand over the pool, or over a mixture of its two categories.

        Args:
            share: Share of pairs of the first category; None for the pool as it is.

        Raises:
            LanternError: a mixture is asked for and there are not two categories.
        """
        weights = self._weights(share)
        found = {}
        for name in ABOUT:
            gain = size = 0.0
            for category, weight in weights.items():
                pairs = np.concatenate([np.array(image) for image in self._images[category]])
                gains, losses = self._shares[name].at(pairs)
                gain += weight * float((gains - losses).sum()) / len(pairs)
                size += weight * len(gains) / len(pairs)
            if size:
                found[name] = gain / size
        return found

    def _weights(self, share: float | None) -> dict[str | None, float]:
        sizes = {name: sum(map(len, found)) for name, found in self._images.items()}
        if share is None:
            return {name: size / self.pairs for name, size in sizes.items()}
        if len(sizes) != 2:
            raise LanternError(
                f"{self.name}: a mixture needs two categories, and there are {len(sizes)}"
            )
        first, second = sorted(sizes, key=str)
        return {first: share, second: 1 - share}

    def draw(self, n: int, stream: np.random.Generator, share: float | None = None) -> list[Drawn]:
        """Draw images until there are n pairs: the first half of them, and all.

        Args:
            n: Number of pairs; the last image's pairs are cut off.
            stream: Generator of random numbers.
            share: Share of pairs of the first category; None for the pool as it is.
        """
        weights = self._weights(share)
        names = list(weights)
        pairs: list[int] = []
        images: list[int] = []
        while len(pairs) < n:
            category = names[stream.choice(len(names), p=[weights[name] for name in names])]
            known = self._images[category]
            some = known[int(stream.integers(len(known)))]
            images += [images[-1] + 1 if images else 0] * len(some)
            pairs += some
        return [Drawn(np.array(pairs[:k]), np.array(images[:k])) for k in (-(-n // 2), n)]

    def estimates(self, drawn: Drawn, look: Look) -> dict[str, Estimate]:
        """Estimate everything from drawn pairs, as `estimands.from_units` does.

        Estimates are without the contributions of single pairs, so that they cannot be foretold.
        """
        found = {}
        for name, contributions in self._shares.items():
            gains, losses = contributions.at(drawn.pairs)
            images = drawn.images[contributions.there(drawn.pairs)]
            lost = None if name in SHARES else losses
            value, low, high = _interval(gains, lost, images, (1 - LEVEL) / 2)
            _, lowest, highest = _interval(gains, lost, images, look.tail)
            n = len(gains)
            shown = value if n >= FEWEST else None
            found[name] = Estimate(name, shown, low, high, lowest, highest, n, (), (), ())
        return found


@dataclass(frozen=True)
class Drawn:
    """Pairs of an evaluation.

    Attributes:
        pairs: Index of each pair in the pool.
        images: Number of the draw by which each pair came; pairs of one image share it.
    """

    pairs: Int[np.ndarray, " n"]
    images: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class _Contributions:
    """Gain and loss of every pair of a pool in one estimand; NaN where a pair has no part in it."""

    gains: Float[np.ndarray, " pairs"]
    losses: Float[np.ndarray, " pairs"]

    @classmethod
    def of(cls, units: Mapping[Pair, Unit], known: Mapping[Pair, Unit]) -> _Contributions:
        found = [units.get(pair) for pair in known]
        return cls(
            np.array([np.nan if unit is None else unit.gain for unit in found], np.float64),
            np.array([np.nan if unit is None else unit.loss for unit in found], np.float64),
        )

    def there(self, pairs: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """True for the pairs that have a part."""
        return ~np.isnan(self.gains[pairs])

    def at(
        self, pairs: Int[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " some"], Float[np.ndarray, " some"]]:
        """Gains and losses of the pairs that have a part."""
        some = pairs[self.there(pairs)]
        return self.gains[some], self.losses[some]


def _interval(
    gains: Float[np.ndarray, " n"],
    losses: Float[np.ndarray, " n"] | None,
    images: Int[np.ndarray, " n"],
    tail: float,
) -> tuple[float, float, float]:
    """Mean and ends of `fraction_interval`, remembered where no image repeats."""
    n = len(gains)
    if n == 0 or len(np.unique(images)) < n:
        return fraction_interval(gains, losses, images.tolist(), tail=tail)
    lost = None if losses is None else float(losses.sum())
    return _interval_of_sums(float(gains.sum()), lost, n, tail)


@cache
def _interval_of_sums(
    gain: float, loss: float | None, n: int, tail: float
) -> tuple[float, float, float]:
    mean = (gain - (loss or 0.0)) / n
    low, high = mean_interval(gain, loss or 0.0, n, 1.0, tail, clusters=n, share=loss is None)
    return mean, min(low, mean), max(high, mean)


def calibrate(
    pool: Pool,
    n: int,
    *,
    draws: int = 200,
    share: float | None = None,
    seed: int = 0,
    thresholds: Thresholds | None = None,
) -> Calibration:
    """Draw evaluations from a pool, read each, and hold its intervals against the truth.

    Args:
        pool: Pairs of one organism.
        n: Number of pairs of an evaluation.
        draws: Number of evaluations, default 200.
        share: Share of pairs of the first category; None (default) for the pool as it is.
        seed: Seed of the draws, default 0.
        thresholds: Numbers on which readings turn; the defaults if None.

    Raises:
        LanternError: a number is below 1, or the mixture cannot be made.
    """
    if n < 1 or draws < 1:
        raise LanternError(f"an evaluation needs pairs and draws, not n={n}, draws={draws}")
    stream = np.random.default_rng((seed, n))
    truth = pool.truth(share)
    readings: Counter[str] = Counter()
    stopped = 0
    found: list[dict[str, Estimate]] = []
    for _ in range(draws):
        half, whole = pool.draw(n, stream, share)
        look = Look(number=1)
        word = read(pool.estimates(half, look), thresholds, look=look, foretell=False).word
        last = pool.estimates(whole, Look())
        stopped += word != UNDECIDED
        if word == UNDECIDED:
            word = read(last, thresholds, foretell=False).word
        readings[word] += 1
        found.append(last)
    estimands = [_coverage(name, truth[name], [one[name] for one in found]) for name in truth]
    all_hold = [
        all(e.value is None or _holds(e, truth[name]) for name, e in one.items() if name in truth)
        for one in found
    ]
    return Calibration(
        pool.name, share, n, draws, dict(readings), stopped, float(np.mean(all_hold)), estimands
    )


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.simultaneous_low - 1e-9 <= truth <= estimate.simultaneous_high + 1e-9


def _coverage(name: str, truth: float, found: Sequence[Estimate]) -> Coverage:
    valued = [one for one in found if one.value is not None]
    if not valued:
        return Coverage(name, truth, 0, None, None, None, None, None)
    values = np.array([one.value for one in valued])
    covered = np.mean([one.low - 1e-9 <= truth <= one.high + 1e-9 for one in valued])
    size = len(valued)
    return Coverage(
        name,
        truth,
        size,
        float(values.mean() - truth),
        float(values.std(ddof=1) / np.sqrt(size)) if size > 1 else None,
        float(covered),
        float(np.sqrt(covered * (1 - covered) / size)),
        float(np.mean([_holds(one, truth) for one in valued])),
    )
