"""Supporting evidence of a diagnosis: what other instruments say of the same pairs.

It comes after the decisive tests, in the same run, and never changes the reading. Each instrument
gives a line for the card, and a sentence where it does not fit the reading. Where it needs what is
not there, its line says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from lantern_probe.analysis.battery import EDGES, EVIDENCE_PAIRS
from lantern_probe.analysis.card import Card
from lantern_probe.analysis.estimands import Estimate, estimates
from lantern_probe.analysis.exchange import OWN, SHAM
from lantern_probe.analysis.format import estimate, interval, number, p_value
from lantern_probe.causal.own_latents import folders_of, pools_of
from lantern_probe.errors import LanternError
from lantern_probe.geometry import VectorSet, cosine_rows, retrieve
from lantern_probe.geometry.similarity import BETWEEN
from lantern_probe.model.oracle import region_latents
from lantern_probe.probing.controls import question_features
from lantern_probe.probing.site_scores import (
    ProbeSettings,
    make_target,
    probe_row,
    score_site,
)
from lantern_probe.records.json_files import explained, replace_file
from lantern_probe.records.writer import read_kept
from lantern_probe.stats import mean_difference
from lantern_probe.stats.fractions import fraction_interval
from lantern_probe.tasks.crops import evidence, first_image
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.twins import TWIN_ANSWER

if TYPE_CHECKING:
    from lantern_probe.causal.diagnosis import Battery

CARRIED = ("faithful", "partial", "redundant")
"""Readings by which own latents carry what the answer is about."""

LEVEL = 0.05
"""Level at which an instrument is held against the reading."""

Said = tuple[str, str | None]
"""Line of an instrument, and what in it does not fit the reading."""


def with_evidence(battery: Battery, card: Card, delta: float) -> Card:
    """Gather what is missing of the evidence, and put its lines on a card.

    Args:
        battery: Battery of the diagnosis, whose run has the decisive rows.
        card: Card of the reading, which stays as it is.
        delta: Largest share that counts as nothing.
    """
    pairs = min(int(card.settings["pairs"]), EVIDENCE_PAIRS)
    found = Supporting(battery, pairs).said(card.reading, delta)
    against = [text for _, text in found if text is not None]
    return replace(
        card,
        supporting=[*card.supporting, *(line for line, _ in found)],
        disagrees=[*card.disagrees, *against],
    )


@dataclass
class Supporting:
    """The instruments, on the first pairs of a diagnosis.

    Attributes:
        battery: Battery of the diagnosis.
        pairs: Number of pairs.
    """

    battery: Battery
    pairs: int

    def said(self, reading: str, delta: float) -> list[Said]:
        """Run what is missing; the line of every instrument, and what does not fit.

        Args:
            reading: Word of the card.
            delta: Largest share that counts as nothing.
        """
        self.battery.until(self.pairs, EDGES)
        return [
            _tried("knockout", lambda: self._knockout(reading, delta)),
            _tried("probe", lambda: self._probe(reading)),
            _tried("geometry", lambda: self._geometry(reading)),
            _tried("retrieval", lambda: self._retrieval(reading)),
        ]

    # -- what the instruments look at ----------------------------------------

    @cached_property
    def _samples(self) -> list[Sample]:
        return self.battery.pairs[: 2 * self.pairs]

    @cached_property
    def _own(self) -> dict[str, Tensor]:
        """Own latents of the samples whose text has a whole block, by id."""
        (folder,) = folders_of("clean", None)
        (pool,) = pools_of(self._samples, [read_kept(self.battery.run.folder / folder)])
        if not pool.latents:
            raise LanternError("no text has a whole block whose latents were kept")
        return dict(pool.latents)

    @cached_property
    def _oracle(self) -> dict[str, Tensor]:
        """Oracle latents of the samples, by id; made once, and kept beside the rows."""
        if not self.battery.pairs.oracle:
            raise LanternError("oracle latents need a box on both of every pair")
        file = self.battery.run.folder / "evidence" / "oracle_latents.safetensors"
        with explained(file):
            kept: dict[str, Tensor] = load_file(file) if file.is_file() else {}
            missing = [sample for sample in self._samples if sample.id not in kept]
            if missing:
                lantern = self.battery.load()
                for sample in missing:
                    made = region_latents(lantern, first_image(sample), evidence(sample))
                    kept[sample.id] = made.float().cpu().contiguous()
                file.parent.mkdir(exist_ok=True)
                replace_file(file, save(kept))
        return kept

    def _set(self, name: str, latents: dict[str, Tensor], some: Sequence[Sample]) -> VectorSet:
        vectors = np.stack([latents[sample.id].numpy() for sample in some])
        return VectorSet.of(name, vectors, [_cluster(sample) for sample in some])

    def _with_own(self) -> list[Sample]:
        return [sample for sample in self._samples if sample.id in self._own]

    # -- the instruments -----------------------------------------------------

    def _knockout(self, reading: str, delta: float) -> Said:
        """Changed answers when attention to the slots is cut, beside its controls."""
        slots, control, image = map(self._changed, EDGES)
        shown = [
            f"{label} {interval(found.value, found.low, found.high, signed=True)}"
            for label, found in zip(EDGES, (slots, control, image), strict=True)
            if found.value is not None
        ]
        lacking = [label for label in EDGES if not self._ran(label)]
        if slots.value is None:
            raise LanternError(f"{slots.n} pairs are too few")
        line = f"knockout: answers changed, minus the sham: {'; '.join(shown)}; n {slots.n}"
        if lacking:
            line += f"; not run: {', '.join(lacking)} ({self._reason(lacking[0])})"
        if reading in ("bypass", "markers only", "redundant") and slots.low > delta:
            return line, f"cutting attention to the slots changes answers ({shown[0]})"
        if reading in ("faithful", "partial") and slots.low <= 0:
            return (
                line,
                f"what cutting attention to the slots changes is not told from 0 ({shown[0]})",
            )
        return line, None

    def _changed(self, label: str) -> Estimate:
        """The estimate of `needed` with a cut in place of the mask."""
        ids = {sample.id for sample in self._samples}
        rows = [row for row in self.battery.run.rows() if row["sample"] in ids]
        kept = [row for row in rows if row["condition"] in (OWN, SHAM, "twin")]
        cut = [{**row, "condition": "mask"} for row in rows if row["condition"] == label]
        return estimates([*kept, *cut])["needed"]

    def _ran(self, label: str) -> bool:
        rows = self.battery.run.rows()
        return any(row["condition"] == label and row["status"] == "ok" for row in rows)

    def _reason(self, label: str) -> str:
        rows = self.battery.run.rows()
        return next((str(row.get("error")) for row in rows if row["condition"] == label), "no rows")

    def _probe(self, reading: str) -> Said:
        """The right answer, read from own latents by a linear probe, with its controls."""
        first = {sample.id for sample in self._samples[::2]}
        # The right answer of a corrupted twin is unknown.
        some = [s for s in self._with_own() if s.id in first or TWIN_ANSWER in s.attributes]
        groups = [_cluster(sample) for sample in some]
        questions = [sample.question for sample in some]
        target = make_target("answer", [*map(_meant, some)], groups, questions, ProbeSettings())
        features = torch.stack([self._own[sample.id].float().mean(0) for sample in some])
        scores = score_site(features, target)
        row = probe_row("latent@slot", None, target, scores, {})
        asked = score_site(question_features(questions), target, tests=False).score
        p = row["p"]
        line = (
            f"probe: the right answer read from own latents "
            f"{interval(row['score'], row['low'], row['high'])}, n {row['n']}; majority "
            f"{number(row['majority'])}, the question alone {number(asked)}, control task "
            f"{number(row['control'])}; p {p_value(p)}"
        )
        if p is None:
            return line, None
        if reading == "collapsed" and p < LEVEL:
            return line, "a probe reads the right answer from own latents all the same"
        if reading in CARRIED and p >= LEVEL:
            return line, "no probe reads the right answer from own latents"
        return line, None

    def _geometry(self, reading: str) -> Said:
        """Cosines of own latents: of different images, and of a pair's two beside the oracle's."""
        far = _between(self._set("own", self._own, self._with_own()))
        line = f"geometry: cosine between own latents of different images {far}"
        if not self.battery.pairs.oracle:
            return f"{line}; no oracle latents to compare with", None
        both = self._gold_pairs()
        own, oracle = (
            np.array([_cosine(latents[one.id], latents[other.id]) for one, other in both])
            for latents in (self._own, self._oracle)
        )
        more = mean_difference(own - oracle, [_cluster(one) for one, _ in both])
        line += (
            f", of a pair's two {number(own.mean())}; between their oracle latents "
            f"{number(oracle.mean())}, difference {estimate(more, signed=True)}, n {more.n}"
        )
        if reading == "collapsed" and more.low <= 0:
            return line, "own latents of a pair's two are no more alike than oracle latents"
        return line, None

    def _retrieval(self, reading: str) -> Said:
        """The nearest oracle of own latents: among all, and of the two of a pair."""
        some = self._with_own()
        own, oracle = self._set("own", self._own, some), self._set("oracle", self._oracle, some)
        all_slots = retrieve(own, oracle, merge="identical")[-1]
        value, low, high, n = self._nearer()
        line = (
            f"retrieval: own latents find their oracle among {all_slots.candidates} in "
            f"{number(all_slots.recall[1])} of {all_slots.n}, p "
            f"{p_value(all_slots.mean_rank.p_better)}; they are nearer to it than to their twin's "
            f"in {interval(value, low, high)}, n {n}"
        )
        if reading == "collapsed" and low > 0.5:
            return line, "own latents are nearer to their own oracle than to their twin's"
        if reading in CARRIED and low <= 0.5:
            return line, "own latents are not told nearer to their own oracle than to their twin's"
        return line, None

    def _nearer(self) -> tuple[float, float, float, int]:
        """Share of texts whose latents are nearer to their own oracle, by gold pair."""
        shares, clusters = [], []
        for one, other in self._gold_pairs():
            hits = []
            for mine, theirs in ((one, other), (other, one)):
                near, far = (
                    _cosine(self._own[mine.id], self._oracle[side.id]) for side in (mine, theirs)
                )
                hits.append(0.5 if near == far else float(near > far))
            shares.append(sum(hits) / 2)
            clusters.append(_cluster(one))
        value, low, high = fraction_interval(shares, None, clusters, tail=0.025)
        return value, low, high, len(shares)

    def _gold_pairs(self) -> list[tuple[Sample, Sample]]:
        """The pairs with two right answers and two blocks."""
        found = [
            (one, other)
            for one, other in zip(self._samples[::2], self._samples[1::2], strict=True)
            if one.answer != other.answer and {one.id, other.id} <= self._own.keys()
        ]
        if not found:
            raise LanternError("no pair has two right answers and two blocks")
        return found


def _tried(name: str, measure: Callable[[], Said]) -> Said:
    """Words of an instrument; a line with the reason where it cannot be used."""
    try:
        return measure()
    except LanternError as error:
        return f"{name}: not measured: {error}", None


def _between(vectors: VectorSet) -> str:
    """The mean cosine between samples of different images, over all slots, in words."""
    rows = cosine_rows(vectors, spaces=("raw",))
    found = next(row for row in rows if row.measure == BETWEEN and row.slot is None)
    if found.low is None or found.high is None:
        raise LanternError("cosines need samples of two images")
    return interval(found.estimate, found.low, found.high)


def _cosine(one: Tensor, other: Tensor) -> float:
    """Mean over the slots of the cosine of two blocks."""
    return float(torch.cosine_similarity(one.float(), other.float(), dim=1).mean())


def _cluster(sample: Sample) -> str:
    return str(sample.attributes.get("cluster") or sample.attributes["pair"])


def _meant(sample: Sample) -> str | None:
    """The right answer by its content, which letters of options do not have."""
    if not sample.options or sample.answer is None:
        return sample.answer
    return dict(zip(sample.candidates, sample.options, strict=True))[sample.answer]
