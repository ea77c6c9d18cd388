"""Replacements feed what they say: constants, noise of a scale, means, repeats and orders."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.interventions import (
    Additive,
    Constant,
    FirstRepeat,
    LatentPool,
    Mean,
    Noise,
    NoiseMatched,
    NoiseNorm,
    Own,
    Shuffle,
    Swap,
    Zeros,
    parse_condition,
)
from lantern_probe.model.blocks import Slot
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

K, D = 8, 128


def test_fixed_replacements(pool: LatentPool, fed: Any, samples: list[Sample]):
    own = torch.arange(K).float()[:, None].expand(K, D)
    assert torch.equal(fed(Own()), own)
    assert fed(Zeros()).abs().max() == 0
    assert torch.equal(fed(FirstRepeat()), torch.zeros(K, D))
    others = [latents for key, latents in pool.latents.items() if key != samples[0].id]
    assert torch.allclose(fed(Mean(), pool=pool), torch.stack(others).mean(0), atol=1e-5)


def test_noise_has_its_scale_and_matched_noise_that_of_the_pool(pool: LatentPool, fed: Any):
    plain = fed(Noise(scale=2.0), blocks=20)
    assert plain.mean().abs() < 0.1 and plain.std() == pytest.approx(2.0, rel=0.05)
    matched = torch.cat([fed(NoiseMatched(seed=s), pool=pool, blocks=20) for s in range(5)])
    every = torch.stack(list(pool.latents.values())).flatten(0, 1)
    assert torch.allclose(matched.mean(0), every.mean(0), atol=0.6)
    ratio = matched.std(0) / every.std(0)
    assert ratio.min() > 0.8 and ratio.max() < 1.25


def test_shuffle_keeps_the_latents_and_moves_some(
    pool: LatentPool, fed: Any, samples: list[Sample]
):
    for sample in samples:
        own, shuffled = pool.latents[sample.id], fed(Shuffle(), sample, pool=pool)
        assert not torch.equal(own, shuffled)
        assert torch.equal(own.sort(0).values, shuffled.sort(0).values)


def test_norm_matched_noise_has_the_own_norms(fed: Any):
    found = fed(NoiseNorm(), blocks=2)
    own = torch.arange(K).float().repeat(2) * D**0.5
    assert torch.allclose(found.norm(dim=1), own, rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(found[1], torch.ones(D), dim=0).abs() < 0.4


def test_additive_noise_has_the_scale_of_the_pool_or_its_own(pool: LatentPool, fed: Any):
    own = torch.arange(K).float()[:, None].expand(K, D).repeat(40, 1)
    every = torch.stack(list(pool.latents.values())).flatten(0, 1)
    scaled = (fed(Additive(sigma=0.5), pool=pool, blocks=40) - own).std(0) / every.std(0)
    assert scaled.min() > 0.4 and scaled.max() < 0.6 and scaled.mean() == pytest.approx(0.5, 0.05)
    raw = fed(Additive(sigma=0.3, raw=True), blocks=40) - own
    assert raw.std() == pytest.approx(0.3, rel=0.05)
    assert Additive().needs_pool and not Additive(raw=True).needs_pool


def test_a_constant_is_the_same_for_every_sample_and_block(
    pool: LatentPool, fed: Any, samples: list[Sample]
):
    first = fed(Constant(), samples[0], pool=pool, blocks=2)
    assert torch.equal(first, fed(Constant(), samples[1], pool=pool, blocks=2))
    assert torch.equal(first[:K], first[K:])
    assert not torch.equal(first, fed(Constant(seed=1), samples[0], pool=pool, blocks=2))


@pytest.mark.parametrize("kind", [Noise, NoiseNorm, NoiseMatched, Additive])
def test_noise_at_a_slot_does_not_depend_on_what_was_drawn_before(
    kind: Any, pool: LatentPool, samples: list[Sample]
):
    plan = kind().plan(samples[0], None, pool)
    own, place = torch.ones(D), Slot(0, 3, torch.empty(0, D))
    first = plan.edit(own, place)
    assert torch.equal(first, plan.edit(own, place))
    assert not torch.equal(first, plan.edit(own, Slot(1, 3, torch.empty(0, D))))
    assert not torch.equal(first, plan.edit(own, Slot(0, 4, torch.empty(0, D))))


@pytest.mark.parametrize("kind", [Noise, NoiseNorm, NoiseMatched, Additive, Shuffle, Swap])
def test_randomness_depends_on_seed_and_sample_only(
    kind: Any, pool: LatentPool, fed: Any, samples: list[Sample]
):
    again = [fed(kind(seed=1), s, pool=pool) for s in samples]
    backwards = [fed(kind(seed=1), s, pool=pool) for s in reversed(samples)][::-1]
    other = [fed(kind(seed=2), s, pool=pool) for s in samples]
    assert all(torch.equal(a, b) for a, b in zip(again, backwards, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(again, other, strict=True))


def test_a_scope_in_which_nothing_would_change_is_refused_or_avoided(untrained: Any):
    with pytest.raises(LanternError, match="puts the first latent where it is"):
        parse_condition("first-repeat:slots=0").check(K)
    parse_condition("first-repeat:slots=0+1").check(K)
    samples = scenes(8, 3)
    own = {
        s.id: torch.arange(K, dtype=torch.float32)[:, None].expand(K, D).clone() for s in samples
    }
    pool = LatentPool({s.id: s for s in samples}, own)
    for sample in samples:
        edit = parse_condition("shuffle:slots=3").edit(sample, untrained, pool)
        assert float(edit(torch.zeros(D), Slot(0, 3, torch.empty(0, D)))[0]) != 3
