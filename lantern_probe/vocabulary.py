"""Values with a name and settings, written the same in Python, in records and on a command line.

`swap:seed=1` is `Swap(seed=1)`: what an experiment did can be read in its record and given again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from lantern_probe.errors import LanternError


class Role(StrEnum):
    """What a position of a prompt or continuation is."""

    PAD = "pad"
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
    SLOT = "slot"
    LVR_END = "lvr_end"
    ANSWER = "answer"
    """From the `<answer>` tag to the end of the continuation."""
    END = "end"
    """The end-of-text token."""


ATTENTION_QUERIES = (Role.LVR_START, Role.SLOT, Role.LVR_END, Role.ANSWER)
"""Whose attention is recorded: where the first latent is made, the slots, and what follows."""


PROMPT_SETS = ("system", "template", "image", "question")
"""Sets of the prompt, by role."""


WRITTEN_SETS = ("thought", "start", "slots", "end", "after", "answer")
"""Sets of the continuation. A position may be in several:

`thought` text outside blocks and before the answer; `start`, `slots`, `end` the parts of a block;
`after` everything behind the first block's slots, its end marker and later blocks included;
`answer` everything from the token on that completes the first `<answer>` tag.
"""


Sets = frozenset[str]


LAYERED = ("residual", "attention", "mlp")
"""Components of every decoder layer: its output, and what its two halves add to the stream."""


COMPONENTS = (*LAYERED, "embedding", "latent", "vision")
"""Beside those: the first layer's input, what is fed at the slots, the merged vision tokens."""


IMAGE_ROLES = ("image-mean", "box")
"""Means over the image tokens: all of them, and those in the evidence box."""


PROMPT_ROLES = ("last-question", "question-mean", *IMAGE_ROLES)
"""The last token of the user's text, and means over positions of the prompt."""


TEXT_ROLES = ("last-prompt", "lvr_start", "slots", "lvr_end", "answer")
"""Positions from the prompt's last token on; `answer` is the token before the answer's first, so
the one whose output predicts it. Blocks are the first one of a text."""


SITE_ROLES = (*PROMPT_ROLES, *TEXT_ROLES)


PATCHED = ("embedding", *LAYERED)
"""Components that can be patched. `embedding` at the slots is the latents themselves."""


PATCH_ROLES = ("box", "last-question", "last-prompt", "lvr_start", "slots", "lvr_end", "answer")
"""Roles whose positions can be patched; `box` is all image tokens in the evidence box."""


@dataclass(frozen=True)
class Named:
    """A frozen value of a kind that has a name."""

    name: ClassVar[str]

    @property
    def label(self) -> str:
        """The name with every setting that is not the default: `swap:seed=1`."""
        changed = [
            f"{f.name}={_written(getattr(self, f.name))}"
            for f in fields(self)
            if f.default is MISSING or getattr(self, f.name) != f.default
        ]
        return ":".join([self.name, ",".join(changed)]) if changed else self.name


Kind = TypeVar("Kind", bound=Named)


def parse_named(text: str, kinds: Mapping[str, type[Kind]], noun: str) -> Kind:
    """The value from its label: `zeros`, `noise:scale=2`, `zeros:slots=3,frozen=1`.

    Args:
        text: The label.
        kinds: What there is, by name.
        noun: What they are, for messages.

    Raises:
        LanternError: naming what there is, or which settings.
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
    """A truth value as it is given on a command line: `random=1`."""
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


@dataclass(frozen=True)
class Span:
    """A set of slots or blocks as it is written on the command line."""

    numbers: frozenset[int]
    excluded: bool

    @classmethod
    def parse(cls, text: str) -> Span:
        """From `3`, `0+3`, `2-5`, `!3`, or nothing for all.

        Raises:
            LanternError: it is none of these.
        """
        if not re.fullmatch(r"(!?\d+(-\d+)?(\+\d+(-\d+)?)*)?", text):
            raise LanternError(f"no slots {text!r}; write 3, 0+3, 2-5, or !3 for all but 3")
        numbers: set[int] = set()
        for part in filter(None, text.removeprefix("!").split("+")):
            first, _, last = part.partition("-")
            if last and int(last) < int(first):
                raise LanternError(f"slots {text!r}: {part} runs backwards")
            numbers |= set(range(int(first), int(last or first) + 1))
        return cls(frozenset(numbers), text.startswith("!") or not text)

    def __contains__(self, number: int) -> bool:
        return (number in self.numbers) != self.excluded


@dataclass(frozen=True)
class Site:
    """One component at one role: `residual.3@slots`.

    Attributes:
        component: `residual` (output of a decoder layer), `attention` and `mlp` (what they add
            to the residual stream), `embedding` (input of the first layer, latents included),
            `latent` (what is fed at the slots) or `vision` (merged vision tokens).
        layer: 0-based; None for a component that has no layers.
        role: One of `ROLES`. `latent` stands at `slots` only, `vision` at `IMAGE_ROLES`.

    Raises:
        LanternError: there is no such site; says which there are.
    """

    component: str
    layer: int | None
    role: str

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise LanternError(
                f"no component {self.component!r}; there are {', '.join(COMPONENTS)}"
            )
        known = {"latent": ("slots",), "vision": IMAGE_ROLES}.get(self.component, SITE_ROLES)
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
        """How the site is written on the command line and in the record."""
        layer = "" if self.layer is None else f".{self.layer}"
        return f"{self.component}{layer}@{self.role}"


def parse_sites(texts: Sequence[str], layers: int) -> list[Site]:
    """Sites as they are written: `residual.*@slots`, `residual.0-3+7@lvr_start`, `latent@slots`.

    Args:
        texts: Each names one site, or one per layer in a range.
        layers: Decoder layers of the model.

    Returns:
        Each site once, in the order given.

    Raises:
        LanternError: naming what cannot be read, and what there is.
    """
    sites: dict[Site, None] = {}
    for text in texts:
        match = re.fullmatch(r"([^.@]*)(?:\.([^@]*))?@([^@]*)", text)
        if match is None:
            raise LanternError(
                f"no site {text!r}; write COMPONENT@ROLE or COMPONENT.LAYERS@ROLE, as in "
                f"latent@slots, residual.*@slots or mlp.0-3+7@answer (components: "
                f"{', '.join(COMPONENTS)}; roles: {', '.join(SITE_ROLES)})"
            )
        component, numbers, role = match.groups()
        try:
            found = [None] if numbers is None else _layers(numbers, layers)
            sites |= dict.fromkeys(Site(component, layer, role) for layer in found)
        except LanternError as error:
            raise LanternError(f"site {text!r}: {error}") from None
    return list(sites)


def _layers(text: str, count: int) -> list[int]:
    try:
        span = Span.parse("" if text == "*" else text or "?")
    except LanternError:
        raise LanternError(
            f"no layers {text!r}; write 3, 0+3, 2-5, !3 for all but 3, or * for all"
        ) from None
    if span.numbers and max(span.numbers) >= count:
        raise LanternError(
            f"there is no layer {max(span.numbers)}; the model has layers 0 to {count - 1}"
        )
    return [layer for layer in range(count) if layer in span]
