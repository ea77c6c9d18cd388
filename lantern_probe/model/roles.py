"""Which position of a sequence plays which role, and which image tokens lie in a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import find_blocks
from lantern_probe.tasks.answers import TAG
from lantern_probe.tasks.sample import Box
from lantern_probe.vocabulary import Role, Sets

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Roles:
    """The roles of one sequence.

    Attributes:
        names: One role per position.
        slots: The slot (0-based) of every slot position, -1 elsewhere, [length].
        blocks: The block (0-based) of every marker and slot position, -1 elsewhere, [length].
    """

    names: list[Role]
    slots: Int[Tensor, " length"]
    blocks: Int[Tensor, " length"]

    def positions(
        self, role: Role | str, *, slot: int | None = None, block: int | None = None
    ) -> Int[Tensor, " found"]:
        """Indices of the positions with a role, of one slot or block where asked."""
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


def find_roles(lantern: LanternModel, ids: Int[Tensor, " length"], prompt_length: int) -> Roles:
    """The role of every position of one sequence.

    Args:
        lantern: Whose tokens they are; a model without LVR tokens has no blocks.
        ids: Prompt and continuation, left padding allowed, [length].
        prompt_length: Number of prompt positions, padding included.
    """
    tokenizer = lantern.processor.tokenizer
    sequence = ids.tolist()
    prompt, continuation = sequence[:prompt_length], sequence[prompt_length:]
    names = _prompt_roles(tokenizer, prompt, lantern.hf.config.image_token_id)
    names += _continuation_roles(tokenizer, continuation, lantern.eos_ids)
    slots = torch.full((len(sequence),), -1)
    members = torch.full((len(sequence),), -1)
    blocks = find_blocks(ids, prompt_length, lantern.lvr) if lantern.lvr is not None else []
    for number, block in enumerate(blocks):
        names[block.start] = Role.LVR_START
        members[block.start] = number
        for slot, position in enumerate(block.slots):
            names[position] = Role.SLOT
            slots[position], members[position] = slot, number
        if block.end is not None:
            names[block.end] = Role.LVR_END
            members[block.end] = number
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


def _continuation_roles(tokenizer: Any, ids: Sequence[int], eos: set[int]) -> list[Role]:
    ended = next((i for i, token in enumerate(ids) if token in eos), len(ids))
    names = [Role.THOUGHT] * ended + [Role.END] * (len(ids) > ended)
    names += [Role.PAD] * (len(ids) - len(names))
    pieces = [tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids[:ended]]
    # The first tag and its last token, as `RoleTracker` has to: it cannot know what is to come.
    text = ""
    for index, piece in enumerate(pieces):
        text += piece
        if TAG in text:
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
    """Which of an image's tokens lie in a box.

    The processor stretches the image over the grid, so the box is scaled likewise. A token lies
    in the box when at least `coverage` of its cell does; a box too small for that gets the cell
    it covers most of.

    Args:
        box: Left, top, right, bottom in pixels of the original image.
        image_size: Its width and height.
        grid_thw: The image's patch grid (time, height, width), from the processor.
        merge_size: Patches per token, in each direction.
        coverage: Share of a cell's area, in (0, 1].

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
        cell = torch.arange(count, dtype=torch.float64)
        return ((cell + 1).clamp(max=high) - cell.clamp(min=low)).clamp(min=0)

    covered = torch.outer(shares(top, bottom, rows), shares(left, right, columns)).flatten()
    inside = torch.nonzero(covered >= coverage - 1e-9).flatten()
    return inside if len(inside) else covered.argmax()[None]


class RoleTracker:
    """Says of each token of a continuation, one after the other, in which sets it is.

    Args:
        lantern: Whose tokens they are.
        size: Slots in a block; the model's K by default.
    """

    def __init__(self, lantern: LanternModel, size: int | None = None):
        self._tokens = lantern.require_lvr()
        self._size = self._tokens.size if size is None else size
        self._tokenizer = lantern.processor.tokenizer
        self._slots_left: int | None = None  # None outside a block
        self._after = self._answers = False
        self._text = ""

    def __call__(self, token: int) -> Sets:
        tokens = self._tokens
        after = {"after"} if self._after else set()
        if self._slots_left and token == tokens.sep:
            self._slots_left -= 1
            return frozenset(after | {"slot"})
        in_block = self._slots_left is not None
        if in_block:
            self._slots_left, self._after, after = None, True, {"after"}
        if token == tokens.start:
            self._slots_left = self._size
        text = self._text + self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
        self._answers |= TAG in text
        self._text = text[-len(TAG) + 1 :]
        if token == tokens.start:
            return frozenset(after | {"lvr_start"})
        if in_block and token == tokens.end:
            return frozenset(after | {"lvr_end"})
        return frozenset(after | {"answer" if self._answers else "thought"})


def prompt_sets(
    lantern: LanternModel, ids: Int[Tensor, " length"], prompt_length: int
) -> list[Sets]:
    """In which sets each token of the prompt is."""
    roles = find_roles(lantern, ids[:prompt_length], prompt_length)
    return [frozenset() if name == Role.PAD else frozenset({str(name)}) for name in roles.names]


def position_sets(
    lantern: LanternModel,
    ids: Int[Tensor, " length"],
    prompt_length: int,
    size: int | None = None,
) -> list[Sets]:
    """In which sets each token of a sequence is.

    Args:
        lantern: Whose tokens they are.
        ids: Prompt and continuation, left padding allowed.
        prompt_length: Number of prompt positions, padding included.
        size: Slots in a block; the model's K by default.
    """
    follow = RoleTracker(lantern, size)
    written = [follow(token) for token in ids[prompt_length:].tolist()]
    return prompt_sets(lantern, ids, prompt_length) + written
