"""Rows of an experiment made by this process, by it as one of several, or by a fleet of workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample

from .console import console, end_explained
from .inputs import Inputs, ScaledInputs
from .runs import Advance, Keys, ModelLoader, run_due

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.engines import Engine
    from lantern_probe.scale.replica import Job

Before = Callable[["LanternModel"], None]
"""Function called once, before the first row, with the model."""


def run_job(
    config: Inputs,
    run: Run,
    samples: Sequence[Sample],
    wanted: Keys,
    load: ModelLoader,
    job: Job,
    progress: Progress,
    *,
    title: str | None = None,
    before: Before | None = None,
) -> None:
    """Make the missing ones of the wanted rows, as far as they are this process's.

    Args:
        config: The inputs.
        run: Run that takes the rows.
        samples: Samples of the rows, as the run knows them.
        wanted: Keys of the wanted rows.
        load: Loader of the model.
        job: Function that makes the engines.
        progress: Progress display.
        title: Title of the bar; by default the name of the model.
        before: Function called once, before the first row, with the model; none by default. It is
            not called where workers have the model.

    Raises:
        LanternError: a part of the run is cut otherwise, or workers cannot do it.
        Explained: an estimate was asked for in place of the rows, and has been shown.
    """
    wanted = _with_passes(wanted)
    if isinstance(config, ScaledInputs) and config.ray is not None:
        from .fleets import run_fleet

        run_fleet(config, run, samples, wanted, load.name, job, progress, title or load.name)
    elif isinstance(config, ScaledInputs) and config.division is not None:
        _run_part(config, run, samples, wanted, load, job, progress, title, before)
    else:
        run_due(run, samples, wanted, load, _in_process(job, before), progress, title)


def _with_passes(wanted: Keys) -> set[tuple[str, str, int]]:
    return {(key[0], key[1], key[2] if len(key) == 3 else 0) for key in wanted}


def _in_process(job: Job, before: Before | None) -> Any:
    """The engines of a job as one function that a rehearsal can call, too."""
    called: list[bool] = []

    def engine(lantern: LanternModel, run: Run, some: Sequence[Sample], advance: Advance) -> None:
        from lantern_probe.records.work import block_size
        from lantern_probe.records.writer import Writer, carry_out

        if before is not None and not called:
            before(lantern)
            called.append(True)
        engines = job(lantern, some)
        if engines:
            carry_out(Writer(run, some, block_size(engines), advance=advance), engines)

    return engine


def _run_part(
    config: ScaledInputs,
    run: Run,
    samples: Sequence[Sample],
    wanted: set[tuple[str, str, int]],
    load: ModelLoader,
    job: Job,
    progress: Progress,
    title: str | None,
    before: Before | None,
) -> None:
    """Make the missing rows of a part; status `waiting` where others must come first."""
    from lantern_probe.records.work import block_size
    from lantern_probe.records.writer import Writer, carry_out
    from lantern_probe.scale.shards import (
        FACT,
        division_fact,
        parts_late,
        parts_of,
        refuse_changed_division,
        samples_of,
    )

    division = config.division
    assert division is not None
    run.refuse_outdated(sorted({key[1] for key in wanted}))
    there = run.manifest.get(FACT, {})
    engines: Sequence[Engine] = ()
    fact = division_fact(division, there.get("block", 1), samples, (), wanted)
    if any(there.get(name) != fact[name] for name in ("samples", "order")):
        there = {} if not run.rows() else there
        engines = job(load(), samples)
        fact |= {"block": block_size(engines)}
    own = samples_of(samples, fact["block"], division)
    mine = {key for key in wanted if key[0] in own}
    if config.dry_run:
        some = [sample for sample in samples if sample.id in own]
        run_due(run, some, mine, load, _in_process(job, before), progress, title)
        return
    due = {key for key in mine if not run.has(*key)}
    shown = escape(f"{title or load.name}, shard {division}")
    bar = progress.add_task(shown, total=len(mine), completed=len(mine - due))
    late: list[str] = []
    if due or engines:
        engines = engines or job(load(), samples)
        if before is not None and due:
            before(load())
        stages = [engine.labels(stage) for engine in engines for stage in range(engine.stages)]
        fact = division_fact(division, block_size(engines), samples, stages, wanted)
        refuse_changed_division(run.folder, there, fact)
        run.note(**{FACT: _extended(there, fact)})
        output = run.folder.parent
        writer = Writer(
            run, samples, fact["block"], division, parts_of(output, division),
            lambda rows: progress.advance(bar, rows),
        )  # fmt: skip
        carry_out(writer, engines, ready=False)
        keeps = {folder for engine in engines if engine.stages > 1 for folder in engine.keeps}
        run.note(ready=sorted({*run.manifest.get("ready", ()), *keeps}))
        if any(not run.has(*key) for key in mine):
            late = parts_late(output, division, keeps)
            if not late:
                carry_out(writer, engines)
    _say(config, run, len(mine), len(own), late)


def _extended(there: dict[str, Any], fact: dict[str, Any]) -> dict[str, Any]:
    """The division with the conditions of earlier starts as well."""
    known = {label for labels in fact["stages"] for label in labels}
    before = there.get("stages", ())
    older = [[label for label in labels if label not in known] for labels in before]
    return {
        **fact,
        "stages": [*fact["stages"], *filter(None, older)],
        "asked": {**there.get("asked", {}), **fact["asked"]},
        "passes": max(fact["passes"], there.get("passes", 1)),
    }


def _say(config: ScaledInputs, run: Run, rows: int, samples: int, late: Sequence[str]) -> None:
    division, output = config.division, run.folder.parent
    if late:
        run.finish("waiting")
        console.print(
            f"shard {division} waits for the own latents of {', '.join(late)}: start it again, "
            "by the same command, when they have run once",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        return
    console.print(
        f"shard {division}: {rows} rows of {samples} samples are in {run.folder}; once all shards "
        f"are there, python -m experiments.merge_shards {output} puts them together",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def end_part(config: Inputs) -> None:
    """End the work on one run if it is only a part, of which nothing can be said yet.

    Args:
        config: The inputs.

    Raises:
        Explained: it is a part.
    """
    end_explained(isinstance(config, ScaledInputs) and config.division is not None)


def has_lost(config: Inputs) -> bool:
    """True if this process records the samples that cannot be run at all, as those without a twin.

    Args:
        config: The inputs.
    """
    division = config.division if isinstance(config, ScaledInputs) else None
    return division is None or division.index == 0


def for_worker(config: Inputs, gpus: float) -> Inputs:
    """The inputs with which a worker loads the model.

    Args:
        config: The inputs.
        gpus: GPUs of a worker; without one it sees them all, and is kept off them.
    """
    return replace(config, device=config.device if gpus else "cpu")
