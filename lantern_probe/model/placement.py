"""Placement: a model on one device or over several, and the memory that is free for its caches.

accelerate moves what a module takes to the module's device, and weights that are kept elsewhere to
it as they are needed. So a layer's keys and values lie on the layer's device, and tokens, masks and
positions on that of the embedding.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from lantern_probe.errors import LanternError
from lantern_probe.model.attention import can_share
from lantern_probe.model.location import TINY
from lantern_probe.model.memory import branches_that_fit, free_memory, rows_that_fit
from lantern_probe.model.tracing import TracedModel


class PlacedModel(TracedModel):
    """A loaded Qwen2.5-VL under nnsight that knows on which devices it runs."""

    @property
    def device(self) -> torch.device:
        """Device of tokens, masks and positions: that of the embedding."""
        return execution_device(self.hf.get_input_embeddings())

    @property
    def layer_devices(self) -> list[torch.device]:
        """Device of every decoder layer, on which its keys and values lie."""
        return [execution_device(layer) for layer in self.hf.model.language_model.layers]

    @property
    def is_tiny(self) -> bool:
        """True for a model so small that memory and threads are of no concern, as an organism."""
        return sum(p.numel() for p in self.hf.parameters()) < TINY

    def _shares(self) -> dict[torch.device, float]:
        """By device, the fraction of the layers that it runs."""
        devices = self.layer_devices
        return {device: n / len(devices) for device, n in Counter(devices).items()}

    def free_memory(self) -> float:
        """Bytes of keys and values, over all layers, for which every device has memory free."""
        return min(free_memory(device) / share for device, share in self._shares().items())

    def rows_that_fit(self, length: int) -> int:
        """The number of rows that may be decoded together in the free memory, at least one.

        Args:
            length: Tokens of a row, the ones still to come included.
        """
        return min(
            rows_that_fit(self.hf.config, self.hf.dtype, device, length, share)
            for device, share in self._shares().items()
        )

    def branches_that_fit(self, own: int, shared: int, each: float) -> int:
        """The number of branches that may be decoded together in the free memory, at least one.

        Args:
            own: Tokens of a row that are its own, the ones still to come included.
            shared: Tokens of a prefix.
            each: Rows of a prefix, the mean.
        """
        each = each if can_share(self) else 1.0
        return min(
            branches_that_fit(self.hf.config, self.hf.dtype, device, own, shared, each, share)
            for device, share in self._shares().items()
        )


def execution_device(module: nn.Module) -> torch.device:
    """The device on which a module runs; its weights may be kept elsewhere.

    Args:
        module: A module with weights.
    """
    for inner in module.modules():
        for hook in _hooks(inner):
            device = getattr(hook, "execution_device", None)
            if device is not None:
                return _as_device(device)
    weight = next(module.parameters())
    return weight.device


def weight_of(module: Any) -> Tensor:
    """The weight of a module, from where it is kept.

    Args:
        module: A module with a `weight`.
    """
    weight: Tensor = module.weight.detach()
    if weight.device.type != "meta":
        return weight
    for hook in _hooks(module):
        if getattr(hook, "weights_map", None) is not None:
            kept: Tensor = hook.weights_map["weight"]
            return kept
    raise LanternError("the model has a weight that is nowhere; load it again")


def spread(model: Any, device_map: Any) -> Any:
    """Put a model that lies on the CPU over the devices of a placement.

    Args:
        model: The transformers model.
        device_map: Placement as for transformers.

    Returns:
        The model.
    """
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    if isinstance(device_map, str):
        whole = list(model._no_split_modules or ())
        room = None
        if device_map != "sequential":
            low = device_map == "balanced_low_0"
            room = get_balanced_memory(model, no_split_module_classes=whole, low_zero=low)
        device_map = infer_auto_device_map(model, max_memory=room, no_split_module_classes=whole)
    return dispatch_model(model, device_map)


def is_whole(model: Any) -> bool:
    """True for a model all of whose weights are on a device, in whole numbers.

    Args:
        model: The transformers model.
    """
    if getattr(model, "is_quantized", False):
        return False
    return all(weight.device.type != "meta" for weight in model.parameters())


def _hooks(module: nn.Module) -> list[Any]:
    hook = getattr(module, "_hf_hook", None)
    return [] if hook is None else list(getattr(hook, "hooks", (hook,)))


def _as_device(device: Any) -> torch.device:
    if isinstance(device, int):
        return torch.device("cuda", device)
    found = torch.device(device)
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", 0)
    return found
