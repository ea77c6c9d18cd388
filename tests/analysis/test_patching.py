"""Figures of a sweep from its rows: by hand, tested against one test per cell, and calibrated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lantern_probe.analysis import patching
from lantern_probe.analysis import patching as effects
from lantern_probe.analysis.patching import PatchEffect
from lantern_probe.errors import LanternError
from lantern_probe.plots.patching import plot_recovery
from lantern_probe.records.rows import Row
from lantern_probe.stats import holm, sign_flip_test


def made_row(**values: Any) -> Row:
    return {
        "sample": "a",
        "condition": "residual.0@slot",
        "status": "ok",
        "component": "residual",
        "layer": 0,
        "role": "slot",
        "slot": None,
        "sham": False,
        "direction": "noise",
        "gold": "red",
        "foil": "blue",
        "base_answer": "red",
        "answer": "red",
        "donor_value": -5.0,
    } | values


@given(
    bases=st.lists(st.floats(10, 20), min_size=5, max_size=8),
    share=st.floats(-2, 2),
)
def test_recovery_is_the_share_of_the_difference(bases: list[float], share: float):
    rows = [
        made_row(sample=str(i), cluster=str(i), base=base, patched=base + share * (-5 - base))
        for i, base in enumerate(bases)
    ]
    (effect,) = patching.summarize(rows, model="m")
    assert effect.recovery.defined
    assert effect.recovery.estimate == pytest.approx(share, abs=1e-9)
    assert effect.recovery.low == pytest.approx(share, abs=1e-9)


def test_flips_count_those_that_did_not_prefer_the_donors_answer_before():
    flipped = made_row(sample="b", cluster="b", base=1.0, patched=-1.0, answer="blue")
    before = made_row(
        sample="c", cluster="c", base=-1.0, patched=-1.0, base_answer="blue", answer="blue"
    )
    left = {"status": "left out", "error": "why"}
    rows = [made_row(cluster="a", base=1.0, patched=1.0), flipped, before, made_row(**left)]
    (effect,) = patching.summarize(rows, model="m")
    assert (effect.n, effect.left_out, effect.flips.n) == (3, 1, 2)
    assert effect.flips.estimate == 0.5 and effect.largest == 2
    (nothing,) = patching.summarize([made_row(**left)], model="m")
    assert nothing.n == 0 and not nothing.recovery.defined
    assert nothing.shift_test is None and nothing.shift_holm_p is None
    with pytest.raises(LanternError, match="no rows"):
        patching.summarize([], model="m")


def test_maps_have_layers_up_and_the_embedding_below():
    rows = [
        made_row(
            sample=name,
            cluster=name,
            base=4.0,
            patched=4.0 - 9 * share,
            condition=label,
            component=component,
            layer=layer,
            slot=slot,
        )
        for name in "abcde"
        for label, component, layer, slot, share in [
            ("e", "embedding", None, None, 1.0),
            ("r", "residual", 0, None, 0.5),
            ("r0", "residual", 0, 0, 0.25),
            ("m", "mlp", 0, None, 0.0),
        ]
    ]
    effects = patching.summarize(rows, model="m")
    ax = Figure().subplots()
    plot_recovery(effects, ax, component="residual", direction="noise", columns="slot")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["in", "0"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "all"]
    values = ax.images[0].get_array()
    assert values is not None
    assert values[0].tolist() == [None, 1.0] and values[1].tolist() == [0.25, 0.5]
    assert ax.get_title() == "residual, noise, n = 5"
    ax = Figure().subplots()
    plot_recovery(effects, ax, component="mlp", direction="noise", columns="role")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["slot"]
    with pytest.raises(LanternError, match="no slot with attention patched"):
        plot_recovery(effects, ax, component="attention", direction="noise", columns="slot")


# -- tests of the shifts -----------------------------------------------------------


def cell_rows(
    label: str, shifts: Sequence[float], pairs: Sequence[Any] | None = None, **values: Any
) -> list[Row]:
    """The rows of one cell with these shifts, each of a pair of its own unless said."""
    images = range(len(shifts)) if pairs is None else pairs
    return [
        made_row(
            condition=label,
            sample=str(i),
            cluster=str(image),
            base=1.0,
            patched=1 + shift,
            **values,
        )
        for i, (shift, image) in enumerate(zip(shifts, images, strict=True))
    ]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarse intervals, where only p values are looked at."""
    monkeypatch.setattr(effects, "RESAMPLES", 10)


def p_of(effect: PatchEffect) -> float:
    assert effect.shift_test is not None
    return effect.shift_test.p


@pytest.mark.parametrize("pairs", [12, 24])
def test_every_cell_is_tested_as_if_it_were_alone(pairs: int, quick: None):
    """Exact for few pairs; else with the very draws of one test per cell. One cell has less."""
    rng = np.random.default_rng(0)
    # In odd multiples of 0.05 many patterns tie with the one seen, but for rounding.
    shifts = {
        f"c{i}": rng.normal(0.2 * i, 1, pairs - 2 * (i == 3)).round(1) + 0.05 for i in range(4)
    }
    rows = [row for label, some in shifts.items() for row in cell_rows(label, some)]
    for effect in patching.summarize(rows, model="m"):
        test = effect.shift_test
        assert test is not None and test.n == test.clusters == effect.n
        assert test.method == ("exact" if pairs == 12 else "monte carlo")
        alone = sign_flip_test(shifts[effect.condition])
        assert test.estimate == pytest.approx(alone.estimate) == effect.shift.estimate
        if effect.n == pairs:
            assert test.p == alone.p and test.resamples == alone.resamples
        else:  # the signs of another number of pairs
            assert test.p == pytest.approx(alone.p, abs=3 * math.sqrt(0.5 / 9999))


def test_a_planted_effect_stands_out_of_any_number_of_cells(quick: None):
    """Draws grow with the family, so that Holm leaves 1/200 of a cell that no draw reaches."""
    rng = np.random.default_rng(1)
    rows = cell_rows("planted", rng.normal(3, 1, 24)) + cell_rows("sham", [1e-6] * 24, sham=True)
    for i in range(99):
        rows += cell_rows(f"none{i}", rng.normal(0, 1, 24))
    planted, sham, *others = patching.summarize(rows, model="m")
    assert planted.shift_test is not None and planted.shift_test.resamples == 200 * 100 - 1
    assert p_of(planted) == 1 / 20_000 and planted.shift_holm_p == pytest.approx(1 / 200)
    assert sham.shift_test is None and sham.shift_holm_p is None
    assert min(e.shift_holm_p for e in others if e.shift_holm_p is not None) > 0.05


def test_holm_is_over_the_cells_of_a_direction_and_keeps_their_order(quick: None):
    rng = np.random.default_rng(2)
    one_way = [row for i in range(8) for row in cell_rows(f"c{i}", rng.normal(i / 5, 1, 16))]
    other_way = [row for i in range(3) for row in cell_rows(f"c{i}", rng.normal(1, 1, 16))]
    other_way = [{**row, "direction": "denoise"} for row in other_way]
    found = patching.summarize([*one_way, *other_way], model="m")
    noise = [e for e in found if e.direction == "noise"]
    raw, adjusted = [p_of(e) for e in noise], [e.shift_holm_p for e in noise]
    assert adjusted == holm(raw) and len(set(raw)) == 8
    order = np.argsort(raw)
    assert np.all(np.diff(np.array(adjusted, float)[order]) >= 0)
    assert all(a is not None and a >= p for a, p in zip(adjusted, raw, strict=True))
    assert noise == patching.summarize(one_way, model="m")


def test_a_pair_counts_once_however_often_it_is_measured(quick: None):
    shifts = np.linspace(-0.5, 1.5, 15)
    thrice = list(np.tile(shifts, 3))
    (once,) = patching.summarize(cell_rows("c", shifts), model="m")
    (clustered,) = patching.summarize(cell_rows("c", thrice, [*range(15)] * 3), model="m")
    (naive,) = patching.summarize(cell_rows("c", thrice), model="m")
    assert p_of(clustered) == pytest.approx(p_of(once)) and clustered.n == 45
    assert p_of(naive) < p_of(once) / 2  # the control: pairs do matter here


def test_p_is_uniform_where_there_is_no_effect(quick: None):
    """300 cells, 24 pairs with two shifts each that have most in common; heavy tails."""
    rng, cells = np.random.default_rng(4), 300
    pairs = [*range(24)] * 2
    shifts = rng.standard_t(3, (cells, 24))[:, pairs] + 0.3 * rng.standard_t(3, (cells, 48))
    rows = [row for i, some in enumerate(shifts) for row in cell_rows(f"c{i}", some, pairs)]
    found = np.array([p_of(e) for e in patching.summarize(rows, model="m")])
    naive = np.array([sign_flip_test(some, resamples=199).p for some in shifts])
    for level in (0.05, 0.25, 0.5):
        error = 3 * math.sqrt(level * (1 - level) / cells)
        assert np.mean(found <= level) == pytest.approx(level, abs=error)
    assert np.mean(naive <= 0.05) > 0.1  # the control: pairs do matter here
