"""Provenance of a result: code, packages, machine, command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PACKAGES = (
    "lantern-probe", "torch", "torchvision", "transformers", "nnsight", "accelerate", "numpy",
    "scipy", "scikit-learn", "statsmodels", "pillow", "qwen-vl-utils", "safetensors",
)  # fmt: skip


def now() -> str:
    """The time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance() -> dict[str, Any]:
    """Describe the running process: time, command line, commit, package versions, platform."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "created": now(),
        "command": list(sys.orig_argv),
        "git": git_state(Path(__file__).parent),
        "packages": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and uncommitted changes of the checkout the folder belongs to, if it does to any."""

    def git(*arguments: str) -> str:
        # A git hook sets these three, and they would win over the folder. `status` would
        # otherwise refresh, that is write, the index of a checkout in use.
        hook = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
        environment = {name: value for name, value in os.environ.items() if name not in hook}
        environment["GIT_OPTIONAL_LOCKS"] = "0"
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=30, env=environment
        ).stdout.strip()

    try:
        # Installed into an environment inside some other checkout, it is not that one's code.
        git("ls-files", "--error-unmatch", "__init__.py")
        return {"commit": git("rev-parse", "HEAD"), "dirty": git("status", "--porcelain") != ""}
    except (OSError, subprocess.SubprocessError):
        return None
