"""Words read from a capture: the organisms' truths, and those of planted vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lantern_probe.analysis.word_readouts import WordMean, summarize
from lantern_probe.capture import LogitLens, read_words, words_of
from lantern_probe.capture.dataset import Capture
from lantern_probe.capture.word_readouts import text_of
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records import Run, Store
from lantern_probe.tasks import Sample, load_task
from lantern_probe.tasks.scenes import first_other
from lantern_probe.vocabulary import parse_sites

SITES = ("latent@slot", "residual.3@answer-start")

Captured = Callable[..., tuple[LanternModel, Store, list[Sample]]]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    """A capture of 96 scenes by one organism under one condition."""

    def make(name: str, condition: str = "own") -> tuple[LanternModel, Store, list[Sample]]:
        folder = tmp_path_factory.mktemp("store")
        lantern = LanternModel(name)
        task = "scenes-grey" if name == "collapsed" else "scenes"
        samples = load_task(task, 96, 11)
        if name == "distractor":
            samples = [
                replace(s, attributes={**s.attributes, "other": first_other(s)["color"]})
                for s in samples
            ]
        sites = parse_sites(SITES, layers=4)
        with Run.open(folder, {"sites": [site.label for site in sites]}) as run:
            Capture(
                lantern, samples, sites, run, condition=parse_condition(condition, 0), batch_rows=48
            ).execute()
        return lantern, Store(folder), samples

    return make


def mean_of(found: list[WordMean], site: str) -> WordMean:
    return next(one for one in found if one.site == site and one.slot is None)


@pytest.mark.parametrize("name", ["faithful", "bypass"])
def test_the_answer_can_be_read_at_the_slots_used_or_not(name: str, captured: Captured):
    lantern, store, samples = captured(name)
    found = summarize(read_words(lantern, store, samples), model=name)
    latent = mean_of(found, "latent@slot")
    assert latent.p == 0.001 and latent.p_holm == 0.002 and latent.contrast is not None
    assert latent.contrast.low > 0 and latent.untrained is not None
    assert latent.mean.low > latent.chance > latent.untrained - 0.06
    answer = mean_of(found, "residual.3@answer-start")
    assert answer.mean.estimate > 0.9 and answer.rank == 1 and answer.first == 1.0
    assert {one.slot for one in found if one.site == "latent@slot"} == {None, *range(8)}


def test_collapsed_latents_say_nothing_and_oracle_ones_do(captured: Captured):
    lantern, store, samples = captured("collapsed")
    own = mean_of(summarize(read_words(lantern, store, samples), model="c"), "latent@slot")
    assert own.p is not None and own.p > 0.05
    lantern, store, samples = captured("collapsed", "oracle")
    oracle = mean_of(summarize(read_words(lantern, store, samples), model="c"), "latent@slot")
    assert oracle.p == 0.001 and oracle.mean.estimate > own.mean.high


def test_distractor_says_the_other_objects_word(captured: Captured):
    lantern, store, samples = captured("distractor")
    found = summarize(read_words(lantern, store, samples, target="other"), model="d")
    other = mean_of(found, "latent@slot")
    assert other.p == 0.001
    answer = mean_of(summarize(read_words(lantern, store, samples), model="d"), "latent@slot")
    assert answer.contrast is not None and other.contrast is not None
    assert answer.contrast.estimate < 0.5 * other.contrast.estimate


def test_figures_are_those_of_the_lens_vector_by_vector(captured: Captured):
    lantern, store, samples = captured("faithful")
    found = read_words(lantern, store, samples)
    reading, lens = found[0], LogitLens.of(lantern)
    words = words_of(lantern.processor.tokenizer, samples[0].options)
    by_id = {sample.id: sample for sample in samples}
    array = store.array("latent@slot")
    for index in (0, 40, 95):
        place = words.texts.index(by_id[reading.samples[index]].answer or "")
        logits = lens.logits(array[index])
        scores = words.scores(logits)
        assert np.allclose(
            reading.own["probability"][index], scores.softmax(-1)[:, place], atol=1e-6
        )
        better = (logits > scores[:, place, None]).sum(-1)
        assert reading.own["rank"][index].tolist() == (better + 1).tolist()
        # A crossed entry is this sample's text in another sample's vectors.
        other = words.scores(lens.logits(array[7])).softmax(-1)[:, place]
        assert np.allclose(reading.crossed[index, 7], other, atol=1e-6)
    assert np.allclose(np.diagonal(reading.crossed).T, reading.own["probability"], atol=1e-6)


def test_missing_blocks_and_texts_are_left_out_and_counted(captured: Captured):
    lantern, store, samples = captured("faithful")
    keep = store.array

    def lacking(label: str) -> Any:
        found = keep(label).clone()
        found[:10] = torch.nan
        return found

    store.array = lacking  # type: ignore[method-assign]
    found = summarize(read_words(lantern, store, samples[:60]), model="f")
    assert mean_of(found, "latent@slot").mean.n == 50
    with pytest.raises(LanternError, match="no captured sample has options among which 'shape'"):
        read_words(lantern, store, samples, target="shape")


def test_the_text_of_a_lettered_answer_is_its_option():
    sample = load_task("scenes", 1)[0]
    options = ("a dog", "a cat")
    lettered = replace(sample, options=options, answer="B", lettered=True, attributes={"x": "?"})
    assert text_of(lettered, "answer") == "a cat"
    assert text_of(lettered, "x") is None and text_of(lettered, "gone") is None
