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
# # 2. A small ablation
#
# Does the answer need what stands in the slots? Put something else there, and count. This notebook
# runs eight conditions on 48 scenes for two organisms of known truth, and says how to read what
# comes out, above all how to read a difference of zero.
#
# `python -m experiments.ablate_latents` does the same with 256 scenes, all conditions, and any
# checkpoint. Organisms are engineered controls, and no evidence about LanteRn.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from lantern_probe import LanternModel, load_task
from lantern_probe.analysis.ablation import as_records, summarize
from lantern_probe.causal.ablation import Ablation
from lantern_probe.interventions import parse_condition
from lantern_probe.organisms import card
from lantern_probe.plots.ablation import plot_accuracy
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run

torch.set_num_threads(1)  # a model this small gains nothing from more
MODELS = ("faithful", "bypass")
for name in MODELS:
    print(f"{name}: {card(name).truth}")

# %% [markdown]
# ## Conditions
#
# A condition is named as on the command line. `own` is the sham: the model's own latents, through
# the code path of all others. The rest take something away, or put something else there.
#
# | condition | what stands at the slots |
# |---|---|
# | `own` | the model's own latents |
# | `skip` | the markers, and no slots |
# | `mask` | own latents that nothing behind the block may attend to |
# | `zeros` | zero vectors |
# | `noise-matched` | noise with the own latents' mean and spread |
# | `mean` | the data set's mean latent |
# | `swap` | another sample's latents |
# | `oracle` | the compressed vision features of the evidence box |

# %%
CONDITIONS = ["own", "skip", "mask", "zeros", "noise-matched", "mean", "swap", "oracle"]
samples = load_task("scenes", 48)

# %% [markdown]
# ## Run
#
# What a sample's conditions share is computed once and forked. Every answer becomes a row in the
# folder of a `Run`. Give it a folder that stays, and a run cut off goes on where it stopped. Here
# the folder is temporary.

# %%
rows = {}
with tempfile.TemporaryDirectory() as folder:
    for name in MODELS:
        conditions = [parse_condition(text) for text in CONDITIONS]
        with Run.open(Path(folder) / name, {"model": name, "conditions": CONDITIONS}) as run:
            Ablation(LanternModel(name), samples, conditions, run).execute()
        rows[name] = read_rows(Path(folder) / name)

pd.DataFrame(rows["faithful"])[["sample", "condition", "gold", "answer", "correct"]].head(8)

# %% [markdown]
# ## Tables and figures come from rows alone

# %%
summaries = {name: summarize(rows[name], model=name) for name in MODELS}

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, name in zip(axes, MODELS, strict=True):
    plot_accuracy(summaries[name], ax)

# %% [markdown]
# A dot is accuracy with its 95 % Wilson interval. The dashed line is `own`, the dotted one guessing
# (1 of 8 colours). The ring reads the most probable candidate and needs no parsing of the text. The
# diamond stands at `swap`: the share of answers that are the *donor's*.
#
# *faithful* falls to guessing wherever its latents are gone. With another sample's latents it is
# not merely wrong: it gives the other sample's answer. That is the stronger finding. An accuracy
# that drops could also mean that strange vectors disturb the model.
#
# ## How to read an interval
#
# Conditions are compared on the *same* samples, so the right number is the paired difference, not
# how far two intervals overlap. `minus own` is that difference with its 95 % interval (Tango);
# `p` is the exact McNemar test, which looks only at the samples that one condition gets right and
# the other wrong; `Holm p` is corrected for the number of conditions.

# %%
columns = {
    "accuracy": "accuracy",
    "diff_to_own": "minus own",
    "diff_low": "low",
    "diff_high": "high",
    "only_own": "only own right",
    "only_this": "only this right",
    "p": "p",
    "holm_p": "Holm p",
}


def table(name):
    frame = pd.DataFrame(as_records(summaries[name])).set_index("condition")
    shown = frame[list(columns)].rename(columns=columns).astype(float)
    return shown.style.format("{:.2g}", na_rep="")


table("faithful")

# %%
table("bypass")

# %% [markdown]
# ## "No difference"
#
# *bypass* answers everything right in every condition: not one sample is discordant, and p is 1.
# Has that shown that the latents do not matter? A p of 1 alone never shows it: a test on three
# samples would give the same. Ask instead how large a difference could have hidden. The interval
# says it: even without a discordant sample it is not empty, and more samples make it narrower.
#
# An equivalence test turns the question round. Its null hypothesis is that the accuracies differ by
# at least a margin, chosen beforehand; a small p says that they do not.

# %%
from lantern_probe.stats import accuracy_equivalence


def answers(name, condition):
    found = {row["sample"]: row for row in rows[name] if row["condition"] == condition}
    return [found[sample.id]["correct"] for sample in samples]


for margin in (0.1, 0.05, 0.02):
    for n in (12, 48):
        own, zeros = answers("bypass", "own")[:n], answers("bypass", "zeros")[:n]
        found = accuracy_equivalence(zeros, own, margin=margin)
        print(f"margin {margin:.2f}, {n} samples: p = {found.p:.3f}")

# %% [markdown]
# 48 scenes without a single discordant one are enough to rule out a loss of 10 points, and not
# enough for 5 or 2. So the honest sentence is "the accuracies differ by less than 10 points", and
# not "there is no difference". A smaller margin needs more samples. How many scenes without a
# discordant one would each margin take?

# %%
from lantern_probe.stats import equivalence_of_counts

for margin in (0.1, 0.05, 0.02):
    needed = next(
        n for n in range(1, 1000) if equivalence_of_counts(0, 0, n, margin=margin).equivalent
    )
    print(f"margin {margin:.2f}: {needed} scenes")

# %% [markdown]
# ## Not needed, or not there?
#
# "The answer survives" has two readings: the latents are empty, or they are full and nobody looks.
# *bypass* is of the second kind, as its card says. An ablation cannot tell them apart. The next
# notebook looks at what the latents hold.
