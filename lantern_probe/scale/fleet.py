"""Fleets: replicas on a Ray cluster, one chunk at a time each. Nothing else imports Ray.

A worker is a plain actor with one replica. Ray neither restarts it nor repeats a call: whoever dies
is replaced from here, and its chunk goes whole to the next that is free, so that it is run in the
same batches. A chunk that kills its workers is halved until the sample is found.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.records.work import Done, Task
from lantern_probe.scale.clusters import LOCAL, find_cluster, processors, store_bytes
from lantern_probe.scale.replica import Packed, Ready, Replica

TOGETHER = 2
"""Number of workers that may die of a chunk before it is halved."""

ALONE = 3
"""Number of workers that may die of a sample before it fails."""

PATIENCE = 10.0
"""Seconds after which a driver that waits looks whether the cluster still has workers to give."""

STARTS = 3
"""Number of times that a local cluster is tried to be started, on a machine that is overloaded."""

_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}

Make = Callable[[Sequence[Any], int], Replica]
"""Function that makes a replica of some samples, among a number of workers."""

_scratch: list[Path] = []


def _engine() -> Any:
    import ray

    return ray


def connect(ray: str) -> Mapping[str, float]:
    """Start a local cluster, or join one that is running; its resources.

    Args:
        ray: `local`, `auto` or HOST:PORT.

    Raises:
        LanternError: nobody answers, or the cluster refuses this process.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = None if ray == LOCAL else find_cluster(ray)
    if address is None:
        # Read when Ray is imported: all of its processes then listen on 127.0.0.1 alone.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Without one, Ray writes a token into the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.pop("RAY_ADDRESS", None)
    engine = _engine()
    if not engine.is_initialized():
        atexit.register(disconnect)
        try:
            _start_local() if address is None else engine.init(address=address, **_QUIET)
        except Exception as error:  # Ray raises it as such where a process of its own is slow
            disconnect()
            first = str(error).strip().partition("\n")[0]
            way = (
                "is the machine overloaded? Start the same command again"
                if address is None
                else "a cluster with a token needs it in RAY_AUTH_TOKEN, and the same Ray"
            )
            raise LanternError(
                f"--ray {ray}: Ray cannot be used ({type(error).__name__}: {first}); {way}"
            ) from None
    resources: Mapping[str, float] = engine.cluster_resources()
    return resources


def _start_local() -> None:
    """Start a cluster on this machine; again where one of its processes was late."""
    engine = _engine()

    for attempt in range(STARTS):
        _scratch.append(Path(tempfile.mkdtemp(prefix="lantern-ray-")))
        try:
            engine.init(
                num_cpus=processors(),
                include_dashboard=False,
                _temp_dir=str(_scratch[-1]),
                object_store_memory=store_bytes(),
                **_QUIET,
            )
        except Exception:
            if attempt + 1 == STARTS:
                raise
            disconnect()
        else:
            return


def disconnect() -> None:
    """Leave the cluster; a local one ends, and its files are deleted."""
    with contextlib.suppress(Exception):
        _engine().shutdown()
    while _scratch:
        shutil.rmtree(_scratch.pop(), ignore_errors=True)


def capacity(gpus: float) -> int:
    """The number of workers that the cluster has room for.

    Args:
        gpus: GPUs of a worker.
    """
    engine = _engine()

    room = 0
    for node in engine.nodes():
        if not node["Alive"]:
            continue
        cpus, there = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        if gpus == 0:
            room += cpus
        else:
            room += min(cpus, int(there // gpus) if gpus >= 1 else there * math.floor(1 / gpus))
    return room


class Worker:
    """A replica in a process of its own.

    Args:
        make: Function that makes the replica of some samples, among a number of workers.
        count: Number of workers.
        samples: Samples of the run.
    """

    def __init__(self, make: Make, count: int, samples: Sequence[Any]) -> None:
        # Made in `ready`: what is raised here would look like the death of the process.
        self._make, self._count, self._samples = make, count, samples
        self._replica: Replica | None = None

    def ready(self) -> Ready:
        """Load the model."""
        self._replica = self._make(self._samples, self._count)
        return self._replica.ready()

    def run(self, number: int, task: Task, pool: Packed | None = None) -> Done:
        """Run a chunk.

        Args:
            number: Index of the engine.
            task: The chunk.
            pool: Pool of all samples, for a second stage.
        """
        assert self._replica is not None
        return self._replica.run(number, task, pool)


@cache
def _actor() -> Any:
    engine = _engine()

    return engine.remote(Worker)


@dataclass(frozen=True)
class _Handed:
    """A chunk, and the number of workers that died of it."""

    task: Task
    deaths: int = 0


class Fleet:
    """Workers that run chunks in whatever order they come to them.

    Args:
        ray: `local`, `auto` or HOST:PORT.
        workers: Number of workers; None for all that the cluster has room for.
        gpus: GPUs of a worker.
        make: Function that makes a replica of some samples among a number of workers, in each.
        samples: Samples of the run, with the ids under which it has recorded them.
        check: Function that refuses a worker which would make other rows.

    Attributes:
        lost: Number of workers that died.

    Raises:
        LanternError: the cluster has no room for so many workers.
    """

    def __init__(
        self,
        ray: str,
        workers: int | None,
        gpus: float,
        make: Make,
        samples: Sequence[Any],
        check: Callable[[Ready], None],
    ) -> None:
        connect(ray)
        engine = _engine()
        self._ray, self._gpus, self._make, self._check = engine, gpus, make, check
        room = capacity(gpus)
        if room < (workers or 1):
            each = f" with {gpus:g} GPUs each" if gpus else ""
            raise LanternError(
                f"--workers {workers or 1}{each}: the Ray cluster has room for {room}; ask for "
                "fewer, for a smaller --gpus-per-worker, or enlarge the cluster"
            )
        self.count = min(workers or room, max(1, len(samples)))
        self._samples = engine.put(list(samples))
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Any, _Handed]] = {}
        self._failed = self.lost = 0

    @property
    def alive(self) -> int:
        """Number of workers that are ready."""
        return len(self._idle) + len(self._running)

    def first(self, number: int = 1) -> Ready:
        """Start the workers, and wait for the first; its word.

        Args:
            number: Number of workers to wait for, default 1.

        Raises:
            LanternError: the model cannot be loaded there, or no worker can be started.
        """
        word: Ready | None = None
        while word is None or self.alive < number:
            self._start(self.count)
            (ref,) = self._next()
            word = self._take_in(ref) or word
        return word

    def stream(
        self, number: int, tasks: Sequence[Task], pool: Packed | None
    ) -> Iterator[tuple[Task, Done | None]]:
        """Run chunks, and yield each as it comes; None for a sample that kills its workers.

        Args:
            number: Index of the engine.
            tasks: The chunks.
            pool: Pool of all samples, for a second stage.

        Raises:
            LanternError: a worker refuses a chunk, or no worker can be had.
        """
        shared = () if pool is None else (self._ray.put(pool),)
        waiting = [_Handed(task) for task in reversed(tasks)]
        while waiting or self._running:
            self._start(min(self.count, len(waiting) + len(self._running)))
            while waiting and self._idle:
                worker, handed = self._idle.pop(), waiting.pop()
                ref = worker.run.remote(number, handed.task, *shared)
                self._running[ref] = worker, handed
            (ref,) = self._next()
            if ref in self._starting:
                self._take_in(ref)
                continue
            worker, handed = self._running.pop(ref)
            done = self._result(ref, handed.task)
            if done is not None:
                self._idle.append(worker)
                yield handed.task, done
                continue
            self._bury(worker)
            pieces = _again(handed)
            if not pieces:
                yield handed.task, None
            waiting += reversed(pieces)

    def _start(self, wanted: int) -> None:
        for _ in range(wanted - self.alive - len(self._starting)):
            options = _actor().options(
                num_cpus=1, num_gpus=self._gpus, max_restarts=0, max_task_retries=0
            )
            worker = options.remote(self._make, self.count, self._samples)
            self._starting[worker.ready.remote()] = worker

    def _next(self) -> list[Any]:
        while True:
            refs = [*self._running, *self._starting]
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=PATIENCE)
            if ready:
                return list(ready)
            if not self._running and capacity(self._gpus) < 1:
                raise LanternError(
                    "the Ray cluster has no machine left for a worker; what was recorded is kept: "
                    "start the same command again once it has"
                )

    def _result(self, ref: Any, task: Task) -> Done | None:
        """The result of a chunk; None if its worker is dead, or out of reach."""
        errors = self._ray.exceptions
        try:
            done: Done = self._ray.get(ref)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None) or error
            if "CUDA error" in str(cause):
                return None
            first, last = task.units[0][0], task.units[-1][0]
            said = str(cause) if isinstance(cause, LanternError) else _told(cause)
            raise LanternError(
                f"a worker cannot run the samples from {first!r} to {last!r}: {said}"
            ) from None
        except errors.RayError:
            return None
        return done

    def _take_in(self, ref: Any) -> Ready | None:
        worker = self._starting.pop(ref)
        errors = self._ray.exceptions
        try:
            ready: Ready = self._ray.get(ref)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None) or error
            said = str(cause) if isinstance(cause, LanternError) else _told(cause)
            raise LanternError(f"a worker cannot load the model: {said}") from None
        except errors.RayError as error:  # killed while it loaded
            self._bury(worker)
            self._failed += 1
            if self._failed > 2 * self.count:
                raise LanternError(
                    f"workers die while they load the model, {self._failed} of them so far "
                    f"({type(error).__name__}); is there memory for {self.count}?"
                ) from None
            return None
        self._check(ready)
        self._idle.append(worker)
        return ready

    def _bury(self, worker: Any) -> None:
        self.lost += 1
        with contextlib.suppress(Exception):  # it is dead already, or will be once it is reached
            self._ray.kill(worker, no_restart=True)

    def close(self) -> None:
        """End the workers."""
        workers = [*self._idle, *self._starting.values(), *(w for w, _ in self._running.values())]
        for worker in workers:
            with contextlib.suppress(Exception):
                self._ray.kill(worker, no_restart=True)
        self._idle, self._starting, self._running = [], {}, {}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None:
            disconnect()


def _told(cause: BaseException) -> str:
    return f"{type(cause).__name__}: {cause}".strip().rpartition("\n")[2]


def _again(handed: _Handed) -> list[_Handed]:
    """The chunk whole, or in halves; nothing for a sample that has had its chances."""
    task, deaths = handed.task, handed.deaths + 1
    if len(task.units) == 1:
        return [_Handed(task, deaths)] if deaths < ALONE else []
    if deaths < TOGETHER:
        return [_Handed(task, deaths)]
    half = len(task.units) // 2
    parts = (task.units[:half], task.units[half:])
    return [_Handed(replace(task, units=units), deaths) for units in parts]
