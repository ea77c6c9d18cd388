"""Cuts of attention edges, as values and as conditions (arXiv 2304.14767).

A cut names two sets of positions (`vocabulary`): from the queries to the keys nothing is attended
to. `causal.knockout` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Bool

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Intervention, generator
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import OWN, RowPlan
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import PROMPT_SETS, WRITTEN_SETS, Named, Sets, Span, parse_named

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.model.lantern import LanternModel


CUT_QUERIES = ("lvr_start", "slot", "lvr_end", "after", "answer")
"""Sets of queries whose edges can be cut: those that come after the fork of a prefix."""

CUT_KEYS = (*PROMPT_SETS, *WRITTEN_SETS)
"""Sets of keys to which edges can be cut."""

CUT_EDGES = ("slot->image", "slot->question", "after->slot", "after->image") + tuple(
    f"answer->{keys}" for keys in ("slot", "image", "question")
)
"""The usual edges (docs/methods.md, Attention and knockout), and those by which the slots
or the image reach all that is said later."""


@dataclass(frozen=True)
class Cut(Named):
    """The edges from a set of queries to a set of keys, cut in some layers.

    The first latent is made at the start marker, before any slot: what slots may learn from the
    image is cut by `lvr_start+slot->image`, while `slot->image` leaves the first latent whole.

        >>> from lantern_probe.interventions.edges import Cut
        >>> cut = Cut("after", "slot", layers="2-3")
        >>> cut.label, cut.control.label
        ('after->slot:layers=2-3', 'after->slot:layers=2-3,random=1')

    Attributes:
        queries: Sets of `CUT_QUERIES`, joined by `+`.
        keys: Sets of `CUT_KEYS`, joined by `+`.
        layers: Layers (0-based) in which the edges are cut: `3`, `0+3`, `2-5`, `!3` for all but 3;
            empty (default) for all.
        random: Cut as many other keys instead, drawn from (seed, sample id); default False. This
            control tells an edge that matters from the harm of cutting so many edges. The other
            keys are those of the prefix and, for queries after the block, its slots.
        seed: Seed of the draw; default 0.

    Raises:
        LanternError: there are no such positions or layers.
    """

    name: ClassVar[str] = "cut"

    queries: str
    keys: str
    layers: str = ""
    random: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for what, given, known in (
            ("queries", self.queries, CUT_QUERIES),
            ("keys", self.keys, CUT_KEYS),
        ):
            if wrong := [part for part in given.split("+") if part not in known]:
                raise LanternError(
                    f"cut {self.label!r}: no {what} {wrong[0]!r}; there are {', '.join(known)}"
                )
        if self.random and (written := {"lvr_end", "after", "answer"} & set(self.keys.split("+"))):
            raise LanternError(
                f"cut {self.label!r}: how many keys {', '.join(sorted(written))} will be is not "
                "known before, so there is no random control of as many"
            )
        try:
            Span.parse(self.layers, "layers")
        except LanternError as error:
            raise LanternError(f"cut {self.label!r}: {error}") from None

    @property
    def label(self) -> str:
        """The cut as it is written: `after->slot`, `answer->image:layers=2-3`."""
        edge = f"{self.queries}->{self.keys}"
        _, _, settings = super().label.partition(f"queries={self.queries},keys={self.keys}")
        return ":".join(filter(None, [edge, settings.removeprefix(",")]))

    @property
    def control(self) -> Cut:
        """The same queries and as many random keys."""
        return replace(self, random=True)

    def in_layers(self, count: int) -> Bool[Tensor, " layers"]:
        """For every layer of a model, True if the edges are cut in it.

        Args:
            count: Number of layers of the model.

        Raises:
            LanternError: the model has no such layer.
        """
        import torch

        span = Span.parse(self.layers)
        if span.numbers and max(span.numbers) >= count:
            raise LanternError(
                f"cut {self.label!r}: there is no layer {max(span.numbers)}; the model has layers "
                f"0 to {count - 1}"
            )
        return torch.tensor([layer in span for layer in range(count)])

    def has_query(self, sets: Sets) -> bool:
        """True if a position is among the queries.

        Args:
            sets: Sets of the position.
        """
        return not sets.isdisjoint(self.queries.split("+"))

    def has_key(self, sets: Sets) -> bool:
        """True if a position is among the keys; `random` plays no part.

        Args:
            sets: Sets of the position.
        """
        return not sets.isdisjoint(self.keys.split("+"))

    def drawn(self, prefix: Sequence[Sets], size: int, sample: str) -> frozenset[int]:
        """The positions of the keys of a random cut.

        Args:
            prefix: Sets of all positions up to the fork: the first start marker, or the end of the
                prompt.
            size: Number of slots in a block.
            sample: Id of the sample.

        Raises:
            LanternError: there are fewer other keys than those to be replaced.
        """
        import torch

        slots = [frozenset({"slot"})] * size if "lvr_start" in prefix[-1] else []
        after = set(self.queries.split("+")).isdisjoint({"lvr_start", "slot"})
        count = sum(map(self.has_key, [*prefix, *slots]))
        seen = [*prefix, *slots] if after else list(prefix)
        others = [at for at, sets in enumerate(seen) if not self.has_key(sets)]
        if count > len(others):
            raise LanternError(
                f"cut {self.label!r}: {count} keys cannot be replaced by others, of which the "
                f"sequence has {len(others)}"
            )
        draw = generator(self.seed, f"{self.queries}->{self.keys}", sample)
        order = torch.randperm(len(others), generator=draw)[:count].tolist()
        return frozenset(others[index] for index in order)


@dataclass(frozen=True)
class KnockOut(Intervention):
    """A cut as a condition of an ablation.

    At the slots: the own latents, as the model makes them with these edges cut.
    Source: arXiv 2304.14767.
    Control: the same cut with `random=1`, which cuts as many other keys.

    Attributes:
        cut: The edges that are cut.
    """

    name: ClassVar[str] = "knockout"
    cut: Cut

    @property
    def label(self) -> str:
        """The label of the cut: `after->slot:layers=2-3`."""
        return self.cut.label

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        self.cut.in_layers(lantern.hf.config.get_text_config().num_hidden_layers)
        return OWN


def parse_cut(text: str) -> Cut:
    """Read a cut from its label: `after->slot`, `slot->image+question:layers=2-3,random=1`.

    Args:
        text: The label.

    Raises:
        LanternError: there are no such positions or settings; the message lists what there is.
    """
    edge, _, settings = text.partition(":")
    queries, arrow, keys = edge.partition("->")
    if not arrow:
        raise LanternError(f"no cut {text!r}; write QUERIES->KEYS, as in {', '.join(CUT_EDGES)}")
    written = ",".join(filter(None, [f"queries={queries}", f"keys={keys}", settings]))
    return parse_named(f"{Cut.name}:{written}", {Cut.name: Cut}, "cut")
