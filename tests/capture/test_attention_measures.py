"""Attention measures on weights whose figures are known."""

from __future__ import annotations

import itertools
import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from lantern_probe.capture.attention_measures import enrichment, entropy, image_maps, mass_by_role
from lantern_probe.errors import LanternError
from lantern_probe.model.roles import Roles
from lantern_probe.plots.attention import plot_attention_over_image
from lantern_probe.vocabulary import Role

NAMES = [Role.SYSTEM, *[Role.IMAGE] * 10, Role.QUESTION, Role.SLOT, Role.SLOT]


def roles() -> Roles:
    none = torch.full((len(NAMES),), -1)
    return Roles(NAMES, none, none)


def test_masses_are_those_of_the_roles_and_sum_to_one():
    weights = torch.rand(2, 3, 4, len(NAMES)).softmax(-1)
    masses = mass_by_role(weights, roles())
    assert set(masses) == {Role.SYSTEM, Role.IMAGE, Role.QUESTION, Role.SLOT}
    assert torch.allclose(masses[Role.SLOT], weights[..., 12] + weights[..., 13])
    assert torch.allclose(torch.stack(list(masses.values())).sum(0), torch.ones(2, 3, 4))
    with pytest.raises(LanternError, match="14 roles for 13 keys"):
        mass_by_role(weights[..., 1:], roles())


def test_entropy_in_nats():
    weights = torch.tensor([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    expected = torch.tensor([0, math.log(4), math.log(2)])
    assert torch.allclose(entropy(weights), expected)


def test_maps_are_laid_out_as_the_images():
    weights = torch.arange(float(len(NAMES))).expand(1, 1, 1, -1)
    wide, square = image_maps(weights, roles(), torch.tensor([[1, 4, 6], [1, 4, 4]]))
    assert wide[0, 0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert square[0, 0, 0].tolist() == [[7, 8], [9, 10]]
    with pytest.raises(LanternError, match="10 image tokens"):
        image_maps(weights, roles(), torch.tensor([[1, 4, 6]]))


def test_enrichment_of_known_maps():
    attention = torch.zeros(3, 4, 4)
    attention[1] = 1
    attention[2, 1:3, 1:3] = 1
    found = enrichment(attention, torch.tensor([5, 6, 9, 10]))
    assert found.size == (2, 2) and found.windows == 9
    assert found.ratio[0].isnan()
    # Windows at the centre, its four sides and its four corners hold 4, 2 and 1.
    assert found.ratio[1:].tolist() == pytest.approx([1, 4 / (16 / 9)])
    assert found.percentile.tolist() == pytest.approx([0.5, 0.5, 1])


def test_tokens_with_a_hole_stand_for_their_rectangle():
    attention = torch.zeros(3, 3)
    attention[1, 1] = 1
    assert enrichment(attention, torch.tensor([0, 8])).windows == 1
    assert enrichment(attention, torch.tensor([0, 8])).percentile.isnan()
    assert float(enrichment(attention, torch.tensor([4])).ratio) == pytest.approx(9)


def test_a_box_outside_the_map_is_refused():
    for tokens in (torch.tensor([9]), torch.tensor([], dtype=torch.long)):
        with pytest.raises(LanternError, match="3 x 3"):
            enrichment(torch.ones(3, 3), tokens)


@given(arrays.arrays(np.float32, (4, 5), elements=st.floats(0.015625, 1, width=32)), st.data())
def test_enrichment_over_all_windows_is_one_and_ranks_are_even(
    array: np.ndarray, data: st.DataObject
):
    """Each window in turn is the box: ratios average to 1, percentiles to one half."""
    height, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    found = [
        enrichment(
            torch.from_numpy(array),
            torch.tensor([top * 5 + left, (top + height - 1) * 5 + left + width - 1]),
        )
        for top in range(5 - height)
        for left in range(6 - width)
    ]
    assert all(f.windows == len(found) and f.size == (height, width) for f in found)
    assert sum(float(f.ratio) for f in found) / len(found) == pytest.approx(1, rel=1e-5)
    if len(found) > 1:
        assert sum(float(f.percentile) for f in found) / len(found) == pytest.approx(0.5)


def test_the_overlay_covers_the_image_and_states_the_mass():
    ax = Figure().subplots()
    attention = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 0.2]])
    same = plot_attention_over_image(
        Image.new("RGB", (90, 60)), attention, ax, boxes=[(30.0, 0.0, 60.0, 30.0)]
    )
    assert same is ax
    below, above = ax.get_images()
    assert above.get_extent() == below.get_extent() == [0, 90, 60, 0]
    assert above.get_array().shape == (2, 3) and len(ax.patches) == 1
    assert ax.get_title() == "30.0% of the attention"
    plot_attention_over_image(Image.new("L", (4, 4)), torch.zeros(2, 2), Figure().subplots())


def test_windows_that_are_equal_but_for_rounding_are_tied() -> None:
    """Tenths in another order in every window, whose sums differ in the last bit."""
    tenths = torch.tensor([0.1, 0.2, 0.3, 0.6], dtype=torch.float64)
    orders = [tenths[list(order)] for order in itertools.permutations(range(4))]
    assert len({sum(order.tolist()) for order in orders}) > 1
    # Side by side, apart by what makes every other window larger.
    for unit in (1.0, 1e-300):
        for first, second in itertools.product(orders, orders):
            maps = torch.cat([first, torch.ones(4, dtype=torch.float64), second])[None] * unit
            found = enrichment(maps, torch.arange(4))
            assert found.windows == 9 and float(found.percentile) == 0.5 / 8
