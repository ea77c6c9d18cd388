"""The pool of own latents: moments without the sample itself, and donors it may have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.interventions import Additive, LatentPool, Mean, NoiseMatched, Swap
from lantern_probe.tasks.sample import Sample

K, D = 8, 128


def test_moments_are_those_of_the_other_samples(samples: list[Sample], pool: LatentPool):
    every = torch.stack(list(pool.latents.values()))
    mean, deviation = pool.moments()
    assert torch.allclose(mean, every.mean(0), atol=1e-4)
    assert torch.allclose(deviation, every.std(0, correction=0), atol=1e-3)
    mean, deviation = pool.moments(without=samples[5])
    others = every[[index for index in range(len(samples)) if index != 5]]
    assert torch.allclose(mean, others.mean(0), atol=1e-4)
    assert torch.allclose(deviation, others.std(0, correction=0), atol=1e-3)


def test_what_is_made_from_a_pool_is_made_once(samples: list[Sample], pool: LatentPool):
    made: list[int] = []
    few = LatentPool(pool.samples, pool.latents)
    for _ in range(3):
        assert few.cached("key", lambda: made.append(1) or len(made)) == 1
    assert made == [1]


def test_a_sample_without_a_block_has_no_own_latents(pool: LatentPool):
    with pytest.raises(LanternError, match="'absent' emitted no whole latent block"):
        pool.own(Sample(id="absent", images=(), question="?"))


def test_a_pool_of_one_cannot_stand_in_for_a_data_set(fed: Any, samples: list[Sample]):
    """Its mean would be the sample's own latent, and the condition a silent no-op."""
    for count in (1, 2):
        few = {s.id: s for s in samples[:count]}
        pool = LatentPool(few, {key: torch.randn(K, D) for key in few})
        for kind in (Mean, NoiseMatched, Additive):
            with pytest.raises(LanternError, match="at least 2 other samples"):
                fed(kind(), pool=pool)


def test_samples_that_share_one_of_several_images_are_no_donors():
    one, two, three = (Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(3))
    both = Sample(id="both", images=(one, two), question="a ?")
    shares = Sample(id="shares", images=(three, two), question="b ?")
    pool = LatentPool({"shares": shares}, {"shares": torch.zeros(K, D)})
    with pytest.raises(LanternError, match="has no donor"):
        Swap().plan(both, None, pool)  # type: ignore[arg-type]


def test_without_an_allowed_donor_a_swap_is_refused(samples: list[Sample]):
    same = [
        Sample(id=str(n), images=samples[n].images, question="the same question ?")
        for n in range(3)
    ]
    pool = LatentPool({s.id: s for s in same}, {s.id: torch.zeros(K, D) for s in same})
    with pytest.raises(LanternError, match="has no donor"):
        Swap().plan(same[0], None, pool)  # type: ignore[arg-type]
    with pytest.raises(LanternError, match="LatentPool"):
        Swap().plan(same[0], None, None)  # type: ignore[arg-type]
