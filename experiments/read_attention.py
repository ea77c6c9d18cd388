"""Read where the slots and the answer look.

    python -m experiments.read_attention
    python -m experiments.read_attention --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/attention

Every sample is answered, and its text run once more in one forward that reads the attention rows
of the start marker, the slots, the end marker and the answer, in all layers and heads, from an
sdpa model. No other rows are ever computed. Shown are the mass by role, the entropy, and the
enrichment of the evidence box over all windows of its size. Attention is where a model looks, not
what it uses: for that, cut the edges (knock_out). A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError

from .console import console, end_explained, explaining, print_failed, progress_bar, run_main
from .inputs import Inputs, file_name

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.rows import Row
    from lantern_probe.records.run import Run
    from lantern_probe.tasks import Sample

    from .runs import Advance

COMMAND = "read_attention"


@dataclass(frozen=True)
class Config(Inputs):
    """Read where the slots and the answer look."""

    model: tuple[str, ...] = ("faithful", "bypass")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    samples: int | None = 64
    """Number of samples."""
    overlays: int = 4
    """Number of samples whose attention is drawn over the image; 0 for none."""
    output: Path = Path("runs/read_attention")
    """Folder of the runs; each model gets a folder in it. Given again, the command goes on with
    what is there."""


def read_model(config: Config, name: str, progress: Progress) -> list[Row]:
    """The rows of one model, made where they are missing; overlays are drawn on the way."""
    from .runs import ModelLoader, open_run, run_due

    data, samples = config.load_samples(name)
    folder, load = config.output / file_name(name), ModelLoader(config, name)
    with open_run(config, folder, COMMAND, name, data, samples) as run:
        samples = run.register(samples)

        def engine(
            lantern: LanternModel, run: Run, some: Sequence[Sample], advance: Advance
        ) -> None:
            from lantern_probe.capture.attention_rows import AttentionReader

            AttentionReader(
                lantern,
                some,
                run,
                max_new_tokens=config.max_new_tokens,
                batch_rows=config.rows_together,
                advance=advance,
            ).execute()

        wanted = {(sample.id, "own") for sample in samples}
        run_due(run, samples, wanted, load, engine, progress)
        if config.overlays:
            from lantern_probe.capture.attention_rows import overlay_maps, overlays
            from lantern_probe.plots.attention_overlays import overlay_figure
            from lantern_probe.plots.style import save_figure
            from lantern_probe.records.overlays import write_overlay

            drawn = overlays(load(), samples[: config.overlays], config.max_new_tokens)
            if drawn:
                save_figure(overlay_figure([some[:4] for some in drawn]), folder / "overlays.png")
                write_overlay(folder, "attention", overlay_maps(drawn))
        return [row for row in run.rows() if (row["sample"], row["condition"]) in wanted]


def main(config: Config) -> int:
    """Read, show and draw; 1 when nothing useful came out."""
    config.check(config.model)
    if config.overlays < 0:
        raise LanternError(f"--overlays must be at least 0, not {config.overlays}")
    with progress_bar() as progress:
        rows = {}
        for name in dict.fromkeys(config.model):
            with explaining():
                rows[name] = read_model(config, name, progress)
    end_explained(config.only_shows)

    from lantern_probe.analysis import attention
    from lantern_probe.plots.attention import attention_figure
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import write_json

    from .tables.attention import LEGEND, print_means

    everything: list[attention.AttentionMean] = []
    for name, some in rows.items():
        found = attention.summarize(some, model=name)
        good = sum(row["status"] == "ok" for row in some)
        print_failed(name, some)
        if not found:
            console.print(f"{name}: no sample has a latent block or an answer", markup=False)
            continue
        print_means(found, good)
        save_figure(attention_figure(found), config.output / file_name(name) / "layers.png")
        everything += found
    console.print(LEGEND, highlight=False)
    if not everything:
        return 1
    write_json(config.output / "attention.json", everything)
    console.print(f"rows, attention.json and figures are in {config.output}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
