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

IMAGE_PARTS = ("box", "rest")
"""Sets of image tokens: those in an evidence box, and all others."""

CUT_KEYS = (*PROMPT_SETS, *IMAGE_PARTS, *WRITTEN_SETS)
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
        random: Cut random image tokens instead, drawn from (seed, sample id); default False. This
            control tells an edge that matters from the harm of cutting so many edges. Only image
            tokens are drawn, never slots, markers or text. For `box` they are as many tokens of
            the rest; for `rest`, all but as many random tokens of the rest as the box has; for
            `image`, one half of all; for other keys, as many image tokens.
        other: Cut the other random half of the image tokens, in a random cut of `image`; default
            False. The two halves are each other's control.
        seed: Seed of the draw; default 0.

    Raises:
        LanternError: there are no such positions or layers, or no such control.
    """

    name: ClassVar[str] = "cut"

    queries: str
    keys: str
    layers: str = ""
    random: bool = False
    other: bool = False
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
        self._check_control()
        try:
            Span.parse(self.layers, "layers")
        except LanternError as error:
            raise LanternError(f"cut {self.label!r}: {error}") from None

    def _check_control(self) -> None:
        """Refuse a random control that cannot exist, and settings of one that is not drawn."""
        keys = self.keys.split("+")
        if not self.random:
            for setting, given in (("other=1", self.other), (f"seed={self.seed}", self.seed)):
                if given:
                    raise LanternError(
                        f"cut {self.label!r}: {setting} does nothing without random=1"
                    )
            return
        if written := sorted({"lvr_end", "after", "answer"} & set(keys)):
            raise LanternError(
                f"cut {self.label!r}: how many keys {', '.join(written)} will be is not "
                "known before, so there is no random control of as many"
            )
        if len(keys) > 1 and {"image", *IMAGE_PARTS} & set(keys):
            raise LanternError(
                f"cut {self.label!r}: image tokens are drawn for a random control, so that there "
                "is none of image tokens and other keys together; cut them apart"
            )
        if self.other and self.keys != "image":
            raise LanternError(
                f"cut {self.label!r}: other=1 is the other half of the image tokens, in a random "
                "cut of image only"
            )

    @property
    def by_box(self) -> bool:
        """True if the cut tells image tokens in an evidence box from others."""
        return not set(IMAGE_PARTS).isdisjoint(self.keys.split("+"))

    @property
    def label(self) -> str:
        """The cut as it is written: `after->slot`, `answer->image:layers=2-3`."""
        edge = f"{self.queries}->{self.keys}"
        _, _, settings = super().label.partition(f"queries={self.queries},keys={self.keys}")
        return ":".join(filter(None, [edge, settings.removeprefix(",")]))

    @property
    def control(self) -> Cut:
        """The same queries and random image tokens as keys."""
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
        """The positions of the keys of a random cut; all are image tokens.

        Args:
            prefix: Sets of all positions up to the fork: the first start marker, or the end of the
                prompt.
            size: Number of slots in a block.
            sample: Id of the sample.

        Raises:
            LanternError: there are fewer image tokens than are to be drawn.
        """
        import torch

        slots = [frozenset({"slot"})] * size if "lvr_start" in prefix[-1] else []
        image = [at for at, sets in enumerate(prefix) if "image" in sets]
        rest = [at for at in image if "rest" in prefix[at]]
        count = sum(map(self.has_key, [*prefix, *slots]))
        kind, drawn_from = "image tokens", image
        if self.keys == "image":
            count = len(image) // 2
        elif self.by_box:
            kind, drawn_from = "image tokens outside the box", rest
            count = count if self.keys == "box" else len(image) - len(rest)
        if not 0 < count <= len(drawn_from):
            raise LanternError(
                f"cut {self.label!r}: no random control for sample {sample!r}, since {count} of "
                f"{len(drawn_from)} {kind} would have to be drawn"
            )
        draw = generator(self.seed, f"{self.queries}->{self.keys}", sample)
        order = torch.randperm(len(drawn_from), generator=draw).tolist()
        chosen = order[count : 2 * count] if self.other else order[:count]
        drawn = frozenset(drawn_from[index] for index in chosen)
        return frozenset(image) - drawn if self.keys == "rest" else drawn


@dataclass(frozen=True)
class KnockOut(Intervention):
    """A cut as a condition of an ablation.

    At the slots: the own latents, as the model makes them with these edges cut.
    Source: arXiv 2304.14767.
    Control: the same cut with `random=1`, which cuts random image tokens.

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
