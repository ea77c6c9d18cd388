"""Diagnose a model: one card, from the numbers to a reading of them.

    python -m experiments.diagnose
    python -m experiments.diagnose --model AGViveiros/LanteRn-3B-SFT --data viscot_mc_test.jsonl \\
        --image-root images --minutes 60 --output runs/diagnosis

Every sample gets a twin: the data's own, the same scene with another colour, or the image with its
evidence blacked out. Both run with their own latents, with their own put back (the sham), with each
other's, with oracle latents, and with slots, block or markers taken away. The card gives eleven
numbers with their intervals, then their reading: faithful, partial, weak, redundant, bypass,
collapsed, format only, markers only; or undecided, with the pairs that would decide. The first look
is at half of the pairs, and ends the run if it decides. Then come cuts of attention, a probe,
geometry and retrieval on at most 64 pairs, as supporting evidence that never changes the reading.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lantern_probe.analysis.battery import EDGES, EVIDENCE_PAIRS
from lantern_probe.errors import LanternError

from .console import console, end_explained, explaining, progress_bar, run_main
from .endpoint_options import EndpointOptions
from .inputs import Inputs, Parser
from .planning import note_pairs
from .report import show_page

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.analysis.card import Card
    from lantern_probe.causal.diagnosis import Battery
    from lantern_probe.causal.twin_pairs import TwinPairs
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.run import Run
    from lantern_probe.tasks import Sample

    from .runs import Advance

COMMAND = "diagnose"

MOST_PAIRS = 512
"""Most pairs of a generated task, and of any data, unless --samples says more."""


@dataclass(frozen=True)
class Config(EndpointOptions, Inputs):
    """Diagnose a model: one card, from the numbers to a reading of them."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed", "vanilla")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    minutes: float = 10.0
    """Time of one model, supporting evidence included, from which the number of pairs is chosen
    once, after the first 32. A look at the clock never ends a run."""
    samples: int | None = None
    """Number of samples, each with a twin; it replaces --minutes."""
    delta: float = 0.05
    """Largest share that counts as nothing; to be fixed before the run."""
    high: float = 0.8
    """Smallest share that counts as most pairs; to be fixed before the run."""
    evidence: Literal["decisive", "all"] = "all"
    """decisive leaves the supporting evidence out."""
    parser: Parser = "default"
    """Parser of the answers: default reads letters and words, official and strict read
    letters as the published evaluations did."""
    output: Path = Path("runs/diagnose")
    """Folder of the run; of several models each gets a folder in it. Given again, the command goes
    on with what is there."""


def main(config: Config) -> int:
    """Run what is missing, show and write the cards; 1 if a model has no reading."""
    config.check_endpoint(config.model)
    config.check(config.model)
    if not 0 < config.minutes < float("inf"):
        raise LanternError(f"--minutes must be positive, not {config.minutes}")
    if not 0 < config.delta < config.high < 1:
        raise LanternError(
            f"--delta and --high need 0 < delta < high < 1, not {config.delta} and {config.high}"
        )
    if config.preregistration is not None and not (config.samples or config.sample_ids):
        raise LanternError(
            "--minutes would choose the number of pairs after the first of them, and a "
            "preregistration fixes it before; give --samples"
        )
    cards = {}
    with progress_bar() as progress:
        for name, folder in config.folders(config.model).items():
            with explaining():
                cards[folder] = _diagnose(config, name, folder, progress)
    end_explained(config.only_shows)
    from .served import show_served

    for folder, card in cards.items():
        show(card, folder)
        show_served(config, card.model, folder, card=True)
    show_page(config.output)
    return 1 if any(card.reasons for card in cards.values()) else 0


def _diagnose(config: Config, name: str, folder: Path, progress: Progress) -> Card:
    from dataclasses import replace

    from lantern_probe.causal.twin_pairs import CHUNK

    from .data import pair_samples
    from .runs import ModelLoader, open_run
    from .served import servant

    chosen = config.samples or config.data or config.sample_ids is not None
    some = config if chosen else replace(config, samples=MOST_PAIRS)
    data, samples = some.load_samples(name)
    pairs = pair_samples(some, samples, None, name)
    settings: dict[str, Any] = {
        "edit": pairs.edit, "chunk": CHUNK, "parser": config.parser,
        "delta": config.delta, "high": config.high,
    }  # fmt: skip
    if config.sample_ids is not None:  # they decide which pairs are a chunk
        settings["sample_ids"] = sorted({*config.sample_ids})
    compared = pairs.conditions()
    with open_run(config, folder, COMMAND, name, data, pairs, compared, **settings) as run:
        from lantern_probe.analysis.reading import Thresholds
        from lantern_probe.causal.diagnosis import recorded
        from lantern_probe.records.run_size import RAN, ran_of

        pairs = recorded(run, pairs)
        if config.dry_run:
            _estimate(config, name, pairs, run, progress)
        server = servant(config, name, run, [*pairs], parser=config.parser)
        bar = progress.add_task(name, total=None)
        battery = _battery(
            config, ModelLoader(config, name), pairs, run, lambda rows: progress.advance(bar, rows)
        )
        planned = plan(config, battery, run)
        note_pairs(run, planned, name)
        progress.update(bar, total=2 * planned * len(pairs.conditions()))
        limits = Thresholds(config.delta, config.high)
        card = battery.conclude(planned, limits, config.label(name), data)
        run.note(**{RAN: ran_of(run.rows())})
        if server is not None:
            seen = pairs[: 2 * int(card.settings["pairs"])]
            _run_stock(battery, seen)
            server.ask(progress, seen)
        if config.evidence == "decisive":
            return card
        from lantern_probe.causal.supporting import with_evidence

        looked = min(card.settings["pairs"], EVIDENCE_PAIRS)
        rows = card.settings["pairs"] * len(pairs.conditions()) + looked * len(EDGES)
        progress.update(bar, total=2 * rows)
        return with_evidence(battery, card, limits.delta)


def _run_stock(battery: Battery, samples: Sequence[Sample]) -> None:
    """Run the local condition that plain servers answer like, as far as rows are missing."""
    from lantern_probe.causal.ablation import Ablation
    from lantern_probe.interventions import parse_condition

    from .served import STOCK

    if all(battery.run.has(sample.id, STOCK) for sample in samples):
        return
    Ablation(
        battery.load(),
        samples,
        [parse_condition(STOCK)],
        battery.run,
        max_new_tokens=battery.max_new_tokens,
        batch_rows=battery.batch_rows,
        parser=battery.parser,
    ).execute()


def _battery(
    config: Config,
    load: Callable[[], LanternModel],
    pairs: TwinPairs,
    run: Run,
    advance: Callable[[int], None],
) -> Battery:
    from lantern_probe.causal.diagnosis import Battery

    return Battery(
        load,
        pairs,
        run,
        config.max_new_tokens,
        config.rows_together,
        config.parser,
        advance,
    )


def _estimate(config: Config, name: str, pairs: TwinPairs, run: Run, progress: Progress) -> None:
    """Show what all pairs will take.

    Raises:
        Explained: always, once it is shown.
    """
    from lantern_probe.causal.twin_pairs import TwinPairs

    from .runs import ModelLoader, run_due

    cuts = EDGES if config.evidence == "all" else ()

    def engine(lantern: LanternModel, into: Run, some: Sequence[Sample], advance: Advance) -> None:
        few = TwinPairs(some, pairs.twin)
        battery = _battery(config, lambda: lantern, few, into, advance)
        battery.until(few.number)
        battery.until(min(few.number, EVIDENCE_PAIRS), cuts)

    most = run.manifest.get("plan", {}).get("pairs") if config.samples is None else None
    asked = pairs[: 2 * int(most)] if most else pairs
    if most is None and config.samples is None and config.sample_ids is None:
        console.print(
            f"{name}: of these pairs as many are run as fit into --minutes {config.minutes:g}, and "
            "half of them if that decides",
            markup=False,
        )
    wanted = {(sample.id, label) for sample in asked for label in pairs.conditions()}
    wanted |= {(s.id, label) for s in asked[: 2 * EVIDENCE_PAIRS] for label in cuts}
    run_due(run, asked, wanted, ModelLoader(config, name), engine, progress)


def plan(config: Config, battery: Battery, run: Run) -> int:
    """The number of pairs: what was planned before, else all that are asked for or that fit.

    Args:
        config: The inputs.
        battery: Engine that runs the pairs.
        run: Run that records the plan.
    """
    from lantern_probe.causal.twin_pairs import CHUNK

    there = battery.pairs.number
    before = run.manifest.get("plan")
    if before is not None and config.samples is None:
        return min(int(before["pairs"]), there)
    if config.samples is not None or config.sample_ids is not None:
        flag = "--samples" if config.sample_ids is None else "--sample-ids"
        run.note(plan={"pairs": there, "chosen": f"by {flag}"})
        return there
    pace = battery.until(CHUNK) or battery.until(2 * CHUNK)
    extra = len(EDGES) / len(battery.pairs.conditions()) if config.evidence == "all" else 0.0
    fitting = there if pace is None else fitting_pairs(60 * config.minutes / pace, extra)
    pairs = min(there, MOST_PAIRS, max(2 * CHUNK, fitting))
    run.note(
        plan={
            "pairs": pairs,
            "chosen": "after the first chunk",
            "minutes": config.minutes,
            "seconds_per_pair": pace,
        }
    )
    return pairs


def fitting_pairs(room: float, extra: float) -> int:
    """The number of pairs that fit, with the evidence on the first of them.

    Args:
        room: Time, in the time that the decisive conditions of one pair take.
        extra: Time of the evidence on one pair, in the same unit.
    """
    few = room / (1 + extra)
    return int(few if few <= EVIDENCE_PAIRS else room - extra * EVIDENCE_PAIRS)


def show(card: Card, folder: Path) -> None:
    """Print a card, and write it beside its rows as `card.json` and `card.png`."""
    from lantern_probe.plots.card import plot_card
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import write_json

    from .tables.card import print_card

    print_card(card, console)
    write_json(folder / "card.json", card.as_record())
    axes = plot_card(card)
    figure = axes.get_figure(root=True)
    assert figure is not None
    save_figure(figure, folder / "card.png")
    console.print(f"rows, card.json and card.png are in {folder}\n", markup=False)


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
