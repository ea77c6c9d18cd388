"""Recorded outputs of other reasoners' official code, met by the one decoder and by no mutant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.model.agreement import Report
from lantern_probe.model.conformance import compare
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.recordings import Recordings, loadable, read_recordings
from lantern_probe.protocols import PROTOCOLS

RECORDED = Path(__file__).parents[1] / "conformance"

BATCHES: dict[str, tuple[str, ...]] = {
    "lvr": ("batch1/", "batch4/", "batch5/"),
    "monet": ("batch1/", "batch4/"),
    "ilvr": ("batch1/", "batch4/"),
    "mirage": ("batch1/", "batch2/"),
    "skila": ("batch1/", "batch4/", "batch5/"),
    "swimbird": ("batch1/", "batch4/", "batch5/"),
}
"""Recorded batches that the usual run compares; batch 4's prompt ends with a start marker, and
batch 5 is padded."""

ROWS = {"lvr": 42, "monet": 60, "ilvr": 45, "mirage": 45, "skila": 48, "swimbird": 48}
"""Rows of all recordings that are compared: all but LVR's padded ones."""

MUTANTS: list[tuple[str, dict[str, Any]]] = [
    ("lvr", {"close": "early"}),
    ("lvr", {"close": "forced", "slot_token": "slot"}),
    ("lvr", {"opens": "generated"}),
    ("lvr", {"first": "marker"}),
    ("monet", {"first": "follows"}),
    ("monet", {"first": "follows", "slot_token": "slot", "restarts": True}),
    ("monet", {"close": "no marker"}),
    ("monet", {"slot_token": "slot"}),
    ("monet", {"restarts": True}),
    ("ilvr", {"restarts": False}),
    ("ilvr", {"close": "forced", "restarts": False}),
    ("ilvr", {"opens": "last"}),
    ("ilvr", {"first": "marker"}),
    ("ilvr", {"slot_token": "own"}),
    ("mirage", {"restarts": False}),
    ("mirage", {"close": "forced"}),
    ("mirage", {"close": "no marker"}),
    ("mirage", {"first": "marker"}),
    ("mirage", {"slot_token": "own"}),
    ("skila", {"close": "forced"}),
    ("skila", {"opens": "generated"}),
    ("skila", {"restarts": True}),
    ("swimbird", {"close": "forced"}),
    ("swimbird", {"opens": "generated"}),
    ("swimbird", {"restarts": True}),
]


def some(system: str) -> Recordings:
    recordings = read_recordings(RECORDED / system)
    cases = [case for case in recordings.cases if case.name.startswith(BATCHES[system])]
    return replace(recordings, cases=cases)


def compared(system: str, recordings: Recordings, **fields: Any) -> Report:
    protocol = replace(PROTOCOLS[system], **fields)
    with loadable(RECORDED / system / "checkpoint") as folder:
        lantern = LanternModel(str(folder), protocol=protocol, offline=True)
    return compare(lantern, recordings)


@pytest.mark.parametrize("system", BATCHES)
def test_some_recordings_meet_the_bar_forced_and_free(system: str):
    report = compared(system, some(system))
    assert report.passed and not report.near_ties and report.states > 0
    assert report.state_difference < 1e-5 and report.fed == report.states
    assert report.rows_identical == report.rows > 0


@pytest.mark.slow
@pytest.mark.parametrize("system", BATCHES)
def test_all_recordings_meet_the_bar_forced_and_free(system: str):
    report = compared(system, read_recordings(RECORDED / system))
    assert report.passed and report.state_difference < 1e-5
    assert report.rows_identical == report.rows == ROWS[system]
    assert report.left_out == (6 if system == "lvr" else 0)


@pytest.mark.slow
@pytest.mark.parametrize(("system", "fields"), MUTANTS)
def test_a_wrong_protocol_is_noticed(system: str, fields: dict[str, Any]):
    report = compared(system, some(system), **fields)
    assert not report.passed and report.rows_identical < report.rows


@pytest.mark.parametrize(
    ("system", "fields"), [MUTANTS[place] for place in (2, 4, 9, 14, 19, 23)], ids=str
)
def test_a_wrong_protocol_of_each_reasoner_is_noticed(system: str, fields: dict[str, Any]):
    recordings = some(system)
    report = compared(system, replace(recordings, cases=recordings.cases[:9]), **fields)
    assert not report.passed


@pytest.mark.parametrize("fields", [{"close": "forced"}, {"opens": "last"}], ids=str)
def test_two_descriptions_of_monet_say_the_same(fields: dict[str, Any]):
    recordings = some("monet")
    report = compared("monet", replace(recordings, cases=recordings.cases[-6:]), **fields)
    assert report.passed and report.states > 0
