"""How the tests start a command: as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m experiments.NAME ARGUMENTS` from the repository, to its end."""

    def run(name: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
        environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "98"}
        return subprocess.run(
            [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Commands in processes of their own take seconds each: `make check` leaves them out."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name != "test_startup.py":
            item.add_marker(pytest.mark.slow)
