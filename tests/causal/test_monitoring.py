"""The monitor's numbers are those of a diagnosis, and the model is as it was."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from lantern_probe import LanternError, LanternModel, Run, Sample, load_task, monitor
from lantern_probe.analysis.estimands import Look, estimates
from lantern_probe.causal.diagnosis import Battery
from lantern_probe.causal.twin_pairs import pair
from lantern_probe.model.in_training import LentModel

from .trainings import organism

TRUTH = {
    "faithful": {"follows": 1.0, "sees": 1.0, "gap": 0.0},
    "bypass": {"follows": 0.0, "sees": 1.0, "needed": 0.0},
    "collapsed": {"carries over": 0.0, "could carry": 1.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRUTH))
def test_the_numbers_are_those_of_a_diagnosis(name: str, tmp_path: Path) -> None:
    samples = load_task("scenes", 24, seed=5)
    found = monitor(*organism(name), samples)
    with Run.open(tmp_path / "run", {}) as run:
        lantern = LanternModel(name)
        Battery(lambda: lantern, pair(samples), run).until(24)
        expected = estimates(list(run.rows()), Look(number=1, of=1))
    assert dict(found) == expected
    for key, truth in TRUTH[name].items():
        assert found[key].value == pytest.approx(truth, abs=0.05)
    assert (found.pairs, found.failed, found.emitted) == (24, 0, 1.0)
    assert found.edit == "twins by color"


def picture(model: Any, processor: Any) -> dict[str, Any]:
    """All of a model and a processor that a monitor might have changed."""
    found: dict[str, Any] = {"config": model.config.to_dict(), "modules": repr(model)}
    found["generation"] = model.generation_config.to_dict()
    found["side"] = processor.tokenizer.padding_side
    found["tokenizer"] = processor.tokenizer.backend_tokenizer.to_str()
    for name, module in model.named_modules():
        known = vars(module)
        found[f"{name} keys"] = sorted(known)
        found[f"{name} mode"] = module.training
        found[f"{name} hooks"] = [list(known[key].items()) for key in known if "hooks" in key]
    for name, tensor in model.state_dict().items():
        found[name] = tensor.tolist()
    for name, weight in model.named_parameters():
        found[f"{name} learns"] = weight.requires_grad, weight.grad is None or weight.grad.tolist()
    found["positions"] = model.get_base_model().model.rope_deltas.tolist()
    return found | {"drawn": torch.get_rng_state().tolist(), "gradients": torch.is_grad_enabled()}


@pytest.fixture
def trained() -> tuple[Any, Any]:
    """An adapted model in the middle of a step, with one frozen module in evaluation mode."""
    model, processor = organism("faithful")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks for what transformers deprecates
        config = peft.LoraConfig(r=2, target_modules=["v_proj"], lora_dropout=0.1)
        adapted = peft.get_peft_model(model, config).train()
    model.model.visual.eval()
    model.model.rope_deltas = torch.tensor([[7]])
    for weight in adapted.parameters():
        weight.grad = torch.ones_like(weight) if weight.requires_grad else None
    return adapted, processor


def test_the_model_is_as_it_was(trained: tuple[Any, Any]) -> None:
    before = copy.deepcopy(picture(*trained))
    found = monitor(*trained, load_task("scenes", 2), max_new_tokens=30)
    assert found.pairs == 2
    after = picture(*trained)
    assert [key for key in before if before[key] != after[key]] == []
    assert before.keys() == after.keys()


@pytest.mark.parametrize("call", [1, 4])
def test_an_error_in_the_middle_leaves_the_model_as_it_was(
    trained: tuple[Any, Any], call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, calls = LentModel.decode, 0

    def failing(lantern: Any, *given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            lantern.hf.model.language_model.norm.register_forward_hook(_stop)
        return decode(lantern, *given, **more)

    monkeypatch.setattr(LentModel, "decode", failing)
    before = copy.deepcopy(picture(*trained))
    with pytest.raises(RuntimeError, match="in a forward"):
        monitor(*trained, load_task("scenes", 2), max_new_tokens=30)
    after = picture(*trained)
    assert [key for key in before if before[key] != after[key]] == []
    assert before.keys() == after.keys()


def _stop(*_: Any) -> None:
    raise RuntimeError("in a forward")


def test_an_adapter_in_training_is_part_of_what_is_measured(trained: tuple[Any, Any]) -> None:
    adapted, processor = trained
    samples = load_task("scenes", 2)
    before = monitor(adapted, processor, samples, max_new_tokens=30)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(std=3.0)
    after = monitor(adapted, processor, samples, max_new_tokens=30)
    assert before.accuracy["own"].estimate == 1.0
    assert after.accuracy.get("own") is None or after.accuracy["own"].estimate < 1.0


def test_samples_that_cannot_be_run_are_counted_or_refused(tmp_path: Path) -> None:
    broken = Sample("1", (tmp_path / "none.png",), "what?", options=("a", "b"), answer="a")
    with pytest.raises(LanternError, match=r"none\.png"):
        monitor(*organism("faithful"), [broken])
