"""Forks that each do what `python -m experiments.ablate_latents` does once its imports are done.

A start of Python with torch takes seconds, a fork none, and it is a process of its own: with its
own signals, limits and exit status. Wishes come in as JSON, one a line; each is answered by one
number: the id of the child that was started, or the exit status of the one to wait for.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from typing import Any

# The command loads these when it runs; here they are loaded before the forks.
import lantern_probe.causal.ablation
import lantern_probe.model.lantern
import lantern_probe.plots.ablation  # noqa: F401
from experiments import ablate_latents
from experiments.console import run_main


def die_at(name: str, number: int, share: float = 0) -> None:
    """SIGKILL at a call of os.<name>, before anything of it is done but this share of a write."""
    call, left = getattr(os, name), number

    def fatal(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            if share:
                descriptor, data = arguments
                call(descriptor, data[: int(share * len(data))])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)

    setattr(os, name, fatal)


def run(wish: dict[str, Any]) -> int:
    # As in a terminal, whatever the tests were started from.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in enumerate(wish["streams"], start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    if "file_size" in wish:
        resource.setrlimit(resource.RLIMIT_FSIZE, (wish["file_size"],) * 2)
    if "die_at" in wish:
        die_at(*wish["die_at"])
    sys.argv = [ablate_latents.__file__, *wish["arguments"]]
    return run_main(ablate_latents.Config, ablate_latents.main)


def serve() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        if "wait" in wish:
            print(os.waitstatus_to_exitcode(os.waitpid(wish["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        status = 1
        try:
            status = run(wish)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


if __name__ == "__main__":
    serve()
