"""Overlays of a run: named layers of maps over the images of its samples, in the folder `overlays`.

A layer is one file of safetensors, such as `attention.safetensors`. It holds, under the id of each
sample, maps over the first image [maps, height, width], and in its metadata the names of the maps,
such as `slot 0`. A layer is any measure with a value per image token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained, replace_file

OVERLAYS = "overlays"
"""Folder of the overlays in that of a run."""

NAMES = "names"
"""Key of the metadata: names of the maps by id of the sample, as JSON."""


def write_overlay(
    folder: str | Path,
    layer: str,
    maps: Mapping[str, tuple[Sequence[str], Float[np.ndarray, "maps height width"]]],
) -> None:
    """Write a layer, in place of one of the same name.

    Args:
        folder: Folder of the run.
        layer: Name of the layer, which is that of its file.
        maps: For each sample the names of its maps, and the maps.

    Raises:
        LanternError: the folder cannot be written.
    """
    path = Path(folder) / OVERLAYS / f"{layer}.safetensors"
    with explained(path):
        path.parent.mkdir(exist_ok=True)
    arrays = {key: np.ascontiguousarray(some, np.float32) for key, (_, some) in maps.items()}
    names = {key: list(some) for key, (some, _) in maps.items()}
    replace_file(path, save(arrays, {NAMES: json.dumps(names)}))


class Overlay:
    """One layer of a run, whose maps are read when they are asked for.

    Args:
        path: The file.

    Raises:
        LanternError: it is no layer.
    """

    def __init__(self, path: Path):
        self.name = path.stem
        try:
            with explained(path):
                file: Any = safe_open(path, framework="numpy")
                self._keys = {*file.keys()}
                self._names = json.loads((file.metadata() or {}).get(NAMES, "{}"))
                self._file = file
        except (SafetensorError, ValueError) as error:
            raise LanternError(f"{path}: not a layer of overlays ({error})") from None

    def maps(self, sample: str) -> tuple[list[str], Float[np.ndarray, "maps height width"]] | None:
        """Names and maps of a sample; None if the layer has none of it, or no maps.

        Args:
            sample: Id of the sample.
        """
        if sample not in self._keys:
            return None
        maps = np.asarray(self._file.get_tensor(sample), np.float32)
        if maps.ndim != 3 or not maps.size:
            return None
        names = self._names.get(sample)
        if not isinstance(names, list) or len(names) != len(maps):
            names = [f"map {number}" for number in range(len(maps))]
        return [str(name) for name in names], np.nan_to_num(maps)


def read_overlays(folder: str | Path) -> list[Overlay]:
    """Open the layers of a run; none where it has none.

    Args:
        folder: Folder of the run.

    Raises:
        LanternError: a file of the folder is no layer.
    """
    return [Overlay(path) for path in sorted((Path(folder) / OVERLAYS).glob("*.safetensors"))]
