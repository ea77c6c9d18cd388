"""Loops over slots: a value is of the slot it is asked for, or it is refused in own words."""

# ruff: noqa: PT012, PT031 - a trace is one statement, its block is not

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.scenes import scenes

SCENE = scenes(1)[0]
READS: dict[str, Callable[[LanternModel], Any]] = {
    "layer": lambda lantern: lantern.layers[2].output,
    "layer input": lambda lantern: lantern.layers_input[1],
    "attention": lambda lantern: lantern.attentions_output[0],
    "mlp": lambda lantern: lantern.layers[3].mlp.output,
    "norm": lambda lantern: lantern.ln_final.output,
    "head": lambda lantern: lantern.lm_head.output,
    "logits": lambda lantern: lantern.logits,
    "embeddings": lambda lantern: lantern.model.language_model.embed_tokens.output,
    "language model": lambda lantern: lantern.model.language_model.output,
    "image": lambda lantern: lantern.model.visual.output,
}


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("name", [*READS][:-1])
def test_what_is_read_before_the_latent_is_refused(faithful: LanternModel, name: str, first: int):
    with (
        pytest.raises(LanternError, match="read lantern.latent first"),
        faithful.generate(SCENE) as tracer,
    ):
        for _ in tracer.iter[first:8]:
            READS[name](faithful)
            faithful.latent.output.clone()


def test_what_is_written_before_the_latent_is_refused(faithful: LanternModel):
    with (
        pytest.raises(LanternError, match=r"`model\..*layers.1.output`.*read lantern.latent first"),
        faithful.generate(SCENE) as tracer,
    ):
        for _ in tracer.iter[2:8]:
            faithful.layers_output[1] = torch.zeros(1, 1, 128)
            faithful.latent.output.clone()


def test_a_step_that_skips_the_latent_is_refused(faithful: LanternModel):
    with (
        pytest.raises(LanternError, match="latent of slot 1.*read lantern.latent first"),
        faithful.generate(SCENE) as tracer,
    ):
        for slot in tracer.iter[:8]:
            if slot != 1:
                faithful.latent.output.clone()
            faithful.layers[2].output.clone()


@pytest.mark.parametrize("name", ["layer input", "embeddings", "image"])
def test_what_this_forward_has_passed_is_refused(faithful: LanternModel, name: str):
    with (
        pytest.raises(LanternError, match="after the forward of slot 0 had passed it"),
        faithful.generate(SCENE) as tracer,
    ):
        for _ in tracer.iter[:8]:
            faithful.latent.output.clone()
            faithful.layers[3].output.clone()
            READS[name](faithful)


@pytest.mark.parametrize("how", ["output", "input", "written"])
def test_any_request_of_the_latent_leads_to_its_own_forward(faithful: LanternModel, how: str):
    with faithful.generate(SCENE) as tracer:
        wanted = list().save()  # noqa: C408 - nnsight's save
        for _ in tracer.iter[:8]:
            faithful.latent.output.clone()
            wanted.append(faithful.layers[2].output.clone())
    latents = faithful.generate(SCENE).latents[0][0]
    with faithful.generate(SCENE) as tracer:
        found = list().save()  # noqa: C408
        for slot in tracer.iter[:8]:
            if how == "written":
                faithful.latent.output = latents[slot][None, None]
            else:
                getattr(faithful.latent, how)
            found.append(faithful.layers[2].output.clone())
        output = tracer.result.save()
    assert len(found) == 8 and output.answers == [SCENE.answer]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == (1, 1, 128) and torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("bounds", [slice(None, 12), slice(None), slice(6, 12), [0, 20]])
def test_a_loop_beyond_the_slots_says_how_many_there_were(faithful: LanternModel, bounds: Any):
    steps = [slot for slot in range(20)[bounds] if slot < 8] if isinstance(bounds, slice) else [0]
    with (
        pytest.warns(
            UserWarning, match=r"was never reached: 8 slots were fed \(0 to 7\)"
        ) as caught,
        faithful.generate(SCENE) as tracer,
    ):
        seen = list().save()  # noqa: C408
        for slot in tracer.iter[bounds]:
            faithful.latent.output.clone()
            seen.append(slot)
    assert seen == steps and len(caught) == 1


def test_a_text_without_a_block_and_a_plain_forward_say_so(faithful: LanternModel):
    with (
        pytest.raises(LanternError, match="no latent was fed"),
        faithful.generate(SCENE, max_new_tokens=2) as tracer,
    ):
        for _ in tracer.iter[:8]:
            faithful.latent.output.clone()
    with pytest.raises(LanternError, match="no latent was fed"), faithful.trace(SCENE):
        faithful.latent.output.clone()


@pytest.mark.parametrize("key", [-1, slice(None, -1), slice(-3, None), [4, 2], [1, 1]])
def test_bounds_that_are_no_rising_sequence_are_refused(faithful: LanternModel, key: Any):
    with (
        pytest.raises(LanternError, match="no rising sequence of slots"),
        faithful.generate(SCENE) as tracer,
    ):
        for _ in tracer.iter[key]:
            faithful.latent.output.clone()


def test_a_stride_visits_every_second_slot(faithful: LanternModel):
    own = faithful.generate(SCENE).latents[0][0]
    with faithful.generate(SCENE) as tracer:
        found = list().save()  # noqa: C408
        for _ in tracer.iter[1:8:2]:
            found.append(faithful.latent.output[0, 0].clone())
    assert torch.equal(torch.stack([*found]), own[1::2])


def test_a_slot_of_the_past_is_refused(faithful: LanternModel):
    with (
        pytest.raises(LanternError, match="latent of slot 0 was asked for after it had been fed"),
        faithful.generate(SCENE) as tracer,
    ):
        for _ in range(2):
            for _ in tracer.iter[:4]:
                faithful.latent.output.clone()


def test_steps_of_a_generation_need_no_latent(faithful: LanternModel):
    with faithful.generate(SCENE, max_new_tokens=4) as tracer:
        shapes = list().save()  # noqa: C408
        for _ in tracer.iter[:3]:
            shapes.append(faithful.layers[2].output.shape[1])
    assert shapes[1:] == [1, 1] and shapes[0] > 1


@pytest.mark.parametrize(("name", "first"), [("layer", 0), ("image", 0), ("image", 2)])
def test_a_loop_beyond_the_visits_says_how_many_there_were(
    faithful: LanternModel, name: str, first: int
):
    words = r"was never reached in step \d: the run visited it .*read lantern.latent first counts"
    with (
        pytest.warns(UserWarning, match=words) as caught,
        faithful.generate(SCENE, max_new_tokens=4) as tracer,
    ):
        seen = list().save()  # noqa: C408
        for step in tracer.iter[first:8]:
            READS[name](faithful)
            seen.append(step)
    assert len(caught) == 1 and len(seen) == {"layer": 4, "image": 1 - first // 2}[name]


def test_a_latent_goes_from_one_block_to_another_over_a_barrier(faithful: LanternModel):
    one, two = scenes(2, seed=3)
    with faithful.generate() as tracer:
        meet = tracer.barrier(2)
        with tracer.invoke(one):
            for _ in tracer.iter[:8]:
                latent = faithful.latent.output.clone()
                meet()
        with tracer.invoke(two):
            fed = list().save()  # noqa: C408
            for _ in tracer.iter[:8]:
                meet()
                faithful.latent.output = latent
                fed.append(latent)
    assert torch.equal(torch.cat([*fed])[:1], fed[0]) and len(fed) == 8


def test_the_next_of_older_versions_is_refused(faithful: LanternModel):
    with (
        pytest.raises(LanternError, match="tracer.next"),
        faithful.generate(SCENE) as tracer,
    ):
        faithful.latent.output.clone()
        tracer.next()
