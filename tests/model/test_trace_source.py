"""Traces that cannot be made from their source, and loops that read in the wrong order."""

from __future__ import annotations

import contextlib
import linecache
import warnings
from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.scenes import scenes

CODE = """
with lantern.{call}(sample) as tracer:
    z = {value}.save()
"""
READS = [
    "layers[2].output",
    "layers[1].input",
    "layers_output[2]",
    "layers_input[0]",
    "attentions_output[1]",
    "mlps_output[0]",
    "ln_final.output",
    "logits",
    "model.language_model.embed_tokens.output",
]


@pytest.fixture(scope="module")
def lantern() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture
def calls(lantern: LanternModel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The forwards that were run."""
    seen: list[str] = []
    plain = lantern.hf.generate
    monkeypatch.setattr(
        lantern.hf, "generate", lambda *a, **k: seen.append("run") or plain(*a, **k)
    )
    return seen


@pytest.mark.parametrize("name", ["<stdin>", "<timed exec>", "<string>", "<ipython-input-1>"])
@pytest.mark.parametrize(
    ("call", "value"), [("generate", "lantern.latent.output"), ("trace", "lantern.logits")]
)
def test_a_block_without_source_is_refused_before_anything_runs(
    lantern: LanternModel, calls: list[str], name: str, call: str, value: str
) -> None:
    code = compile(CODE.format(call=call, value=value), name, "exec")
    with pytest.raises(LanternError, match=r"source of the `with` block at .* cannot be read"):
        exec(code, {"lantern": lantern, "sample": scenes(1)[0]})
    assert not calls


@pytest.mark.parametrize(
    "there",
    ["x = 1\nwith other(1) as tracer:\n    z = 2\n", "x = 1\nx = 2\ny = 3\n", "x = (\n\n\n"],
)
def test_another_source_than_the_code_that_runs_is_refused(
    lantern: LanternModel, calls: list[str], there: str
) -> None:
    name = f"<cell {hash(there)}>"
    linecache.cache[name] = (len(there), None, there.splitlines(keepends=True), name)
    code = compile(CODE.format(call="generate", value="lantern.latent.output"), name, "exec")
    with pytest.raises(LanternError, match="is not the code that runs"):
        exec(code, {"lantern": lantern, "sample": scenes(1)[0]})
    assert not calls


def test_a_body_on_the_line_of_the_with_is_refused(lantern: LanternModel, calls: list[str]) -> None:
    text, name = "with lantern.generate(sample) as tracer: z = 1\n", "<one line>"
    linecache.cache[name] = (len(text), None, [text], name)
    with pytest.raises(LanternError, match="put it on the next line"):
        exec(compile(text, name, "exec"), {"lantern": lantern, "sample": scenes(1)[0]})
    assert not calls


def test_a_plain_call_is_plain_on_any_line(lantern: LanternModel) -> None:
    sample = scenes(1)[0]
    with torch.no_grad(): output = lantern.generate(sample)  # noqa: E701  # fmt: skip
    assert output.answers == [sample.answer]
    scope: dict[str, Any] = {"lantern": lantern, "sample": sample}
    exec("output = lantern.generate(sample)", scope)
    assert scope["output"].texts == output.texts


def test_a_block_may_open_beside_another_and_over_several_lines(lantern: LanternModel) -> None:
    sample = scenes(1)[0]
    with torch.no_grad(), lantern.generate(sample):
        one = lantern.latent.output.save()
    with (
        torch.no_grad(),
        lantern.generate(
            sample,
        ),
    ):
        two = lantern.latent.output.save()
    assert torch.equal(one, two) and one.shape == (1, 1, 128)


def test_the_output_of_a_plain_call_says_that_it_is_no_trace(lantern: LanternModel) -> None:
    output = lantern.generate(scenes(1)[0], max_new_tokens=2)
    with pytest.raises(LanternError, match="output of a plain call"), output:
        pass
    with (
        pytest.raises(LanternError, match="output of a plain call"),
        contextlib.ExitStack() as all_,
    ):
        all_.enter_context(output)


# -- the order in a loop ---------------------------------------------------------


@pytest.mark.parametrize("read", READS)
def test_what_is_read_before_the_latent_of_a_slot_is_refused(
    lantern: LanternModel, read: str
) -> None:
    sample = scenes(1)[0]
    with pytest.raises(LanternError, match=r"read lantern\.latent first"):  # noqa: PT012, SIM117
        with lantern.generate(sample) as tracer:
            found = list().save()  # noqa: C408 - nnsight's save
            for _ in tracer.iter[:8]:
                found.append(eval(f"lantern.{read}"))
                lantern.latent.output.clone()


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("latent", ["output", "input"])
def test_what_is_read_after_the_latent_is_of_the_slots_forward(
    lantern: LanternModel, read: str, latent: str
) -> None:
    sample = scenes(1)[0]
    if read.endswith(("embed_tokens.output", ".input", "layers_input[0]")):
        read = "layers_output[0]"  # what comes before the latent in a forward has passed
    with lantern.generate(sample) as tracer:
        shapes = list().save()  # noqa: C408
        for _ in tracer.iter[:8]:
            getattr(lantern.latent, latent).clone()
            shapes.append(eval(f"lantern.{read}").shape)
    assert len(shapes) == 8 and {tuple(shape[:2]) for shape in shapes} == {(1, 1)}


def test_steps_of_a_generation_need_no_latent(lantern: LanternModel) -> None:
    with lantern.generate(scenes(1)[0], max_new_tokens=4) as tracer:
        shapes = list().save()  # noqa: C408
        for _ in tracer.iter[:3]:
            shapes.append(tuple(lantern.layers_output[2].shape[:2]))
    assert len(shapes) == 3 and shapes[0][1] > 1 and shapes[1:] == [(1, 1), (1, 1)]


def test_a_loop_beyond_the_slots_says_so_in_words_of_slots(lantern: LanternModel) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with lantern.generate(scenes(1)[0]) as tracer:
            norms = list().save()  # noqa: C408
            for _ in tracer.iter[:12]:
                norms.append(lantern.latent.output.norm())
    assert len(norms) == 8
    (said,) = [str(w.message) for w in caught if "tracer.iter" in str(w.message)]
    assert "asked for slot 8" in said and "min_new_tokens" not in said
