"""Sets of latents of one model: what is captured for them, and how they are put together.

The model's own latents are captured while it runs free, and the oracle latents of the same samples
while they stand in its slots. Two more sets are what the model *would* have generated: while oracle
latents stand in its slots (`teacher-forced`), and while zeros do (`dummy`), so that nothing but the
prompt is in them. A latent is the final normed state at the position before its slot. So slot t of
either set is the output of the last layer at slot t - 1 (at the start marker for slot 0), with the
model's final norm applied. For the own latents this gives back what the model fed itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import rms_norm

from lantern_probe.errors import LanternError
from lantern_probe.geometry.latent_sets import FEWEST, LatentSets
from lantern_probe.geometry.vectors import (
    DUMMY,
    FORCED,
    IMAGE,
    ORACLE,
    OWN,
    QUESTION,
    WORDS,
    VectorSet,
)
from lantern_probe.model.inputs import has_text
from lantern_probe.model.placement import weight_of
from lantern_probe.model.sites import layer_count
from lantern_probe.records.store import Store
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

CONDITIONS = {"own": "own", "oracle": "oracle", "dummy": "zeros"}
"""The captures that the sets are made of, and what is fed at the slots in each."""


def sites_of(capture: str, last: int) -> tuple[str, ...]:
    """Labels of the sites of one capture.

    Args:
        capture: `own`, `oracle` or `dummy`.
        last: Number of the last decoder layer, counted from 0.
    """
    inside = (f"residual.{last}@lvr_start", f"residual.{last}@slot")
    return {
        "own": ("latent@slot", f"residual.{last}@last-question", "vision@image-mean"),
        "oracle": ("latent@slot", *inside),
        "dummy": inside,
    }[capture]


@dataclass(frozen=True, eq=False)
class ModelWeights:
    """The weights of a model that its sets of latents take, beside its activations.

    Attributes:
        last: Number of the last decoder layer, counted from 0.
        norm: Weight of the final norm, [D].
        epsilon: Epsilon of the final norm.
        words: Input embeddings of the different tokens of all questions, [tokens, D].
    """

    last: int
    norm: Float[Tensor, " dim"]
    epsilon: float
    words: Float[Tensor, "tokens dim"]

    @classmethod
    def of(cls, lantern: LanternModel, samples: Sequence[Sample]) -> ModelWeights:
        """Copy them out of a model.

        Args:
            lantern: The model.
            samples: Samples whose questions' words are taken.

        Raises:
            LanternError: the model has no latent blocks.
        """
        lantern.require_lvr()
        norm = lantern.hf.model.language_model.norm
        # The others fail when they are run.
        asked = [sample.text for sample in samples if has_text(lantern.processor, sample)]
        texts = lantern.processor.tokenizer(asked)["input_ids"] if asked else []
        ids = sorted({token for text in texts for token in text})
        table = weight_of(lantern.hf.get_input_embeddings())
        return cls(
            layer_count(lantern) - 1,
            weight_of(norm).float().cpu(),
            norm.variance_epsilon,
            table[ids].float().cpu(),
        )

    def states(self, store: Store, role: str) -> Float[Tensor, "samples slots dim"]:
        """Final normed states at a role.

        Args:
            store: Capture of the last layer's output at the role.
            role: Role, such as `slot`.
        """
        found = store.array(f"residual.{self.last}@{role}").float()
        return rms_norm(found, self.norm.shape, self.norm, self.epsilon)

    def generated(self, store: Store) -> Float[Tensor, "samples slots dim"]:
        """The latents that the model generates whatever stands in its slots.

        Args:
            store: Capture of the last layer's output at the start marker and the slots.
        """
        slots = self.states(store, "slot")
        return torch.cat([self.states(store, "lvr_start"), slots[:, :-1]], 1)


def assemble_sets(
    weights: ModelWeights, stores: Mapping[str, Store], wanted: AbstractSet[str]
) -> LatentSets:
    """Bring the samples that every capture has together.

    Args:
        weights: Weights of the model.
        stores: Captures by the names of `CONDITIONS`.
        wanted: Ids of the samples asked for; captures may hold more, of a longer run.

    Raises:
        LanternError: fewer than 5 samples have a whole block and oracle latents.
    """
    own, oracle, dummy = (stores[name] for name in CONDITIONS)
    found = {
        OWN: (own, own.array("latent@slot")),
        FORCED: (oracle, weights.generated(oracle)),
        ORACLE: (oracle, oracle.array("latent@slot")),
        DUMMY: (dummy, weights.generated(dummy)),
        QUESTION: (own, weights.states(own, "last-question")[:, 0]),
        IMAGE: (own, own.array("vision@image-mean")[:, 0]),
    }
    by_sample = {
        name: {
            row["sample"]: vectors
            for row, vectors in zip(store.samples, array, strict=True)
            if bool(torch.isfinite(vectors).all())
        }
        for name, (store, array) in found.items()
    }
    samples = [
        row
        for row in own.samples
        if row["sample"] in wanted and all(row["sample"] in some for some in by_sample.values())
    ]
    if len(samples) < FEWEST:
        raise LanternError(
            f"only {len(samples)} of {len(wanted)} samples have a whole latent block and oracle "
            f"latents; at least {FEWEST} are needed"
        )
    images = [row["cluster"] for row in samples]
    sets = {
        name: VectorSet.of(name, torch.stack([some[r["sample"]] for r in samples]).numpy(), images)
        for name, some in by_sample.items()
    }
    sets[WORDS] = VectorSet.of(WORDS, weights.words.numpy())
    return LatentSets(sets, samples, len(wanted) - len(samples))
