"""Mediation by several twins: one run for each, and one table of them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lantern_probe.analysis import mediation
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import read_rows

from .ablations import ablation_parts, run_ablation
from .console import console
from .inputs import file_name
from .tables.exchange import print_twins

if TYPE_CHECKING:
    from .exchange_latents import Config

CONDITIONS = ("own", "twin", mediation.FIXED)


def compare_twins(config: Config, command: str, known: Mapping[str, mediation.Mediation]) -> None:
    """Run the exchange with every other twin, and print and write the mediation by all of them.

    Args:
        config: The configuration, whose own twin has been run.
        command: Name of the command.
        known: Mediation by the configuration's own twin, by model.

    Raises:
        LanternError: something that was given cannot be used.
    """
    found = {model: {config.twin: item} for model, item in known.items()}
    for twin in dict.fromkeys(config.other_twins):
        if twin == config.twin:
            continue
        some = replace(config, twin=twin, output=config.output / "twins" / file_name(twin))
        parts = ablation_parts(CONDITIONS, seed=config.seed)
        results = run_ablation(some, command, config.model, parts, parser=config.parser)
        for folder, summaries in results.items():
            model = summaries[0].model
            if model in found and summaries[0].n:
                (found[model][twin],) = mediation.summarize(read_rows(folder), model=model)
    for model, items in found.items():
        print_twins(model, items, console)
    records = [
        {"twin": twin, "mediation": item}
        for items in found.values()
        for twin, item in items.items()
    ]
    write_json(config.output / "twins.json", records)
    console.print(f"twins.json is in {config.output}", markup=False)
