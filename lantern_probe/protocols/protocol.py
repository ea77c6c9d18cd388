"""`LatentProtocol`: a frozen value that says all in which latent visual reasoners differ.

All reasoners that feed a final hidden state back as the next input embedding differ in a few small
things: which tokens mark a block, which position the first state takes, which token is recorded
there, and how a block ends. A protocol names them. It needs no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from lantern_probe.errors import LanternError

Opens = Literal["generated", "last"]
First = Literal["follows", "marker"]
SlotToken = Literal["slot", "own"]
Close = Literal["forced", "early", "no marker"]
EndOfText = Literal["ends", "ignored"]
Oracle = Literal["none", "crop", "region", "helper"]

CHOICES: dict[str, tuple[str, ...]] = {
    "opens": get_args(Opens),
    "first": get_args(First),
    "slot_token": get_args(SlotToken),
    "close": get_args(Close),
    "end_of_text": get_args(EndOfText),
    "oracle": get_args(Oracle),
}
"""Fields of a protocol that take one of a few words, and these words."""

_SIZE = re.compile(
    r"\s*(?:(?P<times>[1-9]\d*)\s*\*\s*)?(?P<key>[A-Za-z_]\w*)(?:\s+or\s+(?P<else>[1-9]\d*))?\s*"
)


@dataclass(frozen=True)
class LatentProtocol:
    """The latent block of one reasoner.

        >>> from lantern_probe.protocols import LatentProtocol
        >>> mine = LatentProtocol(
        ...     name="mine",
        ...     keys=("think_start_id", "think_id", "think_end_id"),
        ...     markers=("<|think_start|>", "<|think|>", "<|think_end|>"),
        ...     size=6,
        ...     close="early",
        ... )
        >>> mine.first, mine.slot_token
        ('follows', 'slot')

    Attributes:
        name: Name of the protocol, for records and messages.
        keys: Config keys that hold the ids of start marker, slot token and end marker.
        markers: Texts of the same three tokens, looked up where the config lacks the keys; default
            none.
        size: K, the number of states that a block is fed (the most, where it may end early): a
            number, a config key, a multiple of one such as `2 * sketch_token_num`, or a key with
            the number that holds without it, `latent_size or 8`. Default `latent_size`.
        opens: "generated" (default) where only a generated start marker opens a block; "last" where
            one at the end of the prompt does so, too.
        first: Position at which the first state is fed: the one that "follows" the start marker
            (default), or that of the "marker" itself, whose own embedding is then never read.
        slot_token: Token that is recorded at a slot: the "slot" token (default), or the model's
            "own" choice, which is recorded and never read.
        close: End of a block. "forced" (default) writes the end marker after K states; with "early"
            the model may write it before; with "no marker" the text goes on by itself after K.
        restarts: Let a start marker that is chosen inside a block begin it anew; default False.
        end_of_text: Effect of an end-of-text token that the model chooses at a slot with "own"
            tokens: it "ends" the text (default), or is "ignored". Slot tokens never end a text.
        blocks: Number of blocks for which the official code does what this value says; default
            None, any number.
        also: Config keys of further tokens that belong to a block, which `ban` bans too; default
            none.
        model_type: The architecture's `model_type` in the config; default `qwen2_5_vl`.
        classes: Class names that the config of such a checkpoint may name besides the
            architecture's own; default none.
        lead: Text after which the answer stands; default `<answer>`.
        system: System prompt of the official evaluation, with which questions are put; default
            None, the chat template's own.
        pixels: Fewest and most pixels of an image in the official evaluation; default None, the
            checkpoint's own.
        oracle: Recipe by which oracle latents are made: "crop" (features of the evidence crop, in
            K means), "region" (the image's own tokens in the box, in K means), "helper" (features
            of a helper image, which samples do not have), or "none" (default), where released
            weights do not suffice. Conditions with oracle latents are refused under the last two.
        official: The code that it conforms to, and where it was read; default none.

    Raises:
        LanternError: a field has a value that it cannot have.
    """

    name: str
    keys: tuple[str, str, str]
    markers: tuple[str, str, str] | None = None
    size: int | str = "latent_size"
    opens: Opens = "generated"
    first: First = "follows"
    slot_token: SlotToken = "slot"
    close: Close = "forced"
    restarts: bool = False
    end_of_text: EndOfText = "ends"
    blocks: int | None = None
    also: tuple[str, ...] = ()
    model_type: str = "qwen2_5_vl"
    classes: tuple[str, ...] = ()
    lead: str = "<answer>"
    system: str | None = None
    pixels: tuple[int, int] | None = None
    oracle: Oracle = "none"
    official: str = ""

    def __post_init__(self) -> None:
        check_fields({field.name: getattr(self, field.name) for field in fields(self)})

    @property
    def size_key(self) -> str | None:
        """The config key from which K comes; None for a constant."""
        match = _SIZE.fullmatch(str(self.size))
        return None if match is None else match["key"]

    @property
    def size_times(self) -> int:
        """The number by which the config's value is multiplied; 1 for a constant."""
        match = _SIZE.fullmatch(str(self.size))
        return int(match["times"] or 1) if match is not None else 1

    @property
    def size_number(self) -> int | None:
        """K of a protocol whose config does not say it; None where it must."""
        match = _SIZE.fullmatch(str(self.size))
        number = self.size if match is None else match["else"]
        return None if number is None else int(number)

    def facts(self) -> dict[str, Any]:
        """The fields as a record keeps them, tuples as lists."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }


_TEXTS = {"keys": 3, "markers": 3, "also": None, "classes": None}
"""Fields that are several texts, and their number."""


def check_fields(values: Mapping[str, Any]) -> None:
    """Refuse fields of a protocol that have a value which they cannot have.

    Args:
        values: Values by field; fields may be missing.

    Raises:
        LanternError: naming the protocol, the field and what it takes.
    """
    for field, value in values.items():
        if (wanted := _wanted(field, value)) is not None:
            name = values.get("name")
            raise LanternError(f"protocol {name!r}: {field} is {value!r:.80}; it takes {wanted}")


def _wanted(field: str, value: Any) -> str | None:
    """The values that a field takes, in words; None for a value that is one of them."""
    good, wanted = True, ""
    if field in CHOICES:
        good, wanted = value in CHOICES[field], f"one of {', '.join(map(repr, CHOICES[field]))}"
    elif field in _TEXTS:
        count = _TEXTS[field]
        good = isinstance(value, tuple) and all(isinstance(text, str) and text for text in value)
        good = (good and count in (None, len(set(value)))) or (field == "markers" and value is None)
        wanted = "texts" if count is None else "three different texts: start, slot, end"
    elif field == "name":
        good = isinstance(value, str) and re.fullmatch(r"[\w.-]+", value) is not None
        wanted = "a word of letters, digits, '-', '_' and '.'"
    elif field == "size":
        good = _is_count(value) or (isinstance(value, str) and _SIZE.fullmatch(value) is not None)
        wanted = "a number from 1 on, a config key, 'N * KEY' or 'KEY or N'"
    elif field == "restarts":
        good, wanted = isinstance(value, bool), "true or false"
    elif field == "blocks":
        good, wanted = value is None or _is_count(value), "a number from 1 on, or is left out"
    elif field == "pixels":
        pair = isinstance(value, tuple) and len(value) == 2 and all(map(_is_count, value))
        good = value is None or (pair and value[0] <= value[1])
        wanted = "the fewest and the most pixels of an image, [min, max]"
    elif field == "lead":
        good, wanted = isinstance(value, str) and bool(value.strip()), "a text"
    else:
        good, wanted = isinstance(value, str) or (field == "system" and value is None), "a text"
    return None if good else wanted


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
