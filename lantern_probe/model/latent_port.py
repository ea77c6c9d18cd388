"""The hooks through which a model is fed latents while it decodes (`model.decoding`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lantern_probe.errors import LanternError
from lantern_probe.model.decoding import LatentDecoding


class LatentPort:
    """The hooks through which a model is fed latents, attached once for its whole life.

    They do nothing unless a `LatentDecoding` is active. Attach them before nnsight wraps the model.

    Args:
        language: Language model, with `embed_tokens` and the final `norm`.
        latent: Identity submodule that makes latents visible to a trace.
    """

    def __init__(self, language: Any, latent: nn.Module):
        self._active: LatentDecoding | None = None
        self._latent = latent
        language.register_forward_pre_hook(self._before_language, with_kwargs=True)
        language.embed_tokens.register_forward_hook(self._after_embedding)
        language.norm.register_forward_hook(self._after_norm)

    @contextmanager
    def open(self, decoding: LatentDecoding) -> Iterator[None]:
        """Feed the slots of one `generate` call; a call that fails leaves nothing behind.

        Args:
            decoding: The decoding of that call.

        Raises:
            LanternError: another call is running.
        """
        if self._active is not None:
            raise LanternError(
                "a generation is already running on this model; wait for its end, or load a "
                "second model"
            )
        self._active = decoding
        try:
            yield
        finally:
            self._active = None

    def _before_language(
        self, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        if self._active is not None:
            mask = self._active.visible(kwargs.get("attention_mask"), kwargs["inputs_embeds"])
            kwargs = {**kwargs, "attention_mask": mask}
        return args, kwargs

    def _after_norm(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._active is not None:
            self._active.state = output[:, -1]

    def _after_embedding(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        if self._active is None:
            return output
        self._active.take(args[0])
        return self._active.feed(output, self._latent)
