"""Ablate the latents: every condition on every sample, forked from one prefix, into a run.

Two passes. The first runs each sample's prefix, its own latents and every condition that needs
nothing else; the second runs the conditions that need the own latents of the whole data set
(means, matched noise, donors). Own latents are kept in the run's folder, so that a resumed run
does not make them again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lantern_probe.answers import Parser, parse_answer
from lantern_probe.branching import Branch, BranchResult, Prefix, run_branches, run_prefixes
from lantern_probe.decoding import OWN
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, KSlots, Own
from lantern_probe.pool import LatentPool, image_keys
from lantern_probe.records import Row, Run
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model import LanternModel

KEPT_PREFIXES = 2e9
"""Bytes of prefix caches kept from the first pass for the second; the rest is run again."""


@dataclass
class Ablation:
    """One model, one data set, several conditions.

    Attributes:
        lantern: The model.
        samples: Their ids must differ.
        conditions: Interventions; `own` is added in front when it is missing.
        run: Where rows go; what it holds already is not run again.
        max_new_tokens: Limit of every continuation; the model's own by default.
        batch_rows: Rows decoded together.
        parser: How answers are read.
        advance: Called with the number of rows just recorded.
    """

    lantern: LanternModel
    samples: Sequence[Sample]
    conditions: Sequence[Intervention]
    run: Run
    max_new_tokens: int | None = None
    batch_rows: int = 64
    parser: Parser = "default"
    advance: Callable[[int], None] = lambda rows: None
    _pool: dict[str, Tensor] = field(default_factory=dict, init=False)
    _prefixes: dict[str, Prefix] = field(default_factory=dict, init=False)
    _kept: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.conditions = with_own(self.conditions)
        doubled = [key for key, n in Counter(s.id for s in self.samples).items() if n > 1]
        if doubled:
            raise LanternError(f"two samples have the id {doubled[0]!r}; ids must differ")
        if not self.samples:
            raise LanternError("there are no samples to run")
        limit = self.max_new_tokens or self.lantern.max_new_tokens
        for condition in self.conditions:
            condition.check(self.lantern.latent_size)
            if isinstance(condition, KSlots) and condition.k + 2 >= limit:
                raise LanternError(
                    f"condition {condition.label!r} leaves no room for an answer within {limit} "
                    "new tokens; raise --max-new-tokens"
                )

    def execute(self) -> None:
        """Run whatever the run does not hold yet."""
        alone = [c for c in self.conditions if not c.needs_pool]
        pooled = [c for c in self.conditions if c.needs_pool]
        self._load_latents()
        for chunk in self._chunks():
            self._run_chunk(chunk, alone, None, keep=bool(pooled))
        if not pooled:
            return
        emitted = [sample for sample in self.samples if sample.id in self._pool]
        pool = LatentPool({s.id: s for s in emitted}, {s.id: self._pool[s.id] for s in emitted})
        for chunk in self._chunks():
            self._run_chunk(chunk, pooled, pool, keep=False)

    def _chunks(self) -> Iterator[list[Sample]]:
        size = max(1, self.batch_rows // 2)
        for first in range(0, len(self.samples), size):
            yield list(self.samples[first : first + size])

    def _run_chunk(
        self,
        samples: list[Sample],
        conditions: Sequence[Intervention],
        pool: LatentPool | None,
        *,
        keep: bool,
    ) -> None:
        def due(sample: Sample) -> list[Intervention]:
            return [c for c in conditions if not self.run.has(sample.id, c.label)]

        wanted = [s for s in samples if due(s) or (keep and self._latents_missing(s))]
        prefixes = self._run_prefixes(wanted)
        # One branch per due condition, own ones also where only their latents are missing.
        jobs: list[tuple[Prefix, Intervention, Branch]] = []
        rows: list[Row] = []
        for sample in wanted:
            if sample.id not in prefixes:
                continue
            prefix = prefixes[sample.id]
            again = [Own()] if keep and self._latents_missing(sample) else []
            for condition in dict.fromkeys([*again, *due(sample)]):
                try:
                    # Without a block every condition on the slots is the same as own.
                    plan = condition.plan(sample, self.lantern, pool) if prefix.emitted else OWN
                except LanternError as error:
                    rows.append(failed_row(sample, condition, error))
                else:
                    jobs.append((prefix, condition, Branch(prefix, plan)))
        self._record(rows)
        for first in range(0, len(jobs), self.batch_rows):
            some = jobs[first : first + self.batch_rows]
            results = run_branches(self.lantern, [branch for _, _, branch in some])
            self._save_latents(some, results)
            self._record(
                [
                    self._row(prefix, condition, result, pool)
                    for (prefix, condition, _), result in zip(some, results, strict=True)
                    if prefix.sample and not self.run.has(prefix.sample.id, condition.label)
                ]
            )
        for key, prefix in prefixes.items():
            size = sum(t.nbytes for pair in prefix.cache for t in pair)
            if keep and key not in self._prefixes and self._kept + size <= KEPT_PREFIXES:
                self._prefixes[key] = prefix
                self._kept += size
            elif not keep and self._prefixes.pop(key, None) is not None:
                self._kept -= size

    def _run_prefixes(self, samples: list[Sample]) -> dict[str, Prefix]:
        """The prefixes of those samples that have one; the others are recorded as failed."""
        found = {s.id: self._prefixes[s.id] for s in samples if s.id in self._prefixes}
        left = [s for s in samples if s.id not in found]
        try:
            good, prefixes = left, self._prefix_batch(left)
        except LanternError:
            good = [s for s in left if self._usable(s)]
            prefixes = self._prefix_batch(good)
        return found | {s.id: p for s, p in zip(good, prefixes, strict=True)}

    def _prefix_batch(self, samples: list[Sample]) -> list[Prefix]:
        if not samples:
            return []
        return run_prefixes(self.lantern, samples, max_new_tokens=self.max_new_tokens)

    def _usable(self, sample: Sample) -> bool:
        try:
            self.lantern.inputs([sample])
        except LanternError as error:
            rows = [failed_row(sample, condition, error) for condition in self.conditions]
            self._record([r for r in rows if not self.run.has(r["sample"], r["condition"])])
            return False
        return True

    def _record(self, rows: list[Row]) -> None:
        self.run.append_many(rows)
        self.advance(len(rows))

    def _row(
        self,
        prefix: Prefix,
        condition: Intervention,
        result: BranchResult,
        pool: LatentPool | None,
    ) -> Row:
        sample = prefix.sample
        assert sample is not None
        answer = parse_answer(result.text, sample, self.parser)
        row: Row = {
            "sample": sample.id,
            "condition": condition.label,
            "status": "ok",
            "gold": sample.answer,
            "answer": answer,
            "correct": None if sample.answer is None else answer == sample.answer,
            "candidates": len(sample.candidates),
            "emitted": prefix.emitted,
            "blocks": len(result.blocks),
            "tokens": len(result.ids) - result.prompt_length,
            "image": "|".join(sorted(image_keys(sample))),
            "logprobs": result.logprobs,
            "text": result.text,
        }
        if prefix.emitted:
            row |= condition.details(sample, pool)
            row["acted"] = condition.acts_on(len(result.blocks) or 1)
        return row

    # -- own latents -----------------------------------------------------------

    def _latents_missing(self, sample: Sample) -> bool:
        """Whether the second pass needs own latents that are not there.

        They are saved before the own row is written, so a row without them is one whose sample
        has no whole block, or one whose file was lost.
        """
        return sample.id not in self._pool and self._emitted_before.get(sample.id, False)

    def _load_latents(self) -> None:
        rows = [row for row in self.run.rows() if row["condition"] == Own().label]
        self._emitted_before = {
            row["sample"]: row["status"] == "ok" and row["emitted"] for row in rows
        }
        if not rows:  # a run that starts again: what lies there is of another model
            for file in self._folder.glob("*.safetensors"):
                file.unlink(missing_ok=True)
        known = {sample.id for sample in self.samples}
        for file in sorted(self._folder.glob("*.safetensors")):
            try:
                loaded = load_file(file)
            except (SafetensorError, OSError):
                file.unlink(missing_ok=True)  # torn by a kill: made again
                continue
            self._pool |= {key: value for key, value in loaded.items() if key in known}

    def _save_latents(
        self, jobs: Sequence[tuple[Prefix, Intervention, Branch]], results: list[BranchResult]
    ) -> None:
        size = self.lantern.latent_size
        fresh: dict[str, Tensor] = {}
        for (prefix, condition, _), result in zip(jobs, results, strict=True):
            whole = bool(result.blocks) and len(result.blocks[0].latents) == size
            if condition == Own() and prefix.sample is not None and whole:
                fresh[prefix.sample.id] = result.blocks[0].latents.float().cpu().contiguous()
        fresh = {key: value for key, value in fresh.items() if key not in self._pool}
        if fresh:
            self._pool |= fresh
            name = hashlib.sha256("\0".join(sorted(fresh)).encode()).hexdigest()[:16]
            try:
                self._folder.mkdir(exist_ok=True)
                partial = self._folder / f".{name}.tmp"
                save_file(fresh, partial)
                partial.replace(self._folder / f"{name}.safetensors")
            except (OSError, SafetensorError) as error:
                raise LanternError(f"cannot write latents to '{self._folder}': {error}") from None

    @property
    def _folder(self) -> Path:
        return self.run.folder / "own_latents"


def with_own(conditions: Sequence[Intervention]) -> list[Intervention]:
    """The conditions with `own` among them: everything is compared with it.

    Raises:
        LanternError: a condition stands there twice.
    """
    doubled = [label for label, n in Counter(c.label for c in conditions).items() if n > 1]
    if doubled:
        raise LanternError(f"the condition {doubled[0]!r} is given twice")
    return list(conditions) if Own() in conditions else [Own(), *conditions]


def failed_row(sample: Sample, condition: Intervention, error: Exception) -> Row:
    """The record of a sample that could not be run."""
    return {
        "sample": sample.id,
        "condition": condition.label,
        "status": "failed",
        "error": str(error),
    }
