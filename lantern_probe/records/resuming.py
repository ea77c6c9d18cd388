"""The parts of a run: everything that changes a row, as it was and as it is now.

A run is a run of its configuration (settings, the content of the checkpoint), of the code and the
packages that made it, and of facts that are known once the model is loaded (threads, decoding). A
start that differs in any of these is refused with the part, the old value and the new one, unless
the difference was allowed by name; it is then recorded in `resumed`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError

VERSIONS = (
    *("torch", "torchvision", "transformers", "tokenizers", "nnsight", "numpy", "scipy"),
    *("scikit-learn", "pillow", "qwen-vl-utils"),
)
"""Packages whose version decides rows: arithmetic, tokens, pixels, draws, probes."""

DECIDING = ("threads", "decoding", "extensions")
"""Facts that decide rows, of a loaded model and of packages that add conditions.

`Run.note` holds them against what was recorded.
"""

_NAMES_ONLY = ("model", "revision", "weights", "adapter")
"""Settings that say where a checkpoint is; its content counts where that is recorded."""

LATER: Any = type("Later", (), {"__repr__": lambda self: "known once the model is loaded"})()
"""Value of a part that this start does not know before the model is loaded."""

NESTED = ("capture", "forced_by")
"""Settings that are the configuration of another run, on which this one builds."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "absent"})()
"""Value of a part that one of the two starts does not have."""


@dataclass(frozen=True)
class Part:
    """One part of a run, at its last start and at this one.

    Attributes:
        name: Name of the part, with dots from the outside in.
        then: Value that the run has recorded; `MISSING` if it has none.
        now: Value of this start; `MISSING` if it has none, `LATER` if it is not known yet.
        same: True if the two agree, False if not; None if the run did not record the part.
    """

    name: str
    then: Any
    now: Any
    same: bool | None

    @property
    def phrase(self) -> str:
        """The difference in words."""
        if self.now is MISSING:
            return f"{self.name}: {self.then!r:.80} there, absent here"
        if self.then is MISSING:
            return f"{self.name}: absent there, {self.now!r:.80} here"
        return f"{self.name}: {self.then!r:.80} there, {self.now!r:.80} here"


@cache
def made_with() -> dict[str, Any]:
    """Describe the code and the packages that make rows in this process."""
    versions: dict[str, str | None] = {}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    version: str | None
    try:
        version = importlib.metadata.version("lantern-probe")
    except importlib.metadata.PackageNotFoundError:
        version = None
    return {"code": {"version": version, "sha256": code_digest()}, "versions": versions}


def code_digest(root: Path | None = None) -> str:
    """Hash the source of the package: names and content of its modules.

    The commands, `experiments`, are left out: in a wheel they lie in the package, in a checkout
    beside it, and what they decide is in the configuration.

    Args:
        root: Folder of the package; that of the running one by default.
    """
    root = Path(__file__).parents[1] if root is None else root
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if not name.startswith("experiments/"):
            digest.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def compare(
    there: Mapping[str, Any], here: Mapping[str, Any], *, lenient: bool, prefix: str = ""
) -> Iterator[Part]:
    """Compare two plain mappings, part by part; equal mappings within are one part.

    Where both record the content of a checkpoint and it is equal, its name and place do not count.

    Args:
        there: Parts as recorded.
        here: Parts of this start.
        lenient: Take a part that was not recorded for one that may have been the same, as in runs
            of versions that did not record it.
        prefix: Beginning of the names.
    """
    skipped = _places(there, here)
    for name in sorted({*there, *here} - skipped):
        then, now = there.get(name, MISSING), here.get(name, MISSING)
        if now is LATER:
            yield Part(f"{prefix}{name}", then, now, True)
        elif isinstance(then, dict) and isinstance(now, dict) and then != now:
            yield from compare(then, now, lenient=lenient, prefix=f"{prefix}{name}.")
        elif then is MISSING and lenient:
            yield Part(f"{prefix}{name}", then, now, None)
        else:
            yield Part(f"{prefix}{name}", then, now, then == now)


def _places(there: Mapping[str, Any], here: Mapping[str, Any]) -> set[str]:
    """Names of settings that do not count, because the content behind them is recorded."""
    if "checkpoint" not in there or "checkpoint" not in here:
        return set()
    skipped = {"weights"}
    if there["checkpoint"] == here["checkpoint"]:
        skipped |= {*_NAMES_ONLY}
        commits = (there.get("commit"), here.get("commit"))
        if None in commits:
            skipped.add("commit")
    return skipped


def parts_of(
    manifest: Mapping[str, Any], config: Mapping[str, Any], facts: Mapping[str, Any]
) -> list[Part]:
    """Compare a run with a start of it.

    Args:
        manifest: `run.json`, in the present format.
        config: Configuration of this start, in plain values.
        facts: Facts of this start that are known beforehand, of `DECIDING`.
    """
    old = "made_with" not in manifest
    found = list(compare(manifest["config"], config, lenient=old))
    found += compare(manifest.get("made_with", {}), made_with(), lenient=old)
    return found + compare_facts(manifest, {name: facts.get(name, LATER) for name in DECIDING})


def compare_facts(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[Part]:
    """Compare the facts of a loaded model; one that was never recorded is no difference.

    Args:
        there: `run.json`.
        here: Facts of this start.
    """
    then = {name: _kind_of_device(there[name]) for name in DECIDING if name in there}
    given = {name: value for name, value in here.items() if name in then or value is not LATER}
    now = {name: _kind_of_device(value) for name, value in given.items()}
    return list(compare(then, now, lenient=True))


def _kind_of_device(fact: Any) -> Any:
    """The fact with `cuda` in place of `cuda:0`, as earlier versions wrote it."""
    if not isinstance(fact, dict) or "device" not in fact:
        return fact
    return {**fact, "device": str(fact["device"]).partition(":")[0]}


def is_allowed(part: Part, allowed: Collection[str]) -> bool:
    """True if a difference was allowed, by the name of the part or of one around it.

    Args:
        part: The part that differs.
        allowed: Names.
    """
    inner = part.name
    while inner.partition(".")[0] in NESTED:  # the configuration of another run within this one
        inner = inner.partition(".")[2]
    return any(
        known == name or known.startswith(f"{name}.")
        for known in (part.name, inner)
        for name in allowed
    )


def check_allowed(allowed: Sequence[str], *known: Mapping[str, Any]) -> None:
    """Refuse a name that no part has.

    Args:
        allowed: Names to check.
        *known: Mappings that hold the parts.

    Raises:
        LanternError: naming the parts that there are.
    """
    within = [m[name] for m in known for name in NESTED if isinstance(m.get(name), dict)]
    names = sorted({name for m in (*known, *within) for name in m} | {*DECIDING, *made_with()})
    for name in allowed:
        if name.partition(".")[0] not in names:
            raise LanternError(f"--allow-changed: no part {name!r}; there are {', '.join(names)}")


def refuse_changed(
    folder: Path, parts: Sequence[Part], allowed: Collection[str]
) -> dict[str, list[Any]]:
    """Refuse a start that differs in a part that was not allowed to.

    Args:
        folder: Folder of the run, for the message.
        parts: The comparison.
        allowed: Names of parts that may differ.

    Returns:
        The allowed differences by name: the old value and the new one.

    Raises:
        LanternError: naming what differs, with the old value and the new one.
    """
    changed = [part for part in parts if part.same is False]
    refused = [part for part in changed if not is_allowed(part, allowed)]
    if refused:
        shown = "; ".join(part.phrase for part in refused[:MOST])
        more = f"; and {len(refused) - MOST} more" if len(refused) > MOST else ""
        roots = sorted({_root(part.name) for part in refused})
        raise LanternError(
            f"'{folder}' holds a run of another configuration ({shown}{more}); choose another "
            "--output, or pass --overwrite to delete its rows and start again, or --allow-changed "
            f"{' '.join(roots)} to go on all the same"
        )
    return {part.name: [_value(part.then), _value(part.now)] for part in changed}


def _root(name: str) -> str:
    first, _, rest = name.partition(".")
    return _root(rest) if first in NESTED and rest else first


MOST = 8
"""Differences that a refusal names."""


def _value(value: Any) -> Any:
    return None if value is MISSING else value


def merged(manifest: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a run goes on with: this start's, with the name it began under.

    Args:
        manifest: `run.json`, in the present format.
        wanted: Configuration of this start.
    """
    if "checkpoint" not in wanted or "checkpoint" not in manifest["config"]:
        return dict(wanted)
    kept = {name: manifest["config"][name] for name in _places(manifest["config"], wanted)
            if name in manifest["config"] and name != "weights"}  # fmt: skip
    return {**wanted, **kept}


def not_recorded(parts: Sequence[Part]) -> list[str]:
    """Name the parts that a run did not record, by their outermost names.

    Args:
        parts: The comparison.
    """
    return list(dict.fromkeys(part.name.partition(".")[0] for part in parts if part.same is None))


def shown(value: Any) -> str:
    """A value for a table: on one line, short; a mapping by the number of its entries.

    Args:
        value: The value.
    """
    if value is MISSING:
        return "-"
    if value is LATER:
        return repr(value)
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        text = json.dumps(value, sort_keys=True)
        return f"{len(value)} settings, {hashlib.sha256(text.encode()).hexdigest()[:8]}"
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:28]}...{text[-8:]}"
