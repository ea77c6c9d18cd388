"""Ray clusters before Ray is loaded: what was asked for, and where they are."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import shutil
import socket
from pathlib import Path

from lantern_probe.errors import LanternError

LOCAL, AUTO = "local", "auto"

SECONDS = 5.0
"""Seconds within which a cluster must answer."""


LEAST_STORE, STORE = 100_000_000, 0.2
"""Bytes of the local store of shared arrays at least, and its fraction of the free memory."""


def check_cluster(ray: str, workers: int | None, gpus: float | None) -> None:
    """Refuse a cluster that cannot be had, before anything is loaded.

    Args:
        ray: `local`, `auto` or an address.
        workers: Number of workers; None for the default.
        gpus: GPUs of a worker; None for the default.

    Raises:
        LanternError: Ray is not installed, a number is out of range, nobody answers at the address,
            or this machine has fewer processors than workers were asked for.
    """
    if importlib.util.find_spec("ray") is None:
        raise LanternError(
            "--ray needs the package ray: pip install 'lantern-probe[ray]', or leave --ray out "
            "(--shard divides the samples without it)"
        )
    if workers is not None and workers < 1:
        raise LanternError(f"--workers must be at least 1, not {workers}")
    if gpus is not None and not (0 <= gpus < math.inf and (gpus <= 1 or gpus == int(gpus))):
        raise LanternError(
            f"--gpus-per-worker takes a whole number or a share below 1, not {gpus:g}"
        )
    if ray != LOCAL:
        find_cluster(ray)
    elif workers is not None and workers > processors():
        raise LanternError(
            f"--workers {workers}: this machine has {processors()} processors; ask for fewer"
        )


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def store_bytes() -> int:
    """Bytes for the arrays that the processes of this machine share."""
    import psutil

    free = psutil.virtual_memory().available * STORE
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = min(free, 0.8 * shutil.disk_usage(shared).free)
    return int(max(LEAST_STORE, free))


def find_cluster(ray: str) -> str:
    """The address of a running cluster, at which somebody answers.

    Args:
        ray: `auto` or HOST:PORT.

    Raises:
        LanternError: there is none.
    """
    address = _own_address() if ray == AUTO else ray
    if not address:
        raise LanternError(
            "--ray auto: this machine belongs to no Ray cluster; give --ray local, or HOST:PORT"
        )
    match = re.fullmatch(r"\[?([^\s\[\]]+)\]?:(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise LanternError(f"--ray takes local, auto or HOST:PORT, not {address!r}")
    try:
        socket.create_connection((match[1], int(match[2])), timeout=SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise LanternError(
            f"--ray {ray}: nobody answers at {address} ({error}); start the cluster, or give "
            "--ray local"
        ) from None
    return address


def _own_address() -> str:
    """The address that this machine's Ray has left for others; empty without one."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address and address != AUTO:
        return address.removeprefix("ray://")
    place = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
        return place.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def gpus_of_worker(ray: str, asked: float | None) -> float:
    """The number of GPUs of a worker.

    Args:
        ray: `local`, `auto` or an address.
        asked: Number that was asked for; None for 1 where the cluster has GPUs, else 0.

    Raises:
        LanternError: the cluster cannot be reached.
    """
    if asked is not None:
        return asked
    if ray == LOCAL:  # this machine
        import torch

        return 1.0 if torch.cuda.is_available() else 0.0
    from lantern_probe.scale.fleet import connect

    return 1.0 if connect(ray).get("GPU", 0) >= 1 else 0.0
