"""The truth table: its conditions, families and probes, and the organisms that ship against it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from lantern_probe import organisms
from lantern_probe.organisms.registry import OrganismCard
from lantern_probe.organisms.training import bars, build, truth
from lantern_probe.organisms.training.generation import Mode, generate, read_prompts
from lantern_probe.organisms.training.mixtures import HELD_OUT
from lantern_probe.organisms.training.settings import GRADED, KINDS, Kind
from lantern_probe.organisms.training.truth import (
    UNINFORMATIVE,
    Answered,
    tabulate,
)
from lantern_probe.stats import Proportion, wilson
from lantern_probe.tasks import load_task
from lantern_probe.tasks.scenes import CHANCE, scenes, twin

SHIPPED: list[Kind] = [kind for kind in GRADED if kind in organisms.names()]
SECOND_SEEDS = {
    folder.name: folder for folder in sorted(Path(__file__).parent.glob("checkpoints/*-1"))
}
"""Organisms of another seed, which do not ship: readings are evaluated on them."""
SEED = 4_000_000
"""Seed of scenes that no training, no tuning and no published figure has seen."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_truth_holds_for_what_ships(name: Kind) -> None:
    """On 200 scenes that no training, no tuning and no published figure has seen."""
    card = organisms.card(name)
    model, processor = build.load(organisms.path(name)), build.build_processor()
    samples = load_task(card.task, 200, SEED)
    table = tabulate(truth.answer_all(model, processor, samples)[0], samples)
    if name in ("faithful", "collapsed"):
        # Chance level within .05 needs more scenes than this: allow what 200 scenes allow.
        strict = [m for m in bars.failures(name, table) if "chance" not in m]
        assert strict == []
        wide = UNINFORMATIVE if name == "faithful" else ("own",)
        found = {measured.condition: measured.accuracy for measured in table}
        assert all(found[c].low - 0.05 <= CHANCE <= found[c].high + 0.05 for c in wide)
    else:
        assert bars.failures(name, table) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_the_truth_of_a_graded_kind_holds_for_what_ships(name: Kind) -> None:
    """By family, on 200 scenes that nothing has seen; chance levels have the test below."""
    samples = load_task(organisms.card(name).task, 200, SEED)
    model, processor = build.load(organisms.path(name)), build.build_processor()
    found, _ = truth.answer_all(model, processor, samples, graded=True)
    by_family = {
        family: tabulate(found, samples, rows)
        for family, rows in bars.families(name, samples).items()
    }
    missed = bars.failures(name, tabulate(found, samples), by_family)
    assert [sentence for sentence in missed if "of chance" not in sentence] == []


MODES: dict[str, Mode] = {"skip": "skip", "ban": "ban", "mask": "mask"}

RIGHT, EMPTY = (0.9, 1.0), (0.0, 0.35)
"""Accuracies that 40 scenes allow: nearly all right, or one word whatever is asked."""

EXPECTED: dict[tuple[str, str], dict[str, tuple[float, float]]] = {
    ("faithful", ""): {"own": RIGHT, "zeros": EMPTY, "skip": EMPTY, "twin": RIGHT},
    ("bypass", ""): {"own": RIGHT, "zeros": RIGHT, "skip": RIGHT, "twin": (0.0, 0.1)},
    ("collapsed", ""): {"own": EMPTY, "oracle": RIGHT},
    ("vanilla", ""): {"own": (0.75, 1.0), "skip": (0.75, 1.0), "oracle": RIGHT},
    ("partial", "slots"): {"own": RIGHT, "zeros": EMPTY, "skip": EMPTY, "twin": RIGHT},
    ("partial", "image"): {"own": RIGHT, "zeros": RIGHT, "skip": RIGHT, "twin": (0.0, 0.1)},
    ("format-only", ""): {"zeros": RIGHT, "skip": EMPTY, "mask": EMPTY, "ban": EMPTY},
    ("markers-only", ""): {"zeros": RIGHT, "skip": RIGHT, "mask": RIGHT, "ban": EMPTY},
    ("halves", "first half"): {"own": RIGHT, "first": RIGHT, "second": (0.0, 0.1)},
    ("halves", "second half"): {"own": RIGHT, "first": (0.0, 0.1), "second": RIGHT},
    ("ordered", ""): {"own": RIGHT, "reversed": EMPTY, "twin": RIGHT, "zeros": EMPTY},
    ("distractor", ""): {"own": RIGHT, "zeros": RIGHT, "skip": RIGHT, "twin": (0.0, 0.1)},
    ("weak", "visible"): {"own": RIGHT, "zeros": EMPTY, "twin": RIGHT},
    ("weak", "hidden"): {"own": EMPTY, "oracle": RIGHT},
    ("question-only", ""): {"own": EMPTY, "oracle": RIGHT, "twin": EMPTY},
}
"""Expected accuracies of each kind and family. Under exchanges (`twin`, and `first` and `second`
half of the slots) it is the fraction of answers that the twin's image calls for."""


@pytest.mark.parametrize("name", [*SHIPPED, *SECOND_SEEDS])
def test_the_defining_conditions_of_a_kind_come_out(name: str) -> None:
    """A few dozen fresh scenes tell every kind from the others, and from those of another seed."""
    folder = SECOND_SEEDS.get(name) or organisms.path(name)
    card = OrganismCard.read(folder)
    samples = load_task(card.task, 100, SEED + 1)[:80]
    model, processor = build.load(folder), build.build_processor()
    families = bars.families(card.kind, samples) or {"": list(range(len(samples)))}
    prompted = read_prompts(model, processor, samples)
    own = generate(model, processor, samples, prompted=prompted).latents
    donor = generate(model, processor, [twin(sample) for sample in samples]).latents
    halves = torch.arange(own.shape[1]) < own.shape[1] // 2
    oracle = truth.vision.latents(
        model, processor.image_processor, truth.vision.oracle_crops(samples)
    )
    fed = {
        "own": own,
        "zeros": torch.zeros_like(own),
        "twin": donor,
        "oracle": oracle,
        "reversed": own.flip(1),
        "first": torch.where(halves[:, None], donor, own),
        "second": torch.where(halves[:, None], own, donor),
    }
    asked = {condition for (kind, _), e in EXPECTED.items() if kind == card.kind for condition in e}
    for condition in sorted(asked):
        mode = MODES.get(condition, "own")
        latents = fed.get(condition)
        given = generate(model, processor, samples, mode, latents, prompted=prompted).answers
        for family, rows in families.items():
            if condition not in EXPECTED[card.kind, family]:
                continue
            called = [
                (twin(samples[i]) if condition in ("twin", "first", "second") else samples[i])
                for i in rows
            ]
            right = sum(given[i] == sample.answer for i, sample in zip(rows, called, strict=True))
            low, high = EXPECTED[card.kind, family][condition]
            assert low <= right / len(rows) <= high, (family, condition)


@pytest.mark.parametrize("name", SECOND_SEEDS)
def test_a_second_seed_is_small_and_its_card_meets_the_bar(name: str) -> None:
    folder = SECOND_SEEDS[name]
    card = OrganismCard.read(folder)
    assert (f"{card.kind}-1", card.seed, card.test["split"]) == (name, 1, "test")
    assert card.test["n"] >= 500 and "no evidence about LanteRn" in card.note
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2.5e6
    families = {family: measured(part) for family, part in card.families.items()}
    probes = {name: share(figures, "accuracy", "n") for name, figures in card.probes.items()}
    assert bars.failures(card.kind, measured(card.measured), families, probes or None) == []


def share(figures: Mapping[str, float], name: str, n: str) -> Proportion:
    """A share of a card, with the interval of its count."""
    return wilson(round(figures[name] * figures[n]), int(figures[n]))


def measured(table: Mapping[str, Mapping[str, float]]) -> list[truth.Measured]:
    """The truth table that a card's figures are of."""
    return [
        truth.Measured(
            condition,
            share(figures, "accuracy", "n"),
            figures.get("probability"),
            int(figures["unparsed"]),
            figures.get("blocks"),
            share(figures, "donor", "donor_n") if "donor" in figures else None,
        )
        for condition, figures in table.items()
    ]


def test_figures_of_some_rows_are_those_of_a_table_of_them() -> None:
    samples = scenes(6, 3)
    gold = [sample.answer for sample in samples]
    given = [*gold[:4], None, "grey"]
    donors = [gold[0], "x", *gold[:4]]
    found = [Answered("swap", given, [0.5] * 6, [True] * 5 + [False], donors)]
    (every,), (some,) = tabulate(found, samples), tabulate(found, samples, [0, 4])
    (alone,) = tabulate(
        [Answered("swap", [gold[0], None], [0.5] * 2, [True] * 2, [gold[0], gold[2]])],
        [samples[0], samples[4]],
    )
    assert some == alone and every.accuracy == wilson(4, 6) and every.unparsed == 1
    assert every.blocks == pytest.approx(5 / 6) and every.probability == 0.5


def test_a_probe_reads_what_the_latents_hold() -> None:
    samples = scenes(200, 5)
    colors = sorted({sample.attributes["color"] for sample in samples})
    own = torch.zeros(200, 2, 8)
    for row, sample in enumerate(samples):
        own[row, 1, colors.index(sample.attributes["color"])] = 1
    own += 0.1 * torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
    probes = truth.read_probes(own, samples)
    assert probes["color"].estimate > 0.95
    assert probes["shape"].estimate < 0.35 and probes["first other color"].estimate < 0.3


def stock() -> truth.Measured:
    return truth.Measured("stock", wilson(1, 2), None, 0, None)


def test_figures_leave_out_what_is_unknown() -> None:
    assert set(stock().figures()) == {"n", "accuracy", "low", "high", "unparsed"}
    swap = dataclasses.replace(stock(), donor=wilson(1, 3), probability=0.25)
    assert swap.figures()["donor"] == 0.3333 and swap.figures()["probability"] == 0.25


def test_held_out_replacements_are_measured() -> None:
    """For every organism that ships, so also for those whose truth is stated."""
    for name in organisms.names():
        assert {*HELD_OUT, *UNINFORMATIVE} <= set(organisms.card(name).measured)
