"""Captured activations on disk: safetensors shards, and a run's rows as their index.

A row has the shard of its sample's activations and the index within it. A shard is on disk before
a row names it, so a capture may be killed at any moment: a shard that no row names is removed when
the capture goes on. Each process of a divided capture writes its own run, in a folder of the output
(`shard-0-of-4` ...); `Store` reads them as one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from rich.filesize import decimal
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.records.format1 import modern_config, modern_label
from lantern_probe.records.frame import to_frame
from lantern_probe.records.json_files import explained, replace_file
from lantern_probe.records.rows import Row, read_manifest, read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks.sample import Sample

SHARDS = "shards"
"""Folder of the shards within a run's folder."""

PARTS = "shard-*-of-*"
"""Pattern of the folders in an output that hold one part of the samples each."""

MARGIN = 200e6
"""Disk space that a capture leaves free, in bytes."""


def check_room(folder: str | Path, needed: int) -> int:
    """The free space, in bytes, on the disk of a folder that need not exist yet.

    Raises:
        LanternError: the space is too small for the bytes needed.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    with explained(place):
        free = shutil.disk_usage(place).free
    if needed + MARGIN > free:
        raise LanternError(
            f"'{folder}': the activations take {decimal(needed)}, and the disk has "
            f"{decimal(free)} free, of which {decimal(int(MARGIN))} stay free; capture fewer "
            "samples or sites, store them in bfloat16, or choose another --output"
        )
    return free


class ShardFolder:
    """The shards of a run that is being written.

    Args:
        run: Run that the shards belong to. Shards that none of its rows names, left by a kill or
            another run, are removed.
    """

    def __init__(self, run: Run):
        self._folder = run.folder / SHARDS
        named = {row.get("shard") for row in run.rows()}
        with explained(self._folder):
            self._folder.mkdir(exist_ok=True)
            for file in self._folder.iterdir():
                if file.name not in named:
                    file.unlink(missing_ok=True)

    def write(self, samples: Sequence[str], activations: Mapping[str, Tensor]) -> str:
        """Write one batch, whole or not at all, and wait until it is on disk.

        Args:
            samples: Ids of the samples, from which the file name is made.
            activations: Activations by label of the site, [samples, slots, D].

        Returns:
            Name of the file.

        Raises:
            LanternError: the disk refuses.
        """
        name = hashlib.sha256("\0".join(samples).encode()).hexdigest()[:16] + ".safetensors"
        tensors = {label: found.contiguous() for label, found in activations.items()}
        replace_file(self._folder / name, save(tensors))
        return name


def describe(sample: Sample, row: Row) -> Row:
    """Add the sample's properties to its row, in plain columns.

    These are `cluster` (the same for dependent samples), `prompt` (the user's text), `box_x`,
    `box_y`, `box_width`, `box_height` (centre and size of the first box, as fractions of the
    image), and every attribute that is a text, a number or a truth value. An attribute with the
    name of another column gets `attribute_` in front.
    """
    box: dict[str, float | None] = dict.fromkeys(("box_x", "box_y", "box_width", "box_height"))
    if sample.boxes:
        left, top, right, bottom = sample.boxes[0]
        width, height = sample.open_images()[0].size
        box["box_x"], box["box_y"] = (left + right) / 2 / width, (top + bottom) / 2 / height
        box["box_width"], box["box_height"] = (right - left) / width, (bottom - top) / height
    row = {**row, "cluster": sample.cluster, "prompt": sample.text, **box}
    taken = {*row}
    known = {key: v for key, v in sample.attributes.items() if isinstance(v, str | int | float)}
    return row | {
        f"attribute_{key}" if key in taken else key: value for key, value in known.items()
    }


class Store:
    """Reader of a capture: activations by site, and columns by name, in the same order.

    Samples are sorted by id, with numbers in ids sorted by value. The order does not depend on
    resumptions or on the number of processes. Failed samples are left out. Tensors are read on
    request, one site at a time.

    Attributes:
        folder: Folder of the capture.
        sites: Labels of the sites.
        samples: Rows of the index, one per sample.
        config: Settings of the capture: model, weights, data, condition ...

    Args:
        folder: Output of a capture; the parts of several processes are read together.

    Raises:
        LanternError: there is no capture, its parts were made with different settings, or one of
            its files is corrupt.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        parts = sorted(path.parent for path in self.folder.glob(f"{PARTS}/run.json"))
        if (self.folder / "run.json").exists() or not parts:
            parts.insert(0, self.folder)
        first = read_manifest(parts[0])
        found: dict[str, tuple[Row, Path]] = {}
        for part in parts:
            manifest = read_manifest(part)
            if not isinstance(manifest["config"].get("sites"), list):
                raise LanternError(f"'{part}' holds a run, but no captured activations")
            if manifest.get("fingerprint") != first.get("fingerprint"):
                raise LanternError(
                    f"'{part}' and '{parts[0]}' were captured with different settings; see their "
                    "run.json, and move one of them away"
                )
            for row in read_rows(part):
                if row.get("status") == "ok":
                    found.setdefault(row["sample"], (row, part / SHARDS / row["shard"]))
        ordered = sorted(found.values(), key=lambda pair: _natural(pair[0]["sample"]))
        self.config: Row = modern_config(first["config"])
        self.sites: list[str] = list(self.config["sites"])
        self.samples = [row for row, _ in ordered]
        self._places: dict[Path, list[tuple[int, int]]] = {}
        for index, (row, file) in enumerate(ordered):
            self._places.setdefault(file, []).append((index, row["position"]))

    def __len__(self) -> int:
        return len(self.samples)

    def frame(self) -> pd.DataFrame:
        """The index as a table, one line per sample."""
        return to_frame(self.samples)

    def column(self, name: str) -> np.ndarray:
        """One column of the index, [samples]; None or NaN where a sample has no value.

        Raises:
            LanternError: no sample has such a column.
        """
        names = dict.fromkeys(key for row in self.samples for key in row)
        if name not in names:
            raise LanternError(
                f"'{self.folder}' has no column {name!r}; there are {', '.join(names)}"
            )
        values: np.ndarray = pd.Series([row.get(name) for row in self.samples]).to_numpy()
        return values

    def array(self, label: str) -> Float[Tensor, "samples slots dim"]:
        """The activations of one site, in the stored dtype; NaN where a sample lacks the site.

        Roles other than `slot` have one slot.

        Raises:
            LanternError: the site was not captured, there is no sample, or a shard is missing or
                damaged.
        """
        if label not in self.sites:
            raise LanternError(
                f"'{self.folder}' has no site {label!r}; there are {', '.join(self.sites)}"
            )
        found = None
        for file, places in self._places.items():
            shard = _read(file, label)
            if found is None:
                found = shard.new_empty(len(self), *shard.shape[1:])
            into, rows = torch.tensor(places).T
            found[into] = shard[rows]
        if found is None:
            raise LanternError(f"'{self.folder}' holds no sample that was captured")
        return found

    def features(
        self, site: str, slot: int | None = None, *, target: str = "gold"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors, labels and clusters for scikit-learn.

            >>> from lantern_probe import Run
            >>> from lantern_probe.capture import Capture
            >>> from lantern_probe.vocabulary import Site
            >>> with Run.open("runs/store", {"sites": ["latent@slot"]}, overwrite=True) as run:
            ...     Capture(lantern, [sample], [Site("latent", None, "slot")], run).execute()
            >>> X, y, groups = Store("runs/store").features("latent@slot", slot=7)
            >>> X.shape, y.tolist(), groups.shape
            ((1, 128), ['yellow'], (1,))

        Args:
            site: Label of the site.
            slot: 0-based slot; the mean over the site's slots by default.
            target: Column to predict; `gold`, the right answer, by default.

        Returns:
            X [samples, D] in float32, y [samples] and the clusters [samples], with which folds keep
            dependent samples together. Samples that lack the site or the target are left out.

        Raises:
            LanternError: there is no such site, slot or column.
        """
        array = self.array(site).float()
        if slot is not None and not 0 <= slot < array.shape[1]:
            raise LanternError(
                f"site {site!r} has no slot {slot}; it has slots 0 to {array.shape[1] - 1}"
            )
        x = (array.mean(1) if slot is None else array[:, slot]).numpy()
        y = self.column(target)
        known = np.isfinite(x).all(1) & ~pd.isna(y)
        return x[known], y[known], self.column("cluster")[known]


def _read(file: Path, label: str) -> Tensor:
    try:
        with safe_open(file, framework="pt") as shard:
            # Shards of format 1 keep the names that sites had then.
            names = {modern_label(name): name for name in shard.keys()}  # noqa: SIM118 (it is no mapping)
            tensor: Tensor = shard.get_tensor(names.get(label, label))
            return tensor
    except (SafetensorError, OSError) as error:
        raise LanternError(
            f"cannot read the shard '{file}' ({error}); put it back, or delete the lines that name "
            f"it from '{file.parent.parent / 'rows.jsonl'}' and give the capture's command again"
        ) from None


def _natural(text: str) -> list[Any]:
    """Sort key that puts `scene-2` before `scene-10`."""
    parts = re.split(r"(\d+)", text)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
