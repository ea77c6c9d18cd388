"""Steps that commands repeat: open the run, load the model only if rows are due, go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from lantern_probe.errors import LanternError
from lantern_probe.model.content import checkpoint_content
from lantern_probe.model.location import commit_of, fetch, identity
from lantern_probe.records.json_files import explained, to_plain
from lantern_probe.records.resuming import LATER, is_allowed, parts_of, shown
from lantern_probe.records.resumption import modern_manifest
from lantern_probe.records.rows import MANIFEST, read_manifest
from lantern_probe.records.run import Run

from .console import Explained, console, print_table, titled_table
from .inputs import Inputs

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.model.lantern import LanternModel

Advance = Callable[[int], None]
"""Function called with the number of rows just recorded."""
Keys = AbstractSet[tuple[str, str]]
"""Keys of rows: sample and condition."""
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
        self._loaded: LanternModel | None = None

    def __call__(self) -> LanternModel:
        """The model."""
        if self._loaded is None:
            self._loaded = self.config.load_model(self.name)
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


def _content(config: Inputs, model: str, there: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint, and its commit if it is the Hub's."""
    try:
        folder = fetch(model, config.revision, config.offline)
    except LanternError:
        # Out of reach: what is complete can still be shown, and what is not cannot be loaded.
        if Path(model).exists() or there.get("model") != model or "checkpoint" not in there:
            raise
        return {"checkpoint": there["checkpoint"], "commit": there.get("commit")}
    return {"checkpoint": checkpoint_content(folder), "commit": commit_of(folder)}


def open_run(config: Inputs, folder: Path, command: str, model: str, data: str, **more: Any) -> Run:
    """Start or resume the run of one model in a folder.

    Args:
        config: The inputs.
        folder: Folder of the run.
        command: Name of the command.
        model: Name of the model.
        data: Name of the data.
        **more: Settings of this command that decide a row.

    Raises:
        LanternError: the folder cannot be used, or holds another run.
        Explained: the inputs ask for the comparison only.
    """
    refuse_folder(config, folder, command, model, data, **more)
    there = _manifest(folder)["config"]
    settings = run_settings(config, command, model, data, there=there) | more
    # Batches shrink with the memory: recorded, and no setting of a row.
    facts: dict[str, Any] = {"batch_rows": config.batch_rows}
    if _is_at_hand(model, config):
        facts["threads"] = config.threads(model)
    if config.explain_resume:
        explain(folder, settings, facts)
        raise Explained
    return Run.open(
        folder,
        settings,
        overwrite=config.overwrite,
        retry_failed=config.retry_failed,
        facts=facts,
        allow_changed=config.allow_changed,
    )


def _is_at_hand(model: str, config: Inputs) -> bool:
    try:
        return fetch(model, config.revision, config.offline).is_dir()
    except LanternError:
        return False


def _manifest(folder: Path) -> dict[str, Any]:
    with explained(folder):
        return read_manifest(folder) if (folder / MANIFEST).is_file() else {"config": {}}


def explain(folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Print, part by part, how the run in a folder and a start of it compare.

    Args:
        folder: Folder of the run.
        settings: Settings of the start.
        facts: Facts of the start that are known beforehand.
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
        Run.open(
            folder,
            assumed,
            overwrite=config.overwrite,
            allow_changed=config.allow_changed,
        ).close()


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")


def run_due(
    run: Run,
    wanted: Keys,
    load: ModelLoader,
    engine: Callable[[LanternModel, Advance], None],
    progress: Progress,
    title: str | None = None,
) -> None:
    """Make the missing ones of the wanted rows; the model is loaded only if any is missing.

    Args:
        run: Run that takes the rows.
        wanted: Keys of the wanted rows.
        load: Loader of the model.
        engine: Function that makes the missing rows.
        progress: Progress display.
        title: Title of the bar; by default the name of the model.

    Raises:
        LanternError: the run holds rows of a wanted condition from before its meaning changed.
    """
    run.refuse_outdated(sorted({condition for _, condition in wanted}))
    due = len(wanted - run.done())
    bar = progress.add_task(escape(title or load.name), total=len(wanted))
    progress.advance(bar, len(wanted) - due)
    if due:
        engine(load(), lambda rows: progress.advance(bar, rows))
