"""Ask when a block is opened, and what it brings on the same samples.

    python -m experiments.read_triggers
    python -m experiments.read_triggers --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/triggers

A model opens a block when it chooses to, so accuracy with a block against accuracy without one
compares different questions. Runs every sample as it is, with a block forced into texts that open
none, and with blocks banned. Shows the association of emission and correctness (Fisher's exact
test) apart from the effect of a block, paired on the same samples, and every discordant pair.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lantern_probe.errors import LanternError

from .console import console, run_main
from .inputs import AblationInputs

COMMAND = "read_triggers"

NEEDED = ("force", "ban")


@dataclass(frozen=True)
class Config(AblationInputs):
    """Ask when a block is opened, and what it brings on the same samples."""

    conditions: tuple[str, ...] = ("own", *NEEDED)
    """Conditions, as in ablate_latents; own is always run, and force and ban must be among them."""
    output: Path = Path("runs/read_triggers")
    """Folder of the run; of several models each gets a folder in it. Given again, the command goes
    on with what is there."""


def main(config: Config) -> int:
    """Run what is missing and show triggers and effects; 1 when nothing useful came out."""
    for label in NEEDED:
        if label not in config.conditions:
            raise LanternError(f"--conditions need {label}, as in --conditions own force ban")
    config.check(config.model)
    config.check_one_pass(COMMAND)
    from .ablations import ablation_parts, run_ablation

    parts = ablation_parts(config.conditions, seed=config.seed)
    results = run_ablation(config, COMMAND, config.model, parts, parser=config.parser)

    from lantern_probe.analysis import triggers
    from lantern_probe.analysis.discordant import as_records, discordant_pairs, in_doubt
    from lantern_probe.plots.style import save_figure
    from lantern_probe.plots.triggers import triggers_figure
    from lantern_probe.records.json_files import write_json
    from lantern_probe.records.rows import read_rows

    from .audits import write_lines
    from .tables.triggers import LEGEND, print_triggers

    found, records = [], []
    for folder, summaries in results.items():
        model, rows = summaries[0].model, read_rows(folder)
        try:
            found.append(triggers.summarize(rows, model=model))
        except LanternError as error:
            console.print(f"{model}: {error}", markup=False)
            continue
        print_triggers(found[-1], console)
        by = {label: [r for r in rows if r["condition"] == label] for label in NEEDED}
        pairs = discordant_pairs(by["force"], by["ban"])
        records += as_records(pairs, model=model)
        console.print(
            f"force against ban: {len(pairs)} discordant pairs, {in_doubt(pairs)} of which hinge "
            "on how a text is read\n",
            markup=False,
            highlight=False,
        )
    if not found:
        return 1
    console.print(LEGEND, highlight=False, markup=False)
    write_json(config.output / "triggers.json", found)
    write_lines(config.output / "discordant.jsonl", records)
    save_figure(triggers_figure(found), config.output / "triggers.png")
    console.print(
        f"rows, triggers.json, discordant.jsonl and triggers.png are in {config.output}",
        markup=False,
    )
    return 0 if len(found) == len(results) else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
