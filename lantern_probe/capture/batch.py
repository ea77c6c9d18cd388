"""Capture of one batch: activations at sites, read while the model generates, in one pass.

Of the prompt, one position or mean per role is kept; of every decode step, its output. Which step
has which role is known once the texts are finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lantern_probe.capture.recorder import tapped
from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import OWN, LanternOutput, RowPlan, first_of
from lantern_probe.model.sites import prompt_positions, text_positions
from lantern_probe.model.teacher_forcing import ForcedTexts, check_followable
from lantern_probe.tasks.answers import Parser, parse_answer
from lantern_probe.tasks.crops import check_evidence
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import PROMPT_ROLES, Site

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True, eq=False)
class Captured:
    """One generated batch with its activations.

    Attributes:
        output: The generation, as `LanternModel.generate` returns it.
        continuations: For every row its generated tokens, up to and including the one that ended
            it.
        activations: By label of the site, values [rows, positions, D] on the CPU; K positions at
            the role `slot`, one at others. NaN for a row that lacks the role.
        missing: For every row, the labels of the sites that it lacks.
    """

    output: LanternOutput
    continuations: list[list[int]]
    activations: dict[str, Tensor] = field(repr=False)
    missing: list[list[str]]


@torch.no_grad()
def capture_batch(
    lantern: LanternModel,
    samples: Sequence[Sample],
    sites: Sequence[Site],
    *,
    plans: Sequence[RowPlan] | None = None,
    force: Sequence[Sequence[int]] | None = None,
    dtype: torch.dtype | None = None,
    parser: Parser = "default",
    **kwargs: Any,
) -> Captured:
    """Generate a batch and read the sites on the way; the tokens are those of plain generation.

    Until the texts are finished, one vector per read layer, row and decode step is held in memory.
    `LanternModel.capture` is the same in one line, with sites as text.

        >>> from lantern_probe.capture import capture_batch
        >>> from lantern_probe.vocabulary import parse_sites
        >>> sites = parse_sites(["latent@slot", "residual.*@answer-start"], layers=4)
        >>> captured = capture_batch(lantern, [sample], sites)
        >>> captured.activations["latent@slot"].shape, captured.missing
        (torch.Size([1, 8, 128]), [[]])

    Args:
        lantern: The model.
        samples: The batch.
        sites: Sites to read.
        plans: For every row, the plan for its latent blocks; default own latents.
        force: For every row, generated tokens that are imposed on it (teacher forcing), such as
            the continuations of another model with the same tokenizer; default none.
        dtype: Dtype of the activations; default `store_dtype`.
        parser: Name of the parser that reads answers: "default", "official" or "strict".
        **kwargs: Settings of `generate`, such as `max_new_tokens`.

    Raises:
        LanternError: there are no samples, an image cannot be read, the model lacks a site, a
            forced text cannot be followed, or values do not fit the dtype.
    """
    if not samples:
        raise LanternError("there are no samples to capture")
    plans = list(plans or [OWN] * len(samples))
    slots = _slots(lantern, sites, plans)
    inputs = dict(lantern.inputs(samples))
    prompt_length = inputs["input_ids"].shape[1]
    if force is not None:
        kwargs |= _forcing(lantern, plans, force, prompt_length, kwargs.get("logits_processor", ()))
    prompts = _prompt_positions(lantern, samples, inputs)
    with tapped(lantern, sites, prompts) as taps:
        output = lantern.generate(inputs, plans=plans if lantern.lvr else None, **kwargs)
    continuations = [list(text) for text in force or []] or [
        _continuation(lantern, row[prompt_length:]) for row in output.sequences
    ]
    texts = [lantern.text(torch.tensor(continuation)) for continuation in continuations]
    lead = lantern.answer_lead
    answers = [parse_answer(*pair, parser, lead=lead) for pair in zip(texts, samples, strict=True)]
    output = replace(output, texts=texts, answers=answers)
    # What every row has of each role: positions in the prompt, or in the padded sequence.
    places: list[dict[str, list[int]]] = [
        {role: at.tolist() for role, at in prompt.items()}
        | text_positions(lantern, continuation, prompt_length, blocks, slots)
        for prompt, continuation, blocks in zip(prompts, continuations, output.blocks, strict=True)
    ]
    fed = [
        blocks[0].latents if "slot" in place and len(blocks[0].latents) == slots else None
        for place, blocks in zip(places, output.blocks, strict=True)
    ]
    activations = {}
    for site in sites:
        if site.component == "latent":
            found = _stack(lantern, fed, slots)
        elif site.role in PROMPT_ROLES:
            found = taps[site.component, site.layer].pooled[site.role]
        else:
            at = [row.get(site.role) for row in places]
            width = slots if site.role == "slot" else 1
            found = taps[site.component, site.layer].at(at, prompt_length - 1, width)
        activations[site.label] = _stored(found, dtype or store_dtype(lantern), site)
    missing = [
        [
            site.label
            for site in sites
            if not place.get(site.role) or (site.component == "latent" and latents is None)
        ]
        for place, latents in zip(places, fed, strict=True)
    ]
    return Captured(output, continuations, activations, missing)


def store_dtype(lantern: LanternModel) -> torch.dtype:
    """The default dtype of kept activations: float32 for a tiny model, else the model's own.

    Args:
        lantern: The model.
    """
    return torch.float32 if lantern.is_tiny else lantern.hf.dtype


def samples_together(lantern: LanternModel) -> int:
    """The number of samples to generate and capture together: 128 for a tiny model, else 16.

    Args:
        lantern: The model.
    """
    return 128 if lantern.is_tiny else 16


def readable(
    lantern: LanternModel, samples: Sequence[Sample], *, boxes: bool = False
) -> tuple[list[Sample], dict[str, str]]:
    """The samples that the model can be asked about, and by id why the others cannot be used.

    Args:
        lantern: The model.
        samples: The samples.
        boxes: Refuse samples whose first box is no region of their image, too; default False.
    """
    good, reasons = [], {}
    for sample in samples:
        try:
            lantern.inputs([sample])
            if boxes:
                check_evidence(sample)
            good.append(sample)
        except LanternError as error:
            reasons[sample.id] = str(error)
    return good, reasons


def _slots(lantern: LanternModel, sites: Sequence[Site], plans: Sequence[RowPlan]) -> int:
    """Number of slots of a whole block; 0 for a model without blocks, read at no slot."""
    if lantern.lvr is None and all(site.role != "slot" for site in sites):
        return 0
    sizes = {lantern.latent_size if plan.size is None else plan.size for plan in plans}
    if len(sizes) > 1:
        raise LanternError(f"one capture takes blocks of one size, not {sorted(sizes)} slots")
    return sizes.pop()


def _prompt_positions(
    lantern: LanternModel, samples: Sequence[Sample], inputs: Mapping[str, Any]
) -> list[dict[str, Tensor]]:
    grids = iter(inputs.get("image_grid_thw", ()))
    found = []
    for sample, ids in zip(samples, inputs["input_ids"].cpu(), strict=True):
        own = [next(grids).cpu() for _ in sample.images]
        found.append(prompt_positions(lantern, sample, ids, own[0] if own else None))
    return found


def _forcing(
    lantern: LanternModel,
    plans: Sequence[RowPlan],
    texts: Sequence[Sequence[int]],
    prompt_length: int,
    processors: Sequence[Any],
) -> dict[str, Any]:
    """The settings of `generate` by which it writes the texts."""
    for text, plan in zip(texts, plans, strict=True):
        check_followable(text, plan, lantern.lvr)
    end = min(lantern.eos_ids, default=lantern.processor.tokenizer.pad_token_id)
    return {
        "max_new_tokens": max(map(len, texts)),
        "logits_processor": [*processors, ForcedTexts(texts, prompt_length, end)],
    }


def _continuation(lantern: LanternModel, ids: Tensor) -> list[int]:
    generated: list[int] = ids.tolist()
    last = first_of(generated, lantern.eos_ids)
    return generated if last is None else generated[: last + 1]


def _stack(lantern: LanternModel, fed: Sequence[Tensor | None], slots: int) -> Tensor:
    """The latents of every row, [rows, K, D]; NaN where there are none."""
    width = lantern.hf.config.get_text_config().hidden_size
    found = torch.full((len(fed), slots, width), torch.nan, dtype=lantern.hf.dtype)
    for row, latents in enumerate(fed):
        if latents is not None:
            found[row] = latents
    return found


def _stored(value: Tensor, dtype: torch.dtype, site: Site) -> Tensor:
    stored = value.to(dtype).cpu()
    if bool(stored.isinf().any()) and not bool(value.isinf().any()):
        raise LanternError(
            f"activations at {site.label} are too large for {dtype}; keep them in bfloat16 or "
            "float32"
        )
    return stored
