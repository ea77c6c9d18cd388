"""Rows of an experiment made by workers on a Ray cluster; this process writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from lantern_probe.errors import LanternError
from lantern_probe.model.content import checkpoint_content
from lantern_probe.model.location import fetch, resolve
from lantern_probe.records.resuming import compare, made_with
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample

from .console import console
from .inputs import Inputs, ScaledInputs
from .scaling import for_worker

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.scale.replica import Job, Ready, Replica

POISON = "every worker that ran this sample died; look at its image, and at the memory of a worker"


def make_replica(
    config: Inputs, name: str, job: Job, gpus: float, samples: Sequence[Sample], workers: int
) -> Replica:
    """Make the replica of a worker, in its process.

    Args:
        config: The inputs.
        name: Name of the model.
        job: Function that makes the engines.
        gpus: GPUs of a worker.
        samples: Samples of the run.
        workers: Number of workers, which are taken to share the memory of a machine.
    """
    from lantern_probe.model.memory import take_share
    from lantern_probe.scale.clusters import processors
    from lantern_probe.scale.replica import Replica

    take_share(gpus, min(workers, processors()))

    def content() -> Mapping[str, Any]:
        _, adapter = resolve(name, config.adapter)
        folder = fetch(name, config.revision, config.offline)
        return checkpoint_content(folder, adapter)

    return Replica(lambda: config.load_model(name), job, samples, content)


def run_fleet(
    config: ScaledInputs,
    run: Run,
    samples: Sequence[Sample],
    wanted: set[tuple[str, str, int]],
    name: str,
    job: Job,
    progress: Progress,
    title: str,
) -> None:
    """Make the missing ones of the wanted rows by workers.

    Args:
        config: The inputs.
        run: Run that takes the rows.
        samples: Samples of the rows, as the run knows them.
        wanted: Keys of the wanted rows.
        name: Name of the model.
        job: Function that makes the engines.
        progress: Progress display.
        title: Title of the bar.

    Raises:
        LanternError: the cluster has no room, or a worker would make other rows.
    """
    run.refuse_outdated(sorted({key[1] for key in wanted}))
    due = {key for key in wanted if not run.has(*key)}
    bar = progress.add_task(escape(title), total=len(wanted), completed=len(wanted - due))
    if not due:
        return
    from lantern_probe.records.work import Done, block_size
    from lantern_probe.records.writer import Writer
    from lantern_probe.scale.clusters import gpus_of_worker
    from lantern_probe.scale.fleet import Fleet
    from lantern_probe.scale.replica import packed

    assert config.ray is not None
    gpus = gpus_of_worker(config.ray, config.gpus_per_worker)
    make = partial(make_replica, for_worker(config, gpus), name, job, gpus)
    check = _check_of(run)
    with Fleet(config.ray, config.workers, gpus, make, samples, check) as fleet:
        progress.update(bar, description=escape(f"{title}, {fleet.count} workers start"))
        outlines = fleet.first().outlines
        writer = Writer(
            run, samples, block_size(outlines), advance=lambda rows: progress.advance(bar, rows)
        )
        for number, outline in enumerate(outlines):
            outline.with_samples(samples)
            writer.begin(outline)
            for stage in range(outline.stages):
                tasks = list(writer.tasks(outline, stage))
                if not tasks:
                    continue
                pool = packed(writer.pool(outline), f"{number}") if stage else None
                for task, done in fleet.stream(number, tasks, pool):
                    if done is None:
                        rows = outline.failures(task.units[0], LanternError(POISON))
                        labels = {*outline.labels(stage)} or {row["condition"] for row in rows}
                        done = Done([row for row in rows if row["condition"] in labels])
                    writer.write(done)
                    said = f"{title}, {fleet.alive} workers alive, {fleet.lost} lost"
                    progress.update(bar, description=escape(said))
        if fleet.lost:
            console.print(f"{title}: {fleet.lost} workers were lost and replaced", markup=False)


def _check_of(run: Run) -> Callable[[Ready], None]:
    """A function that refuses a worker whose rows would be others."""

    def check(ready: Ready) -> None:
        where = f"the worker {ready.process} on {ready.machine} would make other rows"
        recorded = run.manifest["config"].get("checkpoint")
        for words, here, there in (
            ("code or versions", made_with(), ready.made_with),
            ("weights", {"checkpoint": recorded}, {"checkpoint": ready.checkpoint}),
        ):
            changed = [p.phrase for p in compare(here, there, lenient=False) if p.same is False]
            if changed and not (words == "weights" and recorded is None):
                raise LanternError(
                    f"{where} ({words}, of the driver there and of the worker here: "
                    f"{'; '.join(changed[:4])}); make all machines of the cluster alike"
                )
        for outline in ready.outlines:
            try:
                run.note(**outline.facts())
            except LanternError as error:
                raise LanternError(f"{where}: {error}") from None

    return check
