"""Reading after linear erasure: a linear code is gone, another form is left for a network."""

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.probing import read_after_erasure

N = 120


def store(seed: int) -> tuple[torch.Tensor, dict[str, list[int]]]:
    """Two signs on two axes among noise: one of them is a linear code, their product is none."""
    stream = torch.Generator().manual_seed(seed)
    one, two = (torch.randint(0, 2, (N,), generator=stream) * 2 - 1 for _ in range(2))
    features = torch.randn(N, 30, generator=stream) * 0.5
    features[:, 0] += 2 * one
    features[:, 1] += 2 * two
    nothing = torch.randint(0, 3, (N,), generator=stream)
    codes = {"linear": one > 0, "product": one * two > 0, "nothing": nothing}
    return features, {name: code.int().tolist() for name, code in codes.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_no_linear_code_survives_linear_erasure_and_a_network_reads_it(seed: int):
    features, codes = store(seed)
    linear = read_after_erasure(features, codes["product"], range(N), probe="linear")
    network = read_after_erasure(features, codes["product"], range(N), probe="mlp")
    assert linear.contrast["low"] < 0 < linear.contrast["high"]
    assert network.after > 0.95 and network.contrast["low"] > 0.25
    assert network.contrast["p"] < 0.001
    assert network.low <= network.after <= network.high


@pytest.mark.parametrize("name", ["linear", "nothing"])
def test_a_linear_code_is_gone_for_both_and_nothing_is_at_chance(name: str):
    features, codes = store(2)
    for probe in ("linear", "mlp"):
        found = read_after_erasure(features, codes[name], range(N), probe=probe)
        assert found.contrast["low"] < 0 < found.contrast["high"], probe
        assert (found.before > 0.95) == (name == "linear")
        assert found.low < found.majority + 0.05


def test_several_seeds_give_their_mean_and_count_their_spread():
    features, codes = store(3)
    found = read_after_erasure(features, codes["product"], range(N), probe="linear", seeds=range(2))
    single = [
        read_after_erasure(features, codes["product"], range(N), probe="linear", seeds=[seed])
        for seed in range(2)
    ]
    assert found.after == pytest.approx(sum(one.after for one in single) / 2)
    assert list(found.by_seed) == [0, 1]
    between = torch.tensor([one.contrast["difference"] for one in single]).var().item() / 2
    within = sum(one.contrast["variance"] for one in single) / 2
    assert found.contrast["variance"] == pytest.approx(within + between)


def test_samples_without_a_class_are_left_out_and_one_class_is_refused():
    features, codes = store(4)
    values = [None if i < 20 else code for i, code in enumerate(codes["linear"])]
    assert read_after_erasure(features, values, range(N), probe="linear").n == N - 20
    with pytest.raises(LanternError, match="two classes"):
        read_after_erasure(features, [1] * N, range(N))
    with pytest.raises(LanternError, match="needs a seed"):
        read_after_erasure(features, values, range(N), seeds=[])
