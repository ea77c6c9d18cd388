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
# # 9. What a slot says, and where it points
#
# A readout asks the model's own weights what a vector stands for. It is the first thing one looks
# at, and the first thing that misleads. Here you read the latents of three organisms as words and
# as places in the image, each beside the same readout of vectors that cannot know the answer.
#
# The models are *organisms*: tiny models trained so that we know the truth about them. They are no
# evidence about LanteRn.

# %%
# %matplotlib inline
import tempfile

import torch

from lantern_probe import LanternModel, Run, Store, load_task
from lantern_probe.analysis import image_readouts, word_readouts
from lantern_probe.capture import Capture, LogitLens, read_image_tokens, read_words
from lantern_probe.vocabulary import parse_sites

torch.set_num_threads(1)  # a model this small gains nothing from more
TASKS = {"faithful": "scenes", "bypass": "scenes", "collapsed": "scenes-grey"}
lanterns = {name: LanternModel(name) for name in TASKS}
samples = {name: load_task(task, 64, seed=7) for name, task in TASKS.items()}

# %% [markdown]
# ## Which vector is read?
#
# The latent fed at slot 0 is the model's final state at the start marker. The head reads it at
# once, for it is after the final norm already. What it mostly stands for is the model's next
# token: more of the block, and then its end. So the direction of the end marker is taken out
# before anything else is read.

# %%
lantern, sample = lanterns["faithful"], samples["faithful"][0]
latents = lantern.generate(sample).latents[0][0]
for without_end in (False, True):
    lens = LogitLens.of(lantern, without_end=without_end)
    top = lens.logits(latents).topk(4).indices
    print("without the end marker" if without_end else "as it is")
    for slot in (0, 3, 7):
        print("  slot", slot, [lantern.text(ids) for ids in top[slot].split(1)])
print(sample.question, "->", sample.answer)

# %% [markdown]
# The top words say little. What can be asked is how probable the right option is among all
# options, and whether other samples' latents say it as well.
#
# ## Words
#
# The vectors are captured once, into a folder, and read from there.

# %%
SITES = ("latent@slot", "residual.*@slot", "residual.*@answer-start")
stores, words = {}, {}
for name, lantern in lanterns.items():
    folder = tempfile.mkdtemp()
    sites = parse_sites(SITES, layers=4)
    with Run.open(folder, {"sites": [site.label for site in sites]}, overwrite=True) as run:
        Capture(lantern, samples[name], sites, run, batch_rows=64).execute()
    stores[name] = Store(folder)
    words[name] = read_words(lantern, stores[name], samples[name])
    latent = word_readouts.summarize(words[name], model=name)[0]
    print(
        f"{name:10} {latent.mean.estimate:.3f} [{latent.mean.low:.3f}, {latent.mean.high:.3f}], "
        f"in other samples' latents {latent.other:.3f}, p = {latent.p:.3f}"
    )

# %% [markdown]
# *faithful* and *bypass* both say their answer, and *collapsed* does not: its own latents carry
# nothing. But *bypass* never looks at its latents (notebook 4). A readout shows what is there, and
# not what is used.

# %%
from lantern_probe.plots import words_figure

means = word_readouts.summarize(words["bypass"], model="bypass")
words_figure(means, *word_readouts.rank_map(words["bypass"]), "bypass: readable, and not used")

# %% [markdown]
# On the left every site with its interval; red is the same text in other samples' vectors. On the
# right the median rank of the answer in the whole vocabulary, by layer and slot.
#
# ## Places
#
# The cosine of a latent to each token of the image is a map. The teal frame is the evidence box,
# the red one the nearest token.

# %%
from lantern_probe.capture import slot_maps
from lantern_probe.plots import slot_maps_figure

pictures = slot_maps(lanterns["faithful"], stores["faithful"], samples["faithful"], 3, centred=True)
slot_maps_figure(pictures, centred=True)

# %%
for name, lantern in lanterns.items():
    reading = read_image_tokens(lantern, stores[name], samples[name], centred=True)
    for mean in image_readouts.summarize(reading, model=name):
        if mean.slot is None:
            print(
                f"{name:10} {mean.measure:10} {mean.mean.estimate:.3f}, chance {mean.chance:.3f}, "
                f"with other samples' latents {mean.permuted:.3f}, p = {mean.p:.3f}"
            )

# %% [markdown]
# What may be said? The latents of *faithful* and *bypass* resemble the token in the box, in every
# slot. What may *not*? That a slot "looks at" the object: latents of other samples point into the
# box far above chance too, because objects resemble objects. And *collapsed* points at the grey
# object whose colour it cannot see.
