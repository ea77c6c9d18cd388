"""Mixtures: every row is dealt once, and replacements are what they are called."""

from __future__ import annotations

import pytest
import torch

from lantern_probe.organisms.training.build import SLOTS
from lantern_probe.organisms.training.layout import ABSENT, EMPTY, FULL
from lantern_probe.organisms.training.mixtures import (
    DEFAULT,
    HELD_OUT,
    MIXTURES,
    Statistics,
    plan,
    replacement,
)
from lantern_probe.organisms.training.settings import KINDS
from lantern_probe.tasks.scenes import COLORS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [0, 1])
def test_a_mixture_deals_every_row_once(kind: str, half: int) -> None:
    color = torch.arange(64) % len(COLORS)
    parts = MIXTURES[kind][half]
    dealt = plan(parts, color, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(list(dealt.rows.values())).tolist()) == list(range(64))
    assert not (dealt.donor == torch.arange(64)).any()
    for part in parts:
        rows = dealt.of(part.source)
        assert len(rows) > 0
        expected = {
            "own color": color[rows],
            "donor color": color[dealt.donor[rows]],
            "default color": torch.full_like(rows, DEFAULT),
        }[part.label]
        assert (dealt.color[rows] == expected).all()
        kept = {"skip": EMPTY, "ban": ABSENT}.get(part.source, FULL)
        assert (dealt.kept[rows] == kept).all()


@pytest.mark.parametrize("kind", KINDS)
def test_shares_fit_into_a_batch_and_held_out_sources_are_in_none(kind: str) -> None:
    for parts in MIXTURES[kind]:
        assert sum(part.share for part in parts) <= 1 + 1e-9
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
