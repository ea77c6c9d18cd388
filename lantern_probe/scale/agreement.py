"""Agreement of the parts of a run: settings, conditions, code, packages, samples and pools."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import fingerprint
from lantern_probe.records.resuming import DECIDING, compare, is_allowed


@runtime_checkable
class PartLike(Protocol):
    """A part of a run, as far as it is compared."""

    @property
    def folder(self) -> Path:
        """Folder of the part."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Content of its `run.json`."""

    @property
    def samples(self) -> Mapping[str, Any]:
        """Records of all samples of the run, by id, in order."""


def refuse_strangers(first: PartLike, part: PartLike, allowed: Collection[str] = ()) -> None:
    """Refuse a part that is not of the same run as another.

    Args:
        first: The other part.
        part: The part.
        allowed: Names of parts of a record that may differ; none by default.

    Raises:
        LanternError: naming what differs, with both values.
    """
    one, two = first.manifest, part.manifest
    where = f"'{part.folder}' is not of the same run as '{first.folder}'"
    if two.get("fingerprint") != fingerprint(two["config"]):
        raise LanternError(f"'{part.folder}': run.json was edited by hand; run the shard again")
    here, there = ({n: m[n] for n in DECIDING if n in m} for m in (two, one))
    for title, then, now in (
        ("settings", one["config"], two["config"]),
        ("code or versions", one.get("made_with", {}), two.get("made_with", {})),
        ("packages", one.get("packages", {}), two.get("packages", {})),
        ("the loaded model", there, here),
    ):
        changed = [c for c in compare(then, now, lenient=False) if c.same is False]
        if refused := [c.phrase for c in changed if not is_allowed(c, allowed)]:
            raise LanternError(
                f"{where} ({title}: {'; '.join(refused[:4])}); run it again alike, or name in "
                "--allow-changed what may differ"
            )
    commits = {name: _commits(m) for name, m in ((first.folder, one), (part.folder, two))}
    if len({c for some in commits.values() for c in some}) > 1 and "commit" not in allowed:
        both = " and ".join(dict.fromkeys(map(_words, commits.values())))
        told = where if part.folder != first.folder else f"'{part.folder}' was made by several"
        raise LanternError(
            f"{told} (commit: {both}); run it again from the same commit, or pass --allow-changed "
            "commit"
        )
    if one.get("conditions") != two.get("conditions"):
        raise LanternError(
            f"{where} (other conditions: {_short(two.get('conditions'))} and "
            f"{_short(one.get('conditions'))}); start the commands of the shards again, all alike"
        )
    asked = [m["division"]["asked"] for m in (one, two)]
    passes = [m["division"]["passes"] for m in (one, two)]
    if asked[0] != asked[1] or passes[0] != passes[1]:
        raise LanternError(
            f"{where} (other conditions, samples or passes were asked for); start the commands of "
            "the shards again, all alike"
        )
    _refuse_other_samples(first, part, where)


def refuse_other_pools(parts: Sequence[PartLike]) -> None:
    """Refuse parts whose rows were made with other pools of own latents.

    Args:
        parts: The parts; one without rows that need a pool has none.

    Raises:
        LanternError: naming the pool, and the parts.
    """
    first: dict[str, tuple[Any, Path]] = {}
    for part in parts:
        for name, digests in part.manifest.get("pools", {}).items():
            if len(digests) > 1:
                raise LanternError(
                    f"'{part.folder}' holds rows of {len(digests)} pools ({name}), since samples "
                    "that had failed were run again; run it again with --overwrite"
                )
            known, folder = first.setdefault(name, (digests, part.folder))
            if known != digests:
                raise LanternError(
                    f"'{part.folder}' is not of the same run as '{folder}' (another pool, {name}: "
                    f"{_short(digests)} and {_short(known)}); run the shards again with --overwrite"
                )


def _refuse_other_samples(first: PartLike, part: PartLike, where: str) -> None:
    one, two = first.samples, part.samples
    if alone := [key for key in (*one, *two) if (key in one) != (key in two)]:
        holder = first if alone[0] in one else part
        raise LanternError(f"{where} (sample {alone[0]!r} is in '{holder.folder}' only)")
    if changed := [key for key in one if one[key] != two[key]]:
        raise LanternError(f"{where} (sample {changed[0]!r} has another content there)")
    if list(one) != list(two):
        raise LanternError(f"{where} (its samples are in another order)")


def _commits(manifest: Mapping[str, Any]) -> set[str | None]:
    starts: Sequence[Mapping[str, Any]] = [manifest, *manifest.get("resumed", ())]
    return {(start.get("git") or {}).get("commit") for start in starts}


def _words(commits: Collection[str | None]) -> str:
    return ", ".join(sorted("none" if one is None else one[:12] for one in commits))


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-30:]}"
