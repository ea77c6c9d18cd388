"""A preregistration: the plan of an analysis, in a file that is older than the first row.

A test whose margin, family or number of samples was chosen after the results were seen has no
error rate. The file fixes them. A run records its content and its hash in `run.json`; a start that
contradicts it is refused, and conditions that it does not name are exploratory.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError, named
from lantern_probe.records.json_files import explained, fingerprint, replace_file
from lantern_probe.records.provenance import now
from lantern_probe.records.rows import MANIFEST, ROWS_FILE, Row, read_manifest, rows_in

KIND, VERSION = "lantern-probe preregistration", 1
"""Value of `kind` in a file, and the version of its layout."""

FACT = "preregistration"
"""Name of the fact in `run.json`."""

_CLOCKS = timedelta(minutes=5)
"""Difference of two machines' clocks that is no reason to distrust a file."""


@dataclass(frozen=True)
class Preregistration:
    """Plan of an analysis, fixed before the first row.

    Attributes:
        primary: Label of the condition that the claim is about.
        conditions: Labels of all planned conditions, the primary one among them; each is compared
            with `own`, and they are the family over which p values are adjusted.
        samples: Number of samples of a model, twins not counted.
        margin: Margin of equivalence, a fraction in (0, 1).
        alpha: Level of the family of tests.
        power: Power at which `detectable` was computed.
        discordance: Expected fraction of samples that only one of two conditions gets right.
        design_effect: Expected factor by which repeated images inflate the variance; 1 without.
        detectable: Smallest difference that is shown with that power among the family; None if
            there is none.
        created: Time of writing in UTC, ISO 8601.
        sha256: SHA-256 of the bytes of the file; empty before it is written.
        file: Path of the file as it was given; empty before it is written.
    """

    primary: str
    conditions: tuple[str, ...]
    samples: int
    margin: float
    alpha: float
    power: float
    discordance: float
    design_effect: float
    detectable: float | None
    created: str = ""
    sha256: str = ""
    file: str = ""

    @property
    def family(self) -> int:
        """Number of planned comparisons with `own`."""
        return len(self.conditions)

    def as_record(self) -> dict[str, Any]:
        """The plan as a fact of `run.json`."""
        return asdict(self)


def write_preregistration(path: str | Path, plan: Preregistration) -> Preregistration:
    """Write a plan into a new file, dated now.

    Args:
        path: The file.
        plan: The plan; its date, hash and file are filled in.

    Returns:
        The plan as it is read back.

    Raises:
        LanternError: there is such a file already, it cannot be written, or the plan contradicts
            itself.
    """
    path = Path(path)
    with explained(path):
        if path.exists():
            raise LanternError(
                f"'{path}' exists, and a preregistration is never rewritten; choose another "
                "--output"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    content = {"kind": KIND, "version": VERSION, **_fields(replace(plan, created=now()))}
    _check(_plan(content, str(path)), str(path))
    content["contents"] = fingerprint(content)
    replace_file(path, f"{json.dumps(content, indent=2, allow_nan=False)}\n".encode())
    return read_preregistration(path)


def read_preregistration(path: str | Path) -> Preregistration:
    """Read a plan from its file.

    Args:
        path: The file.

    Raises:
        LanternError: there is no such file, it is no preregistration, a value is missing or out of
            range, or it was edited after it was written.
    """
    path = Path(path)
    with explained(path):
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise LanternError(
                f"--preregistration '{path}' {what}; python -m experiments.preregister writes such "
                "a file"
            )
        data = path.read_bytes()
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise LanternError(
            f"'{path}' is no preregistration; python -m experiments.preregister writes one"
        )
    if content.get("version") != VERSION:
        raise LanternError(
            f"'{path}': version {content.get('version')!r} of a preregistration, and this program "
            f"reads version {VERSION}; update lantern-probe"
        )
    plan = _plan(content, str(path))
    _check(plan, str(path))
    stated = content.pop("contents", None)
    if stated != fingerprint(content):
        raise LanternError(
            f"'{path}' was edited after it was written (its contents do not match its hash); "
            "restore it, or write a new preregistration for a new run"
        )
    return replace(plan, sha256=hashlib.sha256(data).hexdigest(), file=str(path))


def registered_in(manifest: Row) -> Preregistration | None:
    """The plan that a run has recorded; None if it was begun without one.

    Args:
        manifest: `run.json` as it was read.

    Raises:
        LanternError: the record cannot be read.
    """
    record = manifest.get(FACT)
    if record is None:
        return None
    where = f"{MANIFEST}: {FACT}"
    if not isinstance(record, dict):
        raise LanternError(f"{where} is not the record of a plan; restore the file")
    plan = _plan(record, where)
    _check(plan, where)
    return replace(plan, sha256=str(record.get("sha256")), file=str(record.get("file")))


def refuse_late(folder: str | Path, plan: Preregistration) -> None:
    """Refuse a plan for a run whose first row is older than it, or that has another plan.

    Args:
        folder: Folder of the run; there need not be one.
        plan: The plan.

    Raises:
        LanternError: naming the folder, the file and the way out.
    """
    folder = Path(folder)
    with explained(folder):
        if not (folder / MANIFEST).is_file() or not (folder / ROWS_FILE).is_file():
            return
    there = registered_in(read_manifest(folder))
    if there is not None and there.sha256 == plan.sha256:
        return
    rows = rows_in(folder / ROWS_FILE)
    if not rows:
        return
    if there is not None:
        raise LanternError(
            f"the {len(rows)} rows in '{folder}' were made under the preregistration "
            f"'{there.file}' (sha256 {there.sha256[:12]}), not under '{plan.file}' "
            f"({plan.sha256[:12]}); give that one or none, or a new --output"
        )
    raise LanternError(
        f"'{plan.file}' comes after the first row: '{folder}' already holds {len(rows)} rows "
        "without a preregistration, and what has been seen cannot be planned; leave "
        "--preregistration out, or run other samples (another --seed or --data) in a new --output"
    )


def refuse_contradiction(
    plan: Preregistration,
    *,
    samples: int | None = None,
    conditions: Sequence[str] | None = None,
    margin: float | None = None,
) -> None:
    """Refuse settings of a run that contradict its plan.

    Args:
        plan: The plan.
        samples: Number of samples, twins not counted; None (default) if it is not known.
        conditions: Labels of the conditions that will run; None (default) if none are compared.
        margin: Margin of equivalence; None (default) if the run has none.

    Raises:
        LanternError: naming what differs, with both values.
    """
    if samples is not None and samples < plan.samples:
        raise LanternError(
            f"'{plan.file}' plans {plan.samples} samples, and this run would have {samples}; give "
            f"--samples {plan.samples}, or leave --preregistration out"
        )
    if margin is not None and margin != plan.margin:
        raise LanternError(
            f"'{plan.file}' fixes the margin of equivalence at {plan.margin:g}, and --margin is "
            f"{margin:g}; leave --margin out"
        )
    if conditions is not None and plan.primary not in conditions:
        raise LanternError(
            f"the primary condition of '{plan.file}' is {plan.primary}, and this run has "
            f"{named(list(conditions), 6)}; add {plan.primary} to --conditions"
        )


def _fields(plan: Preregistration) -> dict[str, Any]:
    record = plan.as_record()
    return {name: record[name] for name in record if name not in ("sha256", "file")}


def _plan(content: Mapping[str, Any], where: str) -> Preregistration:
    """The plan in a mapping, each value of the right type."""
    found: dict[str, Any] = {}
    for field in fields(Preregistration):
        if field.name in ("sha256", "file"):
            continue
        if field.name not in content:
            raise LanternError(f"'{where}': {field.name} is missing; write the file anew")
        found[field.name] = _typed(field.name, str(field.type), content[field.name], where)
    return Preregistration(**found)


def _typed(name: str, kind: str, value: Any, where: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind.startswith("tuple"):
        good = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        value = tuple(value) if good else value
    elif kind == "str":
        good = isinstance(value, str)
    elif kind == "int":
        good = isinstance(value, int) and number
    else:
        good = (number and math.isfinite(value)) or (value is None and "None" in kind)
    if not good:
        raise LanternError(f"'{where}': {name} cannot be {value!r:.60}; write the file anew")
    return value


def _check(plan: Preregistration, where: str) -> None:
    """Refuse a plan that no run can follow."""
    for name in ("margin", "alpha", "power"):
        if not 0 < getattr(plan, name) < 1:
            value = getattr(plan, name)
            raise LanternError(f"'{where}': {name} lies between 0 and 1, not at {value}")
    if not 0 <= plan.discordance <= 1:
        raise LanternError(
            f"'{where}': the discordance is a fraction from 0 to 1, not {plan.discordance}"
        )
    if plan.design_effect < 1:
        raise LanternError(f"'{where}': the design effect is at least 1, not {plan.design_effect}")
    if plan.samples < 1:
        raise LanternError(f"'{where}': samples must be at least 1, not {plan.samples}")
    if len(set(plan.conditions)) < len(plan.conditions):
        raise LanternError(f"'{where}': a condition is named twice in {named(plan.conditions, 6)}")
    if plan.primary not in plan.conditions:
        raise LanternError(
            f"'{where}': the primary condition {plan.primary!r} is none of the conditions "
            f"{named(plan.conditions, 6)}"
        )
    try:
        created = datetime.fromisoformat(plan.created)
    except ValueError:
        created = None
    if created is None or created.tzinfo is None:
        raise LanternError(f"'{where}': created is no time with a zone: {plan.created!r:.40}")
    if created > datetime.now(UTC) + _CLOCKS:
        raise LanternError(
            f"'{where}' is dated {plan.created}, in the future; set the clock right and write it "
            "anew"
        )
