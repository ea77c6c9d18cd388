"""Start every command: processor time and memory beside those of the parser it stands on.

    python -m benchmarks.startup --output benchmarks/results/startup-cpu.json

Every command answers --help, and refuses a wrong argument, in processes of their own. So does
`python -c "import numpy, tyro, rich"`, in turns with them, so that a busy machine slows all. What
is reported is the ratio of processor times, the median over rounds, and the most memory held.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from benchmarks.circumstances import circumstances
from experiments.console import console, print_caption, print_table, run_main, titled_table
from lantern_probe.commands import find_package, list_commands
from lantern_probe.records.json_files import write_json

BASE = "import numpy, tyro, rich"
BAR, MEGABYTES = 3.0, 200.0
"""Most processor time, in that of the base, and most memory that a start may take."""

REFUSED = {
    "check_conformance": ("docs",),
    "compare_records": ("nowhere",),
    "reproduce": ("--figure", "nowhere"),
    "train_organism": ("--kind", "bypass", "--test-scenes", "1"),
}
"""Arguments that a command refuses after it has parsed them."""

OTHERS = ("--task", "nowhere")
"""The same, of all other commands."""


@dataclass(frozen=True)
class Config:
    """Start every command: processor time and memory beside those of the parser it stands on."""

    rounds: int = 7
    """Rounds, each starting every command once; one more before them is not counted."""
    output: Path | None = None
    """JSON file for the figures."""


@dataclass(frozen=True)
class Start:
    """One start of a process: seconds of the processor, and megabytes held at most."""

    seconds: float
    megabytes: float
    status: int


def start(*arguments: str) -> Start:
    """Run Python to its end."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # This process holds little, so that what a child inherits of its peak does not count.
    return Start(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, process.returncode)


def main(config: Config) -> int:
    """Start everything in turns, print and write the figures; 1 when one is above the bar."""
    names = list(list_commands(find_package()[1]))
    ways: dict[tuple[str, str], tuple[str, ...]] = {("base", ""): ("-c", BASE)}
    for name in names:
        module = ("-m", f"experiments.{name}")
        ways[name, "help"] = (*module, "--help")
        ways[name, "refusal"] = (*module, *REFUSED.get(name, OTHERS))
    found: dict[tuple[str, str], list[Start]] = {way: [] for way in ways}
    for number in track(range(config.rounds + 1), "rounds", console=console, transient=True):
        for way, arguments in ways.items():
            made = start(*arguments)
            if made.status != {"refusal": 2}.get(way[1], 0):
                raise RuntimeError(f"{' '.join(arguments)} ended with {made.status}")
            if number:
                found[way].append(made)
    base = statistics.median(made.seconds for made in found["base", ""])
    commands = {
        name: {
            kind: {
                "ratio_cpu": statistics.median(m.seconds for m in found[name, kind]) / base,
                "megabytes": max(m.megabytes for m in found[name, kind]),
            }
            for kind in ("help", "refusal")
        }
        for name in names
    }
    table = titled_table("processor time, most memory")
    table.add_column("command", no_wrap=True)
    for title in ("--help", "refusal", "MB"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, kinds in commands.items():
        most = max(kind["megabytes"] for kind in kinds.values())
        ratios = [f"{kinds[kind]['ratio_cpu']:.2f}" for kind in ("help", "refusal")]
        table.add_row(name, *ratios, f"{most:.0f}")
    print_table(table)
    figures = [kind for kinds in commands.values() for kind in kinds.values()]
    worst = max(kind["ratio_cpu"] for kind in figures)
    memory = max(kind["megabytes"] for kind in figures)
    print_caption(
        f'base: python -c "{BASE}", {base:.3f} s; the most of any start is {worst:.2f} times that '
        f"(bar {BAR:g}) and {memory:.0f} MB (bar {MEGABYTES:g})"
    )
    if config.output is not None:
        write_json(
            config.output,
            {
                "ratio_cpu": worst,
                "megabytes": memory,
                "base_s": base,
                "commands": commands,
                **circumstances("startup", config, ("numpy", "tyro", "rich")),
            },
        )
    return 0 if worst < BAR and memory < MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
