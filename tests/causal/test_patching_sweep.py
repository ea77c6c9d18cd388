"""A sweep of patches over pairs: it goes on where it stopped, and tells organisms apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.analysis import patching
from lantern_probe.causal.patching.sweep import Sweep
from lantern_probe.errors import LanternError
from lantern_probe.interventions.patches import each_slot, layer_sites, shams, whole
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.run import Run
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes, twin
from lantern_probe.tasks.twins import with_twins

SLOTS = 8


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def color_pairs(count: int, seed: int = 3) -> list[Sample]:
    samples, _ = with_twins(scenes(count, seed), lambda s: twin(s, "color"), answers_known=True)
    return samples


def test_a_sweep_goes_on_where_it_stopped_and_tells_the_truth(
    faithful: LanternModel, tmp_path: Path
):
    samples = color_pairs(5, seed=77)
    sites = layer_sites(("embedding",), (), ("slot", "last-question"))
    some, more = whole(sites), [*whole(sites), *each_slot(sites, SLOTS), *shams(sites)]
    counted: list[int] = []
    with Run.open(tmp_path, {}) as run:
        Sweep(faithful, samples[:2], some, run, advance=counted.append).execute()
        first = run.rows()
        Sweep(faithful, samples, more, run, advance=counted.append).execute()
        rows = run.rows()
        Sweep(faithful, samples, more, run, advance=counted.append).execute()
        assert run.rows() == rows and rows[: len(first)] == first
    assert sum(counted) == len(rows) == 10 * len(more)
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert row["direction"] == ("denoise" if "~" in row["sample"] else "noise")
        assert {row["sample"], row["donor"]} == {row["cluster"], f"{row['cluster']}~color0"}
    effects = {(e.condition, e.direction): e for e in patching.summarize(rows, model="faithful")}
    for direction in ("denoise", "noise"):
        latents = effects["embedding@slot", direction]
        assert latents.n == 5 and latents.flips.estimate == 1
        assert latents.recovery.estimate > 0.9
        for slot in range(SLOTS):
            alone = effects[f"embedding@slot[{slot}]", direction].recovery.estimate
            assert 0 < alone < latents.recovery.estimate / 2
        assert effects["embedding@slot:sham", direction].largest == 0


def test_bypass_is_moved_by_the_image_and_not_by_the_slots(tmp_path: Path):
    cells = whole(layer_sites(("embedding",), (), ("slot", "box")))
    with Run.open(tmp_path, {}) as run:
        Sweep(LanternModel("bypass"), color_pairs(6, seed=77), cells, run).execute()
        effects = patching.summarize(run.rows(), model="bypass")
    for effect in effects:
        if effect.role == "box":
            assert effect.flips.estimate > 0.8
        else:
            assert effect.flips.estimate == 0


def test_what_cannot_be_measured_is_a_row_that_says_why(faithful: LanternModel, tmp_path: Path):
    def changed(name: str, **fields: Any) -> list[Sample]:
        """A pair under other ids, changed in some way."""
        first, second = color_pairs(1)
        ids = (name, f"{name}~")
        return [
            replace(
                one,
                id=own,
                attributes={**one.attributes, "twin": other, "pair": name},
                **fields,
            )
            for one, own, other in zip((first, second), ids, ids[::-1], strict=True)
        ]

    same, _ = with_twins(scenes(1, 3), lambda s: twin(s, "cell"), answers_known=True)
    samples = [
        *same,
        *changed("unseen", images=("/nowhere.png",)),
        *changed("boxless", boxes=()),
        *changed("optionless", options=(), answer=None),
    ]
    cells = whole(layer_sites(("mlp",), (1,), ("box", "slot")))
    with Run.open(tmp_path, {}) as run:
        Sweep(faithful, samples, cells, run).execute()
        rows = run.rows()
        with pytest.raises(LanternError, match="not followed by its twin"):
            Sweep(faithful, [*same[:1], *samples[2:3]], cells, run).execute()
    assert len(rows) == len(samples) * len(cells)
    said = {(row["sample"], row["role"]): (row["status"], row.get("error", "")) for row in rows}
    for key, status, message in [
        ((same[0].id, "slot"), "left out", "have the same answer"),
        (("unseen", "slot"), "failed", "no image at"),
        (("boxless", "box"), "left out", "has no box to patch"),
        (("boxless", "slot"), "ok", ""),
        (("optionless~", "box"), "left out", "has no options"),
    ]:
        assert said[key][0] == status and message in said[key][1]
