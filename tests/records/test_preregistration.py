"""A plan is fixed in a file, and a run that contradicts it or is older than it is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import fingerprint
from lantern_probe.records.preregistration import (
    Preregistration,
    read_preregistration,
    refuse_contradiction,
    refuse_late,
    registered_in,
    write_preregistration,
)
from lantern_probe.records.rows import read_manifest
from lantern_probe.records.run import Run

PLAN = Preregistration(
    primary="swap",
    conditions=("swap", "zeros"),
    samples=64,
    margin=0.02,
    alpha=0.05,
    power=0.8,
    discordance=0.1,
    design_effect=1.0,
    detectable=0.12,
)


@pytest.fixture
def plan(tmp_path: Path) -> Preregistration:
    return write_preregistration(tmp_path / "plan.json", PLAN)


def test_a_plan_is_read_as_it_was_written_and_bears_the_hash_of_its_file(
    plan: Preregistration, tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    assert replace(plan, created="", sha256="", file="") == PLAN and plan.family == 2
    assert plan.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert read_preregistration(file) == plan
    with Run.open(tmp_path / "run", {}, facts={"preregistration": plan.as_record()}):
        pass
    assert registered_in(read_manifest(tmp_path / "run")) == plan
    assert registered_in({"config": {}}) is None


def test_a_plan_is_never_rewritten(plan: Preregistration, tmp_path: Path) -> None:
    before = (tmp_path / "plan.json").read_bytes()
    with pytest.raises(LanternError, match="never rewritten; choose another --output"):
        write_preregistration(tmp_path / "plan.json", replace(PLAN, margin=0.1))
    assert (tmp_path / "plan.json").read_bytes() == before


def tampered(path: Path, *, signed: bool = True, **changes: Any) -> Path:
    """The file with other values, and with a hash that fits them."""
    content = json.loads(path.read_text())
    content |= changes
    content = {name: value for name, value in content.items() if value is not ...}
    if signed:
        content.pop("contents")
        content["contents"] = fingerprint(content)
    other = path.with_name("other.json")
    other.write_text(json.dumps(content))
    return other


LATER = (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="seconds")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 0}, "margin lies between 0 and 1, not at 0"),
        ({"margin": "small"}, "margin cannot be 'small'"),
        ({"margin": True}, "margin cannot be True"),
        ({"margin": None}, "margin cannot be None"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"samples": 12.5}, "samples cannot be 12.5"),
        ({"samples": ...}, "samples is missing"),
        ({"primary": "mask"}, "the primary condition 'mask' is none of the conditions swap, zeros"),
        ({"conditions": "swap"}, "conditions cannot be 'swap'"),
        ({"conditions": ["swap", "swap"]}, "a condition is named twice"),
        ({"discordance": 2}, "a fraction from 0 to 1, not 2"),
        ({"design_effect": 0.5}, "the design effect is at least 1"),
        ({"created": "yesterday"}, "created is no time with a zone"),
        ({"created": LATER}, "in the future"),
        ({"version": 2}, "version 2 of a preregistration"),
        ({"kind": "shopping list"}, "is no preregistration"),
    ],
)
def test_a_plan_that_no_run_can_follow_is_refused_by_name(
    plan: Preregistration, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    other = tampered(tmp_path / "plan.json", **changes)
    with pytest.raises(LanternError) as error:
        read_preregistration(other)
    assert message in str(error.value) and "other.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_edited_file_is_refused(plan: Preregistration, tmp_path: Path) -> None:
    other = tampered(tmp_path / "plan.json", signed=False, margin=0.1)
    with pytest.raises(LanternError, match="was edited after it was written"):
        read_preregistration(other)


@pytest.mark.parametrize("content", ["", "[]", "{}", "no json", "null", "[" * 100_000])
def test_other_files_are_no_preregistration(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(LanternError, match=r"other\.json' is no preregistration"):
        read_preregistration(tmp_path / "other.json")
    with pytest.raises(LanternError, match="is a folder"):
        read_preregistration(tmp_path)
    with pytest.raises(LanternError, match="does not exist"):
        read_preregistration(tmp_path / "gone.json")


def test_a_plan_that_is_younger_than_the_first_row_is_refused(
    plan: Preregistration, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    refuse_late(folder, plan)
    with Run.open(folder, {}) as run:
        refuse_late(folder, plan)  # a run without a row
        run.append({"sample": "1", "condition": "own", "status": "failed"})
    with pytest.raises(LanternError, match="comes after the first row: '.*' already holds 1 rows"):
        refuse_late(folder, plan)


def test_a_run_goes_on_under_its_own_plan_alone(plan: Preregistration, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Run.open(folder, {}, facts={"preregistration": plan.as_record()}) as run:
        run.append({"sample": "1", "condition": "own", "status": "ok"})
    refuse_late(folder, plan)
    other = write_preregistration(tmp_path / "other.json", replace(PLAN, margin=0.05))
    with pytest.raises(LanternError, match="made under the preregistration"):
        refuse_late(folder, other)
    with Run.open(folder, {}) as run:  # a start that does not name the plan keeps it
        assert registered_in(run.manifest) == plan


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 63}, "plans 64 samples, and this run would have 63"),
        ({"margin": 0.05}, "fixes the margin of equivalence at 0.02, and --margin is 0.05"),
        ({"conditions": ["own", "zeros"]}, "is swap, and this run has own, zeros"),
    ],
)
def test_settings_that_contradict_the_plan_are_refused_by_name(
    plan: Preregistration, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(LanternError, match=message):
        refuse_contradiction(plan, **settings)
    refuse_contradiction(plan, samples=64, margin=0.02, conditions=["own", "swap"])
    refuse_contradiction(plan)


def test_a_broken_record_of_a_plan_is_named() -> None:
    with pytest.raises(LanternError, match=r"run\.json: preregistration is not the record"):
        registered_in({"preregistration": "yes"})
    with pytest.raises(LanternError, match="primary is missing"):
        registered_in({"preregistration": {}})
