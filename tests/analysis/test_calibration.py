"""Evaluations drawn from pools whose pairs are written by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lantern_probe.analysis.calibration import Pool, calibrate
from lantern_probe.analysis.estimands import SHARES, Look, from_units
from lantern_probe.analysis.pair_units import Unit
from lantern_probe.errors import LanternError


def pool(families: dict[str, tuple[int, dict[str, float]]], per_image: int = 1) -> Pool:
    """A pool of families of pairs, each with its size and the value of each estimand."""
    units: dict[str, dict[tuple[str, ...], Unit]] = {}
    for family, (size, values) in families.items():
        for number in range(size):
            for name, value in values.items():
                unit = Unit(value, 0, f"{family}-{number // per_image}", family)
                units.setdefault(name, {})[family, str(number)] = unit
    return Pool("made", units)


MOVES = {"sees": 1, "follows": 1, "carries over": 1, "could carry": 1, "gap": 0, "depends": 1}
MOVES |= {"depends-oracle": 1, "needed": 1, "block": 1, "markers": 1}
STAYS = dict.fromkeys(MOVES, 0) | {"sees": 1}


def test_pure_pools_are_read_right_in_every_evaluation():
    for values, word in ((MOVES, "faithful"), (STAYS, "bypass")):
        found = calibrate(pool({"a": (300, values)}), 256, draws=3)
        assert found.readings == {word: 3}
        assert found.together == 1


def test_the_truth_of_a_mixture_is_the_share_that_is_asked_for():
    both = pool({"a": (50, MOVES), "b": (500, STAYS)})
    assert both.truth(0.3)["follows"] == pytest.approx(0.3)
    assert both.truth()["follows"] == pytest.approx(50 / 550)
    assert calibrate(both, 128, draws=10, share=0.3).readings == {"partial": 10}


@pytest.mark.extra
@pytest.mark.parametrize(("per_image", "share"), [(1, 0.3), (4, None)])
def test_follows_is_unbiased_and_its_interval_holds_its_level(per_image: int, share: float | None):
    # Images are drawn whole: with four pairs an image the interval is that of images.
    both = pool({"a": (200, MOVES), "b": (200, STAYS)}, per_image)
    found = calibrate(both, 128, draws=200, share=share)
    (follows,) = (one for one in found.estimands if one.name == "follows")
    assert follows.bias is not None and follows.bias_error is not None
    assert abs(follows.bias) < 4 * follows.bias_error
    assert follows.coverage is not None
    assert follows.coverage >= 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5
    assert found.together >= 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5


@pytest.mark.parametrize("per_image", [1, 3])
def test_drawn_pairs_are_estimated_as_a_diagnosis_estimates_them(per_image: int):
    stream = np.random.default_rng(1)
    units = {
        name: {
            ("pair", str(i)): Unit(
                *stream.choice([(1.0, 0.0), (0.5, 0.5), (0.0, 0.0)]), i // per_image
            )
            for i in range(60)
            if name != "follows" or i % 4
        }
        for name in MOVES
    }
    units = {
        name: {
            pair: replace(unit, loss=0.0 if name in SHARES else unit.loss)
            for pair, unit in found.items()
        }
        for name, found in units.items()
    }
    pool = Pool("made", units)
    _, drawn = pool.draw(64, stream)
    for name, one in pool.estimates(drawn, Look()).items():
        chosen = [units.get(name, {}).get(("pair", str(pair))) for pair in drawn.pairs]
        again = [
            replace(unit, cluster=image)
            for unit, image in zip(chosen, drawn.images.tolist(), strict=True)
            if unit is not None
        ]
        whole = from_units({name: again})[name]
        for field in ("value", "low", "high", "simultaneous_low", "simultaneous_high", "n"):
            assert getattr(one, field) == pytest.approx(getattr(whole, field), nan_ok=True), name


@pytest.mark.parametrize("asked", [{"n": 0}, {"n": 8, "draws": 0}, {"n": 8, "share": 0.5}])
def test_evaluations_that_cannot_be_drawn_are_refused(asked):
    with pytest.raises(LanternError):
        calibrate(pool({"a": (30, MOVES)}), **asked)


def test_a_pool_without_pairs_is_refused():
    with pytest.raises(LanternError, match="no pairs"):
        Pool("empty", {"follows": {}})
