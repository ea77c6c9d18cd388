"""The recorder keeps what sites ask of a generation, and its hooks go however that ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.capture.batch import capture_batch
from lantern_probe.capture.recorder import Tap, tapped
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.sites import layer_count
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import Site, parse_sites

EVERYWHERE = [
    *("latent@slot", "embedding@slot", "embedding@box", "vision@image-mean"),
    *("residual.*@slot", "attention.*@lvr_end", "mlp.*@answer-start"),
]


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return scenes(8, seed=31)


def sites(lantern: Any, *texts: str) -> list[Site]:
    return parse_sites(texts, layer_count(lantern))


def steps(rows: int, prompt: int, count: int) -> list[torch.Tensor]:
    """Forwards of a generation whose values are row, then position."""
    whole = torch.stack(
        [
            torch.stack([torch.tensor([float(row), float(at)]) for at in range(prompt + count)])
            for row in range(rows)
        ]
    )
    return [whole[:, :prompt], *(whole[:, [prompt + step]] for step in range(count))]


def test_a_tap_keeps_positions_from_the_prompts_end_on():
    tap = Tap({"slot", "last-prompt"}, [{}, {}])
    for value in steps(rows=2, prompt=5, count=4):
        tap.see(value)
    found = tap.at([[6, 8], None], first=4, width=2)
    assert found[0].tolist() == [[0, 6], [0, 8]]
    assert bool(found[1].isnan().all())
    assert tap.at([[4], [4]], first=4, width=1)[:, 0].tolist() == [[0, 4], [1, 4]]
    assert tap.pooled == {}


def test_a_tap_keeps_means_over_the_prompt_alone():
    at = [torch.tensor([1, 3]), torch.tensor([], dtype=torch.long)]
    tap = Tap({"box"}, [{"box": found} for found in at])
    for value in steps(rows=2, prompt=5, count=4):
        tap.see(value)
    assert tap.pooled["box"].shape == (2, 1, 2)
    assert tap.pooled["box"][0, 0].tolist() == [0, 2]
    assert bool(tap.pooled["box"][1].isnan().all())


def test_a_component_has_one_tap_for_all_its_roles(faithful: LanternModel):
    wanted = sites(faithful, "residual.0-1@slot", "residual.1@lvr_end", "latent@slot")
    with tapped(
        faithful, wanted, [{role: torch.arange(0) for role in ("image-mean", "box")}]
    ) as taps:
        assert set(taps) == {("residual", 0), ("residual", 1)}


def test_hooks_go_also_after_an_error(faithful: LanternModel, samples: list[Sample]):
    def hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in faithful.hf.modules()
        )

    def fail(ids: Any, scores: Any, **kwargs: Any) -> Any:
        during.append(hooks())
        raise RuntimeError("stop here")

    before, during = hooks(), []
    with pytest.raises(RuntimeError, match="stop here"):
        capture_batch(faithful, samples[:1], sites(faithful, *EVERYWHERE), stopping_criteria=[fail])
    assert during[0] > before == hooks()
    capture_batch(faithful, samples[:1], sites(faithful, *EVERYWHERE))
    assert hooks() == before
