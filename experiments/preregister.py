"""Fix margin, family, primary condition and n in a file before a run.

    python -m experiments.preregister --primary swap --conditions swap zeros mask --samples 256
    python -m experiments.ablate_latents --model faithful --conditions swap zeros mask \\
        --samples 256 --preregistration preregistration.json --output runs/planned

The file has the margin of equivalence, the planned conditions (each is compared with own, and they
are one family), the primary one, the number of samples, and the smallest difference that so many
samples show. A run that is given the file refuses fewer samples, another margin and a missing
primary condition, records its hash, and marks every other condition as exploratory. A run whose
first row is older than the file refuses it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import STANDARD

from .console import print_caption, print_table, run_main, titled_table

if TYPE_CHECKING:
    from lantern_probe.records.preregistration import Preregistration


@dataclass(frozen=True)
class Config:
    """Fix margin, family, primary condition and n in a file before a run."""

    primary: str
    """Condition that the claim is about, one of --conditions."""
    conditions: tuple[str, ...] = tuple(label for label in STANDARD if label != "own")
    """Planned conditions, as in ablate_latents and knock_out, with @CORRUPTION for those under a
    corrupted image, such as zeros@black-box. They are the family of the tests."""
    samples: int = 256
    """Number of samples of a model, twins not counted."""
    margin: float = 0.02
    """Largest difference from own's accuracy, as a fraction, that is called equivalent."""
    discordance: float = 0.1
    """Expected fraction of samples that only one of own and a condition gets right, as in earlier
    runs; the smallest difference that is shown depends on it."""
    design_effect: float = 1.0
    """Expected factor by which repeated images inflate the variance; 1 where none repeats."""
    seed: int = 0
    """Seed of conditions that draw at random and name none; that of the run."""
    output: Path = Path("preregistration.json")
    """The file. An existing one is never rewritten."""


def planned_label(text: str, seed: int) -> str:
    """The label by which rows name a condition.

    Args:
        text: Condition, and the corruption it runs under behind an @.
        seed: Seed of conditions that name none.

    Raises:
        LanternError: there is no such condition or corruption.
    """
    from lantern_probe.interventions import parse_condition
    from lantern_probe.interventions.image import Corruption, parse_corruption

    condition, _, image = text.partition("@")
    corruption = parse_corruption(image) if image else Corruption()
    return corruption.suffix(parse_condition(condition, seed).label)


def planned_family(config: Config) -> tuple[str, tuple[str, ...]]:
    """The labels of the primary condition and of all planned ones, without own.

    Raises:
        LanternError: there is no such condition, or own is the primary one.
    """
    if config.seed < 0:
        raise LanternError(f"--seed must be at least 0, not {config.seed}")
    primary = planned_label(config.primary, config.seed)
    labels = dict.fromkeys(planned_label(text, config.seed) for text in config.conditions)
    if primary == "own":
        raise LanternError("--primary own is what the others are compared with; name another")
    labels.pop("own", None)
    if primary not in labels:
        raise LanternError(
            f"--primary {config.primary!r} is none of the --conditions {', '.join(labels)}"
        )
    return primary, tuple(labels)


def check(config: Config) -> None:
    """Refuse numbers out of their range, and a file that exists.

    Raises:
        LanternError: naming the flag.
    """
    if config.samples < 1:
        raise LanternError(f"--samples must be at least 1, not {config.samples}")
    if not 0 < config.margin < 1:
        raise LanternError(f"--margin lies between 0 and 1, not at {config.margin}")
    if not 0 <= config.discordance <= 1:
        raise LanternError(f"--discordance is a fraction from 0 to 1, not {config.discordance}")
    if not 1 <= config.design_effect < float("inf"):
        raise LanternError(f"--design-effect is at least 1, not {config.design_effect}")
    if config.output.exists():
        raise LanternError(
            f"'{config.output}' exists, and a preregistration is never rewritten; choose another "
            "--output"
        )


def plan_of(config: Config, primary: str, conditions: Sequence[str]) -> Preregistration:
    """The plan, with the smallest difference that it shows."""
    from lantern_probe.analysis.ablation import ALPHA, POWER
    from lantern_probe.records.preregistration import Preregistration
    from lantern_probe.stats import detectable_difference

    seen = detectable_difference(
        config.samples,
        config.discordance,
        alpha=ALPHA,
        power=POWER,
        family=len(conditions),
        effect=config.design_effect,
    )
    return Preregistration(
        primary=primary,
        conditions=tuple(conditions),
        samples=config.samples,
        margin=config.margin,
        alpha=ALPHA,
        power=POWER,
        discordance=config.discordance,
        design_effect=config.design_effect,
        detectable=None if seen is None else seen.difference,
    )


def show(plan: Preregistration) -> None:
    """Print what was fixed."""
    from lantern_probe.analysis.format import number, points
    from lantern_probe.stats import equivalence_of_counts

    table = titled_table(f"preregistration {plan.file}")
    table.add_column("fixed")
    table.add_column("value", overflow="fold")
    half = plan.discordance * plan.samples / 2
    alike = equivalence_of_counts(
        half, half, plan.samples, margin=plan.margin, effect=plan.design_effect
    )
    for name, value in (
        ("primary condition", plan.primary),
        ("family", f"{plan.family}: {', '.join(plan.conditions)}"),
        ("samples of a model", str(plan.samples)),
        ("margin of equivalence", f"{points(plan.margin)} points"),
        ("level of the family", f"{plan.alpha:g}"),
        ("smallest difference shown", f"{number(plan.detectable)} with {plan.power:.0%} power"),
        ("equivalence, if all are equal", f"p {alike.p:.3g}, before Holm"),
        ("written", plan.created),
        ("sha256", plan.sha256),
    ):
        table.add_row(name, value)
    print_table(table)
    print_caption(
        f"The smallest difference: at {plan.alpha:g} / {plan.family}, the first step of Holm, with "
        f"a discordance of {plan.discordance:g}. Equivalence: with as many samples right under "
        f"one only as under the other only, at that discordance; a p above {plan.alpha:g} means "
        "that so many samples can hardly show it.",
    )


def main(config: Config) -> int:
    """Write the file and show what it fixes."""
    check(config)
    primary, conditions = planned_family(config)

    from lantern_probe.records.preregistration import write_preregistration

    show(write_preregistration(config.output, plan_of(config, primary, conditions)))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
