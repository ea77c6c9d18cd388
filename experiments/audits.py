"""Audits that accompany a comparison of conditions: the states fed, and the discordant pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantern_probe.records.json_files import replace_file, write_json
from lantern_probe.records.rows import Row, read_rows
from lantern_probe.vocabulary import STANDARD

from .console import console

if TYPE_CHECKING:
    from lantern_probe.analysis.ablation import ConditionSummary


def show_fed_states(results: Mapping[Path, Sequence[ConditionSummary]], output: Path) -> None:
    """Print and draw the norm regime of the own latents, and write it to `fed_states.json`.

    The file also has every condition beyond the standard ones, whose norms are left in the rows: a
    bootstrap of each would take a third of the run. Runs of a version that recorded no norms have
    none, and nothing is shown.

    Args:
        results: Summaries by folder.
        output: Folder for `fed_states.json` and `fed_states.png`.
    """
    from lantern_probe.analysis import fed_states
    from lantern_probe.analysis.seeds import split_seeds
    from lantern_probe.plots.fed_states import fed_states_figure
    from lantern_probe.plots.style import save_figure

    from .tables.fed_states import LEGEND, print_fed_states

    every: list[fed_states.FedState] = []
    for folder, summaries in results.items():
        every_label = [label for s in summaries for label in s.labels]
        labels = ["own", *(label for label in every_label if split_seeds(label)[0] not in STANDARD)]
        every += fed_states.summarize(
            read_rows(folder), model=summaries[0].model, conditions=labels
        )
    own = [item for item in every if item.condition == "own"]
    if not own:
        return
    for model in dict.fromkeys(item.model for item in own):
        print_fed_states([item for item in own if item.model == model], console)
    console.print(LEGEND, highlight=False, markup=False)
    write_json(output / "fed_states.json", every)
    save_figure(fed_states_figure(own), output / "fed_states.png")
    console.print(f"fed_states.json and fed_states.png are in {output}", markup=False)


def audit_pairs(results: Mapping[Path, Sequence[ConditionSummary]], output: Path) -> None:
    """Write every discordant pair with its reference to `discordant.jsonl`, and count doubts.

    Args:
        results: Summaries by folder.
        output: Folder for `discordant.jsonl`.
    """
    from lantern_probe.analysis.ablation import reference
    from lantern_probe.analysis.discordant import as_records, discordant_pairs, in_doubt
    from lantern_probe.records.rows import counts

    records: list[dict[str, Any]] = []
    for folder, summaries in results.items():
        table: dict[str, list[Row]] = {}
        for row in read_rows(folder):
            if counts(row):
                table.setdefault(row["condition"], []).append(row)
        for item in summaries:
            if item.condition == "own":
                continue
            pairs = [
                pair
                for label in item.labels
                for pair in discordant_pairs(table.get(reference(label), []), table.get(label, []))
            ]
            records += as_records(pairs, model=item.model)
            say_doubted(f"{item.model}, {item.name}", in_doubt(pairs), len(pairs))
    write_lines(output / "discordant.jsonl", records)


def say_doubted(name: str, doubted: int, pairs: int) -> None:
    """Say how many discordant pairs hinge on the parser, where any does.

    Args:
        name: Name of the comparison.
        doubted: Number of discordant pairs whose texts may be read otherwise.
        pairs: Number of discordant pairs.
    """
    if doubted:
        console.print(
            f"{name}: {doubted} of {pairs} discordant pairs hinge on how a text is read; "
            "discordant.jsonl has both texts",
            markup=False,
            highlight=False,
        )


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write objects as JSON lines, whole or not at all.

    Args:
        path: The file.
        records: One object per line.
    """
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    replace_file(path, lines.encode("utf-8"))
