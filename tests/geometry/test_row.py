"""The record of a measure: means with their bootstrap, and the reason where there is no value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lantern_probe.geometry import VectorSet
from lantern_probe.geometry.row import bootstrap_words, mean_row, undefined
from lantern_probe.stats.resampling import bootstrap_counts

PLACE = {"measure": "norm", "space": "raw", "slot": 0}


def vectors(images: list[int]) -> VectorSet:
    return VectorSet.of("own", np.ones((len(images), 1, 2)), images)


def test_a_mean_is_over_defined_values_and_counts_the_samples_that_have_some() -> None:
    own = vectors([0, 0, 1, 2, 3])
    values = np.array([[1.0, 3], [np.nan, 5], [np.nan, np.nan], [2, 2], [7, np.nan]])
    row = mean_row(own, values, bootstrap_counts(own.images, 500, 0), 0.95, **PLACE)
    known = [1, 3, 5, 2, 2, 7]
    assert row.estimate == pytest.approx(np.mean(known))
    assert row.sd == pytest.approx(np.std(known))
    assert (row.n, row.images, row.name, row.slot) == (4, 3, "own", 0)
    assert row.low is not None and row.high is not None
    assert 2 <= row.low < row.estimate < row.high <= 7
    assert row.how == (
        "percentile bootstrap over 3 images, 500 resamples; 1 samples without a direction left out"
    )


def test_one_image_has_a_mean_and_no_interval() -> None:
    own = vectors([4, 4])
    row = mean_row(own, np.array([[1.0], [2.0]]), bootstrap_counts(own.images, 9, 0), 0.9, **PLACE)
    assert (row.estimate, row.low, row.high) == (1.5, None, None)
    assert row.how == bootstrap_words(1, 9, 0) == "one image: no interval"


def test_no_defined_value_is_said() -> None:
    own = vectors([0, 1])
    row = mean_row(own, np.full((2, 1), np.nan), bootstrap_counts(own.images, 9, 0), 0.9, **PLACE)
    assert math.isnan(row.estimate) and row.how.startswith("undefined: all vectors are zero")
    assert (row.n, row.images, row.low, row.p) == (2, 2, None, None)


def test_a_name_can_be_given_in_place_of_the_sets() -> None:
    row = undefined(vectors([0, 1]), "too few", **PLACE, name="own, oracle")
    assert (row.name, row.how, row.n, row.images) == ("own, oracle", "undefined: too few", 2, 2)
