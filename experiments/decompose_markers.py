"""What is the gain made of: the latents' content, slots, markers, or only the format?

    python -m experiments.decompose_markers
    python -m experiments.decompose_markers --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/markers

Runs the full model, the slots with other content, the markers without slots, the format without
markers, and the answer at once, on the same samples, and says how much of the gain each keeps
(arXiv 2606.01287), with intervals. Takes the options of experiments.ablate_latents, and goes on
where it was cut off.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.markup import escape

from experiments import ablate_latents
from experiments.console import console, print_table, run_main, titled_table
from lantern_probe.analysis import decomposition
from lantern_probe.analysis.decomposition import FULL, RetainedGain
from lantern_probe.analysis.format import interval, number
from lantern_probe.errors import LanternError
from lantern_probe.plots.decomposition import plot_gains
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import read_rows


@dataclass(frozen=True)
class Config(ablate_latents.Config):
    """What is the gain made of: the latents' content, slots, markers, or only the format?"""

    conditions: tuple[str, ...] = (
        *("own", "first-repeat", "swap", "mean", "noise-matched", "zeros"),
        *("mask", "skip", "ban", "direct"),
    )
    """Conditions, as in experiments.ablate_latents; own and the base are needed."""
    base: str = "direct"
    """The condition without any of it, over which the gain is counted: direct or ban."""
    output: Path = Path("runs/decompose_markers")
    """Folder of the run; with several models each gets a folder in it."""


def print_gains(gains: Sequence[RetainedGain], base: str) -> None:
    """One model's table."""
    table = titled_table(f"{gains[0].model}: {gains[0].accuracy.n} samples with a latent block")
    table.add_column("condition", no_wrap=True)
    for name in ("accuracy", f"gain over {base}", "retained"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    for item in gains:
        a, g, r = item.accuracy, item.gain, item.retained
        table.add_row(
            escape(item.condition),
            interval(a.estimate, a.low, a.high),
            interval(g.estimate, g.low, g.high, signed=True),
            interval(r.estimate, r.low, r.high) if r.defined else "-",
            item.keeps,
        )
    print_table(table)
    whole = next(item.retained for item in gains if item.condition == FULL)
    if not whole.defined:
        console.print(
            f"The whole gain is {number(whole.whole, signed=True)} "
            f"[{number(whole.whole_low, signed=True)}, {number(whole.whole_high, signed=True)}]: "
            "it may be zero, so no share of it is reported.",
            highlight=False,
            markup=False,
        )
    console.print()


def main(config: Config) -> int:
    """Run what is missing and show the decomposition; 1 when nothing useful came out."""
    if config.base not in config.conditions:
        raise LanternError(f"--base {config.base!r} is none of the --conditions")
    if config.images != ("clean",):
        raise LanternError("the decomposition is one of clean images; leave --images out")
    results = ablate_latents.ablate_models(config)
    problems = ablate_latents.report_problems(list(results.values()))
    found = [
        decomposition.summarize(
            read_rows(folder),
            model=summaries[0].model,
            base=config.base,
            conditions=[s.condition for s in summaries],
        )
        for folder, summaries in results.items()
        if summaries[0].n
    ]
    for gains in found:
        print_gains(gains, config.base)
    console.print(
        "accuracy [95 % Wilson interval]; gain, paired [95 % bootstrap interval, clustered by "
        "image]; retained: share of own's gain [95 % percentile interval of the ratio]; kept: the "
        "markers with the slots (with other content), the markers alone, the written format "
        "(thought and answer) alone, or neither (the answer at once)",
        highlight=False,
    )
    if not found:
        return 1
    figure = Figure(
        figsize=(1.0 + 3.4 * len(found), 1.3 + 0.3 * len(found[0])), layout="constrained"
    )
    for gains, ax in zip(found, figure.subplots(1, len(found), squeeze=False)[0], strict=True):
        plot_gains(gains, ax)
    figure.supxlabel("95 % intervals, paired; dashed: the whole gain, with own latents", fontsize=8)
    save_figure(figure, config.output / "gains.png")
    write_json(config.output / "gains.json", [item for gains in found for item in gains])
    console.print(f"rows, gains.json and gains.png are in {config.output}", markup=False)
    return problems


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
