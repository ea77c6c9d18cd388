"""The truth table: an organism's answers under every condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from lantern_probe.organisms.training import vision
from lantern_probe.organisms.training.generation import (
    Mode,
    generate,
    generate_stock,
    parse,
    read_prompts,
)
from lantern_probe.stats import Proportion, wilson
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.tasks.scenes import SIZE, first_other, twin

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


@dataclass(frozen=True)
class Answered:
    """Answers of one condition, sample by sample.

    Attributes:
        condition: Name of the condition.
        given: Answer to each sample; None where it is none of the options.
        probabilities: Probability of each sample's right answer, 0 where no answer was begun; None
            if it was not measured.
        opened: True for each sample that opened a block; None if it was not measured.
        donors: Answer of each sample's donor; None without donors.
    """

    condition: str
    given: list[str | None]
    probabilities: list[float] | None = None
    opened: list[bool] | None = None
    donors: list[str | None] | None = None


def tabulate(
    found: Sequence[Answered], samples: Sequence[Sample], rows: Sequence[int] | None = None
) -> list[Measured]:
    """Figures of every condition, over all samples or over some.

    Args:
        found: Answers of each condition.
        samples: Samples that were asked.
        rows: Indices of the samples that count; None (default) for all.
    """
    rows = range(len(samples)) if rows is None else rows
    table = []
    for answered in found:
        given = [answered.given[row] for row in rows]
        gold = [samples[row].answer for row in rows]
        right = sum(a == b for a, b in zip(gold, given, strict=True))
        moved = None
        if answered.donors is not None:
            triples = zip((answered.donors[row] for row in rows), given, gold, strict=True)
            follows = [donor == answer for donor, answer, true in triples if donor != true]
            moved = wilson(sum(follows), len(follows))
        table.append(
            Measured(
                condition=answered.condition,
                accuracy=wilson(right, len(gold)),
                probability=_mean(answered.probabilities, rows),
                unparsed=sum(answer is None for answer in given),
                blocks=_mean(answered.opened, rows),
                donor=moved,
            )
        )
    return table


@torch.no_grad()
def answer_all(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    samples: Sequence[Sample],
    seed: int = 0,
    report: Callable[[str], None] = lambda condition: None,
    *,
    graded: bool = False,
) -> tuple[list[Answered], Float[Tensor, "samples slots dim"]]:
    """Answer every sample under every condition.

    Args:
        model: Organism as shipped, in float32.
        processor: Processor of the organism.
        samples: Scenes that no training has seen.
        seed: Seed of donors, noise and random boxes, default 0.
        report: Function called with the name of every condition before it is measured.
        graded: Add the conditions that tell graded kinds apart: hidden slots, twins, halves and
            neighbours. Default False.

    Returns:
        Answers of each condition, and the own latents.
    """
    generator = torch.Generator().manual_seed(seed)
    donor = _donors(samples, generator)
    answers = [sample.answer for sample in samples]
    donor_answers = [answers[index] for index in donor.tolist()]
    others = [_other_object(sample) for sample in samples]
    gold = torch.tensor([sample.options.index(sample.answer or "") for sample in samples])

    def measure(
        condition: str,
        latents: Tensor | None = None,
        mode: Mode = "own",
        donors: list[str | None] | None = None,
    ) -> Answered:
        report(condition)
        found = generate(model, processor, samples, mode, latents, prompted=prompted)
        probability = found.probabilities.gather(1, gold[:, None])[:, 0].nan_to_num(0.0)
        opened = [count > 0 for count in found.blocks]
        return Answered(condition, found.answers, probability.tolist(), opened, donors)

    report("own")
    prompted = read_prompts(model, processor, samples)
    own = generate(model, processor, samples, prompted=prompted).latents
    images = processor.image_processor
    oracle = vision.latents(model, images, vision.oracle_crops(samples))
    crops = [vision.crop(sample, item["box"]) for sample, item in zip(samples, others, strict=True)]
    other = vision.latents(model, images, crops)
    anywhere = [vision.crop(sample, _elsewhere(sample, generator)) for sample in samples]
    noise = torch.randn(own.shape, generator=generator)
    flat = own.flatten(0, 1)
    order = torch.stack([torch.randperm(own.shape[1], generator=generator) for _ in samples])
    shuffled = torch.randperm(own.shape[2], generator=generator)

    found = [measure("own"), measure("skip", mode="skip"), measure("ban", mode="ban")]
    report("stock")
    stock = [parse(text, samples[0].options) for text in generate_stock(model, processor, samples)]
    found.append(Answered("stock", stock))
    found += [
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
    if not graded:
        return found, own
    twins = [twin(sample) for sample in samples]
    called = [sample.answer for sample in twins]
    report("twin")
    given = generate(model, processor, twins).latents
    twin_oracle = vision.latents(model, images, vision.oracle_crops(twins))
    middle = own.shape[1] // 2
    mean, swapped = own.mean(0).expand_as(own), own[donor]
    found += [
        measure("mask", mode="mask"),
        measure("twin", given, donors=called),
        measure("twin-oracle", twin_oracle, donors=called),
        measure(
            "first-half-swap",
            torch.cat([swapped[:, :middle], own[:, middle:]], 1),
            "own",
            donor_answers,
        ),
        measure(
            "second-half-swap",
            torch.cat([own[:, :middle], swapped[:, middle:]], 1),
            "own",
            donor_answers,
        ),
        measure("first-half-mean", torch.cat([mean[:, :middle], own[:, middle:]], 1)),
        measure("second-half-mean", torch.cat([own[:, :middle], mean[:, middle:]], 1)),
        measure("neighbours", _neighbours(own, generator)),
    ]
    return found, own


def read_probes(
    own: Float[Tensor, "samples slots dim"], samples: Sequence[Sample], folds: int = 5
) -> dict[str, Proportion]:
    """Measure what a linear probe reads from the own latents of all slots.

    Args:
        own: Own latents.
        samples: Samples they are of.
        folds: Number of folds of the cross-validation, default 5.

    Returns:
        Accuracy for the asked object's `color` and `shape`, and for the colour of the first other
        object in reading order.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    targets = {
        "color": [sample.attributes["color"] for sample in samples],
        "shape": [sample.attributes["shape"] for sample in samples],
        "first other color": [first_other(sample)["color"] for sample in samples],
    }
    features = own.flatten(1).numpy()
    probes = {}
    for name, wanted in targets.items():
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        guessed = cross_val_predict(probe, features, wanted, cv=folds)
        right = sum(a == b for a, b in zip(guessed, wanted, strict=True))
        probes[name] = wilson(right, len(wanted))
    return probes


def _mean(values: Sequence[float] | None, rows: Sequence[int]) -> float | None:
    return None if values is None else sum(values[row] for row in rows) / len(rows)


def _neighbours(
    own: Float[Tensor, "samples slots dim"], generator: torch.Generator
) -> Float[Tensor, "samples slots dim"]:
    """Exchange two neighbouring slots of each sample, at a random place."""
    changed = own.clone()
    for row in range(len(own)):
        place = int(torch.randint(own.shape[1] - 1, (), generator=generator))
        changed[row, [place, place + 1]] = own[row, [place + 1, place]]
    return changed


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
