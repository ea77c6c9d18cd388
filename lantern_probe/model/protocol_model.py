"""The part of a model that reads its protocol and its generation settings."""

from __future__ import annotations

from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens
from lantern_probe.tasks.answers import TAG

MAX_NEW_TOKENS = 512
"""Token limit of the official evaluation (docs/methods.md, The official system)."""


class ProtocolModel:
    """The part of `LanternModel` that reads its protocol and its generation settings.

    Attributes:
        lvr: The tokens of a latent block, K and the protocol; None for a model without blocks.
    """

    lvr: LvrTokens | None
    hf: Any
    origin: Any

    @property
    def max_new_tokens(self) -> int:
        """Token limit of a continuation unless another is given: the checkpoint's own, else 512."""
        return self.hf.generation_config.max_new_tokens or MAX_NEW_TOKENS

    @property
    def latent_size(self) -> int:
        """K, the number of slots in a block.

        Raises:
            LanternError: the model has no LVR tokens.
        """
        return self.require_lvr().size

    @property
    def answer_lead(self) -> str:
        """Text after which the answer stands: that of the model's protocol, else `<answer>`."""
        return TAG if self.lvr is None else self.lvr.protocol.lead

    @property
    def system(self) -> str | None:
        """System prompt of the model's protocol; None for the chat template's own."""
        return None if self.lvr is None else self.lvr.protocol.system

    @property
    def eos_ids(self) -> set[int]:
        """The tokens that end a generation."""
        eos = self.hf.generation_config.eos_token_id
        return set(eos) if isinstance(eos, list | tuple) else {eos} - {None}

    def require_lvr(self) -> LvrTokens:
        """The LVR tokens.

        Raises:
            LanternError: the model was loaded without them.
        """
        if self.lvr is None:
            raise LanternError(
                f"{self.origin} has no LVR tokens, hence no latent blocks; "
                "it can answer questions, but no condition on the slots applies to it"
            )
        return self.lvr
