"""Facts about replaced latents, counted by hand."""

from __future__ import annotations

from typing import Any

from lantern_probe.analysis.replaced import replaced, replaced_notes


def row(condition: str, status: str = "ok", **facts: Any) -> dict[str, Any]:
    return {"sample": "a", "condition": condition, "status": status, **facts}


def test_facts_are_means_over_the_rows_that_state_them():
    rows = [
        row("own"),
        row("random-box", overlap=[0.0, 0.2], nearest=[2.0, 4.0], nearest_own=[1.0, 2.0]),
        row("random-box", overlap=[0.0]),
        row("random-box", status="failed"),
        row("erase:attribute=color", changed="stored", removed=[0.4, 0.6]),
    ]
    box, erased = replaced(rows)
    assert (box.drawn, box.overlapping, box.overlap, box.distance) == (2, 1, 0.1, 2.0)
    assert (erased.changed, erased.removed, erased.distance) == ("stored", 0.5, None)
    assert replaced_notes([box, erased]) == [
        "random-box: 1 of 2 crops overlap an evidence crop (mean 0.10 of it)",
        "erase:attribute=color: stored own latents changed; 0.50 of their variance removed, out of "
        "sample",
        "distance to the nearest own latent of another image, over that of own latents: "
        "random-box 2.0",
    ]
    assert [f.condition for f in replaced(rows, ["erase:attribute=color"])] == [erased.condition]
