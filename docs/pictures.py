"""Draw the picture of the README from the rows of an ablation.

    python -m experiments.ablate_latents
    python docs/pictures.py

The first command writes the rows into `runs/ablate_latents`; the second writes
`docs/images/ablation.png`. Give another folder of such a run as the only argument.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lantern_probe.analysis.ablation import summarize
from lantern_probe.plots.ablation import plot_accuracy
from lantern_probe.plots.style import ACCENT, INK, SOFT, save_figure
from lantern_probe.records.rows import read_rows
from lantern_probe.tasks import load_task

PICTURE = Path(__file__).parent / "images" / "ablation.png"
CONDITIONS = {
    "own": "own latents",
    "skip": "no slots (skip)",
    "zeros": "zeros",
    "noise-matched": "matched noise",
    "swap": "another sample's (swap)",
    "oracle": "evidence crop (oracle)",
}
MODELS = {
    "faithful": "uses its latents",
    "bypass": "ignores them",
    "collapsed": "its own are empty",
    "vanilla": "the plain recipe",
}
SLOTS = 8


def main(run: Path) -> None:
    """Draw a question on the left and the four organisms beside it."""
    figure, (left, *panels) = plt.subplots(
        1,
        1 + len(MODELS),
        figsize=(11, 3.3),
        width_ratios=(1.9, 1, 1, 1, 1),
        layout="constrained",
    )
    draw_question(left)
    for ax, (model, truth) in zip(panels, MODELS.items(), strict=True):
        rows = [row for row in read_rows(run / model) if row["condition"] in CONDITIONS]
        plot_accuracy(summarize(rows, model=model, conditions=list(CONDITIONS)), ax=ax)
        ax.set_title(model, fontsize=11, pad=18, color=INK)
        ax.text(0.5, 1.03, truth, transform=ax.transAxes, ha="center", fontsize=8.5, color=SOFT)
        ax.set_xlabel("")
        ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        ax.set_yticklabels([])
    panels[0].set_yticklabels(list(reversed(CONDITIONS.values())))
    figure.supxlabel(
        "accuracy with 95 % Wilson interval, 256 scenes; ring: by likelihood; dashed: own latents; "
        "dotted: guessing; diamond: answers that are the donor's",
        fontsize=8,
    )
    save_figure(figure, PICTURE, dpi=130)


def draw_question(ax: Axes) -> None:
    """Draw one scene, its question, and the answer with the slots of its latent block."""
    sample = load_task("scenes", 3)[2]
    ax.set_axis_off()
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 10)
    picture = ax.inset_axes((0.2, 0.4, 0.56, 0.6))
    picture.imshow(sample.open_images()[0], interpolation="nearest")
    picture.set_axis_off()
    ax.text(4.8, 3.0, sample.question, ha="center", fontsize=10, color=INK)
    marker = {"va": "center", "fontsize": 7.5, "color": INK, "family": "monospace"}
    ax.text(0.0, 1.7, "<|lvr_start|>", **marker)
    for slot in range(SLOTS):
        ax.add_patch(Rectangle((3.1 + 0.4 * slot, 1.4), 0.3, 0.6, fc=ACCENT, ec="none"))
    ax.text(6.4, 1.7, "<|lvr_end|>", **marker)
    ax.text(4.8, 0.3, f"<answer> {sample.answer} </answer>", ha="center", **marker)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/ablate_latents"))
