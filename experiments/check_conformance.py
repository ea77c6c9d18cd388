"""Compare this toolkit with recorded outputs of official code.

    python -m experiments.check_conformance tests/conformance/lantern

The folder holds a checkpoint and the outputs of the official generation loop and helpers for it
(layout and bar: its README); its manifest names the system, LanteRn by default. The exit code is 0
only if the bar is met. With the recorded tokens and latents imposed, every state must be within
1e-3 of the recorded one relative to its size, and every token the recorded one. Near-ties are
excepted, up to 1 % of the tokens. Every crop box and oracle compression must agree. Agreement of
free runs is printed in addition and not judged. Attention is rounded as in transformers 4.57, under
which LanteRn's outputs were recorded, so that decoding is compared and not kernels.
`--attn-implementation sdpa` compares the attention of all other commands.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from lantern_probe.errors import LanternError
from lantern_probe.model.agreement import (
    COMPRESSION_TOLERANCE,
    STATE_TOLERANCE,
    TIE_FRACTION,
    Report,
    TokenDifference,
)

from .console import console, quiet_transformers, run_main

LISTED = 10
"""Largest number of lines of a list on the console; `--output` has all."""

FILES = ("checkpoint", "manifest.json", "generation.npz")
"""Contents of a conformance folder; LanteRn's has compression.npz, too."""


@dataclass
class Config:
    """Compare this toolkit with recorded outputs of official code."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder with checkpoint/, manifest.json, generation.npz and compression.npz."""
    output: Path | None = None
    """JSON file for all figures; by default they are only printed."""
    attn_implementation: str | None = None
    """Attention: sdpa or eager; by default sdpa with the rounding of transformers 4.57."""


def require_files(folder: Path) -> None:
    """Refuse a folder that lacks a file, before anything is loaded.

    Raises:
        LanternError: naming the file.
    """
    for name in FILES:
        if not (folder / name).exists():
            raise LanternError(f"'{folder}' is no conformance folder: it has no {name}")


def print_list(title: str, lines: Sequence[str]) -> None:
    """Print the first lines of a list under its title; nothing if it is empty."""
    shown = [f"  {line}" for line in lines[:LISTED]]
    if len(lines) > LISTED:
        shown.append(f"  and {len(lines) - LISTED} more")
    if lines:
        lines = [f"{title}:", *shown]
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def described(token: TokenDifference) -> str:
    """A token difference as one line of text."""
    return (
        f"{token.case} row {token.row} step {token.step}: recorded {token.recorded}, "
        f"ours {token.ours}, logits {token.gap:.1e} apart"
    )


def print_report(report: Report) -> None:
    """Print what agreed, and list what did not."""
    print_list("near-ties", [described(token) for token in report.near_ties])
    print_list("other tokens that differ", [described(token) for token in report.wrong_tokens])
    print_list(
        "states that differ",
        [
            f"{state.case} row {state.row} latent {state.latent}, {state.kind}: "
            f"{state.difference:.1e}"
            for state in report.state_differences
        ],
    )
    print_list(
        "first deviations of free runs (not judged)",
        [
            f"{described(row.token)}; latents fed before within {row.state_difference:.1e}"
            for row in report.deviations
        ],
    )
    same = report.tokens - len(report.token_differences)
    console.print(
        f"forced: tokens identical     {same} of {report.tokens}, near-ties "
        f"{len(report.near_ties)} (bar {TIE_FRACTION:.0%})\n"
        f"forced: produced states      {report.states}, largest relative difference "
        f"{report.state_difference:.1e} (bar {STATE_TOLERANCE:g})\n"
        f"forced: fed latents          {report.fed}, largest relative difference "
        f"{report.fed_difference:.1e} (bar {STATE_TOLERANCE:g})\n"
        f"free: rows token-identical   {report.rows_identical} of {report.rows} (not judged)\n"
        f"crop boxes identical         {report.crops_identical} of {report.crops}\n"
        f"oracle compressions          {report.compressions}, largest difference "
        f"{report.compression_difference:.1e} (bar {COMPRESSION_TOLERANCE:g})"
    )


def main(config: Config) -> int:
    """Check a folder and print what agreed; 0 only if the bar is met."""
    require_files(config.folder)
    from rich.progress import track

    from lantern_probe.model.conformance import check
    from lantern_probe.records.json_files import write_json

    quiet_transformers()
    report = check(
        config.folder,
        config.attn_implementation,
        lambda cases: track(cases, "cases", console=console, transient=True),
    )
    print_report(report)
    verdict = "[green]conforms[/]" if report.passed else "[red]does not conform[/]"
    console.print(f"{escape(str(config.folder))} {verdict}")
    if config.output is not None:
        write_json(config.output, {**asdict(report), "passed": report.passed})
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
