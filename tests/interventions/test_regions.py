"""Latents of regions: crops of the evidence's size, elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.interventions import LatentPool, Oracle, RandomBox, RandomBoxOther
from lantern_probe.model.oracle import region_latents
from lantern_probe.tasks.crops import overlap
from lantern_probe.tasks.sample import Sample

K, D = 8, 128


def test_an_oracle_feeds_the_latents_of_the_evidence(
    untrained: Any, samples: list[Sample], fed: Any
):
    sample = samples[0]
    expected = region_latents(untrained, sample.open_oracle_images()[0], sample.boxes[0])
    assert torch.equal(fed(Oracle(), sample, untrained), expected)
    boxless = Sample(id="a", images=sample.images, question="?")
    with pytest.raises(LanternError, match="has no box"):
        Oracle().plan(boxless, untrained, None)


def test_a_random_box_is_clear_of_the_evidence_where_there_is_room(
    untrained: Any, monkeypatch: pytest.MonkeyPatch, fed: Any, samples: list[Sample]
):
    asked: list[Any] = []

    def keep_box(lantern: Any, image: Any, box: Any) -> torch.Tensor:
        asked.append(box)
        return torch.zeros(K, D)

    monkeypatch.setattr("lantern_probe.model.oracle.region_latents", keep_box)
    for sample in samples:
        fed(RandomBox(), sample, untrained)
        left, top, right, bottom = asked[-1]
        truth, (width, height) = sample.boxes[0], sample.open_images()[0].size
        assert right - left == pytest.approx(truth[2] - truth[0])
        assert bottom - top == pytest.approx(truth[3] - truth[1])
        assert left >= 0 and right <= width + 1e-6 and top >= 0 and bottom <= height + 1e-6
        assert overlap(asked[-1], truth) == 0
    assert len(set(asked)) == len(samples)


def test_a_box_of_another_image_names_its_donor(
    untrained: Any,
    samples: list[Sample],
    pool: LatentPool,
    fed: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    asked: list[Any] = []

    def keep_image(lantern: Any, image: Any, box: Any) -> torch.Tensor:
        asked.append(image)
        return torch.zeros(K, D)

    monkeypatch.setattr("lantern_probe.model.oracle.region_latents", keep_image)
    condition = RandomBoxOther(seed=1)
    for sample in samples[:6]:
        fed(condition, sample, untrained, pool)
        donor = pool.samples[condition.details(sample, pool)["donor"]]
        assert donor.id != sample.id
        assert asked[-1].tobytes() == donor.open_images()[0].tobytes()
