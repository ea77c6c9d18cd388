"""Logit lens: the word that a vector of the model stands for, if it were the last state of a text.

The vector that is read is named each time. *The latent fed at slot t* is the final state of the
position before that slot, already after the final norm. *The residual at slot t, layer L* is
another vector: the output of layer L at the slot itself, which has read the latent.

Source: the logit lens (nostalgebraist, 2020; arXiv 2303.08112).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lantern_probe.errors import LanternError
from lantern_probe.model.placement import weight_of

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

ARTICLES = ("a ", "an ", "the ")
"""Words that say nothing; a text is told by what follows them."""

UNTRAINED_SEED = 0
"""Seed of the random head, the same for every sample and every run."""


@dataclass(frozen=True, eq=False)
class LogitLens:
    """The final norm and the head of a model, applied to any of its vectors.

    Attributes:
        head: Weight of the head, [words, D].
        norm: Final norm; applied to residuals, never to latents, which are after it.
        soft_cap: Cap of the logits, as in `cap * tanh(logits / cap)`; None without one.
        away: Unit vector that is taken out of every vector before the head reads it, [D]: the
            head's direction of the marker that closes a block. None takes out nothing.
    """

    head: Float[Tensor, "words dim"] = field(repr=False)
    norm: nn.Module = field(repr=False)
    soft_cap: float | None = None
    away: Float[Tensor, " dim"] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, lantern: LanternModel, *, without_end: bool = True) -> LogitLens:
        """The lens of a model.

        Args:
            lantern: The model.
            without_end: Take the direction of the end marker out (default). The marker is what a
                slot mostly stands for, and hides everything else. False reads what the model reads.

        Raises:
            LanternError: the model has no head or no final norm that could be told.
        """
        head = lantern.hf.get_output_embeddings()
        language = lantern.hf.model.language_model
        norm = getattr(language, "norm", None)
        if head is None or not isinstance(norm, nn.Module):
            lacking = "head" if head is None else "final norm"
            raise LanternError(
                f"{type(lantern.hf).__name__} has no {lacking} where a lens looks for it "
                "(get_output_embeddings, and norm of its language model); a lens cannot be built"
            )
        weight = weight_of(head).detach().float()
        away = None
        if without_end:
            direction = weight[lantern.require_lvr().end]
            away = direction / direction.norm()
        cap = getattr(lantern.hf.config.get_text_config(), "final_logit_softcapping", None)
        return cls(weight, norm, cap, away)

    @property
    def device(self) -> torch.device:
        """The device of the head."""
        return self.head.device

    def untrained(self) -> LogitLens:
        """The same lens with a random head, whose rows are as long as those of the true one."""
        generator = torch.Generator().manual_seed(UNTRAINED_SEED)
        random = torch.randn(self.head.shape, generator=generator).to(self.head.device)
        lengths = self.head.norm(dim=-1, keepdim=True) / random.norm(dim=-1, keepdim=True)
        return LogitLens(random * lengths, self.norm, self.soft_cap)

    @torch.no_grad()
    def normed(self, residual: Float[Tensor, "*at dim"]) -> Float[Tensor, "*at dim"]:
        """A residual after the final norm, in float32.

        Args:
            residual: Outputs of layers but the last norm.
        """
        return self.norm(residual).float()

    def end_cosines(self, states: Float[Tensor, "*at dim"]) -> Float[Tensor, "*at"]:
        """Cosine of states after the final norm to the direction that is taken out.

        Args:
            states: Latents, or residuals that were normed.

        Raises:
            LanternError: the lens takes out nothing.
        """
        if self.away is None:
            raise LanternError("this lens takes no direction out, so there is no cosine to it")
        states = states.float().to(self.away.device)
        return (states @ self.away) / states.norm(dim=-1)

    def logits(self, states: Float[Tensor, "*at dim"]) -> Float[Tensor, "*at words"]:
        """Logits of states after the final norm, in float32.

            >>> from lantern_probe.capture import LogitLens
            >>> lens = LogitLens.of(lantern, without_end=False)
            >>> latents = lantern.generate(sample).latents[0][0]
            >>> lens.logits(latents).shape[0]
            8

        Args:
            states: Latents, or residuals that were normed.
        """
        states = states.float().to(self.head.device)
        if self.away is not None:
            states = states - (states @ self.away)[..., None] * self.away
        found = states @ self.head.T
        return found if self.soft_cap is None else self.soft_cap * (found / self.soft_cap).tanh()


@dataclass(frozen=True)
class Words:
    """Texts that can be told apart by their first token, and those tokens.

    Attributes:
        texts: The texts.
        ids: For each, its first token in every way of writing it: with and without a space before
            it, as given and with a capital.
    """

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]

    def scores(self, logits: Float[Tensor, "*at words"]) -> Float[Tensor, "*at texts"]:
        """Logit of every text: the largest over its ways of writing.

        Args:
            logits: Logits over the vocabulary.
        """
        return torch.stack([logits[..., list(ids)].amax(-1) for ids in self.ids], dim=-1)


def words_of(tokenizer: Any, texts: Sequence[str]) -> Words:
    """The texts that their first token tells apart from all others; the rest are left out.

    Args:
        tokenizer: The tokenizer.
        texts: Texts, such as the options of a question. A leading article is passed over.
    """
    found: dict[str, set[int]] = {}
    for text in dict.fromkeys(texts):
        bare = text.strip()
        for article in ARTICLES:
            if bare.lower().startswith(article):
                bare = bare[len(article) :].lstrip()
        forms = {lead + form for form in (bare, bare[:1].upper() + bare[1:]) for lead in ("", " ")}
        ids = [tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms if bare]
        found[text] = {first[0] for first in ids if first} - {tokenizer.unk_token_id}
    kept = {}
    for text, own in found.items():
        others = set().union(*(ids for other, ids in found.items() if other != text))
        # A first token that two texts share, such as a lone space, speaks for neither.
        if own - others:
            kept[text] = tuple(sorted(own - others))
    return Words(tuple(kept), tuple(kept.values()))
