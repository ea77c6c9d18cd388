"""Recordings of finished runs: activations to give to others, and a cache to go on from.

A text that was generated is run again in one forward (`model.replay`). The recording keeps the
activations that may be given to another run, and the keys and values from which the run itself goes
on when it is patched (`forward`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.answer_tokens import answer_forms, find_answer
from lantern_probe.model.blocks import LanternOutput, first_of
from lantern_probe.model.hooks import Place, component_hooks
from lantern_probe.model.kv_cache import KeysValues
from lantern_probe.model.replay import Replay, deepstack_inputs, replay
from lantern_probe.model.sites import prompt_positions, text_positions
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import PATCH_ROLES, Site

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

BLOCK = ("lvr_start", "slot", "lvr_end", "answer-start")
"""Roles that a run must have to be patched. Their positions are the layout of its text."""


class LeftOut(LanternError):
    """A sample or pair on which nothing can be measured, although nothing went wrong."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One finished run, up to the position that predicts its answer.

    Attributes:
        sample: The question.
        positions: By role, the run's positions, counted without padding; a role that the run does
            not have is missing.
        candidates: By candidate answer, the first tokens that no other candidate begins with.
        inputs: Input embeddings, with image features and latents in their places, [length, D].
        position_ids: Text positions and the three rotary ones, [4, length].
        cache: Keys and values of every layer, [heads, length, dim] each.
        kept: Positions whose activations were kept, ascending.
        activations: By component and layer, the activations at `kept`, [kept, D].
        scores: Logit of every candidate at the answer, in the order of `candidates`.
        image: True for the image tokens, [length]; None but for Qwen3-VL.
        deepstack: For each of Qwen3-VL's first layers, what it adds at the image tokens,
            [image tokens, D].
    """

    sample: Sample
    positions: dict[str, list[int]]
    candidates: dict[str, list[int]]
    inputs: Float[Tensor, "length width"] = field(repr=False)
    position_ids: Int[Tensor, "4 length"] = field(repr=False)
    cache: list[KeysValues] = field(repr=False)
    kept: list[int] = field(repr=False)
    activations: dict[Place, Float[Tensor, "kept width"]] = field(repr=False)
    scores: Float[Tensor, " candidates"]
    image: Bool[Tensor, " length"] | None = None
    deepstack: list[Float[Tensor, "tokens width"]] = field(repr=False, default_factory=list)

    def image_inputs(self, start: int, rows: int) -> dict[str, Any]:
        """Inputs of the language model beside embeddings, for copies of the run from a position on.

        Args:
            start: The position.
            rows: Number of copies.
        """
        if self.image is None or not self.image[start:].any():
            return {}
        before = int(self.image[:start].sum())
        features = [added[before:].repeat(rows, 1) for added in self.deepstack]
        return deepstack_inputs(self.image[start:].expand(rows, -1), features)

    def at(self, site: Site, slot: int | None = None) -> list[int]:
        """The positions of a site's role.

        Args:
            site: The site; its component and layer do not matter.
            slot: The only slot (0-based), for a site at the slots; None for all positions.


        Raises:
            LeftOut: the run has no such role or slot.
        """
        found = self.positions.get(site.role, [])
        if slot is not None:
            found = found[slot : slot + 1]
        if not found:
            what = site.role if slot is None else f"slot {slot}"
            raise LeftOut(f"sample {self.sample.id!r} has no {what} to patch")
        return found

    def values(self, site: Site, slot: int | None = None) -> Float[Tensor, "found dim"]:
        """The activations at a site, or at one of its slots.

        Args:
            site: The site.
            slot: The only slot (0-based), for a site at the slots; None for all positions.

        Raises:
            LanternError: the run has no such role or slot (`LeftOut`), or was not recorded there.
        """
        place = (site.component, site.layer)
        positions = self.at(site, slot)
        if place not in self.activations:
            raise LanternError(
                f"sample {self.sample.id!r}: {site.label} was not recorded; name it to `record`"
            )
        return self.activations[place][[self.kept.index(position) for position in positions]]


def check_layout(target: Recording, donor: Recording) -> None:
    """Refuse a pair whose texts do not line up from the start marker to the answer.

    Args:
        target: The run that is to be patched.
        donor: The run whose activations are to be put in.


    Raises:
        LeftOut: a role has other positions in the two texts; the message says which.
    """
    layouts = []
    for one in (target, donor):
        start = one.positions["lvr_start"][0]
        layouts.append({role: [at - start for at in one.positions[role]] for role in BLOCK})
    for role in BLOCK:
        if layouts[0][role] != layouts[1][role]:
            raise LeftOut(
                f"the texts of {target.sample.id!r} and {donor.sample.id!r} differ in layout: "
                f"{role} stands at {layouts[0][role]} and {layouts[1][role]}, counted from the "
                "start marker"
            )


@torch.no_grad()
def record(
    lantern: LanternModel,
    samples: Sequence[Sample],
    output: LanternOutput,
    sites: Sequence[Site],
) -> list[Recording | LeftOut]:
    """Run finished texts again in one forward, and keep what patching needs.

    Args:
        lantern: The model.
        samples: The questions.
        output: The output of `generate` on them.
        sites: Sites that may be patched later.

    Returns:
        For each sample its recording, or why there can be none: it has no whole latent block
        before an answer, or candidates that begin with the same tokens.
    """
    again = replay(lantern, samples, output)
    found: dict[int, Recording | LeftOut] = {}
    positions: dict[int, dict[str, list[int]]] = {}
    candidates: dict[int, dict[str, list[int]]] = {}
    for row, sample in enumerate(samples):
        try:
            candidates[row] = _candidates(lantern, sample, again, row)
            positions[row] = _positions(lantern, sample, again, row)
        except LeftOut as error:
            found[row] = error
    kept = {
        row: sorted({at for role in PATCH_ROLES for at in of_row.get(role, ())})
        for row, of_row in positions.items()
    }
    places = list(dict.fromkeys((site.component, site.layer) for site in sites))
    rows = {row: [again.first[row] + at for at in kept[row]] for row in kept}
    activations: dict[Place, dict[int, Tensor]] = {}

    def keep(place: Place, value: Tensor) -> None:
        activations[place] = {row: value[row, at] for row, at in rows.items()}

    with component_hooks(lantern, {place: partial(keep, place) for place in places}):
        result = lantern.hf.model.language_model(**{**again.inputs, "use_cache": True})
    for row, of_row in positions.items():
        first = again.first[row]
        stop = first + of_row["answer-start"][0] + 1
        logits = lantern.hf.lm_head(result.last_hidden_state[row, stop - 1]).float()
        found[row] = Recording(
            sample=samples[row],
            positions=of_row,
            candidates=candidates[row],
            inputs=again.inputs["inputs_embeds"][row, first:stop],
            position_ids=again.inputs["position_ids"][:, row, first:stop],
            cache=[
                (layer.keys[row, :, first:stop].clone(), layer.values[row, :, first:stop].clone())
                for layer in result.past_key_values.layers
            ],
            kept=kept[row],
            activations={place: activations[place][row] for place in places},
            scores=candidate_scores(logits[None], candidates[row])[0],
            **_deepstack(again, row, first, stop),
        )
    return [found[row] for row in range(len(samples))]


def _deepstack(again: Replay, row: int, first: int, stop: int) -> dict[str, Any]:
    """The image tokens of a row, and what Qwen3-VL's first layers add at them."""
    if (image := again.inputs.get("visual_pos_masks")) is None:
        return {}
    begin, count = int(image[:row].sum()), int(image[row].sum())
    added = again.inputs["deepstack_visual_embeds"]
    return {
        "image": image[row, first:stop],
        "deepstack": [features[begin : begin + count] for features in added],
    }


def candidate_scores(
    logits: Float[Tensor, "rows vocabulary"], candidates: Mapping[str, Sequence[int]]
) -> Float[Tensor, "rows candidates"]:
    """The logit of every candidate: the log of the summed exponentials of its first tokens' logits.

    Args:
        logits: Next-token logits.
        candidates: By candidate answer, its first tokens.
    """
    return torch.stack([logits[:, list(c)].logsumexp(-1) for c in candidates.values()], dim=-1)


def _positions(
    lantern: LanternModel, sample: Sample, again: Replay, row: int
) -> dict[str, list[int]]:
    ids, prompt = again.own_ids(row), again.prompt_lengths[row]
    continuation = ids[prompt:].tolist()
    end = first_of(continuation, lantern.eos_ids)
    # Only what was fed has a position, and a text's last token never is.
    text = continuation[: None if end is None else end + 1]
    found = text_positions(lantern, text, prompt, again.blocks[row], lantern.latent_size)
    missing = [role for role in BLOCK if role not in found]
    if missing or found["answer-start"][0] <= found["lvr_end"][0]:
        lacks = f"it has no {missing[0]}" if missing else "its answer comes before the block"
        raise LeftOut(
            f"sample {sample.id!r}: the text has no whole latent block before an answer ({lacks})"
        )
    grid = again.grids[row][0] if len(again.grids[row]) else None
    prompted = prompt_positions(lantern, sample, ids[:prompt], grid)
    found |= {role: at.tolist() for role, at in prompted.items() if len(at)}
    return {role: at for role, at in found.items() if role in PATCH_ROLES}


def _candidates(
    lantern: LanternModel, sample: Sample, again: Replay, row: int
) -> dict[str, list[int]]:
    tokenizer = lantern.processor.tokenizer
    text = again.own_ids(row)[again.prompt_lengths[row] :].tolist()
    place = find_answer(tokenizer, text, lead=lantern.answer_lead)
    lead = "" if place is None else place.lead
    first = {
        candidate: {form[0] for form in answer_forms(tokenizer, candidate, lead)}
        for candidate in sample.candidates
    }
    if not first:
        raise LeftOut(f"sample {sample.id!r} has no options, so there are no logits to compare")
    found = {}
    for candidate, tokens in first.items():
        others = {token for name, t in first.items() if name != candidate for token in t}
        found[candidate] = sorted(tokens - others - {tokenizer.unk_token_id})
        if not found[candidate]:
            raise LeftOut(
                f"sample {sample.id!r}: no token begins {candidate!r} and no other option, so "
                "their logits cannot be compared at one position"
            )
    return found
