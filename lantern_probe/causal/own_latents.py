"""The own latents of a data set, kept in the folder of its run, by sample and pass.

Conditions that need the own latents of all samples come after the others. The latents are on disk
before the own row is, so that a resumed run does not make them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.records.json_files import explained, replace_file
from lantern_probe.records.rows import Row, pass_of
from lantern_probe.tasks.sample import Sample

Unit = tuple[str, int]
"""Id of a sample, and index of a pass (0 in greedy decoding)."""


_WORDS = "\0words\0"
"""Prefix of the keys under which files hold words; no sample's id has the character."""


class OwnLatents:
    """Own latents of one run under one corruption of the images, and the words after their block.

    Args:
        folder: Folder for the files, which are safetensors.
        passes: Number of passes; None for greedy decoding, which has one without a folder of its
            own.
    """

    def __init__(self, folder: Path, passes: int | None):
        self._folders = [folder] if passes is None else [folder / f"pass-{p}" for p in
                                                         range(passes)]  # fmt: skip
        self._latents: dict[Unit, Tensor] = {}
        self._words: dict[Unit, Tensor] = {}
        self._emitted: dict[Unit, bool] = {}

    def load(self, own_rows: Iterable[Row], samples: Collection[str]) -> None:
        """Read what an earlier start of the run has kept.

        Args:
            own_rows: Rows of `own`. Where a pass has none, its files may be of another model, and
                are deleted.
            samples: Ids of the samples of this start.

        Raises:
            LanternError: a file is out of reach.
        """
        self._emitted = {
            (row["sample"], pass_of(row)): row["status"] == "ok" and row["emitted"]
            for row in own_rows
        }
        for number, folder in enumerate(self._folders):
            if not any(known == number for _, known in self._emitted):
                for file in folder.glob("*.safetensors"):
                    file.unlink(missing_ok=True)
            for file in folder.glob(".*.tmp"):  # of a run that was killed
                file.unlink(missing_ok=True)
            for file in sorted(folder.glob("*.safetensors")):
                try:
                    loaded = load_file(file)
                except SafetensorError:
                    file.unlink(missing_ok=True)  # damaged on disk: made again
                    continue
                except OSError as error:  # it may be whole, and only out of reach now
                    raise LanternError(f"cannot read '{file}': {error.strerror or error}") from None
                for key in loaded.keys() & set(samples):
                    if (words := loaded.get(_WORDS + key)) is not None:  # else made again
                        self._latents[key, number] = loaded[key]
                        self._words[key, number] = words

    def missing(self, unit: Unit) -> bool:
        """True if a text emitted a block, but its own latents are missing.

        If its row has none, it has no whole block, or the file was lost.

        Args:
            unit: Sample and pass.
        """
        return unit not in self._latents and self._emitted.get(unit, False)

    def save(self, fed: Mapping[Unit, Tensor], words: Mapping[Unit, Tensor]) -> None:
        """Keep the latents of own texts and the words after their first block.

        Args:
            fed: Latents of the first block, whole, by sample and pass.
            words: Token ids after the first block, of the same texts.

        Raises:
            LanternError: the disk refuses.
        """
        for number, folder in enumerate(self._folders):
            fresh = {
                key: latents.float().cpu().contiguous()
                for (key, other), latents in fed.items()
                if other == number and (key, other) not in self._latents
            }
            if not fresh:
                continue
            self._latents |= {(key, number): latents for key, latents in fresh.items()}
            after = {key: words[key, number].cpu().contiguous() for key in fresh}
            self._words |= {(key, number): ids for key, ids in after.items()}
            name = hashlib.sha256("\0".join(sorted(fresh)).encode()).hexdigest()[:16]
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            replace_file(
                folder / f"{name}.safetensors",
                save(fresh | {_WORDS + key: ids for key, ids in after.items()}),
            )

    def pools(self, samples: Iterable[Sample]) -> list[LatentPool]:
        """The pool of each pass: the own latents of all samples whose text has a block.

        Args:
            samples: The samples of the run.
        """
        # In the order of ids: random draws must not depend on the order of the data.
        ordered = sorted(samples, key=lambda sample: sample.id)
        found = []
        for number in range(len(self._folders)):
            some = [s for s in ordered if (s.id, number) in self._latents]
            latents = {s.id: self._latents[s.id, number] for s in some}
            words = {s.id: tuple(self._words[s.id, number].tolist()) for s in some}
            found.append(LatentPool({s.id: s for s in some}, latents, words))
        return found
