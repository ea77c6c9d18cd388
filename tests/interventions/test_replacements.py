"""Interventions are values: named, seeded, and what they say they are."""

from __future__ import annotations

from dataclasses import MISSING, fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.interventions import (
    CONDITIONS,
    Additive,
    Constant,
    FirstRepeat,
    Intervention,
    Mean,
    Noise,
    NoiseMatched,
    NoiseNorm,
    Oracle,
    Own,
    RandomBox,
    Shuffle,
    Swap,
    Zeros,
    generator,
    parse_condition,
)
from lantern_probe.interventions.donors import answer_among
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import RowPlan, Slot
from lantern_probe.model.oracle import region_latents
from lantern_probe.tasks.crops import compress, crop_box, overlap
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import Span

SAMPLES = scenes(24, seed=9)
K, D = 8, 128


@pytest.fixture(scope="module")
def pool() -> LatentPool:
    stream = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.1, 3, D)
    return LatentPool(
        {s.id: s for s in SAMPLES},
        {s.id: 5 + scale * torch.randn(K, D, generator=stream) for s in SAMPLES},
    )


def fed(
    intervention: Intervention,
    sample: Sample = SAMPLES[0],
    lantern: Any = None,
    pool: LatentPool | None = None,
    blocks: int = 1,
) -> torch.Tensor:
    """What is fed where the own latents are 0, 1, 2 ... at the slots, [blocks * K, D]."""
    plan: RowPlan = intervention.plan(sample, lantern, pool)
    assert plan.edit is not None
    rows = []
    for block in range(blocks):
        written = torch.empty(0, D)
        for index in range(K):
            latent = plan.edit(torch.full((D,), float(index)), Slot(block, index, written))
            written = torch.cat([written, latent[None]])
        rows.append(written)
    return torch.cat(rows)


def test_fixed_replacements(pool: LatentPool):
    own = torch.arange(K).float()[:, None].expand(K, D)
    assert torch.equal(fed(Own()), own)
    assert fed(Zeros()).abs().max() == 0
    assert torch.equal(fed(FirstRepeat()), torch.zeros(K, D))
    others = [latents for key, latents in pool.latents.items() if key != SAMPLES[0].id]
    assert torch.allclose(fed(Mean(), pool=pool), torch.stack(others).mean(0), atol=1e-5)


def test_noise_has_its_scale_and_matched_noise_that_of_the_pool(pool: LatentPool):
    plain = fed(Noise(scale=2.0), blocks=20)
    assert plain.mean().abs() < 0.1 and plain.std() == pytest.approx(2.0, rel=0.05)
    matched = torch.cat([fed(NoiseMatched(seed=s), pool=pool, blocks=20) for s in range(5)])
    every = torch.stack(list(pool.latents.values())).flatten(0, 1)
    assert torch.allclose(matched.mean(0), every.mean(0), atol=0.6)
    ratio = matched.std(0) / every.std(0)
    assert ratio.min() > 0.8 and ratio.max() < 1.25


def test_shuffle_keeps_the_latents_and_moves_some(pool: LatentPool):
    for sample in SAMPLES:
        own, shuffled = pool.latents[sample.id], fed(Shuffle(), sample, pool=pool)
        assert not torch.equal(own, shuffled)
        assert torch.equal(own.sort(0).values, shuffled.sort(0).values)


def test_norm_matched_noise_has_the_own_norms():
    found = fed(NoiseNorm(), blocks=2)
    own = torch.arange(K).float().repeat(2) * D**0.5
    assert torch.allclose(found.norm(dim=1), own, rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(found[1], torch.ones(D), dim=0).abs() < 0.4


def test_additive_noise_has_the_scale_of_the_pool_or_its_own(pool: LatentPool):
    own = torch.arange(K).float()[:, None].expand(K, D).repeat(40, 1)
    every = torch.stack(list(pool.latents.values())).flatten(0, 1)
    scaled = (fed(Additive(sigma=0.5), pool=pool, blocks=40) - own).std(0) / every.std(0)
    assert scaled.min() > 0.4 and scaled.max() < 0.6 and scaled.mean() == pytest.approx(0.5, 0.05)
    raw = fed(Additive(sigma=0.3, raw=True), blocks=40) - own
    assert raw.std() == pytest.approx(0.3, rel=0.05)
    assert Additive().needs_pool and not Additive(raw=True).needs_pool


def test_a_constant_is_the_same_for_every_sample_and_block(pool: LatentPool):
    first = fed(Constant(), SAMPLES[0], pool=pool, blocks=2)
    assert torch.equal(first, fed(Constant(), SAMPLES[1], pool=pool, blocks=2))
    assert torch.equal(first[:K], first[K:])
    assert not torch.equal(first, fed(Constant(seed=1), SAMPLES[0], pool=pool, blocks=2))


def scoped(text: str, pool: LatentPool | None = None, blocks: int = 2) -> list[float]:
    """The first number of what is fed, with own latents 0, 1, 2 ... in a model of K slots."""
    lantern = SimpleNamespace(latent_size=K)
    return fed(parse_condition(text), lantern=lantern, pool=pool, blocks=blocks)[:, 0].tolist()


def test_a_scope_leaves_the_other_slots_and_blocks_alone():
    own = [float(k) for k in range(K)]
    assert scoped("zeros:slots=3", blocks=1) == [0, 1, 2, 0, 4, 5, 6, 7]
    assert scoped("zeros:slots=!3", blocks=1) == [0, 0, 0, 3, 0, 0, 0, 0]
    assert scoped("zeros:slots=1+5-6", blocks=1) == [0, 0, 2, 3, 4, 0, 0, 7]
    assert scoped("zeros:blocks=1") == own + [0.0] * K
    assert scoped("zeros:blocks=!1,slots=7") == [0, 1, 2, 3, 4, 5, 6, 0, *own]
    for text, message in [
        ("zeros:slots=8", "no slot 8; the model has slots 0 to 7"),
        ("zeros:slots=!0-7", "leaves no slot to replace"),
    ]:
        with pytest.raises(LanternError, match=message):
            scoped(text)


def test_a_scope_says_whether_it_acts():
    assert [parse_condition("zeros:blocks=1").acts_on(n) for n in range(3)] == [False, False, True]
    assert [parse_condition("zeros:blocks=!0").acts_on(n) for n in range(3)] == [False, False, True]
    assert [parse_condition("zeros").acts_on(n) for n in range(3)] == [False, True, True]


def test_a_pool_of_one_cannot_stand_in_for_a_data_set():
    """Its mean would be the sample's own latent, and the condition a silent no-op."""
    for count in (1, 2):
        few = {s.id: s for s in SAMPLES[:count]}
        pool = LatentPool(few, {key: torch.randn(K, D) for key in few})
        for kind in (Mean, NoiseMatched, Additive):
            with pytest.raises(LanternError, match="at least 2 other samples"):
                fed(kind(), pool=pool)


@pytest.mark.parametrize("kind", [Noise, NoiseNorm, NoiseMatched, Additive])
def test_noise_at_a_slot_does_not_depend_on_what_was_drawn_before(kind: Any, pool: LatentPool):
    plan = kind().plan(SAMPLES[0], None, pool)
    own, place = torch.ones(D), Slot(0, 3, torch.empty(0, D))
    first = plan.edit(own, place)
    assert torch.equal(first, plan.edit(own, place))
    assert not torch.equal(first, plan.edit(own, Slot(1, 3, torch.empty(0, D))))
    assert not torch.equal(first, plan.edit(own, Slot(0, 4, torch.empty(0, D))))


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


def test_samples_that_share_one_of_several_images_are_no_donors():
    one, two, three = (Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(3))
    both = Sample(id="both", images=(one, two), question="a ?")
    shares = Sample(id="shares", images=(three, two), question="b ?")
    pool = LatentPool({"shares": shares}, {"shares": torch.zeros(K, D)})
    with pytest.raises(LanternError, match="has no donor"):
        Swap().plan(both, None, pool)  # type: ignore[arg-type]


def test_frozen_slots_get_what_they_were_without_the_intervention(pool: LatentPool):
    kept = pool.latents[SAMPLES[0].id][:, 0].tolist()
    found = scoped("zeros:slots=2,frozen=1", pool)
    assert found[:K] == [*kept[:2], 0.0, *kept[3:]]
    assert found[K:] == [0, 1, 0, 3, 4, 5, 6, 7]  # the second block was never seen: re-rolled
    assert parse_condition("zeros:frozen=1").needs_pool


@given(st.sets(st.integers(0, 30), min_size=1), st.booleans())
def test_spans_hold_what_was_written(numbers: set[int], excluded: bool):
    span = Span.parse("!" * excluded + "+".join(map(str, numbers)))
    assert all((n in span) == ((n in numbers) != excluded) for n in range(40))
    assert all(n in Span.parse("") for n in range(3))


@pytest.mark.parametrize("kind", [Noise, NoiseNorm, NoiseMatched, Additive, Shuffle, Swap])
def test_randomness_depends_on_seed_and_sample_only(kind: Any, pool: LatentPool):
    again = [fed(kind(seed=1), s, pool=pool) for s in SAMPLES]
    backwards = [fed(kind(seed=1), s, pool=pool) for s in reversed(SAMPLES)][::-1]
    other = [fed(kind(seed=2), s, pool=pool) for s in SAMPLES]
    assert all(torch.equal(a, b) for a, b in zip(again, backwards, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(again, other, strict=True))


@given(st.integers(0, 1000), st.text(max_size=5), st.text(max_size=5))
def test_streams_differ_between_names_and_samples(seed: int, name: str, sample: str):
    first = generator(seed, name, sample).initial_seed()
    assert first == generator(seed, name, sample).initial_seed()
    assert first != generator(seed + 1, name, sample).initial_seed()
    assert first != generator(seed, name + "x", sample).initial_seed()
    assert first != generator(seed, name, sample + "x").initial_seed()


def test_a_donor_is_never_the_sample_its_image_or_its_question(pool: LatentPool):
    twin = Sample(id="same image", images=SAMPLES[0].images, question="something else ?")
    wide = LatentPool({**pool.samples, twin.id: twin}, {**pool.latents, twin.id: torch.zeros(K, D)})
    donors = set()
    for seed in range(200):
        donor = Swap(seed=seed).donor(SAMPLES[0], wide)
        donors.add(donor.id)
        assert donor.text != SAMPLES[0].text and donor.id not in (SAMPLES[0].id, twin.id)
    assert len(donors) > 5
    found = Swap(seed=3)
    assert torch.equal(fed(found, pool=wide), wide.latents[found.donor(SAMPLES[0], wide).id])


def test_without_an_allowed_donor_a_swap_is_refused():
    same = [
        Sample(id=str(n), images=SAMPLES[n].images, question="the same question ?")
        for n in range(3)
    ]
    pool = LatentPool({s.id: s for s in same}, {s.id: torch.zeros(K, D) for s in same})
    with pytest.raises(LanternError, match="has no donor"):
        Swap().plan(same[0], None, pool)  # type: ignore[arg-type]
    with pytest.raises(LanternError, match="LatentPool"):
        Swap().plan(same[0], None, None)  # type: ignore[arg-type]


def test_oracle_latents_are_the_compressed_features_of_the_crop(untrained: Any):
    sample = SAMPLES[0]
    image = sample.open_oracle_images()[0]
    crop = image.crop(crop_box(image.size, sample.boxes[0]))
    inputs = untrained.processor.image_processor(images=[crop], return_tensors="pt")
    with torch.no_grad():
        features = untrained.hf.model.visual(
            inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]
        ).pooler_output
    expected = torch.stack([features[t : t + 1].mean(0) for t in range(K)])
    assert len(features) == 9  # one is dropped
    assert torch.allclose(fed(Oracle(), sample, untrained), expected, atol=1e-5)


def test_a_random_box_is_clear_of_the_evidence_where_there_is_room(
    untrained: Any, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def keep_box(lantern: Any, image: Any, box: Any) -> torch.Tensor:
        asked.append(box)
        return torch.zeros(K, D)

    monkeypatch.setattr("lantern_probe.model.oracle.region_latents", keep_box)
    for sample in SAMPLES:
        fed(RandomBox(), sample, untrained)
        left, top, right, bottom = asked[-1]
        truth, (width, height) = sample.boxes[0], sample.open_images()[0].size
        assert right - left == pytest.approx(truth[2] - truth[0])
        assert bottom - top == pytest.approx(truth[3] - truth[1])
        assert left >= 0 and right <= width + 1e-6 and top >= 0 and bottom <= height + 1e-6
        assert overlap(asked[-1], truth) == 0
    assert len(set(asked)) == len(SAMPLES)


def test_boxes_that_cannot_be_cropped_are_refused(untrained: Any):
    image = SAMPLES[0].open_images()[0]
    with pytest.raises(LanternError, match="leaves nothing to crop in an image of 84 x 84"):
        region_latents(untrained, image, (200, 200, 220, 220))
    with pytest.raises(LanternError, match="has no box"):
        Oracle().plan(Sample(id="a", images=(image,), question="?"), untrained, None)
    with pytest.raises(LanternError, match="4 vision tokens, fewer than the 8 slots"):
        compress(torch.zeros(4, D), K)


@given(
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    st.tuples(st.floats(-50, 550), st.floats(-50, 550), st.floats(1, 300), st.floats(1, 300)),
)
def test_crops_lie_inside_the_image(size: tuple[int, int], corner: tuple[float, ...]):
    box = (corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3])
    try:
        left, top, right, bottom = crop_box(size, box)
    except LanternError:
        return
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]


def test_labels_and_conditions_are_inverse():
    for name, kind in CONDITIONS.items():
        if all(field.default is not MISSING for field in fields(kind)):
            assert parse_condition(name).label == name
    for text in (
        "k-slots:k=4",
        "zeros:slots=3",
        "zeros:slots=!3,frozen=1",
        "swap:slots=0+2-4,blocks=0,seed=2",
        "additive:sigma=0.3,raw=1",
        "noise:scale=2.0",
        "swap:seed=3",
        "noise:scale=0.5,seed=7",
        "erase:attribute=color",
    ):
        assert parse_condition(text).label == text
        assert parse_condition(parse_condition(text).label) == parse_condition(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "no condition 'nonsense'; there are own, skip"),
        ("swap:size=3", "no setting 'size=3'; it has slots .str.*seed .int"),
        ("skip:seed=1", "it has none"),
        ("erase", "needs attribute, as in erase:attribute="),
        ("swap:seed=x", "takes int"),
        ("noise:scale", "no setting 'scale'"),
        ("zeros:slots=x", "no slots 'x'"),
        ("zeros:slots=5-2", "5-2 runs backwards"),
        ("noise:scale=nan", "takes float"),
        ("additive:sigma=-1", "takes float"),
        ("zeros:frozen=maybe", "takes bool"),
        ("k-slots", "needs k, as in k-slots:k=..."),
    ],
)
def test_unknown_conditions_are_refused(text: str, message: str):
    with pytest.raises(LanternError, match=message):
        parse_condition(text)


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
