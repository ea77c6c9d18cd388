"""Distances of latents and other states of the same samples under two inputs.

Rows hold, for every sample and change of its input, the cosine distance of each state to itself
before the change (`moved`) and its mean distance to the other samples' states (`between`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from lantern_probe.capture.batch import capture_batch, readable, samples_together
from lantern_probe.errors import LanternError
from lantern_probe.interventions import generator
from lantern_probe.interventions.image import parse_image_corruption
from lantern_probe.model.facts import finish_of, running_facts
from lantern_probe.model.inputs import has_text
from lantern_probe.model.memory import Batches
from lantern_probe.model.sites import layer_count
from lantern_probe.records.engines import Kept, Sink
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.schema import Finish, SensitivityRow, failed_row
from lantern_probe.records.work import file_of
from lantern_probe.records.writer import carry_out_alone
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import SWAP_QUESTION, parse_sites

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


CLEAN = "clean_states"
"""Folder, within a run's folder, of the states of samples as they are."""


@dataclass(frozen=True, eq=False)
class States:
    """The states of one sample under one input.

    Attributes:
        sites: States by label of the site, [slots, D].
        finish: `closed` for a text that ended by itself, `truncated` for one at the token limit.
    """

    sites: dict[str, Tensor]
    finish: Finish


def distances(
    one: Float[Tensor, "samples slots dim"], two: Float[Tensor, "samples slots dim"]
) -> Float[Tensor, "samples slots"]:
    """Cosine distance, 1 - cosine, of the same sample and slot under two inputs, in [0, 2]."""
    cosine = (_unit(one) * _unit(two)).sum(-1)
    return (1 - cosine).clamp(min=0)  # rounding takes the cosine of equal vectors above 1


def between(clean: Float[Tensor, "samples slots dim"]) -> Float[Tensor, "samples slots"]:
    """Every sample's mean cosine distance to all other samples at the same slot.

    Raises:
        LanternError: there are fewer than two samples.
    """
    count = len(clean)
    if count < 2:
        raise LanternError(f"distances between samples need two of them, not {count}")
    unit = _unit(clean)
    # The mean cosine to the others, without the sample itself.
    to_all = torch.einsum("nsd,sd->ns", unit, unit.sum(0))
    return 1 - (to_all - unit.square().sum(-1)) / (count - 1)


def _unit(vectors: Float[Tensor, "*any dim"]) -> Float[Tensor, "*any dim"]:
    """Vectors of length 1, zero where they are zero; the shortest have a direction as well."""
    largest = vectors.double().abs().amax(-1, keepdim=True)
    scaled = vectors.double() / largest.where(largest > 0, 1.0)
    return torch.nn.functional.normalize(scaled, dim=-1)


def change_input(
    sample: Sample,
    change: str,
    samples: Sequence[Sample],
    seed: int = 0,
    *,
    unusable: Container[str] = (),
) -> Sample:
    """Change the input of a sample.

    Args:
        sample: Sample to change.
        change: Label of a corruption of the image, or `swap-question` for another sample's
            question about the same image.
        samples: Data set from which images and questions are taken.
        seed: Seed of the choice of another question, default 0.
        unusable: Ids of samples whose questions are not taken; default none.

    Raises:
        LanternError: there is no such change, or it cannot be applied to the sample.
    """
    if change != SWAP_QUESTION:
        return parse_image_corruption(change).apply(sample, samples)
    stream = generator(seed, SWAP_QUESTION, sample.id)
    for index in torch.randperm(len(samples), generator=stream).tolist():
        other = samples[index]
        if other.id not in unusable and other.text != sample.text:
            return replace(sample, question=other.question, prompt=other.prompt)
    raise LanternError(f"sample {sample.id!r}: all samples ask the same question")


@dataclass(frozen=True, eq=False)
class Clean:
    """The states of all samples as they are.

    Attributes:
        states: States by sample and label of the site, [slots, D].
        apart: Mean distances to all other samples at each slot, by sample and label of the site.
    """

    states: dict[str, dict[str, Tensor]]
    apart: dict[str, dict[str, list[float]]]


@dataclass
class Sensing:
    """Engine that measures one model's sensitivity to several changes of the input, into a run.

    The sites are the latents and, as references, the last layer's states at the image tokens
    (their mean), the question's last token and the start marker.

    Attributes:
        lantern: Model to run.
        samples: Samples with different ids. Distances between samples are over all of them.
        changes: Labels of changes, see `change_input`.
        run: Run that takes the rows, for `execute`; None if only chunks are run. Rows that it
            already has are not made again.
        seed: Seed of the choice of other questions, default 0.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of samples run together, by default 128 of a tiny model and 16 of
            others. It is halved if memory runs out.
        advance: Function called with the number of rows just recorded.
    """

    lantern: LanternModel
    samples: Sequence[Sample]
    changes: Sequence[str]
    run: Run | None
    seed: int = 0
    max_new_tokens: int | None = None
    batch_rows: int | None = None
    advance: Callable[[int], None] = lambda rows: None
    passes, stages, keeps = 1, 2, (CLEAN,)
    _batches: Batches = field(default_factory=Batches, init=False)
    _pool: Clean = field(default_factory=lambda: Clean({}, {}), init=False)
    _mute: set[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        layers = layer_count(self.lantern)
        last = f"residual.{layers - 1}"
        labels = ("latent@slot", f"{last}@image-mean", f"{last}@last-question", f"{last}@lvr_start")
        self._sites = parse_sites(labels, layers)
        self._labels = [site.label for site in self._sites]
        self._size = self.batch_rows or samples_together(self.lantern)

    def execute(self) -> None:
        """Measure every sample and change that the run lacks.

        Raises:
            LanternError: there is no run.
        """
        if self.run is None:
            raise LanternError("sensing without a run has chunks only; give it a run")
        carry_out_alone(self, self.run, self.advance)

    @property
    def size(self) -> int:
        """Samples of a chunk."""
        return self._size

    def labels(self, stage: int) -> list[str]:
        """Changes of a stage: none in the first, in which samples run as they are.

        Args:
            stage: Index of the stage.
        """
        return list(self.changes) if stage else []

    def facts(self) -> dict[str, Any]:
        """Facts of the loaded model."""
        return running_facts(self.lantern, self.max_new_tokens)

    def owing(self, rows: Sequence[Row], kept: Kept) -> set[tuple[str, int]]:
        """Samples whose states without a change are missing, if any row is.

        Args:
            rows: Rows of the run.
            kept: States by folder.
        """
        there = {(row["sample"], row["condition"]) for row in rows}
        if all((sample.id, change) in there for sample in self.samples for change in self.changes):
            return set()
        known = {name.partition(" ")[2] for name in kept[CLEAN]}
        return {(sample.id, 0) for sample in self.samples if sample.id not in known}

    def prepare(self, kept: Kept) -> Clean:
        """The states of all samples as they are, and the distances between them.

        Args:
            kept: States by folder.
        """
        states: dict[str, dict[str, Tensor]] = {}
        for sample in self.samples:
            own = {site: kept[CLEAN].get(f"{site} {sample.id}") for site in self._labels}
            if all(state is not None for state in own.values()):
                states[sample.id] = {site: s for site, s in own.items() if s is not None}
        return Clean(states, self._between(states))

    def take(self, pool: Clean) -> None:
        """Take the states of all samples as they are.

        Args:
            pool: The states.
        """
        self._pool = pool

    def run_units(self, stage: int, units: Sequence[tuple[str, int]], sink: Sink) -> None:
        """Run the samples of a chunk as they are, or make their rows that are missing.

        Args:
            stage: Index of the stage.
            units: Ids of samples, with 0 for the only pass.
            sink: Place for rows and states.
        """
        known = {sample.id: sample for sample in self.samples}
        samples = [known[key] for key, _ in units]
        if stage:
            for change in self.changes:
                self._change(change, samples, sink)
            return
        due = [sample for sample in samples if (sample.id, 0) in sink.owed]
        for _, (states, wrong) in self._batches.run(due, self._size, self._states):
            if states:
                tensors = {
                    f"{site} {key}": state.contiguous()
                    for key, found in states.items()
                    for site, state in found.sites.items()
                }
                sink.keep(file_of(CLEAN, sorted(states)), tensors)
            for key, reason in wrong.items():
                rows = self.failures((key, 0), LanternError(reason))
                sink.append_many([r for r in rows if not sink.has(key, r["condition"])])

    def failures(self, unit: tuple[str, int], error: Exception) -> list[Row]:
        """The rows of a sample that cannot be run.

        Args:
            unit: Id of the sample, and 0.
            error: Reason.
        """
        return [dict(failed_row(unit[0], change, error)) for change in self.changes]

    def _change(self, change: str, samples: Sequence[Sample], sink: Sink) -> None:
        """Record samples under one change."""
        clean, apart = self._pool.states, self._pool.apart
        clusters = {sample.id: sample.cluster for sample in samples}
        if self._mute is None:
            processor, most = self.lantern.processor, self.lantern.most_tokens
            self._mute = {s.id for s in self.samples if not has_text(processor, s, most)}
        mute = self._mute
        changed = []
        for sample in samples:
            if sink.has(sample.id, change):
                continue
            try:
                if sample.id not in clean:
                    raise LanternError(f"sample {sample.id!r} could not be run without a change")
                changed.append(change_input(sample, change, self.samples, self.seed, unusable=mute))
            except LanternError as error:
                sink.append_many([dict(failed_row(sample.id, change, error))])
        for batch, (states, wrong) in self._batches.run(changed, self._size, self._states):
            rows: list[Row] = [
                dict(failed_row(sample, change, LanternError(reason)))
                for sample, reason in wrong.items()
            ]
            for sample in batch:
                if sample.id in states:
                    row: SensitivityRow = {
                        "sample": sample.id,
                        "condition": change,
                        "status": "ok",
                        # That of the sample as it is: a black image is no common origin.
                        "cluster": clusters[sample.id],
                        "moved": _moved(
                            clean[sample.id], states[sample.id].sites, apart[sample.id]
                        ),
                        "between": apart[sample.id],
                        "finish": states[sample.id].finish,
                    }
                    rows.append(dict(row))
            sink.append_many(rows)

    def _states(self, samples: Sequence[Sample]) -> tuple[dict[str, States], dict[str, str]]:
        """The states of each sample, and the reasons why others could not be run."""
        good, reasons = readable(self.lantern, samples)
        if not good:
            return {}, reasons
        limit: dict[str, Any] = {}
        if self.max_new_tokens is not None:
            limit["max_new_tokens"] = self.max_new_tokens
        found = capture_batch(self.lantern, good, self._sites, dtype=torch.float32, **limit)
        return {
            sample.id: States(
                {label: array[index] for label, array in found.activations.items()},
                finish_of(found.continuations[index], self.lantern, found.output.blocks[index]),
            )
            for index, sample in enumerate(good)
        }, reasons

    def _between(self, clean: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, list[float]]]:
        """Mean distances to all other samples at each slot, by sample and site."""
        apart: dict[str, dict[str, list[float]]] = {key: {} for key in clean}
        for label in self._labels:
            # A sample without a block lacks the slots.
            keys = [key for key in clean if bool(clean[key][label].isfinite().all())]
            if len(keys) > 1:
                spread = between(torch.stack([clean[key][label] for key in keys]))
                for key, values in zip(keys, spread, strict=True):
                    apart[key][label] = values.tolist()
        return apart


def _moved(
    clean: Mapping[str, Tensor], changed: Mapping[str, Tensor], apart: Mapping[str, list[float]]
) -> dict[str, list[float]]:
    return {
        label: distances(clean[label][None], state[None])[0].tolist()
        for label, state in changed.items()
        if label in apart and bool(state.isfinite().all())
    }
