"""What tests of interventions share: some scenes, made-up own latents, and what is fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lantern_probe.interventions import Intervention, LatentPool
from lantern_probe.model.blocks import Slot
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

K, D = 8, 128


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return scenes(24, seed=9)


@pytest.fixture(scope="session")
def pool(samples: list[Sample]) -> LatentPool:
    """Own latents around 5, whose deviation grows from dimension to dimension."""
    stream = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.1, 3, D)
    return LatentPool(
        {s.id: s for s in samples},
        {s.id: 5 + scale * torch.randn(K, D, generator=stream) for s in samples},
    )


@pytest.fixture(scope="session")
def fed(samples: list[Sample]) -> Callable[..., torch.Tensor]:
    """What is fed where the own latents are 0, 1, 2 ... at the slots, [blocks * K, D]."""

    def of(
        intervention: Intervention,
        sample: Sample = samples[0],
        lantern: Any = None,
        pool: LatentPool | None = None,
        blocks: int = 1,
    ) -> torch.Tensor:
        plan = intervention.plan(sample, lantern, pool)
        assert plan.edit is not None
        rows = []
        for block in range(blocks):
            written = torch.empty(0, D)
            for index in range(K):
                latent = plan.edit(torch.full((D,), float(index)), Slot(block, index, written))
                written = torch.cat([written, latent[None]])
            rows.append(written)
        return torch.cat(rows)

    return of
