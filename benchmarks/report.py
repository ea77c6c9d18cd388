"""Open a report of 6,000 samples under 18 conditions in a browser: time, longest task, size.

    python -m benchmarks.report --output benchmarks/results/report-cpu.json

The run is made without a model: scenes, with answers drawn at random. What is measured is the time
to write the page, its size, and, in Chromium from a file, the time until its table of conditions is
drawn and until the samples can be read, the longest task that keeps the browser from answering, and
the nodes of the document, also after scrolling, opening a sample and searching all texts.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.circumstances import circumstances
from experiments.console import console, print_caption, print_table, run_main, titled_table
from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import write_json
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample, load_task

CONDITIONS = (
    *("own", "zeros", "noise", "noise-norm", "noise-matched", "mean", "constant", "first-repeat"),
    *("shuffle", "swap", "swap:seed=1", "mask", "skip", "ban", "oracle", "random-box"),
    *("additive", "noise:seed=1"),
)
BLOCK = f"<|lvr_start|> {'<|lvr_sep|> ' * 8}<|lvr_end|>"

CHROMIUM = Path("/usr/bin/chromium")
"""Browser of Debian's package chromium."""

WATCH_TASKS = """
window.tasks = [];
const note = (list) => window.tasks.push(...list.getEntries().map((one) => one.duration));
new PerformanceObserver(note).observe({ type: "longtask", buffered: true });
"""


@dataclass(frozen=True)
class Config:
    """Open a report of 6,000 samples under 18 conditions in a browser: time, longest task, size."""

    samples: int = 6000
    """Number of samples."""
    columns: int = 18
    """Number of conditions."""
    browser: Path = CHROMIUM
    """Program of Chromium."""
    output: Path | None = None
    """JSON file for the figures."""


def wait_until(tab: Any, expression: str, seconds: float = 20) -> None:
    """Wait for an expression to hold; unlike Playwright's own way, the page need not allow eval."""
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        assert time.monotonic() < end, f"still not: {expression}"
        time.sleep(0.05)


def write_run(folder: Path, samples: Sequence[Sample], conditions: Sequence[str]) -> Path:
    """Write a run with random answers: right in nine of ten under own, else by chance.

    Args:
        folder: Folder of the run.
        samples: Samples, with options.
        conditions: Labels of conditions.
    """
    draw = np.random.default_rng(0)
    config = {"experiment": "ablate_latents", "model": "random", "data": "scenes", "seed": 0}
    with Run.open(folder, config, overwrite=True) as run:
        run.append_many(
            _row(sample, label, samples, draw)
            for sample in run.register(samples)
            for label in conditions
        )
    return folder


def _row(
    sample: Sample, label: str, samples: Sequence[Sample], draw: np.random.Generator
) -> dict[str, Any]:
    options = list(sample.options)
    right = draw.random() < (0.9 if label in ("own", "oracle") else 1 / len(options))
    given = sample.answer if right else options[draw.integers(len(options))]
    read = given if draw.random() < 0.99 else None
    scores = draw.normal(-6, 1, len(options))
    scores[options.index(str(given))] = math.log(0.9)
    block = "" if label == "ban" else f" {BLOCK}"
    row: dict[str, Any] = {
        "sample": sample.id,
        "condition": label,
        "status": "ok",
        "gold": sample.answer,
        "answer": read,
        "correct": read == sample.answer,
        "parsed": {"default": read},
        "candidates": len(options),
        "emitted": True,
        "blocks": 1,
        "fed": [8],
        "finish": "closed" if draw.random() < 0.98 else "truncated",
        "tokens": int(draw.integers(20, 60)),
        "cluster": sample.cluster,
        "category": sample.attributes.get("shape"),
        "logprobs": dict(zip(options, (float(score) for score in scores), strict=True)),
        "mass": 0.97,
        "kept": "everything" if label == "own" else "markers, slots",
        "acted": True,
        "text": f"<think> a look {draw.integers(10**6)}{block} it is {given} </think> "
        f"<answer> {given} </answer>",
        "latent_norms": [float(f"{norm:.5g}") for norm in draw.normal(11, 0.1, 8)],
    }
    if label.startswith("swap"):
        donor = samples[int(draw.integers(len(samples)))]
        row |= {"donor": donor.id, "donor_answer": donor.answer}
    return row


def measure(page: Path, browser: Path) -> dict[str, float]:
    """Open a page from its file, read in it, and say how long the browser was kept busy.

    Args:
        page: The page.
        browser: Program of Chromium.
    """
    from playwright.sync_api import sync_playwright

    nodes = "document.querySelectorAll('*').length"
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        opened = program.new_page(viewport={"width": 1440, "height": 900})
        opened.add_init_script(WATCH_TASKS)
        opened.goto(page.resolve().as_uri(), wait_until="commit")
        opened.wait_for_selector(".conditions tbody tr")
        table = opened.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            " ?? performance.now()"
        )
        wait_until(opened, "performance.getEntriesByName('lantern-ready').length > 0")
        ready = opened.evaluate("performance.getEntriesByName('lantern-ready')[0].startTime")
        counts = [opened.evaluate(nodes)]
        opening = opened.evaluate("Math.max(0, ...window.tasks)")
        opened.evaluate("document.querySelector('#list').scrollTop = 1e5")
        opened.wait_for_timeout(200)
        counts.append(opened.evaluate(nodes))
        opened.click("#rows tr[data-sample]:nth-of-type(12)")
        opened.wait_for_selector("#sample .answers")
        counts.append(opened.evaluate(nodes))
        started = time.monotonic()
        opened.fill("#query", "no text has these words")
        wait_until(opened, "document.querySelector('#count').textContent.startsWith('0 of')")
        wait_until(opened, "!document.querySelector('#count').textContent.includes('search')")
        searched = time.monotonic() - started
        longest = opened.evaluate("Math.max(0, ...window.tasks)")
        program.close()
    return {
        "seconds to the first table": table / 1000,
        "seconds to the samples": ready / 1000,
        "longest task while opening, ms": opening,
        "longest task, ms": longest,
        "seconds to search all texts": searched,
        "nodes at most": max(counts),
    }


def main(config: Config) -> int:
    """Make a run, write its page, open it."""
    from lantern_probe.report import write_report

    if not config.browser.is_file():
        raise LanternError(
            f"there is no browser '{config.browser}'; install Debian's package chromium, or give "
            "--browser"
        )
    labels = [CONDITIONS[i] if i < len(CONDITIONS) else f"noise:seed={i}"
              for i in range(config.columns)]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", load_task("scenes", config.samples), labels)
        started = time.process_time()
        page = write_report([run])
        written = time.process_time() - started
        data = [file.stat().st_size for file in (page.parent / "data").iterdir()]
        found = {
            "processor seconds to write": written,
            "page, MB": page.stat().st_size / 1e6,
            "data, MB": sum(data) / 1e6,
            "rows, MB": (run / "rows.jsonl").stat().st_size / 1e6,
            "chunks": len(data),
            **measure(page, config.browser),
        }
    table = titled_table(f"{config.samples} samples, {config.columns} conditions")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in found.items():
        table.add_row(name, f"{value:.2f}" if isinstance(value, float) else str(value))
    print_table(table)
    print_caption("one opening from a file, in Chromium without a window")
    if config.output is not None:
        about = {"samples": config.samples, "conditions": config.columns}
        settings = circumstances("report", config, ("lantern-probe", "playwright"))
        write_json(config.output, {**about, **found, **settings})
        console.print(f"written to {config.output}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
