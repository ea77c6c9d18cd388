"""The words of this package, and how they are written.

A value with settings has a *label*, written alike in Python, in a record and on a command line:
`swap:seed=1` is `Swap(seed=1)`. A set of slots, blocks or layers is a `Span` (`2-5`, `!3`). A
position of a sequence has a `Role`; a `Site` is a component at a role (`residual.3@slot`); a cut
names sets of positions (`after->slot`). A slot is called `slot` in all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeVar

from lantern_probe.errors import LanternError

# -- labels: a kind with its settings ------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """A frozen value of a kind that has a name and may have settings."""

    name: ClassVar[str]

    @property
    def label(self) -> str:
        """The name with every setting that differs from its default: `swap:seed=1`."""
        changed = [
            f"{f.name}={_written(getattr(self, f.name))}"
            for f in fields(self)
            if f.default is MISSING or getattr(self, f.name) != f.default
        ]
        return ":".join([self.name, ",".join(changed)]) if changed else self.name


Kind = TypeVar("Kind", bound=Named)


def parse_named(text: str, kinds: Mapping[str, type[Kind]], noun: str) -> Kind:
    """Read a value from its label: `zeros`, `noise:scale=2`, `zeros:slots=3,frozen=1`.

    Args:
        text: Label to read.
        kinds: Known kinds by name.
        noun: Word for a kind in error messages, such as `condition`.

    Raises:
        LanternError: the kind or a setting is unknown, or a setting has no such value; the message
            lists what there is.
    """
    name, _, settings = text.partition(":")
    if name not in kinds:
        raise LanternError(f"no {noun} {name!r}; there are {', '.join(kinds)}")
    kind = kinds[name]
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if key not in known or not equals:
            raise LanternError(
                f"{noun} {name!r} has no setting {setting!r}; "
                f"it has {', '.join(f'{k} ({f.type})' for k, f in known.items()) or 'none'}"
            )
        try:
            values[key] = _READ[str(known[key].type)](value)
        except (ValueError, KeyError):
            raise LanternError(
                f"{noun} {text!r}: {key} takes {known[key].type}, not {value!r}"
            ) from None
    missing = [key for key, f in known.items() if f.default is MISSING and key not in values]
    if missing:
        raise LanternError(f"{noun} {name!r} needs {missing[0]}, as in {name}:{missing[0]}=...")
    return kind(**values)


def _written(value: Any) -> Any:
    """Write a truth value as on a command line: `random=1`."""
    return int(value) if isinstance(value, bool) else value


def _finite(value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise ValueError
    return value


_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": lambda text: _finite(float(text)),
    "str": str,
    "bool": lambda text: {"1": True, "true": True, "0": False, "false": False}[text.lower()],
}


STANDARD = (
    *("own", "skip", "ban", "stock", "mask", "zeros", "noise", "noise-matched"),
    *("noise-matched:covariance=full", "mean", "first-repeat", "shuffle", "swap"),
    *("oracle", "random-box"),
)
"""Default conditions of an ablation."""

REDEFINED = {
    "ban": "all three LVR tokens are banned, not only the start marker",
    "direct": "the text ends with its first answer",
    "erase": "the eraser is applied to the sample's stored own latents, not to re-rolled ones",
    "erase-shuffled": "the eraser is applied to the sample's stored own latents",
    "erase-random": "as much variance is removed as by erase, from the stored own latents",
    "random-box": "all evidence boxes are avoided; a sample without room fails",
    "noise-matched": "moments leave out all samples of the sample's images",
    "noise-norm": "the norm is that of the stored own latent, not of the re-rolled one",
    "additive": "noise is added to the stored own latents, not to re-rolled ones",
    "mean": "the mean leaves out all samples of the sample's images",
    "shuffle": "a scope is permuted within itself",
    "->:random": "a random cut takes image tokens or edges, and never slots or markers",
}
"""Conditions whose meaning changed within format 2, by name, each with the new meaning.

Rows of these conditions that were made before the change are not rows of the same condition.
`redefined` looks a label up; `->:random` is every random cut of attention.
"""


def redefined(label: str) -> str | None:
    """Say what changed in the meaning of a condition; None if nothing did.

        >>> redefined("ban@black-box")
        'all three LVR tokens are banned, not only the start marker'
        >>> redefined("zeros") is None
        True

    Args:
        label: Label of a condition, as rows have it.
    """
    condition = label.partition("@")[0]
    name, _, settings = condition.partition(":")
    if "->" in name:
        name = "->:random" if "random=1" in settings.split(",") else name
    return REDEFINED.get(name)


SWAP_QUESTION = "swap-question"
"""A change of the input that leaves the image as it is: another sample's question."""


# -- spans: sets of slots, blocks or layers ------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """A set of whole numbers as it is written on the command line.

    Attributes:
        numbers: Written numbers.
        excluded: True if the set holds all numbers except the written ones.
    """

    numbers: frozenset[int]
    excluded: bool

    @classmethod
    def parse(cls, text: str, noun: str = "slots") -> Span:
        """Read `3`, `0+3`, `2-5`, `!3` (all but 3), or nothing (all).

        Args:
            text: Written set.
            noun: Word for the numbers in error messages; default `slots`.

        Raises:
            LanternError: the text is none of these.
        """
        if not re.fullmatch(r"(!?\d+(-\d+)?(\+\d+(-\d+)?)*)?", text):
            raise LanternError(f"no {noun} {text!r}; write 3, 0+3, 2-5, or !3 for all but 3")
        numbers: set[int] = set()
        for part in filter(None, text.removeprefix("!").split("+")):
            first, _, last = part.partition("-")
            if last and int(last) < int(first):
                raise LanternError(f"{noun} {text!r}: {part} runs backwards")
            numbers |= set(range(int(first), int(last or first) + 1))
        return cls(frozenset(numbers), text.startswith("!") or not text)

    def __contains__(self, number: int) -> bool:
        return (number in self.numbers) != self.excluded


def parse_layers(text: str, count: int) -> list[int]:
    """Read a set of layers: `3`, `0+3`, `2-5`, `!3` for all but 3, or `*` for all.

    Args:
        text: Written set.
        count: Number of decoder layers of the model.

    Returns:
        0-based layers, ascending.

    Raises:
        LanternError: the text is none of these, or names a layer that the model lacks.
    """
    try:
        span = Span.parse("" if text == "*" else text or "?", "layers")
    except LanternError:
        raise LanternError(
            f"no layers {text!r}; write 3, 0+3, 2-5, !3 for all but 3, or * for all"
        ) from None
    if span.numbers and max(span.numbers) >= count:
        raise LanternError(
            f"there is no layer {max(span.numbers)}; the model has layers 0 to {count - 1}"
        )
    return [layer for layer in range(count) if layer in span]


# -- positions: roles, and sets of positions that a cut names ------------------------------------


class Role(StrEnum):
    """The role of one position of a prompt or continuation."""

    PAD = "pad"
    """Left padding, and padding after the end of a text."""
    SYSTEM = "system"
    """The system turn."""
    TEMPLATE = "template"
    """Turn and vision markers, and the newlines of the chat template."""
    IMAGE = "image"
    """An image token (`<|image_pad|>`)."""
    QUESTION = "question"
    """The text of the user turn."""
    THOUGHT = "thought"
    """Generated text before the answer, outside blocks."""
    LVR_START = "lvr_start"
    """The generated marker that opens a latent block."""
    SLOT = "slot"
    """A position at which a latent is fed."""
    LVR_END = "lvr_end"
    """The marker that closes a latent block."""
    ANSWER = "answer"
    """From the token that completes the first `<answer>` tag to the end of the continuation."""
    END = "end"
    """The end-of-text token."""


ATTENTION_QUERIES = (Role.LVR_START, Role.SLOT, Role.LVR_END, Role.ANSWER)
"""Roles whose attention is recorded: the positions that make latents, and those after them."""

PROMPT_SETS = ("system", "template", "image", "question")
"""Sets of prompt positions that a cut names; each is the role of that name."""

WRITTEN_SETS = ("thought", "lvr_start", "slot", "lvr_end", "after", "answer")
"""Sets of generated positions that a cut names: roles, and `after`.

`after` is every position after the first block's slots, including its end marker and later blocks.
So a position may be in two sets.
"""

Sets = frozenset[str]
"""The sets that one position is in."""


# -- sites: a component at a role ----------------------------------------------------------------

LAYERED = ("residual", "attention", "mlp")
"""Components of every decoder layer: its output, and the updates of its two halves."""

COMPONENTS = (*LAYERED, "embedding", "latent", "vision")
"""All components: those of a layer, the first layer's input, the fed latents, the vision tokens."""

IMAGE_ROLES = ("image-mean", "box")
"""Means over the image tokens: all of them, and those in the evidence box."""

PROMPT_ROLES = ("last-question", "question-mean", *IMAGE_ROLES)
"""The last token of the user's text, and means over positions of the prompt."""

BoxUnit = Literal[
    "xyxy", "xyxy-1", "xyxy-100", "xyxy-1000", "xywh", "xywh-1", "xywh-100", "xywh-1000",
    "polygon", "polygon-1", "polygon-1000",
]  # fmt: skip
"""Form of the boxes in a file: left, top, right, bottom; left, top, width, height; or points, whose
bounding box is taken. In pixels, or with an ending as numbers up to it over the image's sides."""

AnswerForm = Literal["letter", "text", "index0", "index1"]
"""Answers in a table: letter or text of an option, or its number counted from 0 or 1."""

OptionStyle = Literal["letters", "words"]
"""Options as lines "A. text", answered by the letter; or as their texts, answered by these."""

Match = Literal["exact", "normalised", "numeric"]
"""Comparison of free texts: as they are; without case, articles and punctuation; or as numbers."""

VALUE = ":value"
"""Suffix of a target's name that asks for its column as numbers, whole ones too."""


TEXT_ROLES = ("last-prompt", "lvr_start", "slot", "lvr_end", "answer-start")
"""Positions from the prompt's last token on, in the first block of a text.

`answer-start` is the token before the answer's first, so the one whose output predicts it.
"""

SITE_ROLES = (*PROMPT_ROLES, *TEXT_ROLES)
"""All roles of sites."""

PATCHED = ("embedding", *LAYERED)
"""Components that can be patched; `embedding` at the slots is the latents themselves."""

PATCH_ROLES = (
    *("box", "last-question", "last-prompt"),
    *("lvr_start", "slot", "lvr_end", "answer-start"),
)
"""Roles whose positions can be patched; `box` is all image tokens in the evidence box."""


@dataclass(frozen=True)
class Site:
    """One component at one role: `residual.3@slot`.

    Attributes:
        component: `residual` (output of a decoder layer), `attention` and `mlp` (their updates of
            the residual stream), `embedding` (input of the first layer, latents included),
            `latent` (vectors fed at the slots) or `vision` (merged vision tokens).
        layer: 0-based layer; None for a component without layers.
        role: One of `SITE_ROLES`; for `latent` only `slot`, for `vision` one of `IMAGE_ROLES`.

    Raises:
        LanternError: there is no such site; the message lists what there is.
    """

    component: str
    layer: int | None
    role: str

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise LanternError(
                f"no component {self.component!r}; there are {', '.join(COMPONENTS)}"
            )
        known = {"latent": ("slot",), "vision": IMAGE_ROLES}.get(self.component, SITE_ROLES)
        if self.role not in known:
            raise LanternError(
                f"component {self.component!r} has no role {self.role!r}; it has {', '.join(known)}"
            )
        if (self.layer is not None) != (self.component in LAYERED):
            raise LanternError(
                f"component {self.component!r} "
                + ("needs a layer" if self.layer is None else "has no layers")
                + f"; layers belong to {', '.join(LAYERED)}"
            )

    @property
    def label(self) -> str:
        """The site as it is written on the command line and in the record."""
        layer = "" if self.layer is None else f".{self.layer}"
        return f"{self.component}{layer}@{self.role}"


def parse_sites(texts: Sequence[str], layers: int) -> list[Site]:
    """Read sites: `residual.*@slot`, `residual.0-3+7@lvr_start`, `latent@slot`.

        >>> [site.label for site in parse_sites(["mlp.0+2@slot", "latent@slot"], layers=4)]
        ['mlp.0@slot', 'mlp.2@slot', 'latent@slot']

    Args:
        texts: Written sites; each names one, or one per layer in a set.
        layers: Number of decoder layers of the model.

    Returns:
        Each site once, in the order given.

    Raises:
        LanternError: a text names no site; the message lists what there is.
    """
    sites: dict[Site, None] = {}
    for text in texts:
        match = re.fullmatch(r"([^.@]*)(?:\.([^@]*))?@([^@]*)", text)
        if match is None:
            raise LanternError(
                f"no site {text!r}; write COMPONENT@ROLE or COMPONENT.LAYERS@ROLE, as in "
                f"latent@slot, residual.*@slot or mlp.0-3+7@answer-start (components: "
                f"{', '.join(COMPONENTS)}; roles: {', '.join(SITE_ROLES)})"
            )
        component, numbers, role = match.groups()
        try:
            found = [None] if numbers is None else parse_layers(numbers, layers)
            sites |= dict.fromkeys(Site(component, layer, role) for layer in found)
        except LanternError as error:
            raise LanternError(f"site {text!r}: {error}") from None
    return list(sites)


def freezes(subset: Sequence[int], size: int) -> bool:
    """True if a slot out of a set comes after one of the set; else nothing can be frozen.

    Args:
        subset: Slots (0-based) in scope.
        size: Number of slots in a block.
    """
    return len(subset) < size - min(subset)
