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
# # 8. Watch a training
#
# Do the answers follow the latents, and since which step? `MonitorCallback` measures it between
# two steps of transformers' `Trainer`, and leaves the model as it was. This notebook trains the
# organism *bypass*, whose answers ignore its latents, until they follow them, and draws the curve.
#
# Organisms are engineered controls, and no evidence about LanteRn. Everything here is written to a
# temporary folder.

# %%
# %matplotlib inline
import tempfile

import matplotlib.pyplot as plt
import torch
from torch.nn import functional
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging as transformers_logging

from lantern_probe import MonitorCallback, load_task, organisms
from lantern_probe.organisms.training import vision
from lantern_probe.organisms.training.build import build_processor, load
from lantern_probe.organisms.training.layout import FULL, Layout, Scenes
from lantern_probe.plots import plot_monitor

torch.set_num_threads(1)  # a model this small gains nothing from more
transformers_logging.disable_progress_bar()

# %% [markdown]
# ## The data
#
# A row is a scene, its question, and a latent block before the answer. Every second row has the
# oracle latents of *another* scene, and that scene's answer. Where image and latents disagree, only
# the latents tell the answer, and so the model learns to read them.

# %%
model, processor = load(organisms.path("bypass")), build_processor()
train = load_task("scenes", 1024, seed=77)
layout, known = Layout(model), Scenes.of(train)
images = vision.cache(model, processor.image_processor, [s.open_images()[0] for s in train])
thoughts = vision.latents(model, processor.image_processor, vision.oracle_crops(train))
donors = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
rows = [{"scene": i, "donor": donor if i % 2 else i} for i, donor in enumerate(donors)]

# %% [markdown]
# ## The trainer
#
# The loss is that of an SFT with latents: the text after the prompt, the answer three times, and
# the distance of the model's own latents from the oracle's where these are of the same scene.


# %%
class LatentTrainer(Trainer):
    """Feeds the donor's latents at the slots, and asks for the donor's answer."""

    def compute_loss(self, model, inputs, **others):
        scene, donor = inputs["scene"], inputs["donor"]
        batch = layout.rows(known[scene], known.color[donor], torch.full_like(scene, FULL))
        embedded = layout.embed(model, batch, images[scene], thoughts[donor])
        hidden = layout.hidden(model, batch, embedded)
        said = batch.labels != -100
        losses = functional.cross_entropy(
            model.lm_head(hidden[said]), batch.labels[said], reduction="none"
        )
        columns = torch.arange(said.shape[1]).expand_as(said)[said]
        weights = torch.where(columns == layout.answer - 1, 3.0, 1.0)
        own = scene == donor
        errors = hidden[own, layout.start : layout.end - 1] - thoughts[donor[own]]
        return (weights * losses).sum() / weights.sum() + errors.pow(2).mean()


folder = tempfile.mkdtemp(prefix="training-")
settings = TrainingArguments(
    folder,
    max_steps=48,
    per_device_train_batch_size=32,
    learning_rate=5e-4,
    warmup_steps=5,
    logging_steps=8,
    remove_unused_columns=False,
    use_cpu=True,
    report_to=[],
    save_strategy="no",
    disable_tqdm=True,
)
model.model.visual.requires_grad_(False)
trainer = LatentTrainer(model, settings, train_dataset=rows, processing_class=processor)
trainer.remove_callback(PrinterCallback)  # the curve below shows what it would print

# %% [markdown]
# ## The monitor
#
# 32 pairs of twins, at the start and every 8 steps. Its samples have another seed than the data.

# %%
held_out = load_task("scenes", 32, seed=5)
callback = MonitorCallback(trainer, held_out, steps=8, max_new_tokens=40)
trainer.add_callback(callback)
trainer.train()

# %% [markdown]
# ## The curve
#
# *Follows* is the share of pairs that give the donor's own answer once all slots are exchanged. It
# rises, while *sees*, and with it the accuracy, is 1 before and after: the model can always answer
# off the image, so that its accuracy says nothing about its latents. Bands are 95 % intervals of
# single looks; they say nothing about the curve as a whole.

# %%
figure, ax = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
plot_monitor(trainer.state.log_history, ax, names=["follows", "sees", "needed"])
ax.set_title("the organism bypass, trained to follow its latents", fontsize=9)
plt.show()

# %%
first, last = callback.seen[0], callback.seen[48]
print("accuracy:", first.accuracy["own"].estimate, "->", last.accuracy["own"].estimate)
print("follows: ", first["follows"].value, "->", last["follows"].value)
assert first["follows"].value == 0
assert last["follows"].low > first["follows"].high

# %% [markdown]
# The same numbers are in `trainer.state.log_history`, and in whatever the trainer reports to, as
# `monitor/follows`, `monitor/follows_low` and so on. After the training, `diagnose` gives the card
# with its reading.
