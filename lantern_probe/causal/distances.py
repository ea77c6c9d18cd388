"""Distances of the latents that conditions feed to those that the model makes by itself."""

from __future__ import annotations

from collections.abc import Sequence

from lantern_probe.interventions import Intervention, Replacement
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import BranchResult
from lantern_probe.tasks.sample import Sample


def distances_to_pool(
    jobs: Sequence[tuple[Sample, Intervention]],
    results: Sequence[BranchResult],
    pool: LatentPool | None,
) -> list[dict[str, list[float]]]:
    """Distances of replaced latents to own latents of other images, for the row of every job.

    Args:
        jobs: Sample and condition of every row.
        results: Finished texts of the rows.
        pool: Own latents of the data set; None before they are known.
    """
    found: list[dict[str, list[float]]] = [{} for _ in jobs]
    fed = [
        row
        for row, ((_, condition), result) in enumerate(zip(jobs, results, strict=True))
        if isinstance(condition, Replacement) and result.blocks
    ]
    if pool is None or not pool.latents or not fed:
        return found
    own = [row for row in fed if jobs[row][0].id in pool.latents]
    for name, rows, vectors in (
        ("nearest", fed, [results[row].blocks[0].latents for row in fed]),
        ("nearest_own", own, [pool.latents[jobs[row][0].id] for row in own]),
    ):
        far = pool.nearest([jobs[row][0] for row in rows], vectors)
        for row, distances in zip(rows, far, strict=True):
            if distances is not None:
                found[row][name] = [round(distance, 4) for distance in distances]
    return found
