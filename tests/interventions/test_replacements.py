"""Replacements feed what they say: constants, noise of a scale, means, repeats and orders."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.covariance import LedoitWolf

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
from lantern_probe.model.lantern import LanternModel
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


def test_full_noise_has_the_covariance_of_the_other_latents():
    """As correlated as they are, and so of as few directions."""
    stream = torch.Generator().manual_seed(3)
    known = scenes(40, seed=2)
    axes = torch.randn(3, D, generator=stream)
    latents = {s.id: 2 + torch.randn(K, 3, generator=stream) @ axes for s in known}
    pool = LatentPool({s.id: s for s in known}, latents)
    others = torch.stack([latents[s.id][4] for s in known[1:]])
    condition = [parse_condition(f"noise-matched:covariance=full,seed={n}") for n in range(400)]
    edits = [c.plan(known[0], None, pool).edit for c in condition]
    drawn = torch.stack([edit(torch.zeros(D), Slot(0, 4, torch.empty(0, D))) for edit in edits])
    assert torch.allclose(drawn.mean(0), others.mean(0), atol=0.4)
    true = torch.cov(others.T, correction=0)
    assert float((torch.cov(drawn.T) - true).norm() / true.norm()) < 0.2
    assert int(torch.linalg.matrix_rank(drawn - drawn.mean(0), rtol=1e-4)) == 3
    with pytest.raises(LanternError, match="no covariance 'half'; it has diagonal and full"):
        parse_condition("noise-matched:covariance=half")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faithful", "collapsed"])
def test_full_noise_is_as_near_to_the_latents_as_they_are_and_other_noise_is_far(name: str):
    """Mahalanobis distance on samples whose latents did not fit the covariance."""
    lantern, known = LanternModel(name), scenes(200, seed=812)
    blocks = lantern.generate(known, max_new_tokens=24).blocks
    latents = {s.id: b[0].latents.float() for s, b in zip(known, blocks, strict=True)}
    pool = LatentPool({s.id: s for s in known}, latents)
    fitted, held = known[:150], known[150:]
    stacks = torch.stack([latents[s.id] for s in fitted])
    fits = [LedoitWolf().fit(stacks[:, slot].numpy()) for slot in range(K)]

    def distance(condition: Any) -> float:
        found = []
        for sample in held:
            edit, own = condition.plan(sample, None, pool).edit, latents[sample.id]
            for slot, fit in enumerate(fits):
                fed = edit(own[slot], Slot(0, slot, own[:slot]))
                found.append(float(fit.mahalanobis(fed.numpy()[None])[0]) ** 0.5)
        return sum(found) / len(found)

    own = distance(Own())
    assert 3 < own < 7
    full = parse_condition("noise-matched:covariance=full")
    assert distance(full) == pytest.approx(own, rel=0.25)
    assert distance(NoiseMatched()) > 4 * own


def test_norm_matched_noise_has_the_own_norms(pool: LatentPool, fed: Any, samples: list[Sample]):
    found = fed(NoiseNorm(rerolled=True), blocks=2)
    own = torch.arange(K).float().repeat(2) * D**0.5
    assert torch.allclose(found.norm(dim=1), own, rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(found[1], torch.ones(D), dim=0).abs() < 0.4
    stored = pool.latents[samples[0].id].norm(dim=1)
    assert torch.allclose(fed(NoiseNorm(), pool=pool).norm(dim=1), stored, rtol=1e-4)


def test_additive_noise_is_added_to_stored_latents_unless_rerolled(
    pool: LatentPool, fed: Any, samples: list[Sample]
):
    condition = Additive(sigma=1e-6)
    stored = fed(condition, pool=pool)
    assert torch.allclose(stored, pool.latents[samples[0].id], atol=1e-3)
    own = torch.arange(K).float()[:, None].expand(K, D)
    rerolled = fed(Additive(sigma=1e-6, rerolled=True), pool=pool)
    assert torch.allclose(rerolled, own, atol=1e-3)


def test_additive_noise_has_the_scale_of_the_pool_or_its_own(pool: LatentPool, fed: Any):
    own = torch.arange(K).float()[:, None].expand(K, D).repeat(40, 1)
    every = torch.stack(list(pool.latents.values())).flatten(0, 1)
    scaled = (fed(Additive(sigma=0.5, rerolled=True), pool=pool, blocks=40) - own).std(
        0
    ) / every.std(0)
    assert scaled.min() > 0.4 and scaled.max() < 0.6 and scaled.mean() == pytest.approx(0.5, 0.05)
    raw = fed(Additive(sigma=0.3, raw=True, rerolled=True), blocks=40) - own
    assert raw.std() == pytest.approx(0.3, rel=0.05)
    assert Additive(rerolled=True).needs_pool and Additive(raw=True).needs_pool
    assert not Additive(raw=True, rerolled=True).needs_pool


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
    parse_condition("first-repeat:slots=0+1").check(K)
    samples = scenes(8, 3)
    own = {
        s.id: torch.arange(K, dtype=torch.float32)[:, None].expand(K, D).clone() for s in samples
    }
    pool = LatentPool({s.id: s for s in samples}, own)
    for sample in samples:
        edit = parse_condition("shuffle:slots=3+5+6").edit(sample, untrained, pool)
        slots = (3, 5, 6)
        fed = [float(edit(torch.zeros(D), Slot(0, s, torch.empty(0, D)))[0]) for s in slots]
        assert sorted(fed) == [3, 5, 6] and fed != [3, 5, 6]  # none from outside the scope
