"""Sites in a model: the module of a component, and the positions of a role.

`vocabulary` says what a site is and how it is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Int
from torch import Tensor, nn

from lantern_probe.errors import LanternError
from lantern_probe.model.answer_tokens import find_answer
from lantern_probe.model.blocks import Block
from lantern_probe.model.roles import find_roles, tokens_in_box
from lantern_probe.tasks.boxes import check_in_image
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import COMPONENTS, LAYERED, Role

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


def layer_count(lantern: LanternModel) -> int:
    """The number of decoder layers of a model.

    Args:
        lantern: The model.
    """
    return len(lantern.hf.model.language_model.layers)


def submodule(lantern: LanternModel, component: str, layer: int | None = None) -> nn.Module:
    """The module of a component, for a hook that reads or replaces.

    The output of all but two is a plain tensor [rows, positions, D] (`attention` is the output
    projection, which ends the attention). `embedding` is the *input* of the first decoder layer,
    its first argument; `vision` is the vision tower, whose `pooler_output` [tokens, D] holds the
    tokens of all images of the batch, one after the other. `latent` is called at slots only,
    with one position.

    Args:
        lantern: The model.
        component: One of `vocabulary.COMPONENTS`.
        layer: Decoder layer (0-based), for a component that has layers; default None.

    Raises:
        LanternError: the model has no such component or layer.
    """
    if component not in COMPONENTS:
        raise LanternError(f"no component {component!r}; there are {', '.join(COMPONENTS)}")
    layers = lantern.hf.model.language_model.layers
    if component not in LAYERED:
        module: nn.Module = {
            "embedding": layers[0],
            "latent": lantern.hf.latent,
            "vision": lantern.hf.model.visual,
        }[component]
        return module
    if layer is None or not 0 <= layer < len(layers):
        raise LanternError(
            f"component {component!r} has no layer {layer}; the model has layers 0 to "
            f"{len(layers) - 1}"
        )
    decoder: nn.Module = layers[layer]
    inside = {"residual": "", "attention": "self_attn.o_proj", "mlp": "mlp"}[component]
    return decoder.get_submodule(inside)


def prompt_positions(
    lantern: LanternModel,
    sample: Sample,
    ids: Int[Tensor, " length"],
    grid_thw: Int[Tensor, " 3"] | None,
) -> dict[str, Int[Tensor, " found"]]:
    """The positions of the `PROMPT_ROLES` in one prompt; empty for a role that it lacks.

    A sample without a box, or whose box lies outside its image, has no `box`.

    Args:
        lantern: The model.
        sample: The question; its first box, in its first image, is the evidence.
        ids: Tokens of the prompt, left padding allowed.
        grid_thw: Patch grid (time, height, width) of the first image, from the processor; None
            without an image.
    """
    roles = find_roles(lantern, ids, len(ids))
    question, image = roles.positions(Role.QUESTION), roles.positions(Role.IMAGE)
    box = image[:0]
    if sample.boxes and grid_thw is not None:
        with contextlib.suppress(LanternError):  # nothing of the box is in the image
            size = sample.open_images()[0].size
            check_in_image(size, sample.boxes[0])
            box = image[tokens_in_box(sample.boxes[0], size, grid_thw)]
    return {
        "last-question": question[-1:],
        "question-mean": question,
        "image-mean": image,
        "box": box,
    }


def text_positions(
    lantern: LanternModel,
    continuation: Sequence[int],
    prompt_length: int,
    blocks: Sequence[Block],
    slots: int,
) -> dict[str, list[int]]:
    """The positions of the `TEXT_ROLES` in one sequence, for the roles that it has.

    A text's last token is never fed to the model, so it has no role. The role `slot` is that of a
    whole block only.

    Args:
        lantern: The model.
        continuation: Generated tokens, up to and including the one that ends the text.
        prompt_length: Number of prompt positions, padding included.
        blocks: Latent blocks of this sequence, positions counted in it.
        slots: Number of slots in a whole block.
    """
    found: dict[str, list[int]] = {"last-prompt": [prompt_length - 1]}
    if blocks:
        first = blocks[0]
        found["lvr_start"] = [first.source]
        if len(first.slots) == slots:
            found["slot"] = list(first.slots)
        if first.end is not None:
            found["lvr_end"] = [first.end]
    place = find_answer(lantern.processor.tokenizer, continuation, lead=lantern.answer_lead)
    if place is not None:
        found["answer-start"] = [prompt_length + place.start - 1]
    end = prompt_length + len(continuation) - 1
    return {role: at for role, at in found.items() if all(position < end for position in at)}
