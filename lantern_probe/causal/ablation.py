"""Ablate the latents: every condition on every sample, forked from one prefix, into a run.

There are two stages. The first runs each sample's prefix, its own latents and every condition that
looks at one sample only. The second runs the conditions that need the own latents of the whole data
set (means, matched noise, donors). Own latents are kept in the run's folder, so that a resumed run
does not make them again. Both run chunk by chunk (`records.work`), and need no folder for it.

In sampled decoding all this is done in every pass (`Sampling.passes`). A row draws its tokens from
numbers of its own (sample, condition, pass). In one pass all conditions go on from the text up to
the block that `own` has drawn: they differ in what was done to the block, not in luck before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from lantern_probe.causal.ablation_chunks import AblationChunks, Unit
from lantern_probe.causal.ablation_chunks import with_own as with_own
from lantern_probe.causal.ablation_rows import Asked, ablation_row, failure, label_of
from lantern_probe.causal.branching import Branch, Prefix, run_prefixes
from lantern_probe.causal.distances import distances_to_pool
from lantern_probe.causal.knockout import check_cut, run_cut_branches
from lantern_probe.causal.own_latents import WORDS
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Own
from lantern_probe.interventions.edges import KnockOut
from lantern_probe.interventions.image import Corruption, HideImage
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import OWN, BranchResult
from lantern_probe.model.memory import Batches
from lantern_probe.model.sampling import Draws
from lantern_probe.records.engines import Sink
from lantern_probe.records.rows import Row
from lantern_probe.records.work import Collector, file_of
from lantern_probe.records.writer import carry_out_alone
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    pass

KEPT = 0.2
"""Fraction of the free memory for prefix caches kept between the two stages.

The prefixes of other chunks are recomputed.
"""

Job = tuple[Unit, Asked, Branch]


@dataclass
class Ablation(AblationChunks):
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
        run: Run that takes the rows, for `execute`; None if only chunks are run. Rows that it
            already has are not made again.
        corruption: Corruption of the images, none by default. Rows name it after the condition, as
            in `zeros@black-box`.
        hidden: Conditions to run once more with the image hidden behind the block, by default none.
            They go on from the same prefixes, and rows name them `zeros@hide-image`.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of rows decoded together, by default as many as fit into memory. It is
            halved if memory runs out.
        parser: Parser of the answers, default `default`.
        sampling: Settings of sampled decoding and the number of passes; default None, greedy.
        advance: Function called with the number of rows just recorded.
    """

    _sink: Sink = field(default_factory=Collector, init=False)
    _prefixes: dict[tuple[str, int], Prefix] = field(default_factory=dict, init=False)
    _kept: float = field(default=0.0, init=False)
    _branching: Batches = field(default_factory=Batches, init=False)
    _prefixing: Batches = field(default_factory=Batches, init=False)

    def execute(self) -> None:
        """Run every sample and condition that the run lacks.

        Raises:
            LanternError: there is no run.
        """
        if self.run is None:
            raise LanternError("an ablation without a run has chunks only; give it a run")
        carry_out_alone(self, self.run, self.advance)

    def run_units(self, stage: int, units: Sequence[tuple[str, int]], sink: Sink) -> None:
        """Make the rows of a chunk that are missing.

        Args:
            stage: Index of the stage.
            units: Ids of samples, with the index of the pass.
            sink: Place for rows and own latents.
        """
        self._sink = sink
        known = {sample.id: sample for sample in self.samples}
        chunk = [(known[key], number) for key, number in units]
        pools = self._pools if stage else None
        self._run_chunk(chunk, self._of_stage(stage), pools, keep=stage + 1 < self.stages)

    def _has(self, unit: Unit, asked: Asked) -> bool:
        return self._sink.has(unit[0].id, label_of(asked), unit[1])

    def _run_chunk(
        self,
        units: list[Unit],
        conditions: Sequence[Asked],
        pools: Sequence[LatentPool] | None,
        *,
        keep: bool,
    ) -> None:
        together = [a for a in conditions if label_of(a) in self._sink.together]

        def due(unit: Unit) -> list[Asked]:
            """Conditions to run: all that were run together, so that batches are what they were."""
            return together or [asked for asked in conditions if not self._has(unit, asked)]

        wanted = [unit for unit in units if due(unit)]
        prefixes = self._run_prefixes(wanted)
        jobs: list[Job] = []
        rows: list[Row] = []
        for unit in wanted:
            if _key(unit) not in prefixes:
                continue
            sample, number = unit
            prefix, pool = prefixes[_key(unit)], None if pools is None else pools[number]
            for asked in due(unit):
                condition, corruption = asked
                acts = prefix.emitted or not condition.needs_block
                try:
                    # Without a block a condition on the slots is the same as own.
                    plan = condition.plan(sample, self.lantern, pool) if acts else OWN
                    plan = replace(corruption.hide(plan), draws=self._draws(unit, asked))
                    branch = Branch(prefix, plan)
                    if isinstance(condition, KnockOut):
                        check_cut(self.lantern, branch, condition.cut)
                except LanternError as error:
                    if not self._has(unit, asked):
                        rows.append(failure(sample, asked, error, self._number(unit)))
                else:
                    jobs.append((unit, asked, branch))
        self._record(rows)
        for some, results in self._branching.run(jobs, self._batch_rows(jobs), self._run_branches):
            self._save_latents(some, results)
            self._record(self._rows(some, results, pools))
        self._keep_prefixes(prefixes, keep=keep)

    def _draws(self, unit: Unit, asked: Asked) -> Draws | None:
        """The random numbers of a row; None in greedy decoding."""
        sample, number = unit
        if self.sampling is None:
            return None
        return self.sampling.draws(sample.id, label_of(asked), number)

    def _rows(
        self,
        jobs: Sequence[Job],
        results: Sequence[BranchResult],
        pools: Sequence[LatentPool] | None,
    ) -> list[Row]:
        """The rows of finished texts that the run lacks."""
        places: dict[int, list[int]] = defaultdict(list)
        for place, ((_, number), _, _) in enumerate(jobs):
            places[number].append(place)
        near: dict[int, dict[str, list[float]]] = {}
        for number, some in places.items():
            done = [(jobs[place][0][0], jobs[place][1][0]) for place in some]
            texts = [results[place] for place in some]
            pool = None if pools is None else pools[number]
            near |= zip(some, distances_to_pool(done, texts, pool), strict=True)
        rows = []
        for place, ((unit, asked, branch), result) in enumerate(zip(jobs, results, strict=True)):
            if self._has(unit, asked):
                continue
            row = ablation_row(
                self.lantern, unit[0], asked, branch, result,
                pool=None if pools is None else pools[unit[1]],
                parser=self.parser, number=self._number(unit),
            )  # fmt: skip
            rows.append({**row, **near[place]})
        return rows

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

    def _keep_prefixes(self, prefixes: dict[tuple[str, int], Prefix], *, keep: bool) -> None:
        """Keep prefixes for the second stage as far as memory allows, and release those used.

        All of a chunk or none: made again, they are made together as they were.
        """
        sizes = {k: sum(t.nbytes for pair in p.cache for t in pair) for k, p in prefixes.items()}
        if not keep:
            self._kept -= sum(sizes[key] for key in prefixes if self._prefixes.pop(key, None))
        elif self._prefixes.keys().isdisjoint(prefixes):
            room = KEPT * (self._kept + self.lantern.free_memory())
            if self._kept + sum(sizes.values()) <= room:
                self._prefixes |= prefixes
                self._kept += sum(sizes.values())

    def _run_prefixes(self, units: list[Unit]) -> dict[tuple[str, int], Prefix]:
        """The prefixes of the samples that can be run; the others are recorded as failed."""
        keys = [_key(unit) for unit in units]
        found = {key: self._prefixes[key] for key in keys if key in self._prefixes}
        left = self._seen([unit for unit in units if _key(unit) not in found])
        for some, prefixes in self._prefixing.run(left, len(left), self._prefix_batch):
            found |= {_key(u): p for u, p in zip(some, prefixes, strict=True) if p is not None}
        return found

    def _seen(self, units: list[Unit]) -> list[Unit]:
        """The samples as the model sees them."""
        seen: dict[str, Sample] = {}
        for sample in {sample.id: sample for sample, _ in units}.values():
            try:
                seen[sample.id] = self.corruption.apply(sample, self.samples)
            except LanternError as error:
                self._fail(sample, error)
        return [(seen[sample.id], number) for sample, number in units if sample.id in seen]

    def _prefix_batch(self, units: Sequence[Unit]) -> list[Prefix | None]:
        """The prefix of each unit; None for a sample that cannot be run, which is recorded."""
        try:
            good, prefixes = list(units), self._prefixes_of(units)
        except LanternError:
            samples = {sample.id: sample for sample, _ in units}
            usable = {key for key, sample in samples.items() if self._usable(sample)}
            good = [unit for unit in units if unit[0].id in usable]
            prefixes = self._prefixes_of(good)
        made = {_key(unit): p for unit, p in zip(good, prefixes, strict=True)}
        return [made.get(_key(unit)) for unit in units]

    def _prefixes_of(self, units: Sequence[Unit]) -> list[Prefix]:
        """The prefixes of units, those of one sample in a row; they share its prompt."""
        if not units:
            return []
        samples = list({sample.id: sample for sample, _ in units}.values())
        draws: list[list[Draws]] | None = None
        if self.sampling is not None:
            # What is hidden behind the block is the same text before it.
            hidden = isinstance(self.corruption, HideImage)
            own = label_of((Own(), Corruption() if hidden else self.corruption))
            draws = [
                [self.sampling.draws(s.id, own, n) for other, n in units if other.id == s.id]
                for s in samples
            ]
        return run_prefixes(self.lantern, samples, max_new_tokens=self.max_new_tokens, draws=draws)

    def _usable(self, sample: Sample) -> bool:
        try:
            self.lantern.inputs([sample])
        except LanternError as error:
            self._fail(sample, error)
            return False
        return True

    def _fail(self, sample: Sample, error: Exception) -> None:
        units = [(sample, number) for number in range(self.passes)]
        self._record(
            [
                failure(sample, asked, error, self._number(unit))
                for unit in units
                for asked in self._asked
                if not self._has(unit, asked)
            ]
        )

    def _record(self, rows: list[Row]) -> None:
        self._sink.append_many(rows)

    def _save_latents(self, jobs: Sequence[Job], results: Sequence[BranchResult]) -> None:
        fresh: dict[str, dict[str, Tensor]] = {folder: {} for folder in self.keeps}
        for (unit, asked, _), result in zip(jobs, results, strict=True):
            if asked != (Own(), self.corruption) or not result.blocks:
                continue
            if len(latents := result.blocks[0].latents) == self.lantern.latent_size:
                some, key = fresh[self.keeps[unit[1]]], unit[0].id
                some[key] = latents.float().cpu().contiguous()
                end = result.blocks[0].end
                after = result.ids[len(result.ids) if end is None else end + 1 :]
                some[WORDS + key] = after.cpu().contiguous()
        for folder, some in fresh.items():
            if some:
                self._sink.keep(file_of(folder, sorted(some)), some)


def _key(unit: Unit) -> tuple[str, int]:
    return unit[0].id, unit[1]
