"""Planned and run numbers of samples."""

from __future__ import annotations

from lantern_probe.records.run_size import note_of_sizes, ran_of


def test_a_sample_counts_once_with_its_twin_and_not_where_all_of_it_failed() -> None:
    rows = [
        {"sample": "1", "condition": "own", "status": "ok"},
        {"sample": "1", "condition": "zeros", "status": "failed"},
        {"sample": "2", "condition": "own", "status": "failed"},
        {"sample": "3", "pair": "3", "condition": "own", "status": "ok"},
        {"sample": "3~color", "pair": "3", "condition": "own", "status": "ok"},
    ]
    assert ran_of(rows) == 2 and ran_of([]) == 0


def test_a_difference_is_said_with_its_consequence_for_p() -> None:
    (note,) = note_of_sizes("runs/a", 256, 128)
    assert "256 samples were planned and 128 ran" in note and "invalidates p" in note
    assert note_of_sizes("runs/a", 256, 300) != []
    assert note_of_sizes("runs/a", 256, 256) == note_of_sizes("runs/a", None, 3) == []
