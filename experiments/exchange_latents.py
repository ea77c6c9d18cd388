"""Exchange latents with those of an edited twin: does the answer follow?

    python -m experiments.exchange_latents
    python -m experiments.exchange_latents --model AGViveiros/LanteRn-3B-SFT --twin black-box \\
        --data viscot_mc_test.jsonl --image-root images --subsets 0 --output runs/exchange

Every sample gets a twin: the same question on an image edited in a known way. Both run with their
own latents, with each other's, with an unrelated sample's, and with their own put back (the sham).
Shown are how often the donor's answer comes out (interchange intervention accuracy), how far its
margin moves, and how much of the image's effect passes through the latents (TE, NIE, NDE, TIE),
by way of other words after the block or with these held fixed.
Image and latents are crossed, a clean image with the twin's latents and the reverse, and the swaps'
shifts of the right answer's margin are shown signed and absolute, with the reverse of the pair and
a random pair as controls.
For single slots: alone, left out, and their Shapley shares over all sets of slots, with later slots
frozen and with them generated anew; of several categories of questions each is shown apart.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import freezes

from .console import console, run_main
from .inputs import AblationInputs, SeedOptions

if TYPE_CHECKING:
    from lantern_probe.tasks import Sample

    from .ablations import Part

COMMAND = "exchange_latents"

EXCHANGES = ("self-swap", "twin", "twin-fixed-words", "twin-oracle", "random-pair", "swap")

LANTERN_SLOTS = 8
"""Number of slots in a block of LanteRn."""

VARIANTS = {"both": (True, False), "frozen": (True,), "re-rolled": (False,)}
"""Each choice of `Config.later_slots` as values of `frozen`."""

MOST_SLOTS = 10
"""Most slots of which all sets are run for Shapley shares; each more doubles their number."""


@dataclass(frozen=True)
class Config(SeedOptions, AblationInputs):
    """Exchange latents with those of an edited twin: does the answer follow?"""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    twin: str = "color"
    """Edit that makes the twin. Of scenes: color, shape or cell, after which the right answer is
    known. Of any data a corruption of the image: black-box, black-image, blur:radius=0.05 or
    swap-image, after which no answer is known, so that only the mediation is shown. data takes the
    twins that --data names."""
    conditions: tuple[str, ...] = (
        *("own", "self-swap", "twin", "twin-fixed-words", "twin-oracle"),
        *("random-pair", "swap"),
    )
    """Exchanges, and any other condition of ablate_latents; own and twin are always run."""
    other_twins: tuple[str, ...] = ()
    """Further edits or corruptions, as --twin: the mediation by each is shown in one table beside
    that of --twin, to see if it depends on the twin."""
    samples: int | None = 96
    """Number of samples, each with a twin."""
    subsets: int = 12
    """Number of samples on which, and on whose twins, all sets of slots are exchanged; 0 for
    none."""
    later_slots: Literal["both", "frozen", "re-rolled"] = "both"
    """Slots after an exchanged one, in these sets: frozen keep their own values; re-rolled are
    generated from it, and may copy what it carries; both (twice as many runs) shows either."""
    output: Path = Path("runs/exchange_latents")
    """Folder of the run; of several models each gets a folder in it. Given again, the command goes
    on with what is there."""

    def asked(self, model: str) -> tuple[str, list[Sample]]:
        """The name of the data, and the samples, each followed by its twin."""
        from lantern_probe.causal.twin_pairs import SCENE_TWINS

        from .data import check_twin, load_pairs

        check_twin(self.twin, SCENE_TWINS)
        return load_pairs(self, self.twin, model)


def set_size(config: Config) -> int | None:
    """The number of slots of which all sets are exchanged; None where no sets are.

    Raises:
        LanternError: there are too many slots, or fewer than no samples are asked for.
    """
    from lantern_probe.causal.twin_pairs import SCENE_TWINS

    if config.subsets < 0:
        raise LanternError(f"--subsets must be at least 0, not {config.subsets}")
    if not config.subsets or config.twin not in SCENE_TWINS:
        return None
    size = config.known_slots(config.model[0]) or LANTERN_SLOTS
    if size > MOST_SLOTS:
        raise LanternError(f"all sets of {size} slots are too many; give --subsets 0")
    return size


def exchange_parts(config: Config, size: int | None) -> list[Part]:
    """The named exchanges, and every set of slots of some samples.

    Raises:
        LanternError: there is no such condition.
    """
    from lantern_probe.causal.twin_pairs import SCENE_TWINS
    from lantern_probe.interventions import Twin

    from .ablations import Part, ablation_parts

    labels = ["own", "twin", *config.conditions]
    if config.twin not in SCENE_TWINS:  # no box of the edited image is known
        labels = [label for label in labels if label != "twin-oracle"]
    parts = ablation_parts(labels, seed=config.seed, seeds=config.seeds)
    if size is None:
        return parts
    sets = [some for n in range(1, size) for some in combinations(range(size), n)]
    scopes = {
        (some, frozen and freezes(some, size)): None
        for frozen in VARIANTS[config.later_slots]
        for some in sets
    }
    exchanges = [Twin(slots="+".join(map(str, some)), frozen=kept) for some, kept in scopes]
    every = [*exchanges, Twin()]
    return [*parts, Part([*every], first=2 * config.subsets, shown=False, slots=size)]


def main(config: Config) -> int:
    """Run what is missing, show and draw it; 1 when nothing useful came out."""
    config.check_seeds()
    config.check(config.model)
    config.check_one_pass(COMMAND)
    size = set_size(config)
    from lantern_probe.causal.twin_pairs import SCENE_TWINS

    from .ablations import report_problems, run_ablation
    from .data import check_twin

    for twin in (config.twin, *config.other_twins):
        check_twin(twin, SCENE_TWINS)
    parts = exchange_parts(config, size)
    results = run_ablation(
        config,
        COMMAND,
        config.model,
        parts,
        parser=config.parser,
    )

    from matplotlib.figure import Figure

    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import write_json

    from .tables.controls import CROSSED_LEGEND, SWAP_LEGEND
    from .tables.exchange import LEGEND

    records: list[dict[str, Any]] = []
    figure = Figure(figsize=(13, 3.1 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), 4, squeeze=False)
    controls = Figure(figsize=(10, 3.4 * len(results)), layout="constrained")
    panels = controls.subplots(len(results), 2, squeeze=False)
    for number, (folder, summaries) in enumerate(results.items()):
        if not summaries[0].n:  # said below, and the others are shown all the same
            continue
        model = summaries[0].model
        record = report(config, parts[0].labels, folder, model, axes[number], size)
        records.append(
            {**record, **report_controls(parts[0].labels, folder, model, panels[number])}
        )
        console.print()
    if records:
        for legend in (LEGEND, CROSSED_LEGEND, SWAP_LEGEND):
            console.print(legend, highlight=False, markup=False)
    write_json(config.output / "exchange.json", records)
    if config.other_twins and records:
        from .twins import compare_twins

        compare_twins(config, COMMAND, {r["model"]: r["mediation"] for r in records})
    save_figure(figure, config.output / "exchange.png")
    save_figure(controls, config.output / "controls.png")
    console.print(
        f"rows, exchange.json, exchange.png and controls.png are in {config.output}", markup=False
    )
    return report_problems(list(results.values()))


def report(
    config: Config,
    conditions: Sequence[str],
    folder: Path,
    model: str,
    axes: Any,
    size: int | None,
) -> dict[str, Any]:
    """Print and draw one model's figures; they are returned for the record."""
    from lantern_probe.analysis import exchange, mediation, slot_shares
    from lantern_probe.plots import exchange as panels
    from lantern_probe.records.rows import read_rows

    from .tables.exchange import print_exchanges, print_mediation, print_shares

    rows = read_rows(folder)
    labels = [label for label in conditions if label.partition(":")[0] in EXCHANGES]
    found = exchange.summarize(rows, model=model, conditions=labels, donors="twin")
    found = [item for item in found if item.n]
    (effects,) = mediation.summarize(rows, model=model)
    if found:
        print_exchanges(found, console)
        panels.plot_donor_rates(found, axes[0])
    print_mediation(effects, console)
    panels.plot_effects(effects, axes[1])
    shares: list[slot_shares.SlotShare] = []
    if size is not None:
        variants = VARIANTS[config.later_slots]
        some = slot_shares.first_samples(rows, size, variants[0])
        for frozen in variants:
            found_here = slot_shares.summarize(some, model=model, size=size, frozen=frozen)
            print_shares(found_here, console)
            shares += found_here
            apart = slot_shares.by_category(some, model=model, size=size, frozen=frozen)
            for found_here in apart.values():
                print_shares(found_here, console)
                shares += found_here
        # The picture has the variant in which no slot copies another, where it was run.
        counts, rates = slot_shares.rates_by_count(some, size, variants[0])
        panels.plot_donor_rates_by_count(counts, rates, axes[2])
        drawn = [
            share
            for share in shares
            if (share.measure, share.frozen, share.category) == ("donor", variants[0], None)
        ]
        panels.plot_slot_shares(drawn, axes[3])
        axes[3].set_title(slot_shares.later_slots(variants[0]))
    return {"model": model, "exchanges": found, "mediation": effects, "slots": shares}


def report_controls(
    conditions: Sequence[str], folder: Path, model: str, axes: Any
) -> dict[str, Any]:
    """Print and draw one model's controls; they are returned for the record."""
    from lantern_probe.analysis import crossed, swap_controls
    from lantern_probe.plots.controls import plot_crossed, plot_swap_shifts
    from lantern_probe.records.rows import read_rows

    from .tables.controls import print_crossed, print_swap_shifts

    rows = read_rows(folder)
    cells = crossed.summarize(rows, model=model)
    if cells.n:
        print_crossed(cells, console)
        plot_crossed(cells, axes[0])
    # The named swaps alone: sets of slots are no family of theirs.
    named = [label for label in conditions if label.partition(":")[0] in swap_controls.SWAPS]
    shifts = swap_controls.summarize(rows, model=model, conditions=named)
    if shifts:
        print_swap_shifts(shifts, console)
        plot_swap_shifts(shifts, axes[1])
    return {"crossed": cells, "swaps": shifts}


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
