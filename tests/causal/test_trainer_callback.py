"""The callback: a training with it ends in the same weights, and logs the card's numbers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

from lantern_probe import LanternError, MonitorCallback, load_task
from lantern_probe.causal import trainer_callback
from lantern_probe.model.in_training import LentModel

from .trainings import organism, trainer

FEW: dict[str, Any] = {"samples": load_task("scenes", 2, seed=9), "max_new_tokens": 30}


class Stumbling(MonitorCallback):
    """A callback whose second look fails in the middle of decoding, and is survived."""

    fell: int | None = None

    def _look(self, state: Any, *args: Any, **others: Any) -> None:
        decode, calls = LentModel.decode, 0

        def failing(lantern: Any, *given: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= 3:  # all samples, since one alone would only be a failed sample
                raise RuntimeError("in the middle")
            return decode(lantern, *given, **more)

        if state.global_step != 10:
            return super()._look(state, *args, **others)
        LentModel.decode = failing  # type: ignore[method-assign]
        try:
            super()._look(state, *args, **others)
        except RuntimeError:
            self.fell = state.global_step
        finally:
            LentModel.decode = decode  # type: ignore[method-assign]
        return None


def adapted(model: Any) -> Any:
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"], lora_dropout=0.2)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks for what transformers deprecates
        return peft.get_peft_model(model, config).train()


def weights_after(folder: Path, kind: type[MonitorCallback] | None, *, lora: bool) -> Any:
    model, processor = organism("faithful")
    model = adapted(model) if lora else model
    training = trainer(model, processor, folder)
    callback = None
    if kind is not None:
        callback = kind(training, steps=(0, 5, 10, 20), **FEW)
        training.add_callback(callback)
    training.train()
    # Not Python's own: the checks of annotations under pytest draw from it.
    drawn = np.random.random(), torch.rand(1)  # noqa: NPY002
    return model.state_dict(), drawn, callback, training


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
def test_a_training_with_the_monitor_ends_in_the_same_weights(tmp_path: Path, lora: bool) -> None:
    alone, drawn, _, _ = weights_after(tmp_path, None, lora=lora)
    for kind in (MonitorCallback, Stumbling):
        found, later, callback, _ = weights_after(tmp_path, kind, lora=lora)
        assert callback is not None
        assert sorted(callback.seen) == ([0, 5, 20] if kind is Stumbling else [0, 5, 10, 20])
        assert kind is not Stumbling or callback.fell == 10
        assert found.keys() == alone.keys()
        assert [name for name in alone if not torch.equal(alone[name], found[name])] == []
        assert later == drawn


@pytest.mark.slow
def test_what_would_change_the_weights_is_told(tmp_path: Path) -> None:
    """The comparison is of trainings that draw: one more number drawn, and they differ."""

    class Drawing(MonitorCallback):
        def _look(self, state: Any, *args: Any, **others: Any) -> None:
            torch.rand(1)

    alone, *_ = weights_after(tmp_path, None, lora=False)
    found, *_ = weights_after(tmp_path, Drawing, lora=False)
    assert any(not torch.equal(alone[name], found[name]) for name in alone)


@pytest.mark.slow
def test_numbers_are_logged_beside_the_loss_by_step(tmp_path: Path) -> None:
    model, processor = organism("faithful")
    training = trainer(model, processor, tmp_path, steps=6, logging_steps=3)
    callback = MonitorCallback(training, steps=3, **FEW)
    training.add_callback(callback)
    training.train()
    history = training.state.log_history
    looks = {e["step"]: e for e in history if "monitor/follows_n" in e}
    assert sorted(looks) == sorted(callback.seen) == [0, 3, 6]
    assert [entry["step"] for entry in history if "loss" in entry] == [3, 6]
    assert looks[0]["monitor/emitted"] == 1.0
    assert looks[0]["monitor/accuracy"] == callback.seen[0].accuracy["own"].estimate
    assert "monitor/follows" not in looks[0]  # two pairs are too few for a value


@pytest.mark.slow
def test_the_last_step_is_looked_at_once(tmp_path: Path) -> None:
    model, processor = organism("faithful")
    training = trainer(model, processor, tmp_path, steps=5)
    callback = MonitorCallback(training, steps=4, **FEW)
    training.add_callback(callback)
    training.train()
    assert sorted(callback.seen) == [0, 4, 5]


def test_other_processes_wait_and_measure_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    model, processor = organism("faithful")
    training = trainer(model, processor, tmp_path)
    callback = MonitorCallback(training, steps=1, **FEW)
    monkeypatch.setattr(trainer_callback, "monitor", pytest.fail)
    training.state.is_world_process_zero = False
    callback.on_train_begin(training.args, training.state, training.control, model)
    assert callback.seen == {}


def test_mixed_precision_is_left_aside_and_put_back(tmp_path: Path) -> None:
    model, processor = organism("faithful")
    training = trainer(model, processor, tmp_path, steps=2, bf16=True)
    callback = MonitorCallback(training, steps=(2,), **FEW)
    training.add_callback(callback)
    training.train()
    assert callback.seen[2].failed == 0
    assert callback.seen[2].pairs == 2


@pytest.mark.parametrize("steps", [0, -1])
def test_steps_that_are_none_are_refused(tmp_path: Path, steps: int) -> None:
    model, processor = organism("faithful")
    with pytest.raises(LanternError, match="steps"):
        MonitorCallback(trainer(model, processor, tmp_path), steps=steps, **FEW)


def test_a_trainer_without_a_processor_is_refused(tmp_path: Path) -> None:
    model, processor = organism("faithful")
    training = trainer(model, processor, tmp_path)
    training.processing_class = None
    with pytest.raises(LanternError, match="processor="):
        MonitorCallback(training, steps=1, **FEW)


def test_a_model_that_cannot_be_monitored_is_refused_before_the_first_step(tmp_path: Path) -> None:
    model, processor = organism("faithful")
    training = trainer(model, processor, tmp_path)
    next(model.parameters()).ds_id = 0
    callback = MonitorCallback(training, steps=(7,), **FEW)
    with pytest.raises(LanternError, match="ZeRO-3"):
        callback.on_train_begin(training.args, training.state, training.control, model)
