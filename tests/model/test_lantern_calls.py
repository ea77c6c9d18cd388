"""Calls leave nothing to the next one: no position, no latent, no hook, no memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch

from lantern_probe.model.blocks import LanternOutput, RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

SCENE = scenes(1)[0]
WIDE = Sample(
    id="another size",
    images=(SCENE.open_images()[0].resize((140, 84)),),
    question="what color is the star ?",
)
TEXT = Sample(id="no image", images=(), question="what color is the star ?")
QUESTIONS = (SCENE, WIDE, TEXT)


def answer(lantern: LanternModel, sample: Sample) -> LanternOutput:
    return lantern.generate(sample, max_new_tokens=40)


def logits(lantern: LanternModel, sample: Sample) -> torch.Tensor:
    with lantern.trace(sample):
        found = lantern.logits.save()
    return found


def logits_of_embeddings(lantern: LanternModel) -> torch.Tensor:
    """Of a text given as embeddings without positions, which transformers may complete."""
    ids = lantern.inputs([TEXT])["input_ids"]
    embeddings = lantern.hf.get_input_embeddings()(ids).detach()
    with lantern.trace(inputs_embeds=embeddings, attention_mask=torch.ones_like(ids)):
        found = lantern.logits.save()
    return found


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    """What a model answers that has been asked nothing before."""
    found: dict[str, Any] = {}
    for sample in QUESTIONS:
        found[sample.id] = answer(LanternModel("faithful"), sample)
        found[f"{sample.id}, traced"] = logits(LanternModel("faithful"), sample)
    found["embeddings"] = logits_of_embeddings(LanternModel("faithful"))
    return found


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def assert_as_fresh(lantern: LanternModel, fresh: dict[str, Any]) -> None:
    for sample in QUESTIONS:
        output, expected = answer(lantern, sample), fresh[sample.id]
        assert torch.equal(output.sequences, expected.sequences)
        assert len(output.latents[0]) == len(expected.latents[0]) > 0
        for found, wanted in zip(output.latents[0], expected.latents[0], strict=True):
            assert torch.equal(found, wanted)
        assert torch.equal(logits_of_embeddings(lantern), fresh["embeddings"])
        assert torch.equal(logits(lantern, sample), fresh[f"{sample.id}, traced"])
        assert torch.equal(logits_of_embeddings(lantern), fresh["embeddings"])


def test_images_of_two_sizes_and_a_text_are_answered_as_by_a_fresh_model(
    faithful: LanternModel, fresh: dict[str, Any]
):
    grids = [faithful.inputs([sample])["image_grid_thw"].tolist() for sample in (SCENE, WIDE)]
    assert grids[0] != grids[1]
    assert_as_fresh(faithful, fresh)
    assert_as_fresh(faithful, fresh)


# -- after a call that failed ------------------------------------------------------


class Stop(Exception):
    """Raised in the middle of a call, on purpose."""


class Streamer:
    """Fails at the fifth token."""

    def __init__(self) -> None:
        self.count = 0

    def put(self, value: Any) -> None:
        self.count += 1
        if self.count > 5:
            raise Stop

    def end(self) -> None:
        pass


def in_a_streamer(lantern: LanternModel) -> None:
    lantern.generate(WIDE, streamer=Streamer())


def in_a_logits_processor(lantern: LanternModel) -> None:
    length = lantern.inputs([WIDE])["input_ids"].shape[1]

    def fail(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] > length + 12:  # inside the block
            raise Stop
        return scores

    lantern.generate(WIDE, logits_processor=[fail])


def in_an_edit(lantern: LanternModel) -> None:
    def fail(own: torch.Tensor, slot: Any) -> torch.Tensor:
        if slot.index == 3:
            raise Stop
        return own

    lantern.generate(WIDE, plans=[RowPlan(edit=fail)])


def in_a_trace(lantern: LanternModel) -> None:
    with lantern.trace(WIDE):
        lantern.layers_output[1].save()
        raise Stop


def in_a_traced_generation(lantern: LanternModel) -> None:
    with lantern.generate(WIDE) as tracer:
        for slot in tracer.iter[:8]:
            lantern.latent.output.clone()
            if slot == 3:
                raise Stop


def in_a_module(lantern: LanternModel) -> None:
    def fail(*call: Any) -> None:
        raise Stop

    handle = lantern.hf.model.language_model.layers[2].register_forward_hook(fail)
    try:
        lantern.generate(WIDE)
    finally:
        handle.remove()


def by_the_user(lantern: LanternModel) -> None:
    def interrupt(*call: Any) -> bool:
        raise KeyboardInterrupt

    lantern.generate(WIDE, stopping_criteria=[interrupt])


FAILURES = [
    *(in_a_streamer, in_a_logits_processor, in_an_edit, in_a_module),
    *(in_a_trace, in_a_traced_generation, by_the_user),
]


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_a_call_that_failed_leaves_nothing_behind(
    fail: Callable[[LanternModel], None], faithful: LanternModel, fresh: dict[str, Any]
):
    with pytest.raises((Stop, KeyboardInterrupt)):
        fail(faithful)
    assert_as_fresh(faithful, fresh)


# -- memory ------------------------------------------------------------------------


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore:.*was never reached")
def test_traces_do_not_pile_up(faithful: LanternModel):
    """300 of them: forwards, generations, and some that fail."""

    def failing() -> None:
        with pytest.raises(Stop):
            in_a_trace(faithful)

    def generation() -> None:
        with faithful.generate(SCENE, max_new_tokens=14) as tracer:
            latents = list().save()  # noqa: C408 - nnsight's save
            for _ in tracer.iter[:2]:
                latents.append(faithful.latent.output.clone())
            tracer.result.save()

    def measure() -> tuple[int, int]:
        gc.collect()
        tensors = sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())
        return psutil.Process().memory_info().rss, tensors

    kinds = [lambda: logits(faithful, SCENE), generation, failing]
    for number in range(300):
        kinds[number % 3]()
        if number == 9:
            memory, tensors = measure()
    after, left = measure()
    assert after <= 1.05 * memory
    assert left <= tensors
