"""Does the answer follow the latents? Exchange them with those of an edited twin, and mediate.

    python -m experiments.exchange_latents
    python -m experiments.exchange_latents --model AGViveiros/LanteRn-3B-SFT --twin black-box \\
        --data viscot_mc_test.jsonl --image-root images --subsets 0 --output runs/exchange

Every sample gets a twin: the same question on an image edited in a known way. Both run with their
own latents, with each other's, with an unrelated sample's, and with their own put back (the sham).
From the rows come how often the donor's answer comes out (interchange intervention accuracy), how
far its margin moves, how much of the image's effect passes through the latents (TE, NIE, NDE,
TIE), and which slots carry it: alone, left out, and their Shapley shares over all sets of slots.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments import ablate_latents
from experiments.ablate_latents import Part
from experiments.console import console, run_main
from experiments.inputs import load_samples
from experiments.tables.exchange import LEGEND, print_exchanges, print_mediation, print_shares
from lantern_probe.analysis import exchange, mediation, slot_shares
from lantern_probe.analysis.slot_shares import (
    SlotShare,
    first_samples,
    rates_by_count,
    subset_label,
    subsets,
)
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.interventions.image import CORRUPTIONS, parse_image_corruption
from lantern_probe.plots.exchange import (
    plot_donor_rates,
    plot_donor_rates_by_count,
    plot_effects,
    plot_slot_shares,
)
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import read_rows
from lantern_probe.tasks import Sample
from lantern_probe.tasks.scenes import twin
from lantern_probe.tasks.twins import with_twins

SCENE_TWINS = ("color", "shape", "cell")


EXCHANGES = ("self-swap", "twin", "twin-oracle", "swap")


LANTERN_SLOTS = 8


MOST_SLOTS = 10
"""All sets of so many slots are run for Shapley shares; each more doubles their number."""


@dataclass(frozen=True)
class Config(ablate_latents.Config):
    """Does the answer follow the latents? Exchange them with those of an edited twin."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    twin: str = "color"
    """How twins are made: of scenes by color, shape or cell (the answer they call for is known);
    of anything by a corruption: black-box, black-image, blur:radius=0.05, swap-image (mediation
    only, no answer is known)."""
    conditions: tuple[str, ...] = ("own", "self-swap", "twin", "twin-oracle", "swap", "swap:seed=1")
    """Exchanges, and any other condition; own and twin are always run."""
    samples: int | None = 96
    """How many samples, each with a twin."""
    subsets: int = 12
    """On how many samples (and their twins) all sets of slots are exchanged; 0 for none."""
    frozen: bool = False
    """In these sets, slots out of scope keep their own values instead of being generated from
    the exchanged ones."""
    output: Path = Path("runs/exchange_latents")
    """Folder of the run; with several models each gets a folder in it."""


def load_pairs(config: Config, model: str) -> tuple[str, list[Sample]]:
    """The samples of a model, each followed by its twin.

    Raises:
        LanternError: as for `load_samples`, or there are no such twins.
    """
    task, samples = load_samples(config, model)
    if config.twin in SCENE_TWINS:
        pairs, without = with_twins(
            samples,
            lambda sample: twin(sample, config.twin, config.seed),  # type: ignore[arg-type]
            answers_known=True,
        )
    elif config.twin.partition(":")[0] in CORRUPTIONS:
        corruption = parse_image_corruption(config.twin)
        pairs, without = with_twins(
            samples, lambda sample: corruption.apply(sample, samples), answers_known=False
        )
    else:
        raise LanternError(
            f"no twins by {config.twin!r}; there are {', '.join((*SCENE_TWINS, *CORRUPTIONS))}"
        )
    if without:
        console.print(f"{len(without)} samples have no twin: {without[0]} ...", markup=False)
    return f"{task} with twins by {config.twin}", pairs


def main(config: Config) -> int:
    """Run what is missing, show and draw it; 1 when nothing useful came out."""
    if config.images != ("clean",):
        raise LanternError("twins are edited images already; leave --images out")
    wanted = tuple(dict.fromkeys(("own", "twin", *config.conditions)))
    if config.twin not in SCENE_TWINS:
        wanted = tuple(name for name in wanted if name != "twin-oracle")
    config = replace(config, conditions=wanted)
    size, more = config.latent_size or LANTERN_SLOTS, []
    if config.subsets and config.twin in SCENE_TWINS:
        if size > MOST_SLOTS:
            raise LanternError(f"all sets of {size} slots are too many; give --subsets 0")
        labels = [subset_label("twin", s, size, frozen=config.frozen) for s in subsets(size)]
        some = [parse_condition(label) for label in labels]
        more = [Part(some, first=2 * config.subsets, shown=False, slots=size)]
    results = ablate_latents.ablate_models(config, load_pairs, more)  # type: ignore[arg-type]
    records: list[dict[str, Any]] = []
    figure = Figure(figsize=(13, 3.1 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), 4, squeeze=False)
    for (folder, summaries), row in zip(results.items(), axes, strict=True):
        if not summaries[0].n:  # said below, and the others are shown all the same
            continue
        records.append(report(config, folder, summaries[0].model, row, size if more else None))
    if records:
        console.print(LEGEND, highlight=False, markup=False)
    write_json(config.output / "exchange.json", records)
    save_figure(figure, config.output / "exchange.png")
    console.print(f"rows, exchange.json and exchange.png are in {config.output}", markup=False)
    return ablate_latents.report_problems(list(results.values()))


def report(config: Config, folder: Path, model: str, axes: Any, size: int | None) -> dict[str, Any]:
    """Print and draw one model's figures; they are returned for the record."""
    rows = read_rows(folder)
    labels = [label for label in config.conditions if label.partition(":")[0] in EXCHANGES]
    found = exchange.summarize(rows, model=model, conditions=labels, donors="twin")
    found = [item for item in found if item.n]
    (effects,) = mediation.summarize(rows, model=model)
    if found:
        print_exchanges(found, console)
        plot_donor_rates(found, axes[0])
    print_mediation(effects, console)
    plot_effects(effects, axes[1])
    shares: list[SlotShare] = []
    if size is not None:
        some = first_samples(rows, size, config.frozen)
        shares = slot_shares.summarize(some, model=model, size=size, frozen=config.frozen)
        print_shares(shares, console)
        counts, rates = rates_by_count(some, size, config.frozen)
        plot_donor_rates_by_count(counts, rates, axes[2])
        plot_slot_shares([s for s in shares if s.measure == "donor"], axes[3])
    console.print()
    return {"model": model, "exchanges": found, "mediation": effects, "slots": shares}


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
