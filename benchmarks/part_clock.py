"""Seconds by part of a model, each without the parts inside it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lantern_probe.model.lantern import LanternModel


class PartClock:
    """A clock of processor time on a CPU, of wall time on a GPU, which is waited for.

    Only what happens inside `round` is counted: parts that a caller names, and inside them the
    vision tower, the linear layers of the language model and the rest of its attention.

    Args:
        lantern: The model.
    """

    def __init__(self, lantern: LanternModel):
        self._cuda = lantern.device.type == "cuda"
        self._seconds: dict[str, float] | None = None
        self._stack: list[tuple[str, float]] = []
        self._watch(lantern.hf.model.visual, "vision tower")
        for layer in lantern.hf.model.language_model.layers:
            self._watch(layer.self_attn, "attention")
            for module in layer.modules():
                if isinstance(module, nn.Linear):
                    self._watch(module, "linear layers")

    def now(self) -> float:
        """Seconds since some time."""
        if self._cuda:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    @contextmanager
    def round(self) -> Iterator[dict[str, float]]:
        """Count from here on, into the dict that is given."""
        self._seconds = defaultdict(float)
        try:
            yield self._seconds
        finally:
            self._seconds = None

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, name: str) -> None:
        if self._seconds is None:
            return
        now = self.now()
        if self._stack:
            outer, since = self._stack[-1]
            self._seconds[outer] += now - since
        self._stack.append((name, now))

    def _leave(self) -> None:
        if self._seconds is None:
            return
        now = self.now()
        name, since = self._stack.pop()
        self._seconds[name] += now - since
        if self._stack:
            self._stack[-1] = (self._stack[-1][0], now)

    def _watch(self, module: Any, name: str) -> None:
        module.register_forward_pre_hook(lambda *call: self._enter(name), prepend=True)
        module.register_forward_hook(lambda *call: self._leave())
