"""Donors: never the sample, its image or its question; twins, and what a donor's answer means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.interventions import LatentPool, SelfSwap, Swap, Twin
from lantern_probe.interventions.donors import answer_among
from lantern_probe.tasks.sample import Sample

K, D = 8, 128


def lettered(name: str, options: tuple[str, ...], answer: str) -> Sample:
    return Sample(
        id=name,
        images=(Image.new("RGB", (84, 84), (len(name), 0, 0)),),
        question=f"question {name} ?",
        options=options,
        answer=answer,
        lettered=True,
    )


def test_a_donors_answer_is_what_its_letter_stands_for():
    donor = lettered("donor", ("red", "blue", "green"), "B")
    assert answer_among(donor, lettered("a", ("green", "Red", "blue"), "A")) == "C"
    assert answer_among(donor, lettered("b", ("green", "red", "pink"), "A")) is None
    words = Sample(id="w", images=(), question="?", options=("blue", "red"), answer="red")
    assert answer_among(donor, words) == "blue"


def test_a_donor_is_never_the_sample_its_image_or_its_question(
    pool: LatentPool, fed: Any, samples: list[Sample]
):
    twin = Sample(id="same image", images=samples[0].images, question="something else ?")
    wide = LatentPool({**pool.samples, twin.id: twin}, {**pool.latents, twin.id: torch.zeros(K, D)})
    donors = set()
    for seed in range(200):
        donor = Swap(seed=seed).donor(samples[0], wide)
        donors.add(donor.id)
        assert donor.text != samples[0].text and donor.id not in (samples[0].id, twin.id)
    assert len(donors) > 5
    found = Swap(seed=3)
    assert torch.equal(fed(found, pool=wide), wide.latents[found.donor(samples[0], wide).id])


def test_a_twin_lends_its_own_latents_and_a_sham_puts_back_ones_own(
    samples: list[Sample], pool: LatentPool, fed: Any
):
    one = replace(samples[0], attributes={"twin": samples[1].id, "twin_answer": "red"})
    assert torch.equal(fed(Twin(), one, pool=pool), pool.latents[samples[1].id])
    assert Twin().details(one, pool) == {"donor": samples[1].id, "donor_answer": "red"}
    assert torch.equal(fed(SelfSwap(), one, pool=pool), pool.latents[one.id])


def test_a_sample_without_a_usable_twin_is_refused(samples: list[Sample], pool: LatentPool):
    with pytest.raises(LanternError, match="has no twin to exchange latents with"):
        Twin().plan(samples[0], None, pool)  # type: ignore[arg-type]
    lost = replace(samples[0], attributes={"twin": "elsewhere"})
    with pytest.raises(LanternError, match="'elsewhere' .* emitted no whole latent block"):
        Twin().plan(lost, None, pool)  # type: ignore[arg-type]
