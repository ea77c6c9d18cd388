"""What a block changes on a model, and in the random generators, is put back at its end."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lantern_probe import organisms
from lantern_probe.model.restoring import restored
from lantern_probe.organisms.training.build import load


@pytest.fixture(scope="module")
def model() -> Any:
    return load(organisms.path("bypass")).train()


def picture(model: Any) -> dict[str, Any]:
    """All that can be seen of a model but the numbers in its weights."""
    found: dict[str, Any] = {"config": model.config.to_dict(), "text": repr(model)}
    found["generation"] = model.generation_config.to_dict()
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            found[f"{name}.{key}"] = dict(value) if isinstance(value, dict) else value
    for name, weight in model.named_parameters():
        found[f"{name} learns"] = weight.requires_grad
        found[f"{name} gradient"] = None if weight.grad is None else id(weight.grad)
    return found


def disturb(model: Any) -> None:
    """Change everything that a measurement might."""
    language = model.model.language_model
    model.eval()
    model.config.use_cache = False
    model.config.text_config._attn_implementation = "eager"
    model.generation_config.max_new_tokens = 3
    model.model.rope_deltas = torch.ones(1)
    model.add_module("latent", nn.Identity())
    language.norm.register_forward_hook(lambda *_: None)
    language.register_forward_pre_hook(lambda *_: None, with_kwargs=True)
    language.layers[0].forward = lambda *_: None
    language.extra = 1
    del language.config
    model.requires_grad_(False)
    model.lm_head.weight.grad = None


def test_everything_is_put_back(model: Any) -> None:
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    before = picture(model)
    with restored(model):
        disturb(model)
        assert picture(model) != before
    assert picture(model) == before
    assert model.lm_head.weight.grad is not None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing_behind(model: Any, error: type[BaseException]) -> None:
    def fail() -> None:
        with restored(model):
            disturb(model)
            raise error

    before = picture(model)
    with pytest.raises(error):
        fail()
    assert picture(model) == before


def test_random_generators_go_on_where_they_were(model: Any) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.random(), float(torch.rand(()))  # noqa: NPY002

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = draw()
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    with restored(model):
        draw()
    assert draw() == expected
