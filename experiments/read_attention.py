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
from .inputs import ScaledInputs, file_name

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.engines import Engine
    from lantern_probe.records.rows import Row
    from lantern_probe.tasks import Sample

COMMAND = "read_attention"


@dataclass(frozen=True)
class Config(ScaledInputs):
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


@dataclass(frozen=True)
class AttentionJob:
    """Engine of a reading; it can be sent to another process."""

    config: Config
    """Inputs of the command."""

    def __call__(self, lantern: LanternModel, some: Sequence[Sample]) -> list[Engine]:
        """The engine, without a run.

        Args:
            lantern: The model.
            some: Samples to run.
        """
        from lantern_probe.capture.attention_rows import AttentionReader

        reader = AttentionReader(
            lantern,
            some,
            None,
            max_new_tokens=self.config.max_new_tokens,
            batch_rows=self.config.rows_together,
        )
        return [reader]


def read_model(config: Config, name: str, progress: Progress) -> list[Row]:
    """The rows of one model, made where they are missing; overlays are drawn on the way."""
    from .runs import ModelLoader, open_run
    from .scaling import end_part, run_job

    data, samples = config.load_samples(name)
    folder, load = config.part(config.output / file_name(name)), ModelLoader(config, name)
    with open_run(config, folder, COMMAND, name, data, samples) as run:
        samples = run.register(samples)
        wanted = {(sample.id, "own") for sample in samples}
        run_job(config, run, samples, wanted, load, AttentionJob(config), progress)
        # Workers have no pictures to give: the same command without --ray draws them.
        if config.overlays and config.division is None and config.ray is None:
            from lantern_probe.capture.attention_rows import overlay_maps, overlays
            from lantern_probe.plots.attention_overlays import overlay_figure
            from lantern_probe.plots.style import save_figure
            from lantern_probe.records.overlays import write_overlay

            drawn = overlays(load(), samples[: config.overlays], config.max_new_tokens)
            if drawn:
                save_figure(overlay_figure([some[:4] for some in drawn]), folder / "overlays.png")
                write_overlay(folder, "attention", overlay_maps(drawn))
        rows = run.rows()
    end_part(config)
    return [row for row in rows if (row["sample"], row["condition"]) in wanted]


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
