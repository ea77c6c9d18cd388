"""Traces without a readable block, and calls on the line of another `with`."""

# ruff: noqa: PT012, SIM117 - a trace is one statement, its block is not

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LanternOutput
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.scenes import scenes

SCENE = scenes(1)[0]


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture
def idle(faithful: LanternModel, monkeypatch: pytest.MonkeyPatch) -> LanternModel:
    """The model, which must not run."""

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr(faithful.hf, "generate", run)
    monkeypatch.setattr(faithful.hf, "forward", run)
    return faithful


OPENED = {
    "generate": "with lantern.generate(sample) as tracer:",
    "keywords": "with lantern.generate(sample, **{'max_new_tokens': 3}) as tracer:",
    "trace": "with lantern.trace(sample) as tracer:",
    "second": "with torch.no_grad(), lantern.generate(sample) as tracer:",
    "session": "with lantern.session() as tracer:",
    "edit": "with lantern.edit() as (tracer, edited):",
}


@pytest.mark.parametrize("name", OPENED)
def test_a_trace_without_source_is_refused_before_it_runs(idle: LanternModel, name: str):
    code = f"{OPENED[name]}\n    values = lantern.layers[0].output.save()\n"
    with pytest.raises(LanternError, match="source of the `with` block .*cannot be read.*a file"):
        exec(compile(code, "<stdin>", "exec"), {"lantern": idle, "sample": SCENE, "torch": torch})


@pytest.mark.parametrize("inside", [False, True])
def test_a_plain_call_needs_no_source(faithful: LanternModel, inside: bool):
    scope: dict[str, Any] = {"lantern": faithful, "sample": SCENE, "torch": torch}
    call = "output = lantern.generate(sample)"
    exec(f"def run():\n  with torch.no_grad(): {call}\n  return output" if inside else call, scope)
    output = scope["run"]() if inside else scope["output"]
    assert output.answers == [SCENE.answer]


def test_a_plain_call_may_share_the_line_of_another_with(faithful: LanternModel):
    with torch.no_grad(): output = faithful.generate(SCENE)  # fmt: skip # noqa: E701
    assert isinstance(output, LanternOutput) and output.answers == [SCENE.answer]
    with contextlib.nullcontext(faithful.generate(SCENE)) as again:
        assert again.answers == [SCENE.answer]
    with torch.no_grad(), contextlib.nullcontext(
        faithful.ask(SCENE.open_images()[0], SCENE.question)
    ) as third:  # fmt: skip
        assert third.answers == [SCENE.answer]


def test_a_trace_beside_another_context_is_a_trace(faithful: LanternModel):
    with torch.no_grad(), faithful.generate(SCENE) as tracer:
        latent = faithful.latent.output.save()
        output = tracer.result.save()
    assert torch.equal(latent[0, 0], output.latents[0][0][0])


def one_line(lantern: LanternModel) -> None:
    with lantern.generate(SCENE) as tracer: tracer.result.save()  # fmt: skip # noqa: E701


def one_line_trace(lantern: LanternModel) -> None:
    with lantern.trace(SCENE): lantern.logits.save()  # fmt: skip # noqa: E701


def one_line_invoke(lantern: LanternModel) -> None:
    with lantern.generate() as tracer:
        with tracer.invoke(SCENE): lantern.latent.output.save()  # fmt: skip # noqa: E701


@pytest.mark.parametrize("block", [one_line, one_line_trace, one_line_invoke])
def test_a_block_on_the_line_of_its_with_is_refused(idle: LanternModel, block: Callable[..., None]):
    with pytest.raises(LanternError, match="on the line of its `with`; start it on a line of its"):
        block(idle)


def test_a_block_that_starts_with_try_is_refused(idle: LanternModel):
    with (
        pytest.raises(LanternError, match="starts with `try`; put another statement above it"),
        idle.generate(SCENE),
    ):
        try:
            idle.latent.output.save()
        finally:
            pass


def test_an_empty_block_still_runs(faithful: LanternModel):
    with faithful.generate(SCENE, max_new_tokens=2): pass  # fmt: skip # noqa: E701


def test_answers_are_no_traces(idle: LanternModel):
    image = SCENE.open_images()[0]
    with (
        pytest.raises(LanternError, match="`lantern.ask` answers and is no trace"),
        idle.ask(image, SCENE.question),
    ):
        pass
    with (
        pytest.raises(LanternError, match="`lantern.capture` answers and is no trace"),
        idle.capture(SCENE, "latent@slot"),
    ):
        pass


def test_an_output_is_no_trace(faithful: LanternModel):
    output = faithful.generate(SCENE, max_new_tokens=2)
    with pytest.raises(LanternError, match="has run already; write the call"), output:
        pass
    with contextlib.ExitStack() as stack, pytest.raises(LanternError, match="has run already"):
        stack.enter_context(faithful.generate(SCENE, max_new_tokens=2))


def test_a_trace_entered_elsewhere_is_refused(idle: LanternModel):
    tracer = idle.trace(SCENE)
    with pytest.raises(LanternError, match="no readable `with` block"):
        tracer.__enter__()
