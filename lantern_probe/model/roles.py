"""Roles of positions, in a finished sequence or while it is generated, and image tokens in a box.

`find_roles` reads a finished sequence: every position gets its one role, and slots their numbers.
`RoleTracker` reads a continuation token by token, as it is generated, and says the *sets* of each
token: its role, and `after` for everything after the first block's slots. Cuts of attention are
named by these sets, and a cut that acts on a token must be known when the token comes. The two
agree: a position's role is the same, read live or afterwards.

`lvr_start` is the position whose final state is the first latent, and `lvr_end` the one after the
last slot, under any protocol. They are the markers, but for two cases. Where the first latent takes
the place of the start marker, `lvr_start` is the token before it, of the first block only: before a
later one it is not known in time. Where no end marker is forced, `lvr_end` is the first token that
follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import Block, find_blocks
from lantern_probe.protocols.walk import BlockWalk
from lantern_probe.tasks.sample import Box
from lantern_probe.vocabulary import Role, Sets

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Roles:
    """The roles of one sequence.

    Attributes:
        names: Role of every position.
        slots: Slot (0-based) of every slot position, -1 elsewhere, [length].
        blocks: Block (0-based) of every marker and slot position, -1 elsewhere, [length].
    """

    names: list[Role]
    slots: Int[Tensor, " length"]
    blocks: Int[Tensor, " length"]

    def positions(
        self, role: Role | str, *, slot: int | None = None, block: int | None = None
    ) -> Int[Tensor, " found"]:
        """Indices of the positions with a role.

        Args:
            role: The role, or its name.
            slot: Only positions of this slot (0-based); default all.
            block: Only positions of this block (0-based); default all.
        """
        role = Role(role)
        return torch.tensor(
            [
                index
                for index, name in enumerate(self.names)
                if name == role
                and (slot is None or int(self.slots[index]) == slot)
                and (block is None or int(self.blocks[index]) == block)
            ],
            dtype=torch.long,
        )


def find_roles(
    lantern: LanternModel,
    ids: Int[Tensor, " length"],
    prompt_length: int,
    blocks: Sequence[Block] | None = None,
) -> Roles:
    """The role of every position of one sequence.

        >>> from lantern_probe.model.roles import find_roles
        >>> output = lantern.generate(sample)
        >>> roles = find_roles(lantern, output.sequences[0], output.prompt_length)
        >>> len(roles.positions("image")), len(roles.positions("slot"))
        (9, 8)
        >>> lantern.text(output.sequences[0][roles.positions("answer")])
        '<answer> ... </answer>'

    Args:
        lantern: The model; one without the tokens of a block has no blocks.
        ids: Tokens of prompt and continuation, left padding allowed, [length].
        prompt_length: Number of prompt positions, padding included.
        blocks: The sequence's blocks, as the generation knows them; by default they are read back
            from the tokens as if the protocol had been followed.
    """
    tokenizer = lantern.processor.tokenizer
    sequence = ids.tolist()
    prompt, continuation = sequence[:prompt_length], sequence[prompt_length:]
    names = _prompt_roles(tokenizer, prompt, lantern.hf.config.image_token_id)
    names += _continuation_roles(tokenizer, continuation, lantern)
    slots = torch.full((len(sequence),), -1)
    members = torch.full((len(sequence),), -1)
    if blocks is None and lantern.lvr is not None:
        blocks = find_blocks(ids, prompt_length, lantern.lvr, lantern.eos_ids)
    for number, block in enumerate(blocks or ()):
        if not number or block.source == block.start:
            names[block.source], members[block.source] = Role.LVR_START, number
        for slot, position in enumerate(block.slots):
            names[position] = Role.SLOT
            slots[position], members[position] = slot, number
        if block.end is not None and names[block.end] != Role.END:
            names[block.end], members[block.end] = Role.LVR_END, number
    return Roles(names, slots, members)


def _prompt_roles(tokenizer: Any, ids: Sequence[int], image_token: int) -> list[Role]:
    """Roles of the prompt, from its turns: `<|im_start|>` speaker newline text `<|im_end|>`."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    names = [Role.TEMPLATE] * len(ids)
    first = next((i for i, token in enumerate(ids) if token != tokenizer.pad_token_id), len(ids))
    names[:first] = [Role.PAD] * first
    speaker, in_head = "", False
    if first < len(ids) and ids[first] != start:
        speaker = "user"  # a prompt without turns is all question
    for index in range(first, len(ids)):
        token = ids[index]
        if token == image_token:
            names[index] = Role.IMAGE
        elif token == start:
            speaker, in_head = "", True
        elif token == end:
            speaker = ""
        elif in_head:
            speaker += tokenizer.decode([token])
            # The head ends with its newline, which a tokenizer without white space drops.
            in_head = speaker.strip() not in ("system", "user", "assistant") or (
                index + 1 < len(ids) and not tokenizer.decode([ids[index + 1]]).strip()
            )
            speaker = speaker if in_head else speaker.strip()
        elif token not in special:
            role = {"system": Role.SYSTEM, "user": Role.QUESTION}.get(speaker)
            names[index] = role or Role.TEMPLATE
    return names


def _continuation_roles(tokenizer: Any, ids: Sequence[int], lantern: LanternModel) -> list[Role]:
    eos, lead = lantern.eos_ids, lantern.answer_lead
    ended = next((i for i, token in enumerate(ids) if token in eos), len(ids))
    names = [Role.THOUGHT] * ended + [Role.END] * (len(ids) > ended)
    names += [Role.PAD] * (len(ids) - len(names))
    pieces = [tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids[:ended]]
    # The first tag and its last token, as `RoleTracker` has to: it cannot know what is to come.
    text = ""
    for index, piece in enumerate(pieces):
        text += piece
        if lead in text:
            names[index:ended] = [Role.ANSWER] * (ended - index)
            break
    return names


def tokens_in_box(
    box: Box,
    image_size: tuple[int, int],
    grid_thw: Int[Tensor, " 3"],
    *,
    merge_size: int = 2,
    coverage: float = 0.5,
) -> Int[Tensor, " tokens"]:
    """The tokens of an image that lie in a box.

    The processor stretches the image over the grid, so the box is scaled with it. A token lies
    in the box if at least `coverage` of its square does; a box too small for that gets the token
    whose square it covers most of.

        >>> from lantern_probe.model.roles import tokens_in_box
        >>> grid = lantern.inputs([sample])["image_grid_thw"][0]
        >>> tokens = tokens_in_box(sample.boxes[0], sample.open_images()[0].size, grid)
        >>> tokens.tolist() == [sample.attributes["cell"]]
        True

    Args:
        box: Left, top, right, bottom in pixels of the original image.
        image_size: Width and height of the original image in pixels.
        grid_thw: Patch grid of the image (time, height, width), from the processor.
        merge_size: Patches per token in each direction; default 2.
        coverage: Fraction of a token's square that must lie in the box, in (0, 1]; default 0.5.

    Returns:
        Indices among the image's tokens, row by row, ascending.

    Raises:
        LanternError: the box has no area inside the image.
    """
    width, height = image_size
    rows, columns = (int(n) // merge_size for n in grid_thw[1:])
    left, right = (min(max(x, 0), width) / width * columns for x in (box[0], box[2]))
    top, bottom = (min(max(y, 0), height) / height * rows for y in (box[1], box[3]))
    if left >= right or top >= bottom:
        raise LanternError(
            f"box {[round(v, 1) for v in box]} has no area inside an image of {width} x {height}"
        )

    def shares(low: float, high: float, count: int) -> Tensor:
        edge = torch.arange(count, dtype=torch.float64)
        return ((edge + 1).clamp(max=high) - edge.clamp(min=low)).clamp(min=0)

    covered = torch.outer(shares(top, bottom, rows), shares(left, right, columns)).flatten()
    inside = torch.nonzero(covered >= coverage - 1e-9).flatten()
    return inside if len(inside) else covered.argmax()[None]


class RoleTracker:
    """The position sets (`slot`, `after` ...) of each token, computed while the text is generated.

    A call takes the next token of the continuation, and returns its sets.

    Args:
        lantern: The model.
        size: Number of slots in a block; default the model's K.
        prompt: Last token of the prompt, which may open a block; default none.
    """

    def __init__(self, lantern: LanternModel, size: int | None = None, prompt: int | None = None):
        tokens = lantern.require_lvr()
        self._walk = BlockWalk(tokens.sized(size))
        self._tokenizer, self._lead = lantern.processor.tokenizer, tokens.protocol.lead
        self._after = self._answers = False
        self._text, self._count = "", 0
        if prompt is not None:
            self._walk.begin(prompt, -1, generated=False)

    @property
    def source(self) -> int | None:
        """Index in the continuation of the position whose final state is the first latent.

        It is -1 for the prompt's last token, and None for a text without a block.
        """
        return Block.of(self._walk.spans[0]).source if self._walk.spans else None

    def __call__(self, token: int) -> Sets:
        before = self._walk.open
        mark = self._walk.take(token, self._count)
        self._count += 1
        self._after |= before is not None and self._walk.open is not before
        after = {"after"} if self._after else set()
        if mark == "slot":
            return frozenset(after | {"slot"})
        text = self._text + self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
        self._answers |= self._lead in text
        self._text = text[-len(self._lead) + 1 :]
        if mark is not None:
            return frozenset(after | {f"lvr_{mark}"})
        return frozenset(after | {"answer" if self._answers else "thought"})


def prompt_sets(
    lantern: LanternModel, ids: Int[Tensor, " length"], prompt_length: int
) -> list[Sets]:
    """The position sets of every token of a prompt: its role; none for padding.

    Args:
        lantern: The model.
        ids: Tokens, of which the first `prompt_length` are the prompt's; left padding allowed.
        prompt_length: Number of prompt positions, padding included.
    """
    roles = find_roles(lantern, ids[:prompt_length], prompt_length)
    return [frozenset() if name == Role.PAD else frozenset({str(name)}) for name in roles.names]


def position_sets(
    lantern: LanternModel,
    ids: Int[Tensor, " length"],
    prompt_length: int,
    size: int | None = None,
) -> list[Sets]:
    """The position sets of every token of a sequence.

    Args:
        lantern: The model.
        ids: Tokens of prompt and continuation, left padding allowed.
        prompt_length: Number of prompt positions, padding included.
        size: Number of slots in a block; default the model's K.
    """
    return follow_sets(lantern, ids, prompt_length, size)[0]


def follow_sets(
    lantern: LanternModel,
    ids: Int[Tensor, " length"],
    prompt_length: int,
    size: int | None = None,
    *,
    opens: bool = False,
) -> tuple[list[Sets], RoleTracker]:
    """The position sets of every token of a sequence, and the tracker that goes on behind it.

    Args:
        lantern: The model.
        ids: Tokens of prompt and continuation, left padding allowed.
        prompt_length: Number of prompt positions, padding included.
        size: Number of slots in a block; default the model's K.
        opens: True if a start marker that is fed itself will come next; default False.
    """
    last = int(ids[prompt_length - 1]) if prompt_length else None
    follow = RoleTracker(lantern, size, last)
    written = [follow(token) for token in ids[prompt_length:].tolist()]
    sets = prompt_sets(lantern, ids, prompt_length) + written
    source = len(ids) - 1 if opens else None
    if follow.source is not None:
        source = prompt_length + follow.source
    if source is not None and "lvr_start" not in sets[source]:
        sets[source] = sets[source] & {"after"} | {"lvr_start"}
    return sets, follow
