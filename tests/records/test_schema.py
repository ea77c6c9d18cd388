"""Rows that engines write have the fields that the schema promises, and no others."""

from __future__ import annotations

import runpy
import typing
from pathlib import Path
from typing import Any, NotRequired

import pytest

from lantern_probe.capture.dataset import Capture
from lantern_probe.causal.ablation import Ablation
from lantern_probe.causal.patching.sweep import Sweep
from lantern_probe.interventions import parse_condition
from lantern_probe.interventions.patches import layer_sites, whole
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.run import Run
from lantern_probe.records.schema import (
    KINDS,
    AblationRow,
    CaptureRow,
    FailedRow,
    PatchRow,
    failed_row,
)
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes, twin
from lantern_probe.tasks.twins import with_twins
from lantern_probe.vocabulary import parse_sites

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def lantern() -> LanternModel:
    return LanternModel("faithful")


def bad(sample: Sample) -> Sample:
    return Sample(id="bad", images=("/nowhere.png",), question=sample.question)


def assert_form(row: dict[str, Any], kind: type, *, more: bool = False) -> None:
    hints = typing.get_type_hints(kind, include_extras=True)
    required = {name for name, of in hints.items() if typing.get_origin(of) is not NotRequired}
    lacking = required - row.keys()
    assert not lacking, lacking
    assert more or not row.keys() - hints.keys(), row.keys() - hints.keys()


def test_rows_of_an_ablation(lantern: LanternModel, tmp_path: Path) -> None:
    samples = [*scenes(6), bad(scenes(1)[0])]
    labels = ("own", "skip", "swap", "direct", "after->slot", "k-slots:k=2")
    with Run.open(tmp_path, {}) as run:
        Ablation(lantern, samples, [parse_condition(c) for c in labels], run).execute()
        rows = run.rows()
        assert run.manifest["threads"] >= 1
        assert run.manifest["decoding"]["max_new_tokens"] == lantern.max_new_tokens
    for row in rows:
        assert_form(row, FailedRow if row["status"] == "failed" else AblationRow)
    found = {(row["sample"], row["condition"]): row for row in rows}
    assert found["bad", "own"]["finish"] == "failed"
    first = samples[0].id
    assert found[first, "own"]["fed"] == [8] and found[first, "own"]["finish"] == "closed"
    assert found[first, "k-slots:k=2"]["fed"] == [2] and found[first, "skip"]["fed"] == [0]
    assert found[first, "direct"]["kept"] == "neither"


def test_a_text_at_the_token_limit_is_truncated(lantern: LanternModel, tmp_path: Path) -> None:
    whole_text = lantern.generate(scenes(1)[0]).sequences.shape[1]
    prompt = lantern.inputs(scenes(1))["input_ids"].shape[1]
    for limit, finish in ((whole_text - prompt, "closed"), (whole_text - prompt - 1, "truncated")):
        with Run.open(tmp_path / str(limit), {}) as run:
            Ablation(
                lantern, scenes(1), [parse_condition("own")], run, max_new_tokens=limit
            ).execute()
            assert [row["finish"] for row in run.rows()] == [finish]


def test_rows_of_a_capture(lantern: LanternModel, tmp_path: Path) -> None:
    with Run.open(tmp_path, {}) as run:
        sites = parse_sites(["latent@slot"], 4)
        Capture(lantern, [*scenes(2), bad(scenes(1)[0])], sites, run).execute()
        for row in run.rows():
            failed = row["status"] == "failed"
            assert_form(row, FailedRow if failed else CaptureRow, more=not failed)


def test_rows_of_a_sweep(lantern: LanternModel, tmp_path: Path) -> None:
    pairs, _ = with_twins(scenes(2), lambda s: twin(s, "color"), answers_known=True)
    with Run.open(tmp_path, {}) as run:
        Sweep(lantern, pairs, whole(layer_sites(("mlp",), (1,), ("slot",))), run).execute()
        rows = run.rows()
    assert rows and {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert_form(row, PatchRow)
        assert row["finish"] == "closed"


def test_a_failed_row_is_made_in_one_place() -> None:
    assert_form(dict(failed_row("1", "own", ValueError("why"))), FailedRow)


def test_every_field_has_its_sentence_in_the_documentation() -> None:
    made = runpy.run_path(str(DOCS / "tables.py"), run_name="docs")
    page = (DOCS / "runs-on-disk.md").read_text(encoding="utf-8")
    assert made["page"]() == page, "run `python docs/tables.py`"
    for kind in KINDS.values():
        for name in typing.get_type_hints(kind):
            assert f"| `{name}` |" in page
