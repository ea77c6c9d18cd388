"""A model in training is lent as it is wrapped, given back as it was, or refused by name."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from typing import Any

import peft
import pytest
import torch
from torch import distributed, nn

from lantern_probe import LanternError, LanternModel, organisms
from lantern_probe.model.in_training import lent, plain
from lantern_probe.organisms.training.build import build_processor, load


@pytest.fixture
def model() -> Any:
    return load(organisms.path("faithful")).train()


@pytest.fixture(scope="module")
def processor() -> Any:
    made = build_processor()
    made.tokenizer.padding_side = "right"
    return made


def adapted(model: Any, config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks for what transformers deprecates
        return peft.get_peft_model(model, config)


def test_the_loan_decodes_in_evaluation_mode_and_ends(model: Any, processor: Any) -> None:
    hooks = len(model.model.language_model.norm._forward_hooks)
    tokenizer = processor.tokenizer.backend_tokenizer.to_str()
    with lent(model, processor) as lantern:
        assert isinstance(lantern, LanternModel)
        assert not any(module.training for module in model.modules())
        assert lantern.processor.tokenizer.padding_side == "left"
        assert lantern.latent_size == 8
        assert len(model.model.language_model.norm._forward_hooks) == hooks + 1
    assert all(module.training for module in model.modules())
    assert len(model.model.language_model.norm._forward_hooks) == hooks
    assert processor.tokenizer.padding_side == "right"
    assert processor.tokenizer.backend_tokenizer.to_str() == tokenizer
    assert not hasattr(model, "latent")


def test_gradients_are_off_inside_only(model: Any, processor: Any) -> None:
    with lent(model, processor):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_autocast_and_compiled_forwards_are_left_aside(model: Any, processor: Any) -> None:
    model._original_forward, model.forward = model.forward, lambda *_: None
    model._compiled_call_impl = compiled = lambda *_: None
    with torch.autocast("cpu", dtype=torch.bfloat16), lent(model, processor):
        assert not torch.is_autocast_enabled("cpu")
        assert "forward" not in vars(model)
        assert model._compiled_call_impl is None
    assert "forward" in vars(model)
    assert model._compiled_call_impl is compiled


def test_wrappers_of_a_training_are_looked_through(model: Any) -> None:
    lora = adapted(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    assert plain(lora) is model
    assert plain(nn.DataParallel(lora)) is model
    assert plain(torch.compile(model)) is model


def test_an_adapter_outside_the_model_is_refused(model: Any) -> None:
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    wrapped = adapted(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    wrapped.peft_config["other"] = config
    with pytest.raises(LanternError, match="PREFIX_TUNING"):
        plain(wrapped)


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"tcp://localhost:{free.getsockname()[1]}"
    distributed.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_fsdp_is_refused_by_name(model: Any, alone: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(LanternError, match=r"under FSDP .*lantern-probe diagnose"):
        plain(model)


def test_the_older_fsdp_is_refused_by_name(model: Any) -> None:
    class FullyShardedDataParallel(nn.Module):
        """Stands in for torch's, which needs an accelerator."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    with pytest.raises(LanternError, match="FSDP"):
        plain(FullyShardedDataParallel(model))


def test_zero_3_is_refused_by_name(model: Any) -> None:
    next(model.parameters()).ds_id = 0  # as DeepSpeed marks a weight that it has sharded
    with pytest.raises(LanternError, match="ZeRO-3"):
        plain(model)


def test_what_is_no_such_model_is_refused(model: Any, processor: Any) -> None:
    with pytest.raises(LanternError, match="Linear model"):
        plain(nn.Linear(2, 2))
    with pytest.raises(LanternError, match="call `diagnose`"):
        plain(LanternModel("faithful"))
    with pytest.raises(LanternError, match="needs its processor"), lent(model, None):
        pass
    model.config.latent_size = None
    with pytest.raises(LanternError, match="latent_size=8"), lent(model, processor):
        pass
    with lent(model, processor, 4) as lantern:
        assert lantern.latent_size == 4
