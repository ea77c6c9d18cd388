# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Published figures, next to your own
#
# What has been published about latent slots, with its source and how we know it; what those numbers
# can carry by themselves; and how to put your own beside them.
#
# `python -m experiments.reproduce --list` shows the same list. Each figure is made by one command.
# With the published checkpoint, its data and a GPU it is the published setting. Without them an
# organism stands in: that shows that figure and analysis work on a model whose truth is known, and
# says nothing about LanteRn.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Image

from lantern_probe.analysis.literature.figures import (
    ALL,
    MARKS,
    published_figure,
    published_figures,
)
from lantern_probe.plots.style import ACCENT, INK

torch.set_num_threads(1)  # a model this small gains nothing from more
temporary = tempfile.TemporaryDirectory()  # removed when the kernel ends
work = Path(temporary.name)

for mark, meaning in MARKS.items():
    print(f"{mark}: {meaning}")
pd.DataFrame(
    {
        figure.name: {
            "mark": figure.mark,
            "of": figure.title,
            "n": figure.n.get(ALL, ""),
            "source": figure.source,
        }
        for figure in published_figures().values()
    }
).transpose()

# %% [markdown]
# A figure marked N was only seen second-hand. It is a hint, and nothing to lean on.
#
# ## What can published counts carry?
#
# For one table more is known than accuracies: how many samples *flip* between two conditions. That
# is all a paired test needs. *p* is the exact McNemar test, *Holm p* after correction over the ten
# pairs. No p is small. Is that "no difference"?
#
# *TOST* asks the other way round: can a difference of 2 points or more be ruled out, among ten such
# claims? And *MDE* is the smallest difference, in points, that would have been found among the ten
# in 80 of 100 such experiments.

# %%
from lantern_probe.stats import (
    detectable_difference,
    equivalence_of_counts,
    holm,
    mcnemar,
)

sft = published_figure("sft-viscot")
n = sft.n[ALL]
tests = [mcnemar(pair.b, pair.c).p for pair in sft.flips]
same = holm([equivalence_of_counts(pair.b, pair.c, n, margin=0.02).p for pair in sft.flips])


def detectable(pair):
    discordance, family = (pair.b + pair.c) / n, len(sft.flips)
    return 100 * detectable_difference(n, discordance, family=family).difference


pd.DataFrame(
    {
        f"{pair.first} - {pair.second}": {
            "only first : only second": f"{pair.b} : {pair.c}",
            "difference, points": f"{100 * (pair.b - pair.c) / n:+.2f}",
            "p": f"{p:.2g}",
            "Holm p": f"{adjusted:.2g}",
            "Holm p, TOST of 2 points": f"{equal:.2g}",
            "MDE, points": f"{detectable(pair):.1f}",
        }
        for pair, p, adjusted, equal in zip(sft.flips, tests, holm(tests), same, strict=True)
    }
).transpose()

# %% [markdown]
# So these nulls are worth something. With 1,200 samples and so few flips, five of the ten pairs are
# shown to be *within* 2 points of each other, and a difference of 1.6 to 2.1 points would most
# likely have been found. The table does not say "no effect". It says "no effect as large as that".
#
# ## Format or content?
#
# In LVR-7B's records, own latents look worst of all. But a text without a readable answer counts as
# wrong, and own latents break the format most often. Among the samples that are parsed under every
# condition the order changes.

# %%
lvr = published_figure("lvr7b-viscot")
shares = {(value.measure, value.condition): value.low for value in lvr.values}
order = lvr.conditions
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True, layout="constrained")
for ax, measure in zip(axes, ("accuracy", "unparsed", "jointly parsed"), strict=True):
    values = [shares[measure, condition] for condition in order]
    colors = [ACCENT if condition == "own" else INK for condition in order]
    ax.barh(range(len(order)), values, color=colors, height=0.6)
    for place, value in enumerate(values):
        ax.text(value, place, f" {value:.3f}", va="center", fontsize=8)
    ax.set_yticks(range(len(order)), order)
    ax.set_title(measure, fontsize=10)
    ax.set_xlim(0, 1.15 if measure != "unparsed" else 0.2)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].invert_yaxis()
note = figure.supxlabel(f"published counts ({lvr.mark}), n = {lvr.n[ALL]}", fontsize=8)

# %%
for other in ("skip", "oracle"):
    whole = shares["accuracy", other] - shares["accuracy", "own"]
    rest = shares["jointly parsed", other] - shares["jointly parsed", "own"]
    print(
        f"{other} minus own: {100 * whole:+.1f} points, among the jointly parsed {100 * rest:+.1f}"
    )

# %% [markdown]
# Most of what `skip` gains is format, not content. Whenever you compare conditions, look at both.
#
# ## One figure, with a stand-in
#
# `reproduce` runs what is missing, prints published next to measured, and draws. In Tetris puzzles
# oracle latents are published to solve most, and the model's own to be no better than zeros. The
# organism *collapsed* is built to be like that: it would use its slots, and its own latents are
# empty. *inside* says whether the published value lies in the measured interval. Here it is in
# brackets, for it compares another model on another task.

# %%
from experiments.reproduce import Config, main

code = main(Config(figure=("tetris",), samples=96, output=work))

# %%
Image(work / "tetris" / "figure.png", width=760)

# %% [markdown]
# The pattern is the published one. What a diagnostic makes of a model like that is known from here:
# see the other notebooks.
#
# ## Retrieval, in two readings
#
# Does a latent find its own oracle among those of 300 samples? Published recall at 1, 5 and 10 is
# near k / n, and was read as near random. But recall at small k throws most of the ranks away. The
# mean rank uses them all, and a test of it needs no more than the published mean.

# %%
from lantern_probe.geometry.retrieval_tests import rank_test_from_summary

rows = {}
for name in ("retrieval-sft", "retrieval-rl", "retrieval-sft-1200"):
    known = published_figure(name)
    test = rank_test_from_summary(known.n[ALL], known.retrieval.mean_rank)
    rows[name] = {
        "n": known.n[ALL],
        "recall at 10": f"{known.retrieval.recall[10]:.3f}",
        "10 / n": f"{10 / known.n[ALL]:.3f}",
        "mean rank": known.retrieval.mean_rank,
        "by chance": test.chance,
        "z": f"{test.z:.1f}",
        "p": f"{test.p:.2g}",
    }
pd.DataFrame(rows).transpose()

# %% [markdown]
# SFT is better than chance, with 1,200 samples beyond doubt; RL is near the line. (z takes ranks as
# independent and uniform; the test for your own data draws random pairings instead.) Better than
# chance is not yet *seeing*: latents that repeat the question find oracles that look like the
# question. So the command also asks among samples of the same question. Notebook 5 shows why that
# matters.

# %%
code = main(Config(figure=("retrieval-sft",), samples=300, output=work))

# %%
Image(work / "retrieval-sft" / "figure.png", width=760)

# %% [markdown]
# ## The published setting
#
# ```
# python -m experiments.reproduce --figure sft-viscot \
#     --model AGViveiros/LanteRn-3B-SFT --data viscot_mc_test.jsonl --image-root images \
#     --malformed skip --samples 1200
# python -m experiments.reproduce results/lvr_results --figure lvr7b-blink
# ```
#
# The first runs, the second reads result files in the official layout, or the folder of a run.
# Every figure becomes a PDF and a PNG, with all numbers in `figure.json`:

# %%
for file in sorted((work / "tetris").glob("figure.*")):
    print(f"{file.stat().st_size:>9,}  {file.name}")

# %% [markdown]
# ## Try
#
# * `Config(figure=("retrieval-sft",), model="collapsed", ...)`. Far above chance again. Now look at
#   the line about samples of one question.
# * How many samples would the first table have needed to rule out 1 point?
#   `lantern_probe.stats.required_n` and `equivalence_of_counts` tell.
