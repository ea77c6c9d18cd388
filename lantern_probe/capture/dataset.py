"""Activations of a whole data set at some sites, written into a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from lantern_probe.capture.batch import Captured, capture_batch, store_dtype
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, KSlots, Own
from lantern_probe.model.blocks import OWN, RowPlan
from lantern_probe.model.facts import finish_of, running_facts
from lantern_probe.model.memory import Batches
from lantern_probe.model.norms import fed_states
from lantern_probe.model.sites import submodule
from lantern_probe.model.teacher_forcing import check_followable
from lantern_probe.records.engines import OneStage, Sink
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.schema import CaptureRow, failed_row
from lantern_probe.records.store import SHARDS, ShardFolder, describe
from lantern_probe.records.work import file_of
from lantern_probe.records.writer import carry_out_alone
from lantern_probe.tasks.answers import Parser
from lantern_probe.tasks.crops import check_evidence
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Site

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


def check_condition(condition: Intervention, lantern: LanternModel) -> None:
    """Refuse a condition under which a sample cannot be captured by itself.

    Raises:
        LanternError: it needs other samples' latents, or does not fit the model.
    """
    if condition.needs_pool:
        raise LanternError(
            f"condition {condition.label!r} needs the own latents of the whole data set; a capture "
            "takes own, oracle, or another condition that looks at one sample only"
        )
    if condition != Own():
        condition.check(lantern.latent_size)


@dataclass
class Capture(OneStage):
    """Engine that captures one model on one data set under one condition into a run.

    Attributes:
        lantern: Model to capture.
        samples: Samples with different ids.
        sites: Sites to read.
        run: Run that takes the index and the shards, for `execute`; None if only chunks are
            captured. Samples that it already has are not captured again.
        condition: Condition under which the model answers; own latents by default. It must not
            need other samples' latents.
        force: Generated tokens by sample id, imposed in place of the model's own text; None
            (default) for the model's own text.
        dtype: Dtype of the stored activations; by default that of `store_dtype`.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of samples generated together and kept in one shard, default 16. It is
            halved if memory runs out.
        parser: Parser of the answers, default `default`.
        advance: Function called with the number of samples just recorded.

    Raises:
        LanternError: ids repeat, there is nothing to capture, the model lacks a site, or the
            condition needs other samples' latents.
    """

    lantern: LanternModel
    samples: Sequence[Sample]
    sites: Sequence[Site]
    run: Run | None
    condition: Intervention = field(default_factory=Own)
    force: Mapping[str, Sequence[int]] | None = None
    dtype: torch.dtype | None = None
    max_new_tokens: int | None = None
    batch_rows: int = 16
    parser: Parser = "default"
    advance: Callable[[int], None] = lambda samples: None
    _batches: Batches = field(default_factory=Batches, init=False)

    def __post_init__(self) -> None:
        doubled = [key for key, n in Counter(s.id for s in self.samples).items() if n > 1]
        if doubled:
            raise LanternError(f"two samples have the id {doubled[0]!r}; ids must differ")
        if not self.samples or not self.sites:
            raise LanternError("there are no samples or no sites to capture")
        for site in self.sites:
            submodule(self.lantern, site.component, site.layer)
        check_condition(self.condition, self.lantern)

    def execute(self) -> None:
        """Capture every sample that the run lacks.

        Raises:
            LanternError: there is no run.
        """
        if self.run is None:
            raise LanternError("a capture without a run has chunks only; give it a run")
        ShardFolder(self.run)  # without what a kill has left
        carry_out_alone(self, self.run, self.advance)

    @property
    def size(self) -> int:
        """Samples of a chunk."""
        return self.batch_rows

    def labels(self, stage: int) -> list[str]:
        """The one condition.

        Args:
            stage: Index of the stage.
        """
        return [self.condition.label]

    def facts(self) -> dict[str, Any]:
        """Facts of the loaded model."""
        return running_facts(self.lantern, self.max_new_tokens)

    def run_units(self, stage: int, units: Sequence[tuple[str, int]], sink: Sink) -> None:
        """Capture the samples of a chunk that are missing.

        Args:
            stage: Index of the stage.
            units: Ids of samples, with 0 for the only pass.
            sink: Place for rows and activations.
        """
        known = {sample.id: sample for sample in self.samples}
        due = [known[key] for key, _ in units if not sink.has(key, self.condition.label)]
        for _, (jobs, rows, captured) in self._batches.run(due, self.size, self._run_batch):
            if captured is not None:
                file = file_of(SHARDS, [job.sample.id for job in jobs])
                sink.keep(file, captured.activations)
                name = file.rpartition("/")[2]
                rows += [self._row(job.sample, captured, i, name) for i, job in enumerate(jobs)]
            sink.append_many(rows)

    def failures(self, unit: tuple[str, int], error: Exception) -> list[Row]:
        """The row of a sample that cannot be captured.

        Args:
            unit: Id of the sample, and 0.
            error: Reason.
        """
        return [dict(failed_row(unit[0], self.condition.label, error))]

    def _run_batch(
        self, samples: Sequence[Sample]
    ) -> tuple[list[_Job], list[Row], Captured | None]:
        """Capture a batch: jobs that could be run, rows of the others, and the activations."""
        jobs: list[_Job] = []
        failed: list[Row] = []
        for sample in samples:
            try:
                check_evidence(sample)  # its place and size are columns
                plan = self._plan(sample)
                jobs.append(_Job(sample, plan, self._forced(sample, plan)))
            except LanternError as error:
                failed.append(self._failed(sample, error))
        try:
            return jobs, failed, self._capture(jobs)
        except LanternError:
            good = []
            for job in jobs:
                try:
                    self.lantern.inputs([job.sample])
                    good.append(job)
                except LanternError as error:
                    failed.append(self._failed(job.sample, error))
            if len(good) == len(jobs):  # no unreadable sample is the reason
                raise
        return good, failed, self._capture(good)

    def _capture(self, jobs: Sequence[_Job]) -> Captured | None:
        if not jobs:
            return None
        limit = {} if self.max_new_tokens is None else {"max_new_tokens": self.max_new_tokens}
        return capture_batch(
            self.lantern,
            [job.sample for job in jobs],
            self.sites,
            plans=[job.plan for job in jobs],
            force=None if self.force is None else [job.text for job in jobs],
            dtype=self.dtype,
            parser=self.parser,
            **limit,
        )

    def _plan(self, sample: Sample) -> RowPlan:
        if self.condition == Own():
            return OWN
        return self.condition.plan(sample, self.lantern, None)

    def _forced(self, sample: Sample, plan: RowPlan) -> Sequence[int]:
        if self.force is None:
            return ()
        if sample.id not in self.force:
            raise LanternError(f"sample {sample.id!r} is not among the forced texts")
        check_followable(self.force[sample.id], plan, self.lantern.lvr)
        return self.force[sample.id]

    def _failed(self, sample: Sample, error: Exception) -> Row:
        return dict(failed_row(sample.id, self.condition.label, error))

    def _row(self, sample: Sample, captured: Captured, index: int, shard: str) -> Row:
        output = captured.output
        answer = output.answers[index]
        continuation = captured.continuations[index]
        norms = output.norms[index] if output.norms else None
        row: CaptureRow = {
            "sample": sample.id,
            "condition": self.condition.label,
            "status": "ok",
            "shard": shard,
            "position": index,
            "gold": sample.answer,
            "answer": answer,
            "correct": None if sample.answer is None else answer == sample.answer,
            "emitted": output.emitted[index],
            "blocks": len(output.blocks[index]),
            "fed": [len(block.latents) for block in output.blocks[index]],
            "finish": finish_of(continuation, self.lantern, output.blocks[index]),
            "cluster": sample.cluster,
            "missing": captured.missing[index],
            "text": output.texts[index],
            "continuation": continuation,
        }
        row.update(fed_states(self.lantern, output.blocks[index], norms))  # type: ignore[typeddict-item]
        return describe(sample, dict(row))


@dataclass(frozen=True)
class _Job:
    sample: Sample
    plan: RowPlan
    text: Sequence[int]


def bytes_per_sample(
    lantern: LanternModel,
    sites: Sequence[Site],
    *,
    condition: Intervention | None = None,
    dtype: torch.dtype | None = None,
) -> int:
    """Size of one sample's activations on disk, in bytes."""

    def vectors(site: Site) -> int:
        if site.role != "slot":
            return 1
        return condition.k if isinstance(condition, KSlots) else lantern.latent_size

    numbers = sum(map(vectors, sites)) * lantern.hf.config.get_text_config().hidden_size
    return int(numbers * (dtype or store_dtype(lantern)).itemsize)
