"""The pool of own latents: moments without the sample itself, and donors it may have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.interventions import Additive, LatentPool, Mean, NoiseMatched, Swap
from lantern_probe.tasks.sample import Sample

K, D = 8, 128
FULL = NoiseMatched(covariance="full")


def test_moments_are_those_of_the_other_samples(samples: list[Sample], pool: LatentPool):
    every = torch.stack(list(pool.latents.values()))
    mean, deviation = pool.moments()
    assert torch.allclose(mean, every.mean(0), atol=1e-4)
    assert torch.allclose(deviation, every.std(0, correction=0), atol=1e-3)
    mean, deviation = pool.moments(without=samples[5])
    others = every[[index for index in range(len(samples)) if index != 5]]
    assert torch.allclose(mean, others.mean(0), atol=1e-4)
    assert torch.allclose(deviation, others.std(0, correction=0), atol=1e-3)


def test_moments_leave_out_every_sample_of_the_image_and_its_twin(samples: list[Sample]):
    first = samples[0]
    same = replace(first, id="same image", question="another question ?")
    pair = {**samples[1].attributes, "pair": "p"}
    one, twin = (replace(samples[n], attributes=pair) for n in (1, 2))
    known = [first, same, one, twin, *samples[3:7]]
    stream = torch.Generator().manual_seed(1)
    latents = {s.id: torch.randn(K, D, generator=stream) for s in known}
    pool = LatentPool({s.id: s for s in known}, latents)
    assert pool.related(first) == {first.id, "same image"}
    assert pool.related(one) == {one.id, twin.id}
    for sample, left in ((first, known[2:]), (one, [*known[:2], *known[4:]])):
        others = torch.stack([latents[s.id] for s in left])
        mean, deviation = pool.moments(without=sample)
        assert torch.allclose(mean, others.mean(0), atol=1e-5)
        assert torch.allclose(deviation, others.std(0, correction=0), atol=1e-4)
        assert torch.equal(pool.others(sample, 3), others[:, 3])
        far = (others[:, 0] - 2).norm(dim=1).min()
        (found,) = pool.nearest([sample], [torch.full((1, D), 2.0)])
        assert found == pytest.approx([float(far)])
    few = {s.id: s for s in (first, same)}
    alone = LatentPool(few, {key: latents[key] for key in few})
    assert alone.nearest([first], [latents[first.id]]) == [None]


def test_the_nearest_latent_is_that_of_another_image_at_the_same_slot(
    samples: list[Sample], pool: LatentPool
):
    vectors = [pool.latents[samples[3].id], pool.latents[samples[3].id], torch.zeros(2, D)]
    far = pool.nearest([samples[3], samples[4], samples[5]], vectors)
    assert far[1] == [0.0] * K  # samples[3] is another image to samples[4], and no other to itself
    for row, (sample, vector) in enumerate(zip(samples[3:6], vectors, strict=True)):
        others = torch.stack([v for key, v in pool.latents.items() if key != sample.id])
        near = (others[:, : len(vector)] - vector).norm(dim=2).min(0).values
        assert far[row] == pytest.approx(near.tolist(), rel=1e-5)


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
        for condition in (Mean(), NoiseMatched(), Additive(), FULL):
            with pytest.raises(LanternError, match="at least 2 other samples"):
                fed(condition, pool=pool)


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
