"""Protocols by name and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.protocols import PROTOCOLS, LatentProtocol, load_protocol

WHOLE = """
name = "mine"
keys = ["think_start_id", "think_id", "think_end_id"]
markers = ["<|think_start|>", "<|think|>", "<|think_end|>"]
size = "2 * thoughts"
close = "early"
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file


def test_names_and_values_are_what_they_say():
    assert all(load_protocol(name).name == name for name in PROTOCOLS)
    assert load_protocol(PROTOCOLS["lvr"]) is PROTOCOLS["lvr"]


def test_a_file_has_the_fields_of_a_protocol(tmp_path: Path):
    mine = load_protocol(written(tmp_path, WHOLE))
    assert mine.keys[1] == "think_id" and (mine.size_times, mine.size_key) == (2, "thoughts")
    assert mine.facts()["keys"] == list(mine.keys) and isinstance(mine, LatentProtocol)


def test_a_file_may_name_another_protocol_that_it_is_like(tmp_path: Path):
    mine = load_protocol(written(tmp_path, 'like = "monet"\nsize = 4\n'))
    assert (mine.name, mine.size, mine.first, mine.official) == ("mine", 4, "marker", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size = ", "no TOML"),
        ("size = 3", "it lacks keys"),
        ('like = "moner"', "none of lantern"),
        ('like = "monet"\nsizes = 3', "no field 'sizes'"),
        ('like = "monet"\nsize = 0', "size is 0"),
        ('like = "monet"\nsize = "3 +"', "size is '3"),
        ('like = "monet"\nclose = "late"', "one of 'forced', 'early', 'no marker'"),
        ('like = "monet"\nkeys = ["a", "a", "b"]', "three different texts"),
        ('like = "monet"\nkeys = "abc"', "three different texts"),
        ('like = "monet"\nrestarts = "yes"', "restarts is 'yes'"),
        ('like = "monet"\npixels = [9, 4]', "pixels is"),
        ('like = "monet"\nlead = " "', "lead is"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_field(tmp_path: Path, text: str, said: str):
    with pytest.raises(LanternError, match="mine.toml") as refused:
        load_protocol(written(tmp_path, text))
    assert said in str(refused.value)


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(LanternError, match="lantern, lvr, monet, monet-hf"):
        load_protocol("monnet")
    with pytest.raises(LanternError, match="No such file"):
        load_protocol("nowhere.toml")
