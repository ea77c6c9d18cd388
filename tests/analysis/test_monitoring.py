"""Numbers of one look are those of the rows, and are logged by name; few pairs have no value."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.analysis.estimands import ABOUT
from lantern_probe.analysis.monitoring import log_key, monitored
from lantern_probe.errors import LanternError


def pair_rows(number: int, *, emitted: bool = True) -> list[dict[str, Any]]:
    """Rows of a pair whose answers follow the latents."""
    found = []
    for side, other in (("a", "b"), ("b", "a")):
        for condition in CONDITIONS:
            moved = condition in ("twin", "twin-oracle")
            answer = other if moved else None if condition in ("mask", "skip", "ban") else side
            found.append({
                "sample": f"{number}{side}", "condition": condition, "status": "ok",
                "cluster": str(number), "category": None, "emitted": emitted, "gold": side,
                "answer": answer or "c", "correct": answer == side, "finish": "stop",
                "donor": f"{number}{other}" if moved else None,
                "donor_answer": other if moved else None,
            })  # fmt: skip
    return found


def look(rows: list[dict[str, Any]], **more: Any) -> Any:
    return monitored(rows, pairs=20, delta=0.05, edit="twins", **more)


def test_a_look_is_a_mapping_of_estimates() -> None:
    found = look([row for number in range(20) for row in pair_rows(number)])
    assert list(found) == list(ABOUT) and len(found) == len(ABOUT)
    assert (found["follows"].value, found["follows"].n) == (1.0, 20)
    assert found["needed"].value == 1.0
    assert found.emitted == 1.0 and found.failed == 0 and not found.reasons


def test_logs_have_value_interval_and_n_by_name() -> None:
    found = look([row for number in range(20) for row in pair_rows(number)], seconds=2.5)
    logs = found.logs()
    follows = found["follows"]
    assert logs["monitor/follows"] == 1.0 and logs["monitor/follows_n"] == 20
    assert (logs["monitor/follows_low"], logs["monitor/follows_high"]) == (follows.low, 1.0)
    assert log_key("depends-oracle") in logs
    assert logs["monitor/accuracy"] == 1.0 and logs["monitor/seconds"] == 2.5
    assert logs["monitor/comparable"] == 1.0
    assert all(isinstance(value, int | float) for value in logs.values())


def test_too_few_pairs_log_their_number_only() -> None:
    logs = look(pair_rows(0)).logs()
    assert logs["monitor/follows_n"] == 1
    assert not {"monitor/follows", "monitor/follows_low"} & logs.keys()


def test_a_model_without_blocks_has_no_values_and_says_why() -> None:
    found = look([row for number in range(20) for row in pair_rows(number, emitted=False)])
    assert found.emitted == 0.0
    assert {estimate.n for estimate in found.values()} == {0}
    assert "have a block" in found.reasons[0]
    assert found.logs()["monitor/comparable"] == 0.0


def test_failed_samples_are_counted() -> None:
    rows = pair_rows(0)
    rows[1] |= {"status": "failed", "error": "no image"}
    assert look(rows).failed == 1
    failed = [{**row, "status": "failed", "error": "no image"} for row in rows]
    with pytest.raises(LanternError, match="no image"):
        look(failed)
