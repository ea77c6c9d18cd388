"""Ablate the latents: every condition on every sample, forked from one prefix, into a run.

There are two passes. The first runs each sample's prefix, its own latents and every condition that
looks at one sample only. The second runs the conditions that need the own latents of the whole data
set (means, matched noise, donors). Own latents are kept in the run's folder, so that a resumed run
does not make them again.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lantern_probe.causal.branching import Branch, Prefix, run_prefixes
from lantern_probe.causal.distances import distances_to_pool
from lantern_probe.causal.knockout import check_cut, run_cut_branches
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, KSlots, Own, Replacement
from lantern_probe.interventions.edges import KnockOut
from lantern_probe.interventions.image import Corruption, HideImage
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import OWN, BranchResult
from lantern_probe.model.facts import finish_of, running_facts
from lantern_probe.model.memory import Batches, free_memory, most_branches
from lantern_probe.model.norms import fed_states
from lantern_probe.model.scoring import candidate_mass, unclear
from lantern_probe.records.json_files import explained, replace_file
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.schema import AblationRow, failed_row
from lantern_probe.tasks.answers import Parser, parse_answer, parsers
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

KEPT = 0.2
"""Fraction of the free memory for prefix caches kept between the two passes.

Other prefixes are recomputed.
"""

MOST_PREFIXES = 64
"""Largest number of samples whose prefixes are run together."""

Asked = tuple[Intervention, Corruption]
"""A condition, and the corruption under which it is run."""

Job = tuple[Sample, Asked, Branch]


@dataclass
class Ablation:
    """Engine that runs one model on one data set under several conditions.

        >>> from lantern_probe import Run, parse_condition, read_rows, summarize
        >>> with Run.open("runs/ablation", {}, overwrite=True) as run:
        ...     Ablation(lantern, [sample], [parse_condition("zeros")], run).execute()
        >>> [s.condition for s in summarize(read_rows("runs/ablation"), model="faithful")]
        ['own', 'zeros']

    Attributes:
        lantern: Model to run.
        samples: Samples with different ids.
        conditions: Interventions to run; `own` is added in front if it is missing.
        run: Run that takes the rows. Rows that it already has are not made again.
        corruption: Corruption of the images, none by default. Rows name it after the condition, as
            in `zeros@black-box`.
        hidden: Conditions to run once more with the image hidden behind the block, by default none.
            They go on from the same prefixes, and rows name them `zeros@hide-image`.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of rows decoded together, by default as many as fit into memory. It is
            halved if memory runs out.
        parser: Parser of the answers, default `default`.
        advance: Function called with the number of rows just recorded.
    """

    lantern: LanternModel
    samples: Sequence[Sample]
    conditions: Sequence[Intervention]
    run: Run
    corruption: Corruption = field(default_factory=Corruption)
    hidden: Sequence[Intervention] = ()
    max_new_tokens: int | None = None
    batch_rows: int | None = None
    parser: Parser = "default"
    advance: Callable[[int], None] = lambda rows: None
    _asked: list[Asked] = field(default_factory=list, init=False)
    _pool: dict[str, Tensor] = field(default_factory=dict, init=False)
    _prefixes: dict[str, Prefix] = field(default_factory=dict, init=False)
    _kept: float = field(default=0.0, init=False)
    _branching: Batches = field(default_factory=Batches, init=False)
    _prefixing: Batches = field(default_factory=Batches, init=False)

    def __post_init__(self) -> None:
        self.conditions = with_own(self.conditions)
        doubled = [key for key, n in Counter(s.id for s in self.samples).items() if n > 1]
        if doubled:
            raise LanternError(f"two samples have the id {doubled[0]!r}; ids must differ")
        if not self.samples:
            raise LanternError("there are no samples to run")
        limit = self.max_new_tokens or self.lantern.max_new_tokens
        self._asked = [(condition, self.corruption) for condition in self.conditions]
        if self.hidden:
            if type(self.corruption) is not Corruption:
                label = self.corruption.label
                raise LanternError(f"under {label!r} there are no prefixes for 'hide-image'")
            self._asked += [(condition, HideImage()) for condition in with_own(self.hidden)]
        for condition, _ in self._asked:
            condition.check(self.lantern.latent_size)
            if isinstance(condition, KSlots) and condition.k + 2 >= limit:
                raise LanternError(
                    f"condition {condition.label!r} leaves no room for an answer within {limit} "
                    "new tokens; raise --max-new-tokens"
                )

    def execute(self) -> None:
        """Run every sample and condition that the run lacks."""
        alone = [asked for asked in self._asked if not asked[0].needs_pool]
        if len(alone) < len(self._asked):
            # What is fed is compared with the own latents of all, once they are known.
            alone = [a for a in alone if not isinstance(a[0], Replacement) or a[0] == Own()]
        pooled = [asked for asked in self._asked if asked not in alone]
        self.samples = self.run.register(self.samples)
        self.run.note(**running_facts(self.lantern, self.max_new_tokens))
        self._load_latents()
        for chunk in self._chunks():
            self._run_chunk(chunk, alone, None, keep=bool(pooled))
        if not pooled:
            return
        # In the order of ids: random draws must not depend on the order of the data.
        emitted = sorted((s for s in self.samples if s.id in self._pool), key=lambda s: s.id)
        pool = LatentPool({s.id: s for s in emitted}, {s.id: self._pool[s.id] for s in emitted})
        for chunk in self._chunks():
            self._run_chunk(chunk, pooled, pool, keep=False)

    def _has(self, sample: Sample, asked: Asked) -> bool:
        return self.run.has(sample.id, _label(asked))

    def _chunks(self) -> Iterator[list[Sample]]:
        # So many samples that their rows make full batches.
        most = max(1, most_branches(self.lantern.device) // len(self._asked))
        size = max(1, self.batch_rows // 2) if self.batch_rows else min(most, MOST_PREFIXES)
        for first in range(0, len(self.samples), size):
            yield list(self.samples[first : first + size])

    def _run_chunk(
        self,
        samples: list[Sample],
        conditions: Sequence[Asked],
        pool: LatentPool | None,
        *,
        keep: bool,
    ) -> None:
        def due(sample: Sample) -> list[Asked]:
            return [asked for asked in conditions if not self._has(sample, asked)]

        wanted = [s for s in samples if due(s) or (keep and self._latents_missing(s))]
        prefixes = self._run_prefixes(wanted)
        # One branch per due condition, own ones also where only their latents are missing.
        jobs: list[Job] = []
        rows: list[Row] = []
        for sample in wanted:
            if sample.id not in prefixes:
                continue
            prefix = prefixes[sample.id]
            own: Asked = (Own(), self.corruption)
            again = [own] if keep and self._latents_missing(sample) else []
            for asked in dict.fromkeys([*again, *due(sample)]):
                condition, corruption = asked
                acts = prefix.emitted or not condition.needs_block
                try:
                    # Without a block a condition on the slots is the same as own.
                    plan = condition.plan(sample, self.lantern, pool) if acts else OWN
                    branch = Branch(prefix, corruption.hide(plan))
                    if isinstance(condition, KnockOut):
                        check_cut(self.lantern, branch, condition.cut)
                except LanternError as error:
                    rows.append(_failed(sample, asked, error))
                else:
                    jobs.append((sample, asked, branch))
        self._record(rows)
        for some, results in self._branching.run(jobs, self._batch_rows(jobs), self._run_branches):
            self._save_latents(some, results)
            done = [(sample, condition) for sample, (condition, _), _ in some]
            near = distances_to_pool(done, results, pool)
            self._record(
                [
                    {**self._row(job, result, pool), **distances}
                    for job, result, distances in zip(some, results, near, strict=True)
                    if not self._has(job[0], job[1])
                ]
            )
        self._keep_prefixes(prefixes, keep=keep)

    def _batch_rows(self, jobs: Sequence[Job]) -> int:
        if self.batch_rows is not None:
            return self.batch_rows
        branches = [branch for _, _, branch in jobs]
        prefixes = {id(branch.prefix): len(branch.prefix.ids) for branch in branches}
        own = max((branch.prefix.limit - branch.length for branch in branches), default=1)
        return self.lantern.branches_that_fit(
            own, max(prefixes.values(), default=1), len(branches) / max(1, len(prefixes))
        )

    def _run_branches(self, jobs: Sequence[Job]) -> list[BranchResult]:
        cuts = [c.cut if isinstance(c, KnockOut) else None for _, (c, _), _ in jobs]
        return run_cut_branches(self.lantern, [branch for _, _, branch in jobs], cuts)

    def _keep_prefixes(self, prefixes: dict[str, Prefix], *, keep: bool) -> None:
        """Keep prefixes for the second pass as far as memory allows, and release those used."""
        room = KEPT * (self._kept + free_memory(self.lantern.device)) if keep else 0.0
        for key, prefix in prefixes.items():
            size = sum(t.nbytes for pair in prefix.cache for t in pair)
            if keep and key not in self._prefixes and self._kept + size <= room:
                self._prefixes[key] = prefix
                self._kept += size
            elif not keep and self._prefixes.pop(key, None) is not None:
                self._kept -= size

    def _run_prefixes(self, samples: list[Sample]) -> dict[str, Prefix]:
        """The prefixes of the samples that can be run; the others are recorded as failed."""
        found = {s.id: self._prefixes[s.id] for s in samples if s.id in self._prefixes}
        left = self._seen([s for s in samples if s.id not in found])
        for some, prefixes in self._prefixing.run(left, len(left), self._prefix_batch):
            found |= {s.id: p for s, p in zip(some, prefixes, strict=True) if p is not None}
        return found

    def _seen(self, samples: list[Sample]) -> list[Sample]:
        """The samples as the model sees them."""
        seen = []
        for sample in samples:
            try:
                seen.append(self.corruption.apply(sample, self.samples))
            except LanternError as error:
                self._fail(sample, error)
        return seen

    def _prefix_batch(self, samples: Sequence[Sample]) -> list[Prefix | None]:
        """The prefix of each sample; None for one that cannot be run, which is recorded."""
        try:
            good, prefixes = list(samples), self._prefixes_of(samples)
        except LanternError:
            good = [sample for sample in samples if self._usable(sample)]
            prefixes = self._prefixes_of(good)
        made = {s.id: p for s, p in zip(good, prefixes, strict=True)}
        return [made.get(sample.id) for sample in samples]

    def _prefixes_of(self, samples: Sequence[Sample]) -> list[Prefix]:
        if not samples:
            return []
        return run_prefixes(self.lantern, samples, max_new_tokens=self.max_new_tokens)

    def _usable(self, sample: Sample) -> bool:
        try:
            self.lantern.inputs([sample])
        except LanternError as error:
            self._fail(sample, error)
            return False
        return True

    def _fail(self, sample: Sample, error: Exception) -> None:
        rows = [_failed(sample, asked, error) for asked in self._asked]
        self._record([r for r in rows if not self.run.has(r["sample"], r["condition"])])

    def _record(self, rows: list[Row]) -> None:
        self.run.append_many(rows)
        self.advance(len(rows))

    def _row(self, job: Job, result: BranchResult, pool: LatentPool | None) -> Row:
        sample, asked, branch = job
        condition = asked[0]
        read: dict[str, str | None] = {
            parser: parse_answer(result.text, sample, parser) for parser in parsers(sample)
        }
        answer = parse_answer(result.text, sample, self.parser)
        emitted = branch.prefix.emitted
        continuation = result.ids[result.prompt_length :].tolist()
        row: AblationRow = {
            "sample": sample.id,
            "condition": _label(asked),
            "status": "ok",
            "gold": sample.answer,
            "answer": answer,
            "correct": None if sample.answer is None else answer == sample.answer,
            "parsed": read,
            "candidates": len(sample.candidates),
            "emitted": emitted,
            "blocks": len(result.blocks),
            "fed": [len(block.latents) for block in result.blocks],
            "finish": finish_of(continuation, self.lantern),
            "tokens": len(continuation),
            "cluster": sample.cluster,
            "category": sample.attributes.get("category"),
            "logprobs": result.logprobs,
            "text": result.text,
            "kept": condition.keeps,
            "mass": None if result.logprobs is None else candidate_mass(result.logprobs),
        }
        if "pair" in sample.attributes:
            row["pair"] = str(sample.attributes["pair"])
        if result.logprobs is None and (pairs := unclear(self.lantern, sample.candidates)):
            row["indistinct"] = [list(pair) for pair in pairs]
        row.update(fed_states(self.lantern, result.blocks, branch.prefix.norms))  # type: ignore[typeddict-item]
        if branch.forced:
            row["forced"] = True
        if emitted:
            row.update(dict(branch.plan.notes))  # type: ignore[typeddict-item]
            row["acted"] = condition.acts_on(len(result.blocks) or 1)
            drew = pool is not None and condition.needs_pool
            row["pool"] = len(pool.latents) if pool is not None and drew else None
            return {**row, **condition.details(sample, pool)}
        return dict(row)

    # -- own latents -----------------------------------------------------------

    def _latents_missing(self, sample: Sample) -> bool:
        """True if a sample emitted a block, but its own latents for the second pass are missing.

        They are saved before the own row is written. If a row has none, its sample has no whole
        block, or the file was lost.
        """
        return sample.id not in self._pool and self._emitted_before.get(sample.id, False)

    def _load_latents(self) -> None:
        own = _label((Own(), self.corruption))
        rows = [row for row in self.run.rows() if row["condition"] == own]
        self._emitted_before = {
            row["sample"]: row["status"] == "ok" and row["emitted"] for row in rows
        }
        if not rows:  # a run that starts again: existing files may be of another model
            for file in self._folder.glob("*.safetensors"):
                file.unlink(missing_ok=True)
        for file in self._folder.glob(".*.tmp"):  # of a run that was killed
            file.unlink(missing_ok=True)
        known = {sample.id for sample in self.samples}
        for file in sorted(self._folder.glob("*.safetensors")):
            try:
                loaded = load_file(file)
            except SafetensorError:
                file.unlink(missing_ok=True)  # damaged on disk: made again
                continue
            except OSError as error:  # it may be whole, and only out of reach now
                raise LanternError(f"cannot read '{file}': {error.strerror or error}") from None
            self._pool |= {key: value for key, value in loaded.items() if key in known}

    def _save_latents(self, jobs: Sequence[Job], results: list[BranchResult]) -> None:
        size = self.lantern.latent_size
        fresh: dict[str, Tensor] = {}
        for (sample, asked, _), result in zip(jobs, results, strict=True):
            whole = bool(result.blocks) and len(result.blocks[0].latents) == size
            if asked == (Own(), self.corruption) and whole:
                fresh[sample.id] = result.blocks[0].latents.float().cpu().contiguous()
        fresh = {key: value for key, value in fresh.items() if key not in self._pool}
        if fresh:
            self._pool |= fresh
            name = hashlib.sha256("\0".join(sorted(fresh)).encode()).hexdigest()[:16]
            with explained(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / f"{name}.safetensors", save(fresh))

    @property
    def _folder(self) -> Path:
        return self.run.folder / "own_latents" / re.sub(r"[^\w.=-]+", "_", self.corruption.label)


def _label(asked: Asked) -> str:
    """A condition as rows name it: `zeros@black-box`."""
    return asked[1].suffix(asked[0].label)


def _failed(sample: Sample, asked: Asked, error: Exception) -> Row:
    """The record of a sample that could not be run."""
    return dict(failed_row(sample.id, _label(asked), error))


def with_own(conditions: Sequence[Intervention]) -> list[Intervention]:
    """Add `own`, with which all conditions are compared, in front if it is missing.

    Raises:
        LanternError: a condition is given twice.
    """
    doubled = [label for label, n in Counter(c.label for c in conditions).items() if n > 1]
    if doubled:
        raise LanternError(f"the condition {doubled[0]!r} is given twice")
    return list(conditions) if Own() in conditions else [Own(), *conditions]
