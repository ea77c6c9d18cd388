"""What may be put into the slots: named, seeded values (METHODS: interventions).

An intervention is a frozen dataclass, the same object in Python, on the command line
(`swap:seed=1`) and in the record. For each sample it makes a `RowPlan`. Its randomness is drawn
from (its seed, its name, the sample's id), so it does not depend on order, batch or worker.
"""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lantern_probe.decoding import RowPlan, Slot
from lantern_probe.errors import LanternError
from lantern_probe.oracle import crop_box, region_latents
from lantern_probe.pool import LatentPool
from lantern_probe.tasks.sample import Box, Sample

if TYPE_CHECKING:
    from lantern_probe.model import LanternModel


def generator(seed: int, name: str, sample: str) -> Generator:
    """The random stream of one intervention on one sample (CPU, so the same on any device)."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{sample}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Intervention:
    """A condition on the latent blocks of one row. Subclasses say what happens at the slots."""

    name: ClassVar[str]
    needs_pool: ClassVar[bool] = False
    """Whether the own latents of the whole data set must be known first."""

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        """What this sample's row does.

        Raises:
            LanternError: the intervention does not apply to this sample.
        """
        raise NotImplementedError

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        """What the record should say beside the outcome, such as the donor's id."""
        return {}

    @property
    def label(self) -> str:
        """The name with every setting that is not the default: `swap:seed=1`."""
        changed = [
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)
            if f.default is MISSING or getattr(self, f.name) != f.default
        ]
        return ":".join([self.name, ",".join(changed)]) if changed else self.name


def table(values: Float[Tensor, "slots dim"]) -> RowPlan:
    """Feed `values[t]` at slot t of every block (the official code reuses them likewise)."""
    return RowPlan(edit=lambda own, slot: values[slot.index].to(own))


@dataclass(frozen=True)
class Own(Intervention):
    """Nothing replaced, through the path of every other intervention: the sham."""

    name: ClassVar[str] = "own"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(edit=lambda own, slot: own)


@dataclass(frozen=True)
class Skip(Intervention):
    """The end marker right after the start marker: markers without slots (official `no_lvr`)."""

    name: ClassVar[str] = "skip"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(mode="skip")


@dataclass(frozen=True)
class Ban(Intervention):
    """The start marker cannot be generated: no markers, no slots."""

    name: ClassVar[str] = "ban"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(ban=True)


@dataclass(frozen=True)
class Stock(Intervention):
    """transformers' plain `generate`: nothing forced, nothing fed; a `<|lvr_sep|>` that the model
    writes itself gets its token embedding."""

    name: ClassVar[str] = "stock"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(mode="stock")


@dataclass(frozen=True)
class Zeros(Intervention):
    """Zero vectors: an out-of-distribution constant rather than a removal (arXiv 2605.21642)."""

    name: ClassVar[str] = "zeros"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(edit=lambda own, slot: torch.zeros_like(own))


@dataclass(frozen=True)
class Noise(Intervention):
    """N(0, scale^2) at every slot (official `random`, seeded here); redrawn in every block."""

    name: ClassVar[str] = "noise"
    scale: float = 1.0
    seed: int = 0

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        stream = generator(self.seed, self.name, sample.id)
        return RowPlan(
            edit=lambda own, slot: (self.scale * torch.randn(own.shape, generator=stream)).to(own)
        )


@dataclass(frozen=True)
class NoiseMatched(Intervention):
    """Gaussian noise with the own latents' mean and sd per slot and dimension (2605.21642)."""

    name: ClassVar[str] = "noise-matched"
    needs_pool: ClassVar[bool] = True
    seed: int = 0

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        mean, deviation = require(pool).mean(), require(pool).deviation()
        stream = generator(self.seed, self.name, sample.id)

        def edit(own: Tensor, slot: Slot) -> Tensor:
            unit = torch.randn(own.shape, generator=stream)
            return (mean[slot.index] + deviation[slot.index] * unit).to(own)

        return RowPlan(edit=edit)


@dataclass(frozen=True)
class Mean(Intervention):
    """The data set's mean own latent, per slot."""

    name: ClassVar[str] = "mean"
    needs_pool: ClassVar[bool] = True

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return table(require(pool).mean())


@dataclass(frozen=True)
class FirstRepeat(Intervention):
    """z_t <- z_1 for every slot: the budget stays, the diversity goes (arXiv 2605.21642)."""

    name: ClassVar[str] = "first-repeat"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(edit=lambda own, slot: slot.written[0] if slot.index else own)


@dataclass(frozen=True)
class Shuffle(Intervention):
    """The own latents of the first block in a random order that moves at least one slot."""

    name: ClassVar[str] = "shuffle"
    needs_pool: ClassVar[bool] = True
    seed: int = 0

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        own = require(pool).own(sample)
        stream = generator(self.seed, self.name, sample.id)
        order = identity = torch.arange(len(own))
        while len(own) > 1 and torch.equal(order, identity):
            order = torch.randperm(len(own), generator=stream)
        return table(own[order])


@dataclass(frozen=True)
class Swap(Intervention):
    """Another sample's own latents (arXiv 2606.05753); never of the same image or question."""

    name: ClassVar[str] = "swap"
    needs_pool: ClassVar[bool] = True
    seed: int = 0

    def donor(self, sample: Sample, pool: LatentPool | None) -> Sample:
        return require(pool).donor(sample, generator(self.seed, self.name, sample.id))

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return table(require(pool).latents[self.donor(sample, pool).id])

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        donor = self.donor(sample, pool)
        comparable = donor.candidates == sample.candidates
        return {"donor": donor.id, "donor_answer": donor.answer if comparable else None}


@dataclass(frozen=True)
class Oracle(Intervention):
    """The compressed vision features of the evidence box (official `gt`)."""

    name: ClassVar[str] = "oracle"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return table(region_latents(lantern, sample.open_oracle_images()[0], evidence(sample)))


@dataclass(frozen=True)
class RandomBox(Intervention):
    """A crop of the evidence box's size elsewhere in the same image, clear of the evidence where
    the image has room."""

    name: ClassVar[str] = "random-box"
    seed: int = 0
    TRIES: ClassVar[int] = 64

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        image = sample.open_oracle_images()[0]
        stream = generator(self.seed, self.name, sample.id)
        box = evidence(sample)
        crop_box(image.size, box)  # a box outside the image has no elsewhere
        width, height = min(box[2] - box[0], image.width), min(box[3] - box[1], image.height)
        room = torch.tensor([image.width - width, image.height - height])
        corners = torch.rand(self.TRIES, 2, generator=stream) * room
        boxes = [(x, y, x + width, y + height) for x, y in corners.tolist()]
        return table(region_latents(lantern, image, min(boxes, key=lambda b: overlap(b, box))))


@dataclass(frozen=True)
class Given(Intervention):
    """Latents given by hand, [K, D], the same for every sample and block."""

    name: ClassVar[str] = "given"
    values: Tensor = field(repr=False)

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return table(self.values)


def overlap(first: Box, second: Box) -> float:
    """The area two boxes share, in square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def evidence(sample: Sample) -> Box:
    """The first evidence box.

    Raises:
        LanternError: the sample has none.
    """
    if not sample.boxes:
        raise LanternError(f"sample {sample.id!r} has no box, so there is no oracle region")
    return sample.boxes[0]


def require(pool: LatentPool | None) -> LatentPool:
    """The pool.

    Raises:
        LanternError: there is none.
    """
    if pool is None:
        raise LanternError("this intervention needs the own latents of the data set (a LatentPool)")
    return pool


CONDITIONS: dict[str, type[Intervention]] = {
    kind.name: kind
    for kind in (
        Own,
        Skip,
        Ban,
        Stock,
        Zeros,
        Noise,
        NoiseMatched,
        Mean,
        FirstRepeat,
        Shuffle,
        Swap,
        Oracle,
        RandomBox,
    )
}
"""Every condition that has a name on the command line."""


def parse_condition(text: str) -> Intervention:
    """An intervention from its label: `zeros`, `noise:scale=2`, `swap:seed=1`.

    Raises:
        LanternError: naming the conditions, or the settings, there are.
    """
    name, _, settings = text.partition(":")
    if name not in CONDITIONS:
        raise LanternError(f"no condition {name!r}; there are {', '.join(CONDITIONS)}")
    kind = CONDITIONS[name]
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if key not in known or not equals:
            raise LanternError(
                f"condition {name!r} has no setting {setting!r}; "
                f"it has {', '.join(f'{k}={f.default}' for k, f in known.items()) or 'none'}"
            )
        try:
            values[key] = int(value) if key == "seed" else float(value)
        except ValueError:
            raise LanternError(
                f"condition {text!r}: {key} takes a number like {known[key].default}, not {value!r}"
            ) from None
    return kind(**values)
