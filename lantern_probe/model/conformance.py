"""Agreement of a checkpoint with recorded outputs of the official code.

The bar is a *forced* comparison. At every step that a row's plan leaves free the recorded token is
written, and at every slot the recorded latent is fed, so that no rounding error is carried on.
Before they are imposed, the model's own are compared with them: its most probable token, and the
latent it would have fed. A free run in addition shows how many whole texts agree. It is not judged,
since a random network amplifies a difference of 2e-6, as between two processors, fourfold per slot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LogitsProcessor

from lantern_probe.errors import LanternError
from lantern_probe.model.agreement import (
    STATE_TOLERANCE,
    TIE_GAP,
    Deviation,
    Report,
    StateDifference,
    TokenDifference,
)
from lantern_probe.model.attention import REPEATED_SDPA
from lantern_probe.model.blocks import RowPlan, Slot, fed
from lantern_probe.model.decoding import LatentDecoding
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.recordings import (
    Case,
    RecordedRow,
    Recordings,
    loadable,
    read_recordings,
)
from lantern_probe.protocols import LatentProtocol
from lantern_probe.tasks.crops import compress, crop_box

Progress = Callable[[Sequence[Case]], Iterable[Case]]
"""Function that yields the cases one by one, to show the progress of a check."""


def check(
    folder: Path,
    attn_implementation: str | None = None,
    progress: Progress = iter,
    protocol: LatentProtocol | None = None,
) -> Report:
    """Compare a folder's checkpoint with the outputs that the official code recorded of it.

    Args:
        folder: Folder with `checkpoint/`, `manifest.json` and `generation.npz`, and for LanteRn
            `compression.npz`.
        attn_implementation: Attention of the model; default `REPEATED_SDPA`, sdpa with the
            rounding of transformers 4.57, under which the outputs were recorded.
        progress: Function that wraps the cases.
        protocol: Protocol to be tried on the recordings; default that of the recorded system.

    Raises:
        LanternError: a file is missing or not laid out as expected.
    """
    recordings = read_recordings(folder)
    with loadable(folder / "checkpoint") as checkpoint:
        lantern = _loaded(checkpoint, protocol or recordings.system, attn_implementation)
    return compare(lantern, recordings, progress)


def _loaded(
    checkpoint: Path, protocol: LatentProtocol | str, attn_implementation: str | None
) -> LanternModel:
    return LanternModel(
        str(checkpoint),
        protocol=protocol,
        dtype=torch.float32,
        device_map={"": "cpu"},
        attn_implementation=attn_implementation or REPEATED_SDPA,
        offline=True,
    )


def compare(lantern: LanternModel, recordings: Recordings, progress: Progress = iter) -> Report:
    """Compare a model with recordings.

    Args:
        lantern: Model in float32 on the CPU.
        recordings: Recordings from `read_recordings`.
        progress: Function that wraps the cases.

    Raises:
        LanternError: the recordings are not laid out as expected.
    """
    report = Report()
    for case in progress(recordings.cases):
        comparison = _Comparison(lantern, recordings, case)
        comparison.run_forced(report)
        comparison.run_freely(report)
        report.cases += 1
    for crop in recordings.crops:
        report.crops += 1
        report.crops_identical += crop_box(crop.image_size, crop.box) == crop.crop_box
    _compare_compressions(lantern, recordings, report)
    return report


def relative_differences(
    ours: Float[Tensor, "count dim"], recorded: Float[Tensor, "count dim"]
) -> list[float]:
    """Largest component of each state's difference over the recorded state's root mean square.

    One component suffices to tell rounding to bfloat16, at least 2.4e-3 in every state tried,
    from another processor's float32, at most 8e-6; the norm of the difference averages the former
    down to 8e-4. Two zero states agree. The value is infinite if only the recorded state is zero,
    or if a state is not finite.
    """
    size = recorded.double().square().mean(dim=1).sqrt()
    difference = (ours.double() - recorded.double()).abs().amax(dim=1)
    relative = torch.where(difference == 0, 0.0, difference / size)
    found: list[float] = relative.nan_to_num(nan=math.inf, posinf=math.inf).tolist()
    return found


def _paired(ours: Sequence[Tensor], recorded: Sequence[Tensor]) -> list[float]:
    """Relative differences in order; infinite for a state without a counterpart."""
    shared = min(len(ours), len(recorded))
    unpaired = max(len(ours), len(recorded)) - shared
    if not shared:
        return [math.inf] * unpaired
    pair = torch.stack(list(ours[:shared])), torch.stack(list(recorded[:shared]))
    return relative_differences(*pair) + [math.inf] * unpaired


class _Watch(LogitsProcessor):
    """Comparison of the model's token with the recorded one at each step; may impose the latter.

    It acts after the bias and before the forcing of latent blocks. Steps that are not imposed
    are left to that forcing: a decoder that does not force them writes another token.
    """

    def __init__(
        self,
        case: Case,
        rows: Sequence[RecordedRow],
        prompt_length: int,
        imposed: Sequence[Container[int]],
    ):
        self._case, self._rows = case, rows
        self._prompt_length, self._imposed = prompt_length, imposed
        self.seen: dict[tuple[int, int], TokenDifference] = {}
        """The differences, by row and step."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._prompt_length
        chosen = scores.clone()
        for index, row in enumerate(self._rows):
            if step >= len(row.text):
                continue
            recorded, logits = row.text[step], _after(row, step, scores[index])
            ours = int(logits.argmax())
            if ours != recorded and not row.is_ignored(step):
                gap = float(logits[ours] - logits[recorded])
                two_largest = int((logits > logits[recorded]).sum()) <= 1
                self.seen[index, step] = TokenDifference(
                    self._case.name, index, step, recorded, ours, gap, two_largest and gap < TIE_GAP
                )
            if step in self._imposed[index]:
                chosen[index] = -torch.inf
                chosen[index, recorded] = 0.0
        return chosen


def _after(row: RecordedRow, step: int, logits: Tensor) -> Tensor:
    """The logits of what may be written at a step, in place of all that could be chosen."""
    turn = row.turns[step]
    logits = logits.clone()
    if not turn.end_of_text:
        logits[list(row.eos)] = -torch.inf
    if turn.otherwise is None or not turn.unless:
        return logits
    kept = {token: float(logits[token]) for token in turn.unless}
    logits[list(kept)] = -torch.inf
    kept[turn.otherwise] = max(kept.get(turn.otherwise, -math.inf), float(logits.max()))
    logits[:] = -torch.inf
    for token, value in kept.items():
        logits[token] = value
    return logits


class _Feed:
    """Edit that feeds a row its recorded latents, slot by slot, and keeps the model's own."""

    def __init__(self, row: RecordedRow, plan: RowPlan):
        self._recorded, self._edit = row.latents, plan.edit
        self.produced: list[Tensor] = []
        """The model's own latents."""
        self.meant: list[Tensor] = []
        """The latents that the row's condition would have fed."""

    def __call__(self, own: Tensor, slot: Slot) -> Tensor:
        index = len(self.produced)
        self.produced.append(own)
        self.meant.append(own if self._edit is None else self._edit(own, slot))
        return self._recorded[index] if index < len(self._recorded) else own


class _Comparison:
    """One case, run with the recorded tokens and latents imposed, and run freely."""

    def __init__(self, lantern: LanternModel, recordings: Recordings, case: Case):
        self._lantern, self._case, self._tokens = lantern, case, lantern.require_lvr()
        self._inputs = recordings.inputs(case.batch, lantern.hf.config.image_token_id)
        self._prompt_length = self._inputs["input_ids"].shape[1]
        self._rows = recordings.rows(case, self._tokens, lantern.eos_ids)
        self._plans = _plans(recordings, case, len(self._rows))
        largest = max(token for row in self._rows for token in row.text)
        if largest >= lantern.hf.config.get_text_config().vocab_size:
            raise LanternError(f"{case.name}: token {largest} is not in the model's vocabulary")

    def run_forced(self, report: Report) -> None:
        """Impose the recording, and report the tokens and states in which the model differs."""
        feeds = [_Feed(row, plan) for row, plan in zip(self._rows, self._plans, strict=True)]
        plans = [replace(plan, edit=feed) for plan, feed in zip(self._plans, feeds, strict=True)]
        texts, decoding, watch, fed = self._decode(plans, [row.free for row in self._rows])
        for index, (row, feed) in enumerate(zip(self._rows, feeds, strict=True)):
            if row.left_out:
                report.left_out += 1
                continue
            report.tokens += len(row.free)
            report.token_differences += [
                difference
                for step in range(len(row.text))
                if (difference := self._forced_difference(index, step, texts[index], watch))
            ]
            if row.cut_off:  # the last slot is never fed, but the last forward made its latent
                assert decoding.state is not None
                feed.produced.append(decoding.state[index])
            self._add_states(report, index, feed, list(fed[index].values()))
            if self._case.fed is not None and list(fed[index]) != row.slots:
                elsewhere = StateDifference(self._case.name, index, -1, "fed", math.inf)
                report.state_differences.append(elsewhere)

    def run_freely(self, report: Report) -> None:
        """Generate freely, and report the agreement of the texts."""
        texts, _, watch, fed = self._decode(self._plans, [()] * len(self._rows))
        for index, row in enumerate(self._rows):
            if row.left_out:
                continue
            report.rows += 1
            step = next(
                (s for s in range(len(row.text)) if self._differs(row, texts, index, s)), None
            )
            if step is None:
                report.rows_identical += 1
                continue
            token = watch.seen.get((index, step))
            if token is None or step not in row.free:
                token = self._forced_token(index, step, texts[index][step])
            before = sum(slot < step for slot in row.slots)
            states = _paired(list(fed[index].values())[:before], row.fed[:before])
            report.deviations.append(Deviation(token, max(states, default=0.0)))

    def _decode(
        self, plans: Sequence[RowPlan], imposed: Sequence[Container[int]]
    ) -> tuple[list[list[int | None]], LatentDecoding, _Watch, list[dict[int, Tensor]]]:
        """Decode every row: its tokens, the decoding, the watch, and its latents by step."""
        watch = _Watch(self._case, self._rows, self._prompt_length, imposed)
        sequences, decoding = self._lantern.decode(
            dict(self._inputs),
            plans=plans,
            sequence_bias=self._bias,
            max_new_tokens=self._case.max_new_tokens,
            logits_processor=[watch],
        )
        assert decoding is not None
        missing = [None] * self._case.max_new_tokens
        texts = [[*row, *missing] for row in sequences[:, self._prompt_length :].tolist()]
        blocks = decoding.blocks(sequences, self._prompt_length)
        fed = [
            {
                slot - self._prompt_length: latent
                for block in row
                for slot, latent in zip(block.slots, block.latents, strict=False)
                if slot - self._prompt_length < len(recorded.text) - 1
            }
            for row, recorded in zip(blocks, self._rows, strict=True)
        ]
        return texts, decoding, watch, fed

    @property
    def _bias(self) -> list[Any]:
        if self._case.bias is None:
            return [[[self._tokens.start], self._case.start_bias]]
        return [[list(ids), value] for ids, value in self._case.bias]

    def _differs(
        self, row: RecordedRow, texts: Sequence[Sequence[int | None]], index: int, step: int
    ) -> bool:
        return texts[index][step] != row.text[step] and not row.is_ignored(step)

    def _forced_difference(
        self, index: int, step: int, text: Sequence[int | None], watch: _Watch
    ) -> TokenDifference | None:
        row = self._rows[index]
        if row.is_ignored(step):
            return None
        if text[step] != row.text[step]:
            return self._forced_token(index, step, text[step])
        return watch.seen.get((index, step)) if step in row.free else None

    def _forced_token(self, index: int, step: int, ours: int | None) -> TokenDifference:
        recorded = self._rows[index].text[step]
        return TokenDifference(self._case.name, index, step, recorded, ours, math.inf, False)

    def _add_states(self, report: Report, index: int, feed: _Feed, fed: Sequence[Tensor]) -> None:
        row = self._rows[index]
        found = _paired(fed, row.fed)
        report.fed += len(found)
        self._add(report, index, "fed", found)
        if self._case.condition == "own":
            produced = feed.produced if self._case.fed is None else feed.produced[: len(row.slots)]
            found = _paired(produced, row.latents)
            report.states += len(found)
            self._add(report, index, "produced", found)
        else:  # what the model produced is not in the recording
            self._add(report, index, "fed", _paired(feed.meant, row.fed))

    def _add(
        self, report: Report, index: int, kind: Literal["produced", "fed"], found: list[float]
    ) -> None:
        largest = max(found, default=0.0)
        if kind == "fed":
            report.fed_difference = max(report.fed_difference, largest)
        else:
            report.state_difference = max(report.state_difference, largest)
        report.state_differences += [
            StateDifference(self._case.name, index, latent, kind, difference)
            for latent, difference in enumerate(found)
            if not difference <= STATE_TOLERANCE
        ]


def _plans(recordings: Recordings, case: Case, rows: int) -> list[RowPlan]:
    if case.condition == "injected":
        injected = recordings.array(f"{case.batch}/injected_latents")
        return [RowPlan(edit=fed(latents)) for latents in injected]
    plans = {
        "own": RowPlan(size=case.slots),
        "zeros": RowPlan(edit=lambda own, slot: torch.zeros_like(own)),
        "skip": RowPlan(mode="skip"),
    }
    if case.condition not in plans:
        raise LanternError(f"the manifest names an unknown condition {case.condition!r}")
    return [plans[case.condition]] * rows


def _compare_compressions(lantern: LanternModel, recordings: Recordings, report: Report) -> None:
    arrays = recordings.compression
    for name in sorted({key.split("/")[0] for key in arrays}):
        try:
            parts = ("pixel_values", "image_grid_thw", "latents")
            pixels, grid, expected = (arrays[f"{name}/{part}"] for part in parts)
        except KeyError as error:
            raise LanternError(
                f"{recordings.folder}: compression.npz has no array {error}"
            ) from None
        with torch.no_grad():
            features = lantern.hf.get_image_features(pixels, grid, return_dict=True).pooler_output
        found = torch.stack([compress(image, lantern.latent_size) for image in features])
        difference = (found - expected).abs().max().nan_to_num(nan=math.inf).item()
        report.compressions += 1
        report.compression_difference = max(report.compression_difference, difference)
