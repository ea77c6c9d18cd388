"""The bar of each kind: what its truth table must show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lantern_probe.organisms.training.settings import Kind
from lantern_probe.organisms.training.truth import UNINFORMATIVE, Measured
from lantern_probe.stats import Proportion
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import CHANCE

MARGIN = 0.05
"""Largest distance from chance, or from a perfect score, that a bar allows."""
CONTENT = (
    *("zeros", "noise", "noise-matched", "mean", "mean-oracle", "first-repeat"),
    *("swap", "oracle", "oracle-swap"),
)
"""Conditions that change the content of the slots and leave the block as it is."""

Table = Sequence[Measured]


def families(kind: Kind, samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Indices of the samples of each family that a kind treats differently; empty for one family.

    Args:
        kind: Kind of organism.
        samples: Samples of its task.
    """
    if kind in ("partial", "weak"):
        names = [str(sample.attributes["family"]) for sample in samples]
    elif kind == "halves":
        halves = ("first half", "second half")
        names = [halves[sample.attributes["template"] != 0] for sample in samples]
    else:
        return {}
    return {name: [i for i, own in enumerate(names) if own == name] for name in sorted({*names})}


def failures(
    kind: Kind,
    table: Table,
    by_family: Mapping[str, Table] | None = None,
    probes: Mapping[str, Proportion] | None = None,
) -> list[str]:
    """Sentences on where an organism misses the bar for its kind; empty if it holds.

    Args:
        kind: Kind of organism; `vanilla` has no bar.
        table: Figures of every condition.
        by_family: Figures for each family of samples, for kinds that treat them differently.
        probes: Accuracy of probes of the own latents, for kinds that are told by them.
    """
    found = _Bar(table)
    if kind == "faithful":
        _slots_are_read(found)
    elif kind == "bypass":
        for name, figure in found.accuracy.items():
            found.at_least(name, figure)
            if abs(figure - found.accuracy["own"]) > 0.02:
                found.wrong.append(f"{name}: {figure:.3f} against own {found.accuracy['own']:.3f}")
    elif kind == "collapsed":
        found.right("oracle")
        found.near_chance("own")
    elif kind == "distractor":
        found.right("own", *CONTENT, *UNINFORMATIVE, "mask")
        found.not_followed("swap", "twin")
    elif kind == "ordered":
        _slots_are_read(found)
        found.near_chance("reversed-slots", "shuffle")
    elif kind == "question-only":
        found.near_chance("own", "twin", *UNINFORMATIVE)
        found.right("oracle")
        found.followed("oracle-swap", "twin-oracle")
    elif kind in ("format-only", "markers-only"):
        found.right("own", *CONTENT)
        found.not_followed("swap", "twin")
        parts = ("skip", "mask")
        (found.near_chance if kind == "format-only" else found.right)(*parts)
        found.near_chance("ban")
    return [
        *found.wrong,
        *(
            f"{family}, {sentence}"
            for family, part in (by_family or {}).items()
            for sentence in _family_failures(kind, family, part)
        ),
        *_probe_failures(kind, probes),
    ]


def _family_failures(kind: Kind, family: str, table: Table) -> list[str]:
    found = _Bar(table)
    if kind == "partial" and family == "image":
        found.right("own", *CONTENT, *UNINFORMATIVE)
        found.not_followed("swap", "twin")
    elif kind == "weak" and family == "hidden":
        found.near_chance("own")
        found.right("oracle")
    elif kind == "weak":  # half of the unrelated donors are hidden; twins are visible
        found.right("own", "oracle")
        found.followed("twin", "oracle-swap")
        found.near_chance(*UNINFORMATIVE)
    else:
        _slots_are_read(found)
        found.followed("twin")
    if kind == "halves":
        read, other = ("first", "second") if family == "first half" else ("second", "first")
        found.followed(f"{read}-half-swap")
        found.not_followed(f"{other}-half-swap")
        found.near_chance(f"{read}-half-mean")
        found.right(f"{other}-half-mean")
    return found.wrong


def _probe_failures(kind: Kind, probes: Mapping[str, Proportion] | None) -> list[str]:
    expected = {
        "distractor": {"first other color": True, "color": False},
        "question-only": {"shape": True, "color": False},
    }.get(kind, {})
    wrong = []
    for name, readable in expected.items() if probes is not None else ():
        figure = (probes or {})[name].estimate
        if readable and figure < 0.8:
            wrong.append(f"probe of {name}: {figure:.3f} is below .8")
        if not readable and figure > CHANCE + 2 * MARGIN:
            wrong.append(f"probe of {name}: {figure:.3f} is more than .1 above chance")
    return wrong


def _slots_are_read(found: _Bar) -> None:
    """The bar of *faithful*."""
    found.right("own")
    found.followed("swap")
    found.near_chance(*UNINFORMATIVE)


class _Bar:
    """Figures of a table, and the sentences on what they miss."""

    def __init__(self, table: Table) -> None:
        self.accuracy = {measured.condition: measured.accuracy.estimate for measured in table}
        self.donor = {m.condition: m.donor.estimate for m in table if m.donor is not None}
        self.wrong: list[str] = []

    def near_chance(self, *names: str) -> None:
        for name in names:
            if abs(self.accuracy[name] - CHANCE) > MARGIN:
                self.wrong.append(f"{name}: {self.accuracy[name]:.3f} is not within .05 of chance")

    def right(self, *names: str) -> None:
        for name in dict.fromkeys(names):
            self.at_least(name, self.accuracy[name])

    def followed(self, *names: str) -> None:
        for name in names:
            self.at_least(f"{name} gives the donor's answer", self.donor[name])

    def not_followed(self, *names: str) -> None:
        for name in names:
            if self.donor[name] > MARGIN:
                self.wrong.append(f"{name} gives the donor's answer: {self.donor[name]:.3f}")

    def at_least(self, name: str, figure: float) -> None:
        if figure < 1 - MARGIN:
            self.wrong.append(f"{name}: {figure:.3f} is below .95")
