"""Mixtures: every row is dealt once, and replacements are what they are called."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lantern_probe.organisms.training.build import SLOTS
from lantern_probe.organisms.training.graded import TRAITS, mixture
from lantern_probe.organisms.training.layout import ABSENT, EMPTY, FULL, MASKED, Scenes
from lantern_probe.organisms.training.mixtures import (
    DEFAULT,
    DONOR_COLOR,
    HALVES,
    HELD_OUT,
    Part,
    Statistics,
    counts,
    draw,
    plan,
    replacement,
)
from lantern_probe.organisms.training.settings import GRADED, KINDS, Kind
from lantern_probe.tasks.scenes import COLORS, SHAPES, TEMPLATES


def known(count: int = 64) -> Scenes:
    """Scenes of every colour, shape and template, of which every second one hides its object."""
    index = torch.arange(count)
    return Scenes(index % len(TEMPLATES), index % len(SHAPES), index % len(COLORS), index % 2 == 1)


@pytest.mark.parametrize("kind", [*KINDS, *GRADED])
@pytest.mark.parametrize("half", [0, 1])
def test_a_mixture_deals_every_row_once(kind: Kind, half: int) -> None:
    parts, pool, stream = mixture(kind)[half], known(600), torch.Generator().manual_seed(0)
    chosen = draw(parts, pool, 64, stream)
    scenes = pool[chosen]
    scenes = dataclasses.replace(scenes, hidden=torch.zeros(64, dtype=torch.bool))
    dealt = plan(parts, scenes, stream, TRAITS[kind].alike)
    assert sorted(torch.cat(list(dealt.rows.values())).tolist()) == list(range(64))
    assert not (dealt.donor == torch.arange(64)).any()
    begin = 0
    for part, number in zip(parts, counts(parts, 64), strict=True):
        rows = torch.arange(begin, begin + number)
        begin += number
        assert number > 0 and torch.isin(rows, dealt.of(part.source)).all()
        if part.templates:
            assert torch.isin(scenes.template[rows], torch.tensor(part.templates)).all()
        own, expected = (
            scenes.color[rows],
            {
                "own color": scenes.color[rows],
                "donor color": scenes.color[dealt.donor[rows]],
                "default color": torch.full_like(rows, DEFAULT),
            }[part.label],
        )
        if part.source in HALVES:  # only a half that is read changes the answer
            expected = torch.where(dealt.half[rows] == (scenes.template[rows] != 0), expected, own)
        assert (dealt.color[rows] == expected).all()
        kept = {"skip": EMPTY, "ban": ABSENT, "mask": MASKED}.get(part.source, FULL)
        assert (dealt.kept[rows] == kept).all()


def test_own_latents_of_a_hidden_object_call_for_the_default_answer() -> None:
    scenes = known()
    dealt = plan((Part("own", 0.5), Part("swap", 0.5, DONOR_COLOR)), scenes, torch.Generator())
    own, swap = dealt.of("own"), dealt.of("swap")
    hidden, given = scenes.hidden, scenes.hidden[dealt.donor]
    assert (dealt.color[own][hidden[own]] == DEFAULT).all()
    assert (dealt.color[own] == scenes.color[own])[~hidden[own]].all()
    assert (dealt.color[swap][given[swap]] == DEFAULT).all()
    assert (dealt.color[swap] == scenes.color[dealt.donor[swap]])[~given[swap]].all()


def test_alike_donors_are_asked_for_the_same_shape() -> None:
    scenes = known()
    dealt = plan((Part("swap", 1.0, DONOR_COLOR),), scenes, torch.Generator(), alike=1.0)
    assert torch.equal(scenes.shape[dealt.donor], scenes.shape)
    assert not (dealt.donor == torch.arange(64)).any()


@pytest.mark.parametrize("kind", [*KINDS, *GRADED])
def test_shares_fit_into_a_batch_and_held_out_sources_are_in_none(kind: Kind) -> None:
    for parts in mixture(kind):
        assert sum(part.share for part in parts) <= 1 + 1e-9
        assert min(counts(parts, 64)) > 0
        assert not {part.source for part in parts} & set(HELD_OUT)


def test_replacements_have_the_statistics_they_are_named_after() -> None:
    stream = torch.Generator().manual_seed(0)
    latents = 2 + 3 * torch.randn(400, SLOTS, 6, generator=stream)
    statistics = Statistics()
    statistics.update(latents)
    found = {
        source: replacement(source, 500, statistics, stream)
        for source in ("zeros", "mean", "noise", "noise-matched")
    }
    assert all(value.shape == (500, SLOTS, 6) for value in found.values())
    assert not found["zeros"].any()
    torch.testing.assert_close(found["mean"], latents.mean(0).expand(500, -1, -1))
    assert found["noise"][::2].std() == pytest.approx(1, abs=0.05)
    scales = found["noise"][1::2].flatten(1).std(1)
    assert scales.min() > 0.05 and scales.max() < 5 and scales.max() > 10 * scales.min()
    assert found["noise-matched"].mean() == pytest.approx(2, abs=0.1)
    assert found["noise-matched"].std() == pytest.approx(3, abs=0.1)


def test_statistics_forget_slowly() -> None:
    statistics = Statistics(decay=0.9)
    for level in (0.0, 1.0):
        statistics.update(level + torch.zeros(5, 2, 3))
    assert statistics.mean is not None
    torch.testing.assert_close(statistics.mean, torch.full((2, 3), 0.1))
