"""Files on disk: runs and their rows, captured activations, official result files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.records.frame import to_frame
    from lantern_probe.records.json_files import write_json
    from lantern_probe.records.official import read_published
    from lantern_probe.records.preregistration import (
        Preregistration,
        read_preregistration,
        write_preregistration,
    )
    from lantern_probe.records.rows import FORMAT, KEY, Row, read_manifest, read_rows, reread
    from lantern_probe.records.run import Run
    from lantern_probe.records.samples import read_samples
    from lantern_probe.records.store import ShardFolder, Store
    from lantern_probe.records.table_files import read_frame, read_table, write_table

__all__ = [
    "FORMAT",
    "KEY",
    "Preregistration",
    "Row",
    "Run",
    "ShardFolder",
    "Store",
    "read_frame",
    "read_manifest",
    "read_preregistration",
    "read_published",
    "read_rows",
    "read_samples",
    "read_table",
    "reread",
    "to_frame",
    "write_json",
    "write_preregistration",
    "write_table",
]

__getattr__ = lazily(
    __name__,
    run="Run",
    rows="FORMAT KEY Row read_manifest read_rows reread",
    json_files="write_json",
    preregistration="Preregistration read_preregistration write_preregistration",
    samples="read_samples",
    store="Store ShardFolder",
    frame="to_frame",
    table_files="read_frame read_table write_table",
    official="read_published",
)
