"""Steps that commands repeat: open the run, load the model only if rows are due, go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from lantern_probe import extensions, organisms
from lantern_probe.errors import LanternError
from lantern_probe.interventions import packages_of
from lantern_probe.model.content import checkpoint_content
from lantern_probe.model.location import commit_of, fetch, identity, resolve
from lantern_probe.records.json_files import explained, to_plain
from lantern_probe.records.preregistration import FACT
from lantern_probe.records.resuming import LATER, is_allowed, parts_of, shown
from lantern_probe.records.resumption import modern_manifest
from lantern_probe.records.rows import MANIFEST, read_manifest
from lantern_probe.records.run import Run
from lantern_probe.records.run_folder import PEEK, refuse_foreign
from lantern_probe.records.samples import SAMPLES_FILE, compare_samples, content_of_all
from lantern_probe.tasks import TASKS, Sample
from lantern_probe.tasks.answers import PARSERS

from .console import Explained, console, print_table, titled_table
from .data import task_of
from .inputs import Inputs
from .planning import check_plan, note_planned, say_run

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.tasks import Sample

Advance = Callable[[int], None]
"""Function called with the number of rows just recorded."""
Engine = Callable[["LanternModel", Run, Sequence[Sample], Advance], None]
"""Function that makes what a run lacks of the rows of some samples."""
Keys = AbstractSet[tuple[str, str] | tuple[str, str, int]]
"""Keys of rows: sample and condition, and the pass of sampled decoding."""
UNKNOWN: Any = object()
"""Value of a setting that is unknown until the model is loaded."""


class ModelLoader:
    """Loader of a model, which loads on the first call and only once.

    Args:
        config: Options with which the model is loaded.
        name: Name of the model: an organism, a checkpoint folder or a Hub name.
    """

    def __init__(self, config: Inputs, name: str) -> None:
        self.config, self.name = config, name
        self.seconds = 0.0
        """Seconds that the loading took; 0 until then."""
        self._loaded: LanternModel | None = None

    def __call__(self) -> LanternModel:
        """The model."""
        if self._loaded is None:
            started = time.perf_counter()
            self._loaded = self.config.load_model(self.name)
            self.seconds = time.perf_counter() - started
        return self._loaded


def run_settings(
    config: Inputs,
    command: str,
    model: str,
    data: str,
    *,
    gpu: bool | None = None,
    there: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Settings in the inputs that decide a sample's row, with which a run's folder must agree.

    The number of samples is no such setting, unless samples lend each other their latents. Nor are
    the rows of a batch, which depend on the memory that happens to be free.

    Args:
        config: The inputs.
        command: Name of the command.
        model: Name of the model.
        data: Name of the data.
        gpu: True for a GPU, False for the CPU; detected by default, which loads torch.
        there: Configuration of the run in the folder; none by default. Of a run from before
            checkpoints were recorded by content, the digest of that time is compared.
    """
    gpu = config.on_gpu() if gpu is None else gpu
    root = config.image_root
    there = there or {}
    settings = {
        "experiment": command,
        "model": model,
        "revision": config.revision,
        **_content(config, model, there),
        "latent_size": config.latent_size,
        "max_pixels": config.max_pixels,
        "dtype": config.chosen_dtype(gpu),
        "gpu": gpu,
        "attn_implementation": config.attn_implementation,
        **_additions(config),
        "data": data,
        "image_root": None if root is None else root.resolve(),
        "seed": config.seed,
        "max_new_tokens": config.max_new_tokens,
    }
    if config.reading is not None:
        settings["reading"] = config.reading.settings()
    if "weights" in there and "checkpoint" not in there:
        settings["weights"] = identity(model)
    return settings


def _additions(config: Inputs) -> dict[str, Any]:
    """Settings that a run has only where they are given; the adapter's content is the model's."""
    found: dict[str, Any] = {}
    if (protocol := config.given_protocol()) is not None:
        found["protocol"] = protocol.facts()
    if config.adapter is not None:
        found["adapter"] = config.adapter
    if config.quantize is not None:
        found["quantize"] = config.quantize
    return found


def _content(config: Inputs, model: str, there: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint, and its commit if it is the Hub's."""
    try:
        _, adapter = resolve(model, config.adapter)
        folder = fetch(model, config.revision, config.offline)
    except LanternError:
        # Out of reach: what is complete can still be shown, and what is not cannot be loaded.
        if Path(model).exists() or there.get("model") != model or "checkpoint" not in there:
            raise
        return {"checkpoint": there["checkpoint"], "commit": there.get("commit")}
    return {"checkpoint": checkpoint_content(folder, adapter), "commit": commit_of(folder)}


def open_run(
    config: Inputs,
    folder: Path,
    command: str,
    model: str,
    data: str,
    asked: Sequence[Sample] = (),
    compared: Iterable[str] | None = None,
    **more: Any,
) -> Run:
    """Start or resume the run of one model in a folder.

    Args:
        config: The inputs.
        folder: Folder of the run.
        command: Name of the command.
        model: Name of the model.
        data: Name of the data.
        asked: Samples to run. Where their number is a setting, because they lend each other their
            latents, so is their content.
        compared: Labels of the conditions that are compared; None if none are.
        **more: Settings of this command that decide a row.

    Raises:
        LanternError: the folder cannot be used, holds another run, or the preregistration says
            otherwise.
        Explained: the inputs ask for the comparison only.
    """
    if "samples" in more and config.sample_ids is not None:
        # Samples lend each other latents and images: which they are decides a row.
        more["sample_ids"] = sorted({*config.sample_ids})
    plan = check_plan(config, folder, asked, compared)
    if asked and "samples" in more:
        more["sample_set"] = _sample_set(config, folder, asked)
    refuse_folder(config, folder, command, model, data, **more)
    there = _manifest(folder)["config"]
    settings = run_settings(config, command, model, data, there=there) | more
    settings |= _packages(config, model, settings)
    # Batches shrink with the memory: recorded, and no setting of a row.
    facts: dict[str, Any] = {"batch_rows": config.batch_rows}
    if plan is not None:
        facts[FACT] = plan.as_record()
    if config.device_map is not None:
        facts["device_map"] = config.device_map
    if _is_at_hand(model, config):
        facts["threads"] = config.threads(model)
    if config.explain_resume:
        explain(folder, settings, facts, asked)
        raise Explained
    opening: dict[str, Any] = {
        "overwrite": config.overwrite,
        "retry_failed": config.retry_failed,
        "facts": facts,
        "allow_changed": config.allow_changed,
    }
    if config.dry_run:
        from .rehearsal import open_copy

        run = open_copy(folder, settings, **opening)
    else:
        run = Run.open(folder, settings, **opening)
    try:
        if packages := packages_of(getattr(config, "conditions", ())):
            run.note(extensions=packages)
    except LanternError:  # one of them is no longer what it was
        run.close()
        raise
    return run


def _packages(config: Inputs, model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The setting `extensions`: packages that the data and the parser come from, if any do."""
    used = extensions.records("parsers", [str(settings.get("parser"))], PARSERS)
    if config.task is not None or (config.data is None and organisms.find_card(model)):
        used |= extensions.records("data", [task_of(config, model)], TASKS)
    return {"extensions": used} if used else {}


def _sample_set(config: Inputs, folder: Path, asked: Sequence[Sample]) -> str:
    """The digest of the samples; that of the run where a changed sample will be refused by name."""
    there = _manifest(folder)["config"].get("sample_set")
    with explained(folder):
        if there and compare_samples(folder, asked, config.image_root):
            return str(there)
    return content_of_all(asked, config.image_root)


def _is_at_hand(model: str, config: Inputs) -> bool:
    try:
        return fetch(model, config.revision, config.offline).is_dir()
    except LanternError:
        return False


def _manifest(folder: Path) -> dict[str, Any]:
    with explained(folder):
        return read_manifest(folder) if (folder / MANIFEST).is_file() else {"config": {}}


def explain(
    folder: Path,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    asked: Sequence[Sample] = (),
) -> None:
    """Print, part by part, how the run in a folder and a start of it compare.

    Args:
        folder: Folder of the run.
        settings: Settings of the start.
        facts: Facts of the start that are known beforehand.
        asked: Samples of the start.
    """
    manifest = _manifest(folder)
    if not manifest["config"]:
        console.print(f"there is no run in '{folder}': it would begin anew", markup=False)
        return
    known = {name: value for name, value in settings.items() if value is not UNKNOWN}
    wanted = to_plain(known, "config")
    manifest = modern_manifest(manifest, wanted)
    wanted |= {name: LATER for name in settings if name not in known}
    table = titled_table(f"the run in {folder}, and this start")
    for name in ("part", "then", "now", "same?"):
        table.add_column(name, overflow="fold")
    for part in parts_of(manifest, wanted, to_plain(facts, "facts")):
        same = "not recorded" if part.same is None else "yes" if part.same else "no"
        same = "-" if part.now is LATER else same
        table.add_row(escape(part.name), escape(shown(part.then)), escape(shown(part.now)), same)
    with explained(folder):
        changed = compare_samples(folder, asked, settings.get("image_root"))
    for name, then, now in changed:
        table.add_row(escape(name), escape(shown(then)), escape(shown(now)), "no")
    if asked and not changed:
        table.add_row(SAMPLES_FILE, *["its samples"] * 2, "yes")
    print_table(table)


def refuse_folder(
    config: Inputs, folder: Path, command: str, model: str, data: str, **more: Any
) -> None:
    """Refuse a folder in which this run cannot go on, before torch is loaded.

    It has the arguments of `open_run`. The presence of a GPU, and every setting that is `UNKNOWN`
    before the model is loaded, are assumed to be those of the run in the folder.

    Raises:
        LanternError: the folder cannot be used, or holds another run.
    """
    if config.explain_resume:
        return
    manifest = _manifest(folder)
    with explained(folder):
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        usable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        # A run that was killed as it began leaves hidden files.
        foreign = usable and place == folder and any(_is_shown(p) for p in place.iterdir())
    there = manifest["config"]
    gpu = bool(there.get("gpu"))
    settings = run_settings(config, command, model, data, gpu=gpu, there=there) | more
    settings |= _packages(config, model, settings)
    known = {name: value for name, value in settings.items() if value is not UNKNOWN}
    plain = to_plain(known, "config")
    if there:
        manifest = modern_manifest(manifest, plain)
        there = manifest["config"]
    assumed = {name: there.get(name) for name in settings} | plain
    if there:
        parts = [part for part in parts_of(manifest, assumed, {}) if part.same is False]
        changed = any(not is_allowed(part, config.allow_changed) for part in parts)
        refused = changed and not config.overwrite
    else:
        refused = foreign
    if refused or not usable:  # the run says why
        opening: dict[str, Any] = {
            "overwrite": config.overwrite,
            "allow_changed": config.allow_changed,
        }
        if config.dry_run and usable:  # not even a lock is left in the folder
            from .rehearsal import open_copy

            refuse_foreign(folder)
            open_copy(folder, assumed, **opening).close()
        else:
            Run.open(folder, assumed, **opening).close()


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".") and path.name != PEEK


def run_due(
    run: Run,
    samples: Sequence[Sample],
    wanted: Keys,
    load: ModelLoader,
    engine: Engine,
    progress: Progress,
    title: str | None = None,
) -> None:
    """Make the missing ones of the wanted rows; the model is loaded only if any is missing.

    Args:
        run: Run that takes the rows.
        samples: Samples of the rows, as the run knows them.
        wanted: Keys of the wanted rows.
        load: Loader of the model.
        engine: Function that makes the missing rows.
        progress: Progress display.
        title: Title of the bar; by default the name of the model.

    Raises:
        LanternError: the run holds rows of a wanted condition from before its meaning changed.
        Explained: an estimate was asked for in place of the rows, and has been shown.
    """
    run.refuse_outdated(sorted({key[1] for key in wanted}))
    due = {key for key in wanted if not run.has(*key)}
    if load.config.dry_run:
        from .rehearsal import rehearse

        rehearse(run, samples, wanted, load, engine, title or load.name)
        raise Explained
    note_planned(run, samples)
    bar = progress.add_task(escape(title or load.name), total=len(wanted))
    progress.advance(bar, len(wanted) - len(due))
    if due:
        engine(load(), run, samples, lambda rows: progress.advance(bar, rows))
    say_run(run, samples, wanted, title or load.name)
