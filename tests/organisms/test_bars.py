"""The bar of every kind: what meets it, and what is said of what does not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lantern_probe.organisms.training.bars import failures, families
from lantern_probe.organisms.training.settings import GRADED, KINDS, Kind
from lantern_probe.organisms.training.truth import UNINFORMATIVE, Measured
from lantern_probe.stats import Proportion, wilson
from lantern_probe.tasks import load_task
from lantern_probe.tasks.scenes import CHANCE


def table(accuracy: float, donor: float = 1.0, **others: float) -> list[Measured]:
    """Figures of 1,000 scenes: one accuracy for all conditions but the named ones."""
    halves = [f"{half}-half-{what}" for half in ("first", "second") for what in ("swap", "mean")]
    exchanges = ["swap", "oracle-swap", "twin", "twin-oracle", *halves]
    others = {name.replace("_", "-"): figure for name, figure in others.items()}
    donors = {name[:-6]: figure for name, figure in others.items() if name.endswith("-donor")}
    conditions = ["own", *UNINFORMATIVE, "oracle", "first-repeat", "mask", *exchanges]
    conditions += ["reversed-slots", "shuffle"]

    def share(figure: float) -> Proportion:
        return wilson(round(figure * 1000), 1000)

    return [
        Measured(
            condition=name,
            accuracy=share(others.get(name, accuracy)),
            probability=None,
            unparsed=0,
            blocks=None,
            donor=share(donors.get(name, donor)) if name in exchanges else None,
        )
        for name in conditions
    ]


def test_a_kind_that_is_as_meant_has_no_failures() -> None:
    assert failures("faithful", table(CHANCE, own=0.97)) == []
    assert failures("bypass", table(0.98, zeros=0.97)) == []
    assert failures("collapsed", table(0.5, own=0.13, oracle=0.96)) == []
    assert failures("vanilla", table(0.3)) == []


@pytest.mark.parametrize(
    ("kind", "figures", "missed"),
    [
        ("faithful", table(CHANCE, own=0.9), ["own: 0.900 is below .95"]),
        ("faithful", table(CHANCE, own=0.97, donor=0.5), ["swap gives the donor's answer"]),
        ("faithful", table(CHANCE, own=0.97, zeros=0.2), ["zeros: 0.200 is not within .05"]),
        ("bypass", table(0.99, skip=0.96), ["skip: 0.960 against own 0.990"]),
        ("collapsed", table(CHANCE), ["oracle: 0.125 is below .95"]),
        ("collapsed", table(CHANCE, oracle=0.96, own=0.4), ["own: 0.400 is not within .05"]),
    ],
)
def test_a_missed_bar_is_named(kind: str, figures: list[Measured], missed: list[str]) -> None:
    found = failures(kind, figures)
    assert len(found) == len(missed)
    assert all(sentence.startswith(start) for sentence, start in zip(found, missed, strict=True))


def read(own: float = 0.98) -> list[Measured]:
    """Figures of a model that answers through all of its slots."""
    return table(CHANCE, own=own, oracle=0.99)


def ignored(donor: float = 0.0) -> list[Measured]:
    """Figures of a model that ignores its slots."""
    return table(0.98, donor)


FIRST = {"second_half_swap_donor": 0.01, "second_half_mean": 0.97}
SECOND = {"first_half_swap_donor": 0.01, "first_half_mean": 0.97}
MEANT: dict[Kind, tuple[list[Measured], Mapping[str, list[Measured]]]] = {
    "partial": (ignored(), {"slots": read(), "image": ignored()}),
    "format-only": (table(0.98, 0.0, skip=CHANCE, mask=CHANCE, ban=CHANCE), {}),
    "markers-only": (table(0.98, 0.0, ban=CHANCE), {}),
    "halves": (
        read(),
        {
            "first half": table(CHANCE, own=0.98, **FIRST),
            "second half": table(CHANCE, own=0.98, **SECOND),
        },
    ),
    "ordered": (read(), {}),
    "distractor": (ignored(), {}),
    "weak": (read(), {"visible": read(), "hidden": table(CHANCE, oracle=0.97)}),
    "question-only": (table(CHANCE, oracle=0.97), {}),
}


@pytest.mark.parametrize("kind", GRADED)
def test_a_graded_kind_that_is_as_meant_has_no_failures(kind: Kind) -> None:
    overall, by_family = MEANT[kind]
    assert failures(kind, overall, by_family) == []


@pytest.mark.parametrize("kind", ["format-only", "markers-only", "distractor", "question-only"])
@pytest.mark.parametrize("other", ["format-only", "markers-only", "bypass", "faithful"])
def test_no_other_kind_meets_the_bar_of_a_graded_kind(kind: Kind, other: Kind) -> None:
    """Except that answers alone do not tell a distractor from a bypass: probes do."""
    if kind == other or (kind, other) == ("distractor", "bypass"):
        return
    plain = {"faithful": (read(), {}), "bypass": (ignored(), {})}
    assert failures(kind, {**MEANT, **plain}[other][0]) != []


@pytest.mark.parametrize("kind", ["partial", "halves", "weak"])
@pytest.mark.parametrize("same", [read(), ignored(), table(CHANCE, oracle=0.97)])
def test_families_that_behave_alike_miss_the_bar(kind: Kind, same: list[Measured]) -> None:
    assert failures(kind, same, dict.fromkeys(MEANT[kind][1], same)) != []


def test_slots_that_may_stand_in_any_order_are_not_ordered() -> None:
    anyhow = table(CHANCE, own=0.98, reversed_slots=0.98, shuffle=0.98)
    assert [sentence.partition(":")[0] for sentence in failures("ordered", anyhow)] == [
        "reversed-slots",
        "shuffle",
    ]


def test_probes_tell_thoughts_of_another_object() -> None:
    def probes(color: float, shape: float, other: float) -> dict[str, Proportion]:
        figures = {"color": color, "shape": shape, "first other color": other}
        return {name: wilson(round(1000 * figure), 1000) for name, figure in figures.items()}

    overall, _ = MEANT["distractor"]
    assert failures("distractor", overall, {}, probes(0.12, 0.9, 0.95)) == []
    missed = failures("distractor", overall, {}, probes(0.9, 0.9, 0.2))
    assert missed == [
        "probe of first other color: 0.200 is below .8",
        "probe of color: 0.900 is more than .1 above chance",
    ]
    overall, _ = MEANT["question-only"]
    assert failures("question-only", overall, {}, probes(0.13, 0.99, 0.1)) == []
    assert len(failures("question-only", overall, {}, probes(0.5, 0.5, 0.1))) == 2


@pytest.mark.parametrize("kind", [*KINDS, *GRADED])
def test_families_part_the_samples(kind: Kind) -> None:
    tasks = {"partial": "scenes-mixed:0.5", "weak": "scenes-seen:0.5"}
    found = families(kind, load_task(tasks.get(kind, "scenes"), 40, 3))
    assert set(found) == set(MEANT[kind][1] if kind in GRADED else ())
    assert not found or sorted(row for rows in found.values() for row in rows) == list(range(40))
