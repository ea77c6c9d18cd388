"""Values with a name and settings, written the same in Python, in records and on a command line.

`swap:seed=1` is `Swap(seed=1)`: what an experiment did can be read in its record and given again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, TypeVar

from lantern_probe.errors import LanternError


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
