"""Options of commands: more than one process, as shards or as the workers of a Ray cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError

if TYPE_CHECKING:
    from lantern_probe.records.work import Division


@dataclass(frozen=True)
class ScaleOptions:
    """Division of the samples among processes."""

    shard: str | None = None
    """Part of the samples, i/n with i from 0: the blocks i, i + n, i + 2n and so on, cut where one
    process cuts them, into the folder shard-i-of-n of the output. By default the place in a Slurm
    array, if the command runs in one; none for all samples. merge_shards puts them together."""
    ray: str | None = None
    """Ray cluster that runs the samples: local (started here, for this command), auto (the one this
    machine belongs to) or HOST:PORT. By default this process runs them. Needs the extra ray."""
    workers: int | None = None
    """Number of workers of --ray, each with a model of its own. By default as many as the cluster
    has GPUs for, or CPUs without any."""
    gpus_per_worker: float | None = None
    """GPUs of a worker: a whole number, or a share of one such as 0.5, of whose memory it then
    takes no more. By default 1 where the cluster has GPUs, else 0."""

    def check_scale(self) -> None:
        """Refuse what does not go together, and numbers out of range.

        Raises:
            LanternError: naming the flag.
        """
        division = self.division  # reads the flag, or the variables of a Slurm array
        if self.ray is None:
            for flag, value in (
                ("--workers", self.workers),
                ("--gpus-per-worker", self.gpus_per_worker),
            ):
                if value is not None:
                    raise LanternError(f"{flag} is about --ray, which is not given")
            return
        if division is not None:
            raise LanternError(
                "give --shard or --ray, not both (in a Slurm array --shard is given by itself: "
                "leave it out by --shard none)"
            )
        from lantern_probe.scale.clusters import check_cluster

        check_cluster(self.ray, self.workers, self.gpus_per_worker)

    @cached_property
    def division(self) -> Division | None:
        """Part of the samples that this process runs; None for all.

        Raises:
            LanternError: it is not written i/n, or cannot be told from a Slurm array.
        """
        from lantern_probe.scale.shards import shard_of

        return shard_of(self.shard, {} if self.ray is not None else os.environ)

    def part(self, folder: Path) -> Path:
        """The folder in which this process writes.

        Args:
            folder: Folder of the whole run.

        Raises:
            LanternError: the folder holds parts of another division.
        """
        from lantern_probe.scale.shards import refuse_other_divisions, shard_folder

        refuse_other_divisions(folder, self.division)
        return folder if self.division is None else shard_folder(folder, self.division)
