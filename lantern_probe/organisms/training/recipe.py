"""Training of an organism: an instruct stage shared by all kinds, then LanteRn's SFT by kind.

The SFT loss is the official one (arXiv 2603.25629): cross-entropy on the text plus the squared
error between the hidden states that become latents and the oracle latents. The kinds differ in
their mixtures of rows (`mixtures`). An organism is no evidence about LanteRn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration

from lantern_probe.organisms.training import vision
from lantern_probe.organisms.training.build import SLOTS, build_model, build_processor
from lantern_probe.organisms.training.graded import TRAITS, Traits, mixture
from lantern_probe.organisms.training.layout import ABSENT, FULL, IMAGE_TOKENS, Layout, Rows, Scenes
from lantern_probe.organisms.training.mixtures import (
    UNINFORMATIVE,
    Plan,
    Source,
    Statistics,
    draw,
    plan,
    replacement,
)
from lantern_probe.organisms.training.settings import SFT_STEPS, TRAIN_SEED, Kind, Recipe
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import COLORS, SHAPES, first_other, scenes

Report = Callable[[int, int, float], None]
"""Function that is called after every step with (step, steps, loss)."""


def _silent(step: int, steps: int, loss: float) -> None:
    pass


def train_instruct(
    seed: int, recipe: Recipe | None = None, report: Report = _silent
) -> Qwen2_5_VLForConditionalGeneration:
    """Train question answering without latents, on whole scenes and on crops, in float32.

    An auxiliary head learns to read colour and shape from every image token, so that the vision
    tower becomes useful within minutes. It is discarded afterwards.

    Args:
        seed: Seed of the weights and the scenes.
        recipe: Sizes and rates; None (default) takes the defaults of `Recipe`.
        report: Function called after every step with (step, steps, loss).
    """
    recipe = recipe or Recipe()
    model = build_model(seed)
    layout, processor = Layout(model), build_processor().image_processor
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = nn.Linear(model.config.text_config.hidden_size, len(COLORS) + len(SHAPES) + 2)
    optimizer, schedule = _optimizer(
        [*model.parameters(), *heads.parameters()], recipe.instruct_rate, recipe.instruct_steps
    )
    model.train()
    for step in range(recipe.instruct_steps):
        samples = scenes(recipe.batch, TRAIN_SEED + seed, start=step * recipe.batch)
        images = [sample.open_images()[0] for sample in samples]
        images += vision.oracle_crops(samples[: recipe.crops])
        known = Scenes.of(samples + samples[: recipe.crops])
        found = vision.features(model, processor, images)
        rows = layout.rows(known, known.color, torch.full_like(known.color, ABSENT))
        hidden = layout.hidden(model, rows, layout.embed(model, rows, found))
        loss = _text_loss(model, layout, rows, hidden, recipe.answer_weight, ban=False)
        loss = loss + _token_loss(heads(found), _token_targets(samples, recipe.crops))
        # Keep features at the scale of normed hidden states, as latents are made of either.
        loss = loss + 0.1 * found.pow(2).mean(-1).log().pow(2).mean()
        _update(loss, model, optimizer, schedule)
        report(step + 1, recipe.instruct_steps, float(loss.detach()))
    return model.eval()


def train_kind(
    kind: Kind,
    seed: int,
    instruct: Qwen2_5_VLForConditionalGeneration,
    recipe: Recipe | None = None,
    report: Report = _silent,
) -> Qwen2_5_VLForConditionalGeneration:
    """Train the SFT of one kind on top of an instruct stage, in float32.

    Args:
        kind: Kind of organism.
        seed: Seed of the scenes and of the mixtures' draws.
        instruct: Model of the instruct stage, changed in place and returned.
        recipe: Sizes and rates; None (default) takes the defaults of `Recipe`.
        report: Function called after every step with (step, steps, loss).
    """
    recipe = recipe or Recipe()
    model, layout = instruct, Layout(instruct)
    processor = build_processor().image_processor
    traits = TRAITS[kind]
    samples = _pool(traits, recipe.pool, TRAIN_SEED + seed)
    known = Scenes.of(samples)
    model.eval()
    images = vision.cache(model, processor, [sample.open_images()[0] for sample in samples])
    oracle = vision.latents(model, processor, _thoughts(traits, samples))
    if traits.thought == "elsewhere":
        other = _elsewhere(known, torch.Generator().manual_seed(seed))
        oracle, known = oracle[other], replace(known, color=known.color[other])
    model.model.visual.requires_grad_(False)

    steps = recipe.sft_steps or SFT_STEPS[kind]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, schedule = _optimizer(trainable, recipe.sft_rate, steps)
    generator = torch.Generator().manual_seed(seed)
    statistics = {"oracle": Statistics(), "own": Statistics()}
    answer_weight = 1.0 if kind == "vanilla" else recipe.answer_weight
    model.train()
    for step in range(steps):
        parts = mixture(kind)[int(step >= steps / 2)]
        chosen = draw(parts, known, recipe.batch, generator)
        batch = Batch(known[chosen], images[chosen], oracle[chosen])
        dealt = plan(parts, batch.scenes, generator, traits.alike)
        latents, own = _latents(model, layout, batch, dealt, statistics, generator)
        rows = layout.rows(batch.scenes, dealt.color, dealt.kept)
        hidden = layout.hidden(model, rows, layout.embed(model, rows, batch.images, latents))
        loss = _text_loss(model, layout, rows, hidden, answer_weight)
        # As in the official loss, the state before a slot is compared with the slot's latent.
        matched = dealt.of("oracle")
        errors = [hidden[matched, layout.start : layout.end - 1] - batch.oracle[matched]]
        if own is not None:
            errors.append(own)
        weight = recipe.latent_weight * traits.latent_factor
        loss = loss + weight * torch.cat(errors).pow(2).mean()
        _update(loss, model, optimizer, schedule)
        report(step + 1, steps, float(loss.detach()))
    model.requires_grad_(True)
    return model.eval()


def _pool(traits: Traits, count: int, seed: int) -> list[Sample]:
    """Scenes of a kind's SFT; where half are hidden, every second one."""
    if traits.hidden != "half":
        return scenes(count, seed, hide_asked=traits.hidden == "all")
    pair = scenes(count, seed), scenes(count, seed, hide_asked=True)
    return [pair[index % 2][index] for index in range(count)]


def _thoughts(traits: Traits, samples: list[Sample]) -> list[Image.Image]:
    """Crop of the object that each sample's latents are about."""
    if traits.thought != "first other":
        return vision.oracle_crops(samples)
    return [vision.crop(sample, first_other(sample)["box"]) for sample in samples]


def _elsewhere(known: Scenes, generator: torch.Generator) -> Int[Tensor, "scenes"]:
    """Another scene for each, which asks for the same shape."""
    other = torch.arange(len(known.shape))
    for shape in range(len(SHAPES)):
        rows = (known.shape == shape).nonzero()[:, 0]
        order = rows[torch.randperm(len(rows), generator=generator)]
        other[order] = order.roll(1)
    return other


@dataclass(frozen=True)
class Batch:
    """One batch of the SFT.

    Attributes:
        scenes: Template, shape and colour of each row.
        images: Merged vision features of the images, [rows, tokens, dim].
        oracle: Oracle latents, [rows, slots, dim].
    """

    scenes: Scenes
    images: Float[Tensor, "rows tokens dim"]
    oracle: Float[Tensor, "rows slots dim"]


def _latents(
    model: Qwen2_5_VLForConditionalGeneration,
    layout: Layout,
    batch: Batch,
    dealt: Plan,
    statistics: dict[str, Statistics],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "rows slots dim"], Float[Tensor, "some slots dim"] | None]:
    """Make the latents of every row, and the errors of own latents against oracle latents.

    Returns:
        Latents [rows, slots, dim], and the errors of the rows rolled out, [some, slots, dim]; None
        if no row has own latents.
    """
    latents = batch.oracle.clone()
    statistics["oracle"].update(batch.oracle)
    drawn, error = "oracle", None
    swapped = dealt.of("oracle-swap")
    latents[swapped] = batch.oracle[dealt.donor[swapped]]
    repeated = dealt.of("first-repeat")
    latents[repeated] = batch.oracle[repeated, :1].expand(-1, latents.shape[1], -1)
    kept, moved = dealt.of("own", "reorder", "half-blank"), dealt.of("swap")
    halved = dealt.of("half-swap")
    if len(kept) + len(moved) + len(halved):
        origins, where = torch.unique(
            torch.cat([kept, dealt.donor[moved], halved, dealt.donor[halved]]), return_inverse=True
        )
        scenes_ = batch.scenes[origins]
        rows = layout.rows(scenes_, scenes_.color, torch.full_like(origins, FULL))
        rolled = layout.roll_out(model, rows, layout.embed(model, rows, batch.images[origins]))
        whole = torch.cat([kept, moved])
        sizes = [len(whole), len(halved), len(halved)]
        own, first, second = torch.split(rolled[where], sizes)
        latents[whole] = own
        latents[halved] = _joined(first, second, dealt.half[halved])
        error = rolled - batch.oracle[origins]
        statistics["own"].update(rolled)
        drawn = "own" if torch.rand((), generator=generator) < 0.5 else "oracle"
    for name in UNINFORMATIVE:
        chosen = dealt.of(name)
        if len(chosen):
            latents[chosen] = replacement(name, len(chosen), statistics[drawn], generator)
    _rearrange(latents, batch, dealt, statistics[drawn], generator)
    return latents, error


def _rearrange(
    latents: Float[Tensor, "rows slots dim"],
    batch: Batch,
    dealt: Plan,
    statistics: Statistics,
    generator: torch.Generator,
) -> None:
    """Put slots in another order, exchange half of them, or empty half of them, in place."""
    chosen = dealt.of("reorder")
    if len(chosen):
        order = _orders(len(chosen), generator)
        latents[chosen] = latents[chosen].gather(
            1, order[..., None].expand(-1, -1, latents.shape[-1])
        )
    chosen = dealt.of("oracle-half-swap")
    if len(chosen):
        given = batch.oracle[dealt.donor[chosen]]
        latents[chosen] = _joined(batch.oracle[chosen], given, dealt.half[chosen])
    chosen = dealt.of("half-blank", "oracle-half-blank")
    if len(chosen):
        names: list[Source] = [UNINFORMATIVE[i % len(UNINFORMATIVE)] for i in range(len(chosen))]
        blank = torch.cat([replacement(name, 1, statistics, generator) for name in names])
        latents[chosen] = _joined(latents[chosen], blank, dealt.half[chosen])


def _joined(
    own: Float[Tensor, "rows slots dim"],
    given: Float[Tensor, "rows slots dim"],
    half: Int[Tensor, "rows"],
) -> Float[Tensor, "rows slots dim"]:
    """Own latents with the first (0) or second (1) half of the slots replaced by the given."""
    replaced = (torch.arange(SLOTS) >= SLOTS // 2).long() == half[:, None]
    return torch.where(replaced[..., None], given, own)


def _orders(count: int, generator: torch.Generator) -> Int[Tensor, "rows slots"]:
    """Orders of the slots: two of three random, every third with two neighbours exchanged."""
    orders = torch.stack([torch.randperm(SLOTS, generator=generator) for _ in range(count)])
    place = torch.randint(SLOTS - 1, (count,), generator=generator)
    for row in range(0, count, 3):
        orders[row] = torch.arange(SLOTS)
        orders[row, place[row]], orders[row, place[row] + 1] = place[row] + 1, place[row]
    return orders


def _text_loss(
    model: Qwen2_5_VLForConditionalGeneration,
    layout: Layout,
    rows: Rows,
    hidden: Float[Tensor, "rows columns dim"],
    answer_weight: float,
    ban: bool = True,
) -> Float[Tensor, ""]:
    """Weighted cross-entropy of the response; `ban` leaves the start marker out where banned."""
    chosen = rows.labels != -100
    logits = model.lm_head(hidden[chosen])
    if ban:
        marker = functional.one_hot(torch.tensor(layout.lvr_start), logits.shape[-1]).bool()
        logits = logits.masked_fill(rows.banned[chosen][:, None] & marker, -torch.inf)
    losses = functional.cross_entropy(logits, rows.labels[chosen], reduction="none")
    columns = torch.arange(rows.labels.shape[1]).expand_as(rows.labels)[chosen]
    weights = torch.where(columns == layout.answer - 1, answer_weight, 1.0)
    return (weights * losses).sum() / weights.sum()


def _token_targets(samples: Sequence[Sample], crops: int) -> Int[Tensor, "images tokens 2"]:
    """Colour and shape index of every image token; one past the last for an empty cell."""
    empty = (len(COLORS), len(SHAPES))
    colors, targets = list(COLORS), []
    for sample in samples:
        cells = [empty] * IMAGE_TOKENS
        for item in sample.attributes["objects"]:
            cells[item["cell"]] = (colors.index(item["color"]), SHAPES.index(item["shape"]))
        targets.append(cells)
    for sample in samples[:crops]:
        known = sample.attributes
        pair = (colors.index(known["color"]), SHAPES.index(known["shape"]))
        targets.append([pair] * IMAGE_TOKENS)
    return torch.tensor(targets)


def _token_loss(
    scores: Float[Tensor, "images tokens classes"], targets: Int[Tensor, "images tokens 2"]
) -> Float[Tensor, ""]:
    color, shape = torch.split(scores, [len(COLORS) + 1, len(SHAPES) + 1], dim=-1)
    return functional.cross_entropy(
        color.flatten(0, 1), targets[..., 0].flatten()
    ) + functional.cross_entropy(shape.flatten(0, 1), targets[..., 1].flatten())


def _optimizer(
    parameters: list[nn.Parameter], rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Make AdamW with a short warm-up and a cosine that ends at a fiftieth of the peak rate."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm = min(30, steps // 10 + 1)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        done = (step - warm) / max(1, steps - warm)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _update(
    loss: Float[Tensor, ""],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
