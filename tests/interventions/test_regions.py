"""Latents of regions: crops of the evidence's size, elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.interventions import LatentPool, Oracle, RandomBox, RandomBoxOther
from lantern_probe.model.oracle import region_latents
from lantern_probe.tasks.crops import crop_box, overlap
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


def evidenced(side: int, *boxes: tuple[float, float, float, float], key: str = "a") -> Sample:
    """A sample of a square image with evidence boxes."""
    return Sample(id=key, images=(Image.new("RGB", (side, side)),), question="?", boxes=boxes)


def shares_of(condition: RandomBox, sample: Sample) -> list[float]:
    """Fractions of each evidence crop inside the drawn crop, counted pixel by pixel."""
    box = condition.details(sample, None)["box"]
    size = sample.open_images()[0].size

    def pixels(one: Any) -> set[tuple[int, int]]:
        left, top, right, bottom = crop_box(size, one)
        return {(x, y) for x in range(left, right) for y in range(top, bottom)}

    drawn = pixels(tuple(box))
    return [len(pixels(one) & drawn) / len(pixels(one)) for one in sample.boxes]


@pytest.mark.parametrize("side", [0.35, 0.5, 0.6, 0.7, 0.8])
def test_the_overlap_of_a_random_box_is_recorded_and_too_much_fails(
    side: float, untrained: Any, fed: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lantern_probe.model.oracle.region_latents", lambda *_: torch.zeros(K, D))
    failed = 0
    for number in range(12):
        stream = torch.Generator().manual_seed(number)
        left, top = (torch.rand(2, generator=stream) * (1 - side) * 100).tolist()
        box = (left, top, left + 100 * side, top + 100 * side)
        sample = evidenced(100, box, key=str(number))
        found = RandomBox().details(sample, None)["overlap"]
        assert found == pytest.approx(shares_of(RandomBox(), sample), abs=0.02)
        if found[0] > RandomBox.MOST:
            failed += 1
            with pytest.raises(LanternError, match="has no room for random-box: of 64 places"):
                fed(RandomBox(), sample, untrained)
        else:
            fed(RandomBox(), sample, untrained)
    assert failed == 0 if side < 0.4 else failed == 12 if side > 0.65 else True


def test_a_random_box_avoids_every_evidence_box():
    for number in range(20):
        key, first = str(number), (0.0, 0.0, 24.0, 24.0)
        for second in ((70.0, 70.0, 94.0, 94.0), (0.0, 72.0, 100.0, 100.0)):
            found = RandomBox().details(evidenced(100, first, second, key=key), None)
            assert len(found["overlap"]) == 2 and max(found["overlap"]) < 0.05
    # Where the first alone leaves room, but not both.
    sides = evidenced(100, (0.0, 0.0, 40.0, 100.0), (60.0, 0.0, 100.0, 100.0))
    assert max(RandomBox().details(sides, None)["overlap"]) > RandomBox.MOST


def test_an_oracle_says_which_box_it_shows():
    sample = evidenced(100, (1.0, 2.0, 30.0, 40.0), (50.0, 50.0, 90.0, 90.0))
    assert Oracle().details(sample, None) == {"box": [1.0, 2.0, 30.0, 40.0]}


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
