"""Files of a page: data as compressed scripts beside it, or everything inside one file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import mimetypes
import re
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained, replace_file

PAGE, DATA, IMAGES, STATE = "index.html", "data", "images", "state.js"
"""Names in the folder of a report: its page, folders of its data and images, the file that names
the data."""

MARK = b'<meta name="generator" content="lantern_probe report">'
"""Line by which a page is known as one of ours, so that no other file is ever replaced."""

LARGEST_EMBEDDED = 100_000_000
"""Most bytes of a page that holds its data and images."""

_OURS = re.compile(r"[0-9a-f]{20}\.js")


def compressed(content: Any) -> tuple[str, str]:
    """Plain data as compressed text, and a name that is the same for the same data.

    Args:
        content: Plain data.
    """
    raw = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    packed = gzip.compress(raw, compresslevel=6, mtime=0)
    return hashlib.sha256(raw).hexdigest()[:20], base64.b64encode(packed).decode("ascii")


class Folder:
    """A page with its data and images in files beside it.

    What a page that is open may still ask for stays for one rewriting more.

    Args:
        folder: Folder of the report, which is made if it is missing.

    Raises:
        LanternError: it holds a page of something else, or cannot be written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._now: set[str] = set()
        self._before: set[str] = set()
        _refuse_foreign(folder)
        with explained(folder):
            for name in (DATA, IMAGES):
                (folder / name).mkdir(parents=True, exist_ok=True)

    def data(self, content: Any) -> str:
        """Keep data in a script of its own; return its name."""
        name, text = compressed(content)
        self._now.add(f"{name}.js")
        path = self.folder / DATA / f"{name}.js"
        if not path.exists():
            _write(path, f'lanternData("{name}","{text}")\n'.encode("ascii"))
        return name

    def file(self, name: str, data: bytes) -> None:
        """Write an image, unless it is there."""
        path = self.folder / IMAGES / name
        if not path.exists():
            _write(path, data)

    def finish(self, state: dict[str, Any], page: str) -> None:
        """Write the page and the state, in this order, and remove data that is no longer used."""
        text = json.dumps(state, separators=(",", ":"), allow_nan=False)
        replace_file(self.folder / PAGE, page.encode("utf-8"))
        replace_file(self.folder / DATA / STATE, f"lanternState({text})\n".encode("ascii"))
        with explained(self.folder):
            for path in (self.folder / DATA).iterdir():
                if _OURS.fullmatch(path.name) and path.name not in self._now | self._before:
                    path.unlink(missing_ok=True)
        self._before, self._now = self._now, set()


class OneFile:
    """A page that holds its data and images.

    Args:
        folder: Folder of the report, which is made if it is missing.

    Raises:
        LanternError: it holds a page of something else, or cannot be written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._parts: dict[str, str] = {}
        self._size = 0
        _refuse_foreign(folder)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def data(self, content: Any) -> str:
        """Keep data in the page; return its name."""
        name, text = compressed(content)
        self._keep(name, text)
        return name

    def file(self, name: str, data: bytes) -> None:
        """Keep an image in the page."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self._keep(name, f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}")

    def _keep(self, name: str, text: str) -> None:
        if name in self._parts:
            return
        self._parts[name] = text
        self._size += len(text)
        if self._size > LARGEST_EMBEDDED:
            raise LanternError(
                f"--embed: the page would have more than {LARGEST_EMBEDDED / 1e6:.0f} MB; leave "
                "--embed out, and the data and images lie in files beside the page, which opens "
                "from a disk as well as from a server"
            )

    def finish(self, state: dict[str, Any], page: str) -> None:
        """Write the page with everything in it, before its script."""
        text = json.dumps(state, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        parts = [f'<script type="application/json" id="state">{text}</script>']
        parts += [
            f'<script type="text/plain" id="part-{name}">{part}</script>'
            for name, part in self._parts.items()
        ]
        body, end = page.rsplit("<!-- parts -->", 1)
        replace_file(self.folder / PAGE, "\n".join([body, *parts, end]).encode("utf-8"))


Files = Folder | OneFile
"""Takes data and images and gives back the names by which a page asks for them."""


def _refuse_foreign(folder: Path) -> None:
    page = folder / PAGE
    with explained(page):
        if page.exists() and MARK not in page.read_bytes()[:4096]:
            raise LanternError(
                f"'{page}' is not a page of this command and would be lost; choose another --output"
            )


def _write(path: Path, data: bytes) -> None:
    """Write a file that has its final name only when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path):
        temporary.write_bytes(data)
        temporary.replace(path)
