"""Manifests of runs that go on: brought to the present format, checked, and written forth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.records.format1 import modern_config
from lantern_probe.records.json_files import fingerprint, to_plain
from lantern_probe.records.provenance import provenance
from lantern_probe.records.resuming import (
    check_allowed,
    made_with,
    merged,
    not_recorded,
    parts_of,
    refuse_changed,
)
from lantern_probe.records.rows import FORMAT, Row
from lantern_probe.vocabulary import redefined

_log = logging.getLogger(__name__)


def modern_manifest(manifest: Row, wanted: Row) -> Row:
    """Convert the manifest of a run of an older format to the current one.

    Args:
        manifest: `run.json` as it was read.
        wanted: Configuration with which it will be compared.
    """
    edited = manifest.get("fingerprint") != fingerprint(manifest["config"])
    config = manifest["config"]
    if manifest["format"] != FORMAT:
        config = modern_config(config, wanted)
    mark = "edited" if edited else fingerprint(config)
    return manifest | {"format": FORMAT, "config": config, "fingerprint": mark}


def resumed_manifest(
    folder: Path,
    manifest: Row,
    wanted: Row,
    facts: Mapping[str, Any],
    allowed: Sequence[str],
    rows: Sequence[Row],
) -> Row:
    """Hold a start against the run in the folder, and give the manifest it goes on with.

    Args:
        folder: Folder of the run.
        manifest: `run.json` in the present format.
        wanted: Configuration of this start.
        facts: Facts of this start that are known before the model is loaded.
        allowed: Names of parts that may differ.
        rows: Rows of the run.

    Raises:
        LanternError: a part differs that was not allowed to, or `run.json` was edited by hand.
    """
    check_allowed(allowed, manifest["config"], wanted)
    parts = parts_of(manifest, wanted, to_plain(facts, "facts"))
    changed = refuse_changed(folder, parts, allowed)
    if manifest["fingerprint"] != fingerprint(manifest["config"]):
        raise LanternError(
            f"'{folder}' holds a run of another configuration (run.json was edited by hand); "
            "choose another --output, or pass --overwrite to delete its rows and start again"
        )
    # The rows that follow may come from another commit or machine: record which.
    entry = provenance() | ({"changed": changed} if changed else {})
    if (unknown := not_recorded(parts)) and rows:
        _log.warning(
            "'%s' was begun by a version that did not record %s; they are taken to be the same",
            folder, ", ".join(unknown),
        )  # fmt: skip
        entry["not_recorded"] = unknown
    if "made_with" not in manifest:
        labels = {str(row["condition"]) for row in rows}
        manifest["outdated"] = sorted(label for label in labels if redefined(label))
    ended = ("finished", "rows", "error")
    manifest = {name: item for name, item in manifest.items() if name not in ended}
    config = merged(manifest, wanted)
    manifest |= {"status": "running", "config": config, "fingerprint": fingerprint(config)}
    manifest |= {"made_with": made_with(), "resumed": [*manifest.get("resumed", []), entry]}
    return manifest | to_plain(facts, "facts")
