"""An engine without a model: a row says which units were run together with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lantern_probe.records.engines import Kept, Sink, Unit
from lantern_probe.records.run import Run
from lantern_probe.records.schema import failed_row
from lantern_probe.records.work import Division, file_of
from lantern_probe.records.writer import Writer, carry_out
from lantern_probe.scale.shards import FACT, division_fact, parts_of, shard_folder
from lantern_probe.tasks.sample import Sample

LABELS = ("alone", "pooled")
KEPT = "own_latents/clean"


def questions(count: int) -> list[Sample]:
    return [Sample(f"s{number}", (), f"question {number} ?") for number in range(count)]


@dataclass
class Counting:
    """Two stages: in the second, a row has the sum of what all samples kept in the first."""

    samples: Sequence[Sample]
    size: int = 4
    bad: dict[str, Exception] = field(default_factory=dict)
    passes: int = 1
    stages: int = 2
    keeps: Sequence[str] = (KEPT,)
    total: float = 0.0
    seen: list[tuple[Unit, ...]] = field(default_factory=list)

    def labels(self, stage: int) -> Sequence[str]:
        return [LABELS[stage]]

    def owing(self, rows: Sequence[dict[str, Any]], kept: Kept) -> set[Unit]:
        ran = {row["sample"] for row in rows if row["status"] == "ok"}
        return {(key, 0) for key in ran if key not in kept[KEPT]}

    def facts(self) -> dict[str, Any]:
        return {"threads": 1}

    def run_units(self, stage: int, units: Sequence[Unit], sink: Sink) -> None:
        self.seen.append(tuple(units))
        for key, _ in units:
            if key in self.bad:
                raise self.bad[key]
        label = LABELS[stage]
        if not stage:
            fresh = {key: torch.full((2, 3), float(key[1:])) for key, _ in units}
            sink.keep(file_of(KEPT, sorted(fresh)), fresh)
        for key, number in units:
            if not sink.has(key, label, number):
                row: dict[str, Any] = {"sample": key, "condition": label, "status": "ok"}
                row |= {"together": [other for other, _ in units]}
                sink.append_many([row | ({"total": self.total} if stage else {})])

    def failures(self, unit: Unit, error: Exception) -> list[dict[str, Any]]:
        return [dict(failed_row(unit[0], label, error)) for label in LABELS]

    def prepare(self, kept: Kept) -> float:
        return float(sum(kept[KEPT][s.id].sum() for s in self.samples if s.id in kept[KEPT]))

    def take(self, pool: float) -> None:
        self.total = pool


def run_whole(folder: Path, count: int, **more: Any) -> Counting:
    """One process; the engine, which knows what was run together."""
    with Run.open(folder, {"seed": 1}) as run:
        engine = Counting(run.register(questions(count)), **more)
        carry_out(Writer(run, engine.samples, engine.size), [engine])
    return engine


def run_shard(output: Path, division: Division, count: int, *, ready: bool, **more: Any) -> None:
    """One start of a shard, as `experiments.scaling` makes it."""
    config = more.pop("config", {"seed": 1})
    with Run.open(shard_folder(output, division), config) as run:
        engine = Counting(run.register(questions(count)), **more)
        wanted = {(s.id, label, 0) for s in engine.samples for label in LABELS}
        stages = [engine.labels(0), engine.labels(1)]
        fact = division_fact(division, engine.size, engine.samples, stages, wanted)
        run.note(conditions=sorted(LABELS), **{FACT: fact})
        parts = parts_of(output, division)
        writer = Writer(run, engine.samples, engine.size, division, parts)
        whole = carry_out(writer, [engine], ready=ready)
        run.note(ready=[KEPT])
        if not whole:
            run.finish("waiting")


def run_shards(output: Path, number: int, count: int, **more: Any) -> list[Path]:
    """All shards, twice, since the second stage needs the first of all; their folders."""
    for ready in (False, True):
        for index in range(number):
            run_shard(output, Division(index, number), count, ready=ready, **more)
    return parts_of(output, Division(0, number))
