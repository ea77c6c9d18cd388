"""Probes at every site and slot of a model, for every target, with every control, into a run.

Three captures of the same samples are read: of the model while it answers (`own`), of an untrained
model on the same tokens (`untrained`), and, if there is one, of the model with oracle latents in
its slots (`oracle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.controls import question_features
from lantern_probe.probing.site_scores import (
    ProbeSettings,
    Scores,
    Target,
    label_of,
    make_target,
    probe_row,
    score_site,
)
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.store import Store
from lantern_probe.vocabulary import VALUE

DISTRACTOR = "distractor_"
"""Prefix of the columns that hold an attribute of an object that is not asked about."""

IMAGE_MEAN = "vision@image-mean"
"""Site of the baseline that reads the image alone."""

ORACLE_SITE = "latent@slot"
"""The only site of a capture with oracle latents."""


def make_targets(
    store: Store, names: Sequence[str], types: str, settings: ProbeSettings, keep: Sequence[int]
) -> dict[str, Target]:
    """Make the targets, and the same attributes of another object where the capture has them.

    Args:
        store: Capture whose columns are read.
        names: Names of the columns; `:value` after one reads whole numbers as values.
        types: Name of the column to whose values control tasks give random labels.
        settings: Numbers of folds, controls and permutations, and the seed.
        keep: Indices of the samples that are probed.

    Raises:
        LanternError: a column is missing or cannot be probed.
    """
    samples = [store.samples[i] for i in keep]
    groups = [row["cluster"] for row in samples]
    kinds = store.column(types)
    targets = {}
    for name in (*names, *(f"{DISTRACTOR}{name}" for name in names)):
        column = name.removesuffix(VALUE)
        known = any(row.get(column) is not None for row in samples)
        if name.startswith(DISTRACTOR) and not known:
            continue
        values = store.column(column)
        try:
            targets[name] = make_target(
                name, [values[i] for i in keep], groups, [kinds[i] for i in keep], settings
            )
        except LanternError as error:
            raise LanternError(f"target {name!r}: {error}") from None
    return targets


def complete(store: Store) -> set[str]:
    """The ids of the samples that have every site of a capture."""
    whole = torch.ones(len(store), dtype=torch.bool)
    for label in store.sites:
        whole &= store.array(label).isfinite().flatten(1).all(1)
    return {row["sample"] for row, good in zip(store.samples, whole, strict=True) if good}


@dataclass(frozen=True, eq=False)
class View:
    """The probed samples of one capture, with the targets and scores shared by all sites.

    Attributes:
        keep: Indices of the samples in the capture.
        targets: Targets by name, those of other objects first: their scores are controls.
        given: Scores of the question and of the image's mean, by target.
    """

    keep: list[int]
    targets: dict[str, Target]
    given: dict[str, dict[str, Scores]]


@dataclass
class ProbeSweep:
    """One model, several targets: every site and slot probed into a run.

    Attributes:
        stores: Captures by name: `own` and `untrained`, and `oracle` if there is one.
        wanted: Ids of the samples to probe; captures may hold more, of an earlier run.
        names: Names of the columns to read.
        types: Name of the column to whose values control tasks give random labels.
        settings: Numbers of folds, controls and permutations, and the first seed.
        seeds: Number of seeds of the folds and the control tasks, from that of the settings on;
            default 1. The permutations are those of the first under all of them.
        good: Ids of the samples that have every site.

    Raises:
        LanternError: too few samples have every site, or a column is missing or cannot be probed.
    """

    stores: Mapping[str, Store]
    wanted: AbstractSet[str]
    names: Sequence[str]
    types: str = "prompt"
    settings: ProbeSettings = field(default_factory=ProbeSettings)
    seeds: int = 1
    good: set[str] = field(init=False)

    def __post_init__(self) -> None:
        own, untrained = self.stores["own"], self.stores["untrained"]
        self.good = complete(own) & complete(untrained) & self.wanted
        needed = 2 * self.settings.folds
        if len(self.good) < needed:
            raise LanternError(
                f"only {len(self.good)} of {len(self.wanted)} samples have every site, a whole "
                f"latent block among them; {self.settings.folds} folds need {needed}"
            )
        self._views = {"own": self._seeded("own", self.good)}
        if "oracle" in self.stores:
            there = complete(self.stores["oracle"])
            self._views["oracle"] = self._seeded("oracle", self.good & there)
        self._plain = _indices(untrained, self.good)

    @property
    def places(self) -> list[tuple[str, str]]:
        """Capture and label of every site that is probed."""
        places = [("own", label) for label in self.stores["own"].sites if label != IMAGE_MEAN]
        return places + [("oracle", ORACLE_SITE)] * ("oracle" in self.stores)

    @property
    def total(self) -> int:
        """The number of rows."""
        return sum(
            self._slots(source, label) * len(view.targets)
            for source, label in self.places
            for view in self._views[source]
        )

    def execute(self, run: Run, advance: Callable[[int], None] = lambda rows: None) -> None:
        """Probe every target at every site and slot that the run lacks.

        Args:
            run: Run that takes the rows. Rows that it already has are not made again.
            advance: Function called with the number of rows just made or found.
        """
        for source, label in self.places:
            array = self.stores[source].array(label)[self._views[source][0].keep]
            # An untrained model has no oracle latents of its own.
            blank = self.stores["untrained"].array(label)[self._plain] if source == "own" else None
            site = label if source == "own" else f"{source}:{label}"
            for slot in range(array.shape[1]):
                number = slot if array.shape[1] > 1 else None
                features = array[:, slot], None if blank is None else blank[:, slot]
                rows: list[Row] = []
                for view in self._views[source]:
                    for row in self._rows(run, view, site, number, *features):
                        rows += [] if row is None else [row]
                        advance(1)
                # In one piece: a row's distractor was scored with it.
                run.append_many(rows)

    def _rows(
        self,
        run: Run,
        view: View,
        site: str,
        slot: int | None,
        features: Tensor,
        blank: Tensor | None,
    ) -> Iterator[Row | None]:
        """The row of every target at one slot; None for a row that the run already has."""
        others: dict[str, float] = {}
        for name, target in view.targets.items():
            if run.has(f"{site}#{'-' if slot is None else slot}", label_of(target)):
                yield None
                continue
            baselines = dict(view.given[name])
            if blank is not None:
                baselines["untrained"] = score_site(blank, target, tests=False)
            controls: dict[str, float | None] = {
                "untrained": None,
                **{kind: found.score for kind, found in baselines.items()},
                "distractor": others.get(f"{DISTRACTOR}{name}"),
            }
            scores = score_site(features, target)
            others[name] = scores.score
            paired = {kind: found.repeated for kind, found in baselines.items()}
            yield probe_row(site, slot, target, scores, controls, paired)

    def _slots(self, source: str, label: str) -> int:
        return self.stores[source].array(label).shape[1]

    def _seeded(self, source: str, samples: AbstractSet[str]) -> list[View]:
        """The view of some samples under each seed."""
        first = self.settings.seed
        every = range(first, first + self.seeds)
        settings = [replace(self.settings, seed=seed, test_seed=first) for seed in every]
        return [self._view(source, samples, one) for one in settings]

    def _view(self, source: str, samples: AbstractSet[str], settings: ProbeSettings) -> View:
        """The view of some samples; questions and images are those of the model's own run."""
        own = self.stores["own"]
        there = _indices(own, samples)
        targets = make_targets(own, self.names, self.types, settings, there)
        ordered = sorted(targets.items(), key=lambda item: not item[0].startswith(DISTRACTOR))
        baselines = {
            "question": question_features([own.samples[i]["prompt"] for i in there]),
            "image_mean": own.array(IMAGE_MEAN)[there, 0],
        }
        given = {
            name: {k: score_site(x, target, tests=False) for k, x in baselines.items()}
            for name, target in targets.items()
        }
        return View(_indices(self.stores[source], samples), dict(ordered), given)


def _indices(store: Store, samples: AbstractSet[str]) -> list[int]:
    return [i for i, row in enumerate(store.samples) if row["sample"] in samples]
