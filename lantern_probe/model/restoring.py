"""A model put back as it was: what a measurement in the middle of a training must not leave behind.

Everything that a module is, but the numbers in its weights, is noted before and put back after:
mode, hooks, patched forwards, submodules, gradients, configs, and what the model remembers of the
last image. So are the states of all random generators.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedConfig


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Put a model and the random generators back at the end of the block, however it ends.

        >>> from lantern_probe.model.restoring import restored
        >>> before = lantern.hf.training
        >>> with restored(lantern.hf):
        ...     _ = lantern.hf.train(not before)
        >>> lantern.hf.training == before
        True

    The numbers in weights and buffers are not copied: the block must not change them.

    Args:
        model: The outermost module.
    """
    undo = [*_generators(), *_configs(model), *_weights(model), *_modules(model)]
    try:
        yield
    finally:
        for put_back in undo:
            put_back()


Undo = Callable[[], object]


def _modules(model: nn.Module) -> Iterator[Undo]:
    """Undoings for the attributes of every module and the contents of its dictionaries."""
    for module in list(model.modules()):
        attributes = vars(module)
        for inner in attributes.values():
            if isinstance(inner, dict):  # hooks, parameters, buffers, submodules
                yield _contents(inner)
        yield _contents(attributes)


def _configs(model: nn.Module) -> Iterator[Undo]:
    """Undoings for the settings of every config, those within configs included."""
    seen: dict[int, Any] = {}
    waiting = [
        vars(module).get(name)
        for module in model.modules()
        for name in ("config", "generation_config")
    ]
    while waiting:
        config = waiting.pop()
        known = isinstance(config, PreTrainedConfig | GenerationConfig)
        if not known or id(config) in seen:
            continue
        seen[id(config)] = config
        waiting += vars(config).values()
        yield _contents(vars(config))


def _weights(model: nn.Module) -> Iterator[Undo]:
    for weight in model.parameters():
        yield _weight(weight, weight.requires_grad, weight.grad)


def _weight(weight: nn.Parameter, learns: bool, gradient: torch.Tensor | None) -> Undo:
    def put_back() -> None:
        weight.requires_grad_(learns)
        weight.grad = gradient

    return put_back


def _generators() -> Iterator[Undo]:
    """Undoings for the random generators of Python, numpy and torch, on all devices in use."""
    python, cpu = random.getstate(), torch.get_rng_state()
    shared = np.random.get_state()  # noqa: NPY002, the one that data loaders may draw from
    yield lambda: random.setstate(python)
    yield lambda: np.random.set_state(shared)  # noqa: NPY002
    yield lambda: torch.set_rng_state(cpu)
    if torch.cuda.is_available():
        devices = torch.cuda.get_rng_state_all()
        yield lambda: torch.cuda.set_rng_state_all(devices)


def _contents(mapping: dict[Any, Any]) -> Undo:
    kept = dict(mapping)

    def put_back() -> None:
        mapping.clear()
        mapping.update(kept)

    return put_back
