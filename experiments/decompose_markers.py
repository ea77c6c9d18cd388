"""Divide a gain into the latents' content, slots, markers and format.

    python -m experiments.decompose_markers
    python -m experiments.decompose_markers --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/markers

Runs the full model, the slots with other content, the markers without slots, the format without
markers, and the answer at once, on the same samples. Says how much of the gain each keeps, with
intervals (arXiv 2606.01287). A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lantern_probe.errors import LanternError

from .console import console, run_main
from .inputs import AblationInputs

COMMAND = "decompose_markers"


@dataclass(frozen=True)
class Config(AblationInputs):
    """Divide a gain into the latents' content, slots, markers and format."""

    conditions: tuple[str, ...] = (
        *("own", "first-repeat", "swap", "mean", "noise-matched"),
        *("noise-matched:covariance=full", "zeros", "mask", "skip", "ban", "direct"),
    )
    """Conditions, as in ablate_latents; own is always run, and the base must be among them."""
    base: str = "direct"
    """The condition over which the gain is counted, with nothing of it: direct or ban."""
    output: Path = Path("runs/decompose_markers")
    """Folder of the run; of several models each gets a folder in it. Given again, the command goes
    on with what is there."""


def main(config: Config) -> int:
    """Run what is missing and show the decomposition; 1 when nothing useful came out."""
    if config.base not in config.conditions:
        raise LanternError(f"--base {config.base!r} is none of the --conditions")
    config.check(config.model)
    config.check_one_pass(COMMAND)
    from .ablations import ablation_parts, report_problems, run_ablation

    parts = ablation_parts(config.conditions, seed=config.seed)
    results = run_ablation(config, COMMAND, config.model, parts, parser=config.parser)

    from matplotlib.figure import Figure

    from lantern_probe.analysis import decomposition
    from lantern_probe.plots.decomposition import plot_gains
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import write_json
    from lantern_probe.records.rows import read_rows

    from .tables.decomposition import LEGEND, print_gains

    problems = report_problems(list(results.values()))
    found = [
        decomposition.summarize(
            read_rows(folder),
            model=summaries[0].model,
            base=config.base,
            conditions=[label for s in summaries for label in s.labels],
        )
        for folder, summaries in results.items()
        if summaries[0].n
    ]
    for gains in found:
        print_gains(gains, config.base, console)
    console.print(LEGEND, highlight=False)
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
