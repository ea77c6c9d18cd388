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
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.schema import Finish, SensitivityRow, failed_row
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import SWAP_QUESTION, parse_sites

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


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


@dataclass
class Sensing:
    """Engine that measures one model's sensitivity to several changes of the input, into a run.

    The sites are the latents and, as references, the last layer's states at the image tokens
    (their mean), the question's last token and the start marker.

    Attributes:
        lantern: Model to run.
        samples: Samples with different ids. Distances between samples are over all of them.
        changes: Labels of changes, see `change_input`.
        run: Run that takes the rows. Rows that it already has are not made again.
        seed: Seed of the choice of other questions, default 0.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of samples run together, by default 128 of a tiny model and 16 of
            others. It is halved if memory runs out.
        looked: Function called with the number of unchanged samples just run; these come first.
        advance: Function called with the number of rows just recorded.
    """

    lantern: LanternModel
    samples: Sequence[Sample]
    changes: Sequence[str]
    run: Run
    seed: int = 0
    max_new_tokens: int | None = None
    batch_rows: int | None = None
    looked: Callable[[int], None] = lambda samples: None
    advance: Callable[[int], None] = lambda rows: None
    _batches: Batches = field(default_factory=Batches, init=False)

    def __post_init__(self) -> None:
        layers = layer_count(self.lantern)
        last = f"residual.{layers - 1}"
        labels = ("latent@slot", f"{last}@image-mean", f"{last}@last-question", f"{last}@lvr_start")
        self._sites = parse_sites(labels, layers)
        self._size = self.batch_rows or samples_together(self.lantern)

    def execute(self) -> None:
        """Measure every sample and change that the run lacks."""
        self.samples = self.run.register(self.samples)
        self.run.note(**running_facts(self.lantern, self.max_new_tokens))
        due = [c for c in self.changes if not all(self.run.has(s.id, c) for s in self.samples)]
        if not due:
            return
        clean: dict[str, States] = {}
        reasons: dict[str, str] = {}
        for batch, (states, wrong) in self._batches.run(self.samples, self._size, self._states):
            clean |= states
            reasons |= wrong
            self.looked(len(batch))
        apart = self._between(clean)
        for change in due:
            self._change(change, clean, apart, reasons)

    def _change(
        self,
        change: str,
        clean: dict[str, States],
        apart: dict[str, dict[str, list[float]]],
        reasons: dict[str, str],
    ) -> None:
        """Record every sample under one change."""
        failed: list[Row] = []
        clusters = {sample.id: sample.cluster for sample in self.samples}
        changed = []
        processor = self.lantern.processor
        most = self.lantern.most_tokens
        mute = {sample.id for sample in self.samples if not has_text(processor, sample, most)}
        for sample in self.samples:
            if self.run.has(sample.id, change):
                continue
            try:
                if sample.id in reasons:
                    raise LanternError(reasons[sample.id])
                changed.append(change_input(sample, change, self.samples, self.seed, unusable=mute))
            except LanternError as error:
                failed.append(dict(failed_row(sample.id, change, error)))
        self._record(failed)
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
                            clean[sample.id].sites, states[sample.id].sites, apart[sample.id]
                        ),
                        "between": apart[sample.id],
                        "finish": states[sample.id].finish,
                    }
                    rows.append(dict(row))
            self._record(rows)

    def _record(self, rows: list[Row]) -> None:
        self.run.append_many(rows)
        self.advance(len(rows))

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

    def _between(self, clean: dict[str, States]) -> dict[str, dict[str, list[float]]]:
        """Mean distances to all other samples at each slot, by sample and site."""
        apart: dict[str, dict[str, list[float]]] = {key: {} for key in clean}
        for label in (site.label for site in self._sites):
            # A sample without a block lacks the slots.
            keys = [key for key in clean if bool(clean[key].sites[label].isfinite().all())]
            if len(keys) > 1:
                spread = between(torch.stack([clean[key].sites[label] for key in keys]))
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
