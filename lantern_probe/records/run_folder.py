"""The folder of a run on disk: its lock, its leftovers, a torn last line."""

from __future__ import annotations

import fcntl
import os
import platform
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained
from lantern_probe.records.rows import LOCK, MANIFEST, ROWS_FILE

PEEK = "peek"
"""Folder for pictures of samples, which a run shares its folder with."""


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files of something else.

    Args:
        folder: Folder that is to take a run.

    Raises:
        LanternError: naming some of its files.
    """
    if (folder / MANIFEST).exists():
        return
    # A run killed before its run.json was in place leaves its lock and a temporary file.
    own = (LOCK, PEEK)
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in own and not is_leftover(p))
    if foreign:
        named = ", ".join(foreign[:3]) + (", ..." if foreign[3:] else "")
        raise LanternError(
            f"'{folder}' holds files but no run ({named}); choose an empty or new folder as "
            "--output"
        )


def is_leftover(path: Path) -> bool:
    """True if a file is a half-written replacement of one of the run's own.

    Args:
        path: The file.
    """
    return path.name.startswith((f".{MANIFEST}.", f".{ROWS_FILE}.")) and path.suffix == ".tmp"


def locked(folder: Path) -> Any:
    """Take the folder's lock file; the system releases it when the process ends in any way.

    Args:
        folder: Folder of the run.

    Raises:
        LanternError: another process holds it.
    """
    with explained(folder):
        lock = (folder / LOCK).open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}")
            lock.flush()
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read() or "another process"
            lock.close()
            raise LanternError(
                f"'{folder}' is being written by {holder}; wait for it, close that run, or choose "
                "another --output"
            ) from None
        except BaseException:
            lock.close()
            raise
    return lock


def cut_torn_line(path: Path) -> None:
    """Remove a last line that a kill has left without its end.

    Args:
        path: The file of lines; it may be missing.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
            os.fsync(file.fileno())


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes, mostly at once; a disk that is nearly full takes a part, then refuses.

    Args:
        descriptor: Open file.
        data: Bytes to write.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
