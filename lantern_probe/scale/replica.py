"""One replica of a model in a process of its own: chunks go in, rows and tensors come out."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lantern_probe.errors import LanternError
from lantern_probe.records.engines import Engine, Outline
from lantern_probe.records.resuming import made_with
from lantern_probe.records.work import Collector, Done, Task, run_task

if TYPE_CHECKING:
    import numpy as np

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.tasks.sample import Sample

Job = Callable[["LanternModel", Sequence["Sample"]], Sequence[Engine]]
"""Function that makes the engines of an experiment; it can be sent to another process."""


@dataclass(frozen=True)
class Ready:
    """Word of a replica that has loaded its model.

    Attributes:
        process: Its process.
        machine: Name of its machine.
        outlines: Outlines of its engines.
        made_with: Code and packages that make its rows.
        checkpoint: Content of its checkpoint.
    """

    process: int
    machine: str
    outlines: Sequence[Outline]
    made_with: Mapping[str, Any]
    checkpoint: Mapping[str, Any]


class Replica:
    """A model and the engines of an experiment, loaded once in the process that runs them.

    Args:
        load: Function that loads the model.
        job: Function that makes the engines.
        samples: All samples of the run, with the ids under which it has recorded them.
        content: Function that describes the content of the checkpoint.
    """

    def __init__(
        self,
        load: Callable[[], LanternModel],
        job: Job,
        samples: Sequence[Sample],
        content: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._load, self._job, self._content = load, job, content
        self._samples = samples
        self._engines: Sequence[Engine] = ()
        self._pools: dict[int, str] = {}

    def ready(self) -> Ready:
        """Load the model, and say what it is."""
        self._engines = self._job(self._load(), self._samples)
        return Ready(
            os.getpid(),
            platform.node(),
            [Outline(engine) for engine in self._engines],
            made_with(),
            self._content(),
        )

    def run(self, number: int, task: Task, pool: Packed | None = None) -> Done:
        """Run a chunk.

        Args:
            number: Index of the engine.
            task: The chunk.
            pool: Pool of all samples, for a second stage.
        """
        engine = self._engines[number]
        if pool is not None and self._pools.get(number) != pool.mark:
            engine.take(unpacked(pool, self._samples))
            self._pools[number] = pool.mark
        sink = Collector({*task.done}, task.owed, task.together)
        run_task(engine, task, sink)
        return Done(sink.rows, sink.tensors)


@dataclass(frozen=True)
class Packed:
    """A pool as plain arrays, which processes of a machine can share.

    Attributes:
        kind: Kind of the pool.
        mark: Name by which a process knows a pool that it has unpacked.
        parts: Arrays and small facts.
    """

    kind: str
    mark: str
    parts: Any


def packed(pool: Any, mark: str) -> Packed:
    """Bring a pool into plain arrays.

    Args:
        pool: Pools of own latents by pass, or states of samples as they are.
        mark: Name of the pool.

    Raises:
        LanternError: it is another kind of pool.
    """
    from lantern_probe.capture.sensitivity import Clean

    if isinstance(pool, Clean):
        ids = list(pool.states)
        sites = {site: None for found in pool.states.values() for site in found}
        stacks = {
            site: _stacked([pool.states[key][site] for key in ids]) for site in sites
        }  # fmt: skip
        return Packed("clean", mark, (ids, stacks, pool.apart))
    if not isinstance(pool, list):
        raise LanternError(f"a pool of the kind {type(pool).__name__} cannot be shared")
    parts: list[Any] = []
    for one in pool:
        if not one.latents:
            parts.append(([], None, None, {}, {}))
            continue
        sums = tuple(total.numpy() for total in one.sums())
        ids, stack = list(one.samples), one.stack().numpy()
        parts.append((ids, stack, sums, one.image_keys(), dict(one.words)))
    return Packed("latents", mark, parts)


def unpacked(packed: Packed, samples: Sequence[Sample]) -> Any:
    """Make a pool from arrays, of which none is copied.

    Args:
        packed: The arrays.
        samples: Samples of the run.
    """
    from lantern_probe.capture.sensitivity import Clean
    from lantern_probe.interventions.pool import LatentPool

    if packed.kind == "clean":
        ids, stacks, apart = packed.parts
        whole = {site: _tensor(stack) for site, stack in stacks.items()}
        states = {
            key: {site: stack[place] for site, stack in whole.items()}
            for place, key in enumerate(ids)
        }
        return Clean(states, apart)
    known = {sample.id: sample for sample in samples}
    pools = []
    for ids, stack, sums, images, words in packed.parts:
        if stack is None:
            pools.append(LatentPool({}, {}))
            continue
        total, squares = map(_tensor, sums)
        own = {key: known[key] for key in ids}
        pools.append(LatentPool.shared(own, _tensor(stack), (total, squares), images, words))
    return pools


def _stacked(tensors: Sequence[Any]) -> np.ndarray:
    import torch

    array: np.ndarray = torch.stack(list(tensors)).numpy()
    return array


def _tensor(array: np.ndarray) -> Any:
    import torch

    with warnings.catch_warnings():
        # It cannot be written to, since it is shared; nobody does.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)
