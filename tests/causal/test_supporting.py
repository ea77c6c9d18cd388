"""Supporting evidence is right on organisms: it fits their truth, and not a false reading."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lantern_probe import LanternModel, Run, load_task
from lantern_probe.analysis.battery import CONDITIONS, EDGES
from lantern_probe.analysis.estimands import Look
from lantern_probe.analysis.reading import Thresholds
from lantern_probe.causal.diagnosis import Battery, recorded
from lantern_probe.causal.supporting import Supporting, with_evidence
from lantern_probe.causal.twin_pairs import pair
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows

PAIRS = 24

LINES = {
    "faithful": {
        "knockout": r"after->slot \+(\.[6-9]\d\d|1\.000) .*random=1 \+\.0",
        "probe": r"own latents (\.9\d\d|1\.000) .*p \.0[0-4]\d$",
        "geometry": r"difference [+-]\.0\d\d",
        "retrieval": r"their twin's in (\.9\d\d|1\.000)",
    },
    "bypass": {
        "knockout": r"after->slot \+\.0",
        "probe": r"own latents (\.9\d\d|1\.000) .*p \.0[0-4]\d$",
        "geometry": r"difference [+-]\.0\d\d",
        "retrieval": r"their twin's in (\.9\d\d|1\.000)",
    },
    "collapsed": {
        "knockout": r"after->slot \+(\.[6-9]\d\d|1\.000)",
        "probe": r"own latents \.[0-3]\d\d .*p (\.[1-9]\d\d|1\.000|\.0[5-9]\d)$",
        "geometry": r"of a pair's two (\.9\d\d|1\.000); .*difference \+\.[4-7]",
        "retrieval": r"their twin's in \.[3-6]\d\d",
    },
}
"""For each organism, how its lines go on."""

AGAINST = {
    ("faithful", "faithful"): [],
    ("faithful", "bypass"): ["knockout"],
    ("faithful", "collapsed"): ["probe", "geometry", "retrieval"],
    ("bypass", "bypass"): [],
    ("bypass", "faithful"): ["knockout"],
    ("bypass", "collapsed"): ["probe", "geometry", "retrieval"],
    ("collapsed", "collapsed"): [],
    ("collapsed", "bypass"): ["knockout"],
    ("collapsed", "faithful"): ["probe", "retrieval"],
}
"""For an organism and a reading, the instruments that speak against it."""


def nothing() -> Any:
    raise AssertionError("the model is not needed")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LINES))
def test_lines_are_right_and_speak_against_false_readings(name: str, tmp_path: Path) -> None:
    lantern = LanternModel(name)
    with Run.open(tmp_path / "run", {}) as run:
        pairs = recorded(run, pair(load_task("scenes", PAIRS, seed=3)))
        battery = Battery(lambda: lantern, pairs, run)
        battery.until(PAIRS)
        instruments = Supporting(battery, PAIRS)
        said = instruments.said(name, 0.05)
        for (line, _), (instrument, expected) in zip(said, LINES[name].items(), strict=True):
            assert line.startswith(f"{instrument}: ")
            assert re.search(expected, line), line
        battery.load = nothing
        for (organism, reading), expected in AGAINST.items():
            if organism == name:
                found = instruments.said(reading, 0.05)
                against = [line.partition(":")[0] for line, text in found if text is not None]
                assert against == expected, reading


@pytest.mark.slow
def test_evidence_comes_after_the_reading_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    lantern = LanternModel("faithful")
    with Run.open(tmp_path / "run", {}) as run:
        pairs = recorded(run, pair(load_task("scenes", 6)))
        battery = Battery(lambda: lantern, pairs, run)
        battery.until(6)
        card = battery.look(6, Look(), Thresholds(), "m", "d")
        assert {row["condition"] for row in read_rows(run.folder)} == {*CONDITIONS}
        more = with_evidence(battery, card, 0.05)
        assert len(more.supporting) == len(card.supporting) + 4
        assert replace(more, supporting=card.supporting, disagrees=card.disagrees) == card
        rows = read_rows(run.folder)
        assert sum(row["condition"] in EDGES for row in rows) == 12 * len(EDGES)
        assert battery.look(6, Look(), Thresholds(), "m", "d") == card
        again = with_evidence(Battery(nothing, pairs, run), card, 0.05)
        assert again == more


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    bare = [replace(s, boxes=(), made=None, attributes={}) for s in load_task("scenes", 3)]
    lantern = LanternModel("faithful")
    with Run.open(tmp_path / "run", {}) as run:
        pairs = recorded(run, pair(bare))
        battery = Battery(lambda: lantern, pairs, run, max_new_tokens=30)
        battery.until(3)
        lines = [line for line, text in Supporting(battery, 3).said("faithful", 0.05)]
    assert lines[0] == "knockout: not measured: 3 pairs are too few"
    assert lines[1].startswith("probe: not measured: ")
    assert lines[2].endswith("; no oracle latents to compare with")
    assert lines[3] == "retrieval: not measured: oracle latents need a box on both of every pair"


def test_without_a_block_every_line_says_so(tmp_path: Path) -> None:
    class Silent(Supporting):
        @property
        def _own(self) -> Any:  # type: ignore[override]
            raise LanternError("no text has a whole block whose latents were kept")

    with Run.open(tmp_path / "run", {}) as run:
        pairs = recorded(run, pair(load_task("scenes", 1)))
        battery = Battery(nothing, pairs, run)
        battery.until = lambda *_: None  # type: ignore[method-assign,assignment]
        said = Silent(battery, 1).said("undecided", 0.05)
    assert [line.partition(":")[0] for line, _ in said] == [*LINES["faithful"]]
    assert all("not measured" in line and text is None for line, text in said)
