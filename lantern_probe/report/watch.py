"""A page that follows runs which are still being written."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import MANIFEST, ROWS_FILE
from lantern_probe.records.samples import SAMPLES_FILE
from lantern_probe.report.page import Report
from lantern_probe.report.runs import run_places

PAUSE = 1.0
"""Seconds between two looks at the files."""

SHARE = 0.25
"""Largest fraction of the time that writing may take; large pages are written less often."""


def follow(
    report: Report, say: Callable[[str], None], stop: Callable[[], bool] = lambda: False
) -> None:
    """Write a page again whenever the files of its runs have changed, until it is interrupted.

    A state of the files that cannot be read, such as one between two writes, leaves the page as it
    is; it is tried again.

    Args:
        report: Page, which has been written once.
        say: Called with a sentence on what cannot be read.
        stop: Called at every look; True ends.
    """
    before, told, took = None, "", 0.0
    with contextlib.suppress(KeyboardInterrupt):
        while not stop():
            time.sleep(max(PAUSE, took * (1 / SHARE - 1)))
            try:
                now = _stamps(report)
                if now == before:
                    continue
                started = time.monotonic()
                report.write()
                before, told, took = now, "", time.monotonic() - started
            except LanternError as error:
                if str(error) != told:
                    told = str(error)
                    say(f"the page stays as it is: {told}")


def _stamps(report: Report) -> list[tuple[str, int, int]]:
    found = []
    for home, parts in run_places(report.runs):
        paths = {path for part in parts for path in (part / ROWS_FILE, part / SAMPLES_FILE)}
        paths |= {part / MANIFEST for part in parts}
        paths |= {path for path in home.iterdir() if path.suffix in (".json", ".png", ".svg")}
        for path in sorted(paths):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((str(path), status.st_size, status.st_mtime_ns))
    return found


@contextlib.contextmanager
def served(folder: Path, port: int | None) -> Iterator[str]:
    """Serve a folder on the loopback address; give the address, or an empty text without a port.

    Args:
        folder: Folder of the page.
        port: Port, 0 for a free one, or None for no server.

    Raises:
        LanternError: the port is taken.
    """
    if port is None:
        yield ""
        return
    try:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", port), partial(_Quiet, directory=str(folder))
        )
    except OSError as error:
        raise LanternError(f"--port {port}: {error.strerror}; choose another, or 0") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *_: Any) -> None:
        """Say nothing about requests."""

    def end_headers(self) -> None:
        """Let no browser keep a state that is written again."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()
