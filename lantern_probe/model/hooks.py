"""Hooks at the components of a model: read an activation in the forward, or put another there.

A component is one that a `Site` names: `residual`, `attention` and `mlp` of a layer, `embedding`,
`latent`, `vision`. Capture reads through these hooks, and patching reads and writes through them.
nnsight replaces the modules' `forward` and leaves hooks alone, so that both work under a trace too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lantern_probe.model.sites import submodule

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

Place = tuple[str, int | None]
"""A component and its layer; None for a component that has no layers."""

Act = Callable[[Tensor], Tensor | None]
"""From a component's activation to what replaces it; None leaves it (changed in place or not)."""


@contextmanager
def component_hooks(lantern: LanternModel, acts: Mapping[Place, Act]) -> Iterator[None]:
    """Call a function with the activation of each component, in every forward inside the block.

        >>> import torch
        >>> from lantern_probe.model import component_hooks
        >>> kept = []
        >>> inputs = lantern.inputs([sample])
        >>> with component_hooks(lantern, {("residual", 2): kept.append}), torch.no_grad():
        ...     output = lantern.hf(**inputs)
        >>> kept[0].shape == (*inputs["input_ids"].shape, 128)
        True

    Activations are [rows, positions, D]; `vision` gives [tokens, D], the image tokens of the whole
    batch one after the other. `latent` is called at slots only. The hooks are removed however the
    block ends.

    Args:
        lantern: The model.
        acts: By component and layer, what is called.

    Raises:
        LanternError: the model has no such component or layer.
    """
    with ExitStack() as hooks:
        for place, act in acts.items():
            hooks.callback(_hook(lantern, place, act).remove)
        yield


def _hook(lantern: LanternModel, place: Place, act: Act) -> RemovableHandle:
    module = submodule(lantern, *place)

    def at_input(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        new = act(args[0])
        return None if new is None else (new, *args[1:])

    def at_output(module: Any, args: Any, output: Tensor) -> Tensor | None:
        return act(output)

    def at_tokens(module: Any, args: Any, output: Any) -> None:
        new = act(output.pooler_output)
        if new is not None:
            output.pooler_output = new

    # Image features and latents join the text's embeddings after `embed_tokens`, so that the first
    # place where all of them stand together is the first layer's input.
    if place[0] == "embedding":
        return module.register_forward_pre_hook(at_input)
    return module.register_forward_hook(at_tokens if place[0] == "vision" else at_output)
