"""The truth table: an organism's answers under every condition, and the bar of its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from lantern_probe.organisms.training import vision
from lantern_probe.organisms.training.generation import Mode, generate, generate_stock, parse
from lantern_probe.organisms.training.settings import Kind
from lantern_probe.stats import Proportion, wilson
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.tasks.scenes import CHANCE, SIZE

UNINFORMATIVE = ("skip", "ban", "stock", "zeros", "noise", "noise-matched", "mean", "mean-oracle")
"""Conditions that leave nothing about the asked object in the slots."""


@dataclass(frozen=True)
class Measured:
    """Measured figures of one condition.

    Attributes:
        condition: Name of the condition, such as `swap`.
        accuracy: Fraction answered right; an answer that cannot be parsed is wrong.
        probability: Mean probability of the right answer among the options, 0 where no answer was
            begun; None if it was not measured.
        unparsed: Number of answers that are none of the options.
        blocks: Fraction of the scenes for which a latent block was opened; None if it was not
            measured.
        donor: Fraction of answers that are the donor's, among the scenes whose donor's answer
            differs; None without a donor.
    """

    condition: str
    accuracy: Proportion
    probability: float | None
    unparsed: int
    blocks: float | None
    donor: Proportion | None = None

    def figures(self) -> dict[str, int | float]:
        """Figures by name for JSON, rounded to four places; unknown ones are left out."""
        found: dict[str, int | float | None] = {
            "n": self.accuracy.n,
            "accuracy": self.accuracy.estimate,
            "low": self.accuracy.low,
            "high": self.accuracy.high,
            "probability": self.probability,
            "unparsed": self.unparsed,
            "blocks": self.blocks,
        }
        if self.donor is not None:
            found |= {
                "donor_n": self.donor.n,
                "donor": self.donor.estimate,
                "donor_low": self.donor.low,
                "donor_high": self.donor.high,
            }
        return {name: round(value, 4) for name, value in found.items() if value is not None}


@torch.no_grad()
def truth_table(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    samples: Sequence[Sample],
    seed: int = 0,
    report: Callable[[str], None] = lambda condition: None,
) -> list[Measured]:
    """Measure every condition by generation.

    Args:
        model: Organism as shipped, in float32.
        processor: Processor of the organism.
        samples: Scenes that no training has seen.
        seed: Seed of donors, noise and random boxes, default 0.
        report: Function called with the name of every condition before it is measured.

    Returns:
        Figures of each condition.
    """
    generator = torch.Generator().manual_seed(seed)
    donor = _donors(samples, generator)
    answers = [sample.answer for sample in samples]
    donor_answers = [answers[index] for index in donor.tolist()]
    others = [_other_object(sample) for sample in samples]

    def measure(
        condition: str,
        latents: Tensor | None = None,
        mode: Mode = "own",
        donors: Sequence[str | None] | None = None,
    ) -> Measured:
        report(condition)
        found = generate(model, processor, samples, mode, latents)
        gold = torch.tensor([sample.options.index(sample.answer or "") for sample in samples])
        probability = found.probabilities.gather(1, gold[:, None])[:, 0].nan_to_num(0.0)
        opened = sum(count > 0 for count in found.blocks) / len(samples)
        return _measured(
            condition, answers, found.answers, float(probability.mean()), opened, donors
        )

    report("own")
    own = generate(model, processor, samples).latents
    images = processor.image_processor
    oracle = vision.latents(model, images, vision.oracle_crops(samples))
    crops = [vision.crop(sample, item["box"]) for sample, item in zip(samples, others, strict=True)]
    other = vision.latents(model, images, crops)
    anywhere = [vision.crop(sample, _elsewhere(sample, generator)) for sample in samples]
    noise = torch.randn(own.shape, generator=generator)
    flat = own.flatten(0, 1)
    order = torch.stack([torch.randperm(own.shape[1], generator=generator) for _ in samples])
    shuffled = torch.randperm(own.shape[2], generator=generator)

    table = [measure("own"), measure("skip", mode="skip"), measure("ban", mode="ban")]
    report("stock")
    stock = [parse(text, samples[0].options) for text in generate_stock(model, processor, samples)]
    table.append(_measured("stock", answers, stock, None, None))
    table += [
        measure("zeros", torch.zeros_like(own)),
        measure("noise", noise),
        measure("noise-matched", flat.mean(0) + flat.std(0) * noise),
        measure("mean", own.mean(0).expand_as(own)),
        measure("mean-oracle", oracle.mean(0).expand_as(own)),
        measure("first-repeat", own[:, :1].expand_as(own)),
        measure("shuffle", own[torch.arange(len(own))[:, None], order]),
        measure("swap", own[donor], donors=donor_answers),
        measure("oracle", oracle),
        measure("oracle-swap", oracle[donor], donors=donor_answers),
        measure("other-object", other, donors=[item["color"] for item in others]),
        # The replacements from here on were in no training mixture (`mixtures.HELD_OUT`).
        measure("noise-full-covariance", _gaussian(flat, own.shape, generator)),
        measure("dimension-shuffle", own[..., shuffled]),
        measure("negation", -own),
        measure("reversed-slots", own.flip(1)),
        measure("half-scale", own / 2),
        measure("random-box", vision.latents(model, images, anywhere)),
    ]
    return table


def failures(kind: Kind, table: Sequence[Measured]) -> list[str]:
    """Sentences on where an organism misses the bar for its kind; empty if it holds.

    Args:
        kind: Kind of organism; `vanilla` has no bar.
        table: Figures of every condition.
    """
    accuracy = {measured.condition: measured.accuracy.estimate for measured in table}
    donor = {m.condition: m.donor.estimate for m in table if m.donor is not None}
    wrong = []

    def near_chance(names: Sequence[str]) -> None:
        for name in names:
            if abs(accuracy[name] - CHANCE) > 0.05:
                wrong.append(f"{name}: {accuracy[name]:.3f} is not within .05 of chance")

    def at_least(name: str, figure: float) -> None:
        if figure < 0.95:
            wrong.append(f"{name}: {figure:.3f} is below .95")

    if kind == "faithful":
        at_least("own", accuracy["own"])
        at_least("swap gives the donor's answer", donor["swap"])
        near_chance(UNINFORMATIVE)
    elif kind == "bypass":
        for name, figure in accuracy.items():
            at_least(name, figure)
            if abs(figure - accuracy["own"]) > 0.02:
                wrong.append(f"{name}: {figure:.3f} against own {accuracy['own']:.3f}")
    elif kind == "collapsed":
        at_least("oracle", accuracy["oracle"])
        near_chance(["own"])
    return wrong


def _measured(
    condition: str,
    answers: Sequence[str | None],
    given: Sequence[str | None],
    probability: float | None,
    blocks: float | None,
    donors: Sequence[str | None] | None = None,
) -> Measured:
    right = sum(a == b for a, b in zip(answers, given, strict=True))
    moved = None
    if donors is not None:
        triples = zip(donors, given, answers, strict=True)
        follows = [donor == answer for donor, answer, gold in triples if donor != gold]
        moved = wilson(sum(follows), len(follows))
    unparsed = sum(answer is None for answer in given)
    accuracy = wilson(right, len(answers))
    return Measured(condition, accuracy, probability, unparsed, blocks, moved)


def _donors(samples: Sequence[Sample], generator: torch.Generator) -> Int[Tensor, "samples"]:
    """Draw a donor for every sample: never the sample itself, nor one with the same question."""
    chosen = []
    for sample in samples:
        pool = [i for i, other in enumerate(samples) if other.question != sample.question]
        chosen.append(pool[int(torch.randint(len(pool), (), generator=generator))])
    return torch.tensor(chosen)


def _other_object(sample: Sample) -> dict[str, Any]:
    """First object of a scene that the question does not ask for."""
    asked = sample.attributes["shape"]
    return next(item for item in sample.attributes["objects"] if item["shape"] != asked)


def _elsewhere(sample: Sample, generator: torch.Generator) -> Box:
    """Draw a box of the asked box's size at a random place, with its crop inside the image."""
    left, top, right, bottom = sample.boxes[0]
    side = int(right - left)
    # The crop reaches a tenth of the side beyond the box, two pixels at most.
    x, y = torch.randint(2, SIZE - side - 1, (2,), generator=generator).tolist()
    return x, y, x + side, y + int(bottom - top)


def _gaussian(
    latents: Float[Tensor, "rows dim"], shape: Sequence[int], generator: torch.Generator
) -> Float[Tensor, "samples slots dim"]:
    """Draw noise with the mean and the full covariance of the latents."""
    mean = latents.mean(0)
    # A random combination of centred rows has their covariance, without a matrix root.
    draws = torch.randn(shape[0] * shape[1], len(latents), generator=generator)
    return (mean + draws @ (latents - mean) / len(latents) ** 0.5).view(*shape)
