"""Start one command several times in a fresh process that does nothing else, and tell how it ends.

Argument lists come in as JSON. For each, out goes the exit status, what was written to stderr, and
which packages are loaded by then that a start has no need of.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from importlib import import_module
from pathlib import Path

HEAVY = (
    *("torch", "scipy", "pandas", "sklearn", "statsmodels", "matplotlib"),
    *("transformers", "nnsight"),
)


def most_memory() -> float:
    """Megabytes held at most; what `getrusage` tells counts in the process that forked this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def start(name: str, arguments: list[str]) -> dict[str, object]:
    command, console = import_module(f"experiments.{name}"), import_module("experiments.console")
    sys.argv = [name, *arguments]
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(error):
        try:
            status = console.run_main(command.Config, command.main)
        except SystemExit as stopped:
            status = stopped.code
    return {
        "arguments": arguments,
        "status": status,
        "out": out.getvalue(),
        "error": error.getvalue(),
        "heavy": [package for package in HEAVY if package in sys.modules],
        "megabytes": most_memory(),
    }


if __name__ == "__main__":
    _, name, lists = sys.argv
    print(json.dumps([start(name, given) for given in json.loads(lists)]))
