"""Where latents point: planted ones, the organisms', and maps that cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lantern_probe.analysis.image_readouts import ImageReading, summarize
from lantern_probe.capture import cosine_maps, read_image_tokens
from lantern_probe.capture.dataset import Capture
from lantern_probe.capture.image_readouts import image_tokens, slot_maps
from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import replay
from lantern_probe.records import Run, Store
from lantern_probe.tasks import load_task
from lantern_probe.vocabulary import parse_sites


def stored(name: str, folder: Path, n: int = 48) -> tuple[LanternModel, Store, list]:
    lantern = LanternModel(name)
    samples = load_task("scenes-grey" if name == "collapsed" else "scenes", n, 4)
    sites = parse_sites(["latent@slot"], layers=4)
    with Run.open(folder, {"sites": ["latent@slot"]}) as run:
        Capture(lantern, samples, sites, run, batch_rows=48).execute()
    return lantern, Store(folder), samples


def test_image_tokens_are_those_that_enter_the_language_model():
    lantern, sample = LanternModel("faithful"), load_task("scenes", 1)[0]
    tokens, grid = image_tokens(lantern, sample)
    again = replay(lantern, [sample], lantern.generate(sample))
    image = lantern.hf.config.image_token_id
    entered = again.inputs["inputs_embeds"][0][again.ids[0] == image]
    assert torch.allclose(tokens, entered.float(), atol=1e-5)
    assert len(tokens) == int(grid.prod()) // 4


def test_cosines_are_those_of_torch_and_centring_takes_the_mean_token_out():
    latents, tokens = torch.randn(2, 3, 8), torch.randn(5, 8) + 3
    by_torch = torch.nn.functional.cosine_similarity(latents[:, :, None], tokens, dim=-1)
    assert torch.allclose(cosine_maps(latents, tokens, centred=False), by_torch, atol=1e-5)
    moved = cosine_maps(latents + 7, tokens + 7, centred=True)
    assert torch.allclose(moved, cosine_maps(latents, tokens, centred=True), atol=1e-5)


@pytest.mark.parametrize("centred", [False, True])
def test_faithful_points_into_its_box_and_better_than_other_samples(centred: bool, tmp_path: Path):
    lantern, store, samples = stored("faithful", tmp_path)
    found = summarize(read_image_tokens(lantern, store, samples, centred=centred), model="f")
    whole = {one.measure: one for one in found if one.slot is None}
    assert whole["pointing"].mean.low > 0.8 and whole["pointing"].p == 0.001
    assert whole["percentile"].mean.low > whole["percentile"].permuted
    assert whole["pointing"].chance == pytest.approx(1 / 9, abs=0.02)
    pictures = slot_maps(lantern, store, samples, 2, centred=centred)
    assert [maps.shape for *_, maps in pictures] == [(8, 3, 3)] * 2


def test_what_a_model_prefers_anywhere_is_no_finding():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(100):
        # Every image has a place that all latents like, whosever they are.
        liked = np.clip(rng.normal(0.8, 0.1, size=(30, 1, 1)), 0, 1)
        values = np.clip(liked + rng.normal(0, 0.05, size=(30, 30, 2)), 0, 1)
        names = [str(k) for k in range(30)]
        reading = ImageReading(False, names, names, values, values, np.full(30, 0.1))
        p.append(summarize(reading, model="m")[0].p)
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)


def test_boxes_that_fill_the_image_and_samples_without_one_are_refused(tmp_path: Path):
    lantern, store, samples = stored("faithful", tmp_path, n=4)
    for boxes in ((), ((0, 0, 84, 84),)):
        some = [replace(sample, boxes=boxes) for sample in samples]
        with pytest.raises(LanternError, match="fewer than two samples have a latent block and"):
            read_image_tokens(lantern, store, some, centred=False)
