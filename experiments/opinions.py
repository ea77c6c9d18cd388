"""Further readings of an ablation, shown on request: a posterior, and a second opinion by GEE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lantern_probe.errors import LanternError

from .console import console

if TYPE_CHECKING:
    from lantern_probe.analysis.ablation import ConditionSummary


@dataclass(frozen=True)
class OpinionOptions:
    """Further readings of the table."""

    posterior: bool = False
    """Show the posterior of every difference from own, with its mass within the margin;
    summary.json has it always."""
    prior: float = 0.5
    """Prior count of each of the four cells (right under both, under own only, under the condition
    only, under neither) of that posterior; 0.5 is Jeffreys' prior, 1 the uniform one."""
    second_opinion: Literal["gee"] | None = None
    """A second test of every difference from own: gee, a logistic model with exchangeable
    correlation within an image and a correction for few images. It goes to second_opinion.json."""

    def check_opinions(self) -> None:
        """Refuse a prior out of its range.

        Raises:
            LanternError: naming the flag.
        """
        if not 1e-3 <= self.prior <= 1e3:
            raise LanternError(f"--prior lies between 0.001 and 1000, not at {self.prior}")


def show_opinions(
    options: OpinionOptions, found: Mapping[Path, Sequence[ConditionSummary]], output: Path
) -> None:
    """Print what was asked for, and write second_opinion.json.

    Args:
        options: The options.
        found: Summaries of every model's conditions, by folder of its run.
        output: Folder of the command.
    """
    from .tables.opinions import print_opinions, print_posteriors

    if options.posterior:
        for summaries in found.values():
            print_posteriors(summaries, console)
    if options.second_opinion is None:
        return
    from lantern_probe.analysis import second_opinion
    from lantern_probe.records.json_files import write_json
    from lantern_probe.records.preregistration import registered_in
    from lantern_probe.records.rows import read_manifest, read_rows

    every = []
    for folder, summaries in found.items():
        opinions = second_opinion.summarize(
            read_rows(folder),
            model=summaries[0].model,
            conditions=[label for s in summaries for label in s.labels],
            plan=registered_in(read_manifest(folder)),
        )
        print_opinions(opinions, summaries, console)
        every += opinions
    write_json(output / "second_opinion.json", every)
    console.print(f"second_opinion.json is in {output}", markup=False)
