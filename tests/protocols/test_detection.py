"""The protocol of a checkpoint: found where it is clear, and named where several fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.model.location import check_protocol, known_files, known_slots
from lantern_probe.protocols import PROTOCOLS, CheckpointFiles, candidates, find_protocol

RECORDED = Path(__file__).parents[1] / "conformance"
SYSTEMS = ("lantern", "lvr", "monet", "ilvr", "mirage", "skila", "swimbird")
CLEAR = {"lantern": 8, "lvr": 8, "skila": 6, "swimbird": 6}


def files(system: str) -> CheckpointFiles:
    found = known_files(str(RECORDED / system / "checkpoint"))
    assert found is not None
    return found


@pytest.mark.parametrize("system", CLEAR)
def test_a_clear_checkpoint_has_one_protocol_and_its_size(system: str):
    folder = str(RECORDED / system / "checkpoint")
    assert check_protocol(folder, None) == PROTOCOLS[system]
    assert known_slots(folder) == CLEAR[system]


@pytest.mark.parametrize(
    ("system", "fitting"),
    [
        ("monet", ["monet", "monet-hf"]),
        ("ilvr", ["ilvr", "mirage"]),
        ("mirage", ["ilvr", "mirage"]),
    ],
)
def test_pairs_with_the_same_files_are_named_with_their_difference(system: str, fitting: list[str]):
    assert [protocol.name for protocol in candidates(files(system))] == fitting
    with pytest.raises(LanternError, match=f"{' or '.join(fitting)}.* is .*--protocol"):
        find_protocol(files(system))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("given", PROTOCOLS)
def test_a_protocol_that_contradicts_the_files_is_refused(system: str, given: str):
    fitting = [protocol.name for protocol in candidates(files(system))]
    if given in fitting:
        assert find_protocol(files(system), PROTOCOLS[given]) == PROTOCOLS[given]
    else:
        with pytest.raises(LanternError, match=f"does not follow.*fit: {', '.join(fitting)}"):
            find_protocol(files(system), PROTOCOLS[given])


def test_a_plain_checkpoint_has_no_protocol():
    assert find_protocol(CheckpointFiles("plain", {"model_type": "qwen2_5_vl"}, {})) is None


def test_the_size_comes_from_the_protocol_s_own_source():
    assert known_slots(str(RECORDED / "mirage" / "checkpoint"), PROTOCOLS["mirage"]) == 8
    assert known_slots(str(RECORDED / "mirage" / "checkpoint"), PROTOCOLS["ilvr"]) == 4


def test_a_size_that_is_no_number_of_slots_is_refused():
    config = dict(files("ilvr").config) | {"latent_size": 0}
    broken = CheckpointFiles("broken", config, files("ilvr").tokens)
    from lantern_probe.protocols.detection import find_tokens

    with pytest.raises(LanternError, match="latent_size 0"):
        find_tokens(broken, PROTOCOLS["ilvr"])
