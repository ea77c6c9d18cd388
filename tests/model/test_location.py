"""From a name to a checkpoint: an organism, a folder or a Hub name, and what is none of them."""

from __future__ import annotations

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.location import locate


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no such thing", "no model 'no such thing'.*Hub name"),
        ("./nowhere/at/all", "no model"),
        ("/", "no config.json"),
        ("owner/name", "cannot load 'owner/name'"),
    ],
)
def test_a_source_that_is_none_is_refused(source: str, message: str):
    with pytest.raises(LanternError, match=message):
        LanternModel(source)


def test_a_hub_name_is_left_to_the_hub():
    assert locate("AGViveiros/LanteRn-3B-RL") == "AGViveiros/LanteRn-3B-RL"
