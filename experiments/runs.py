"""Steps that commands repeat: open the run, load the model only if rows are due, go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from lantern_probe.model.location import identity
from lantern_probe.records.format1 import modern_config
from lantern_probe.records.json_files import differences, explained, to_plain
from lantern_probe.records.rows import FORMAT, MANIFEST, read_manifest
from lantern_probe.records.run import Run

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
    config: Inputs, command: str, model: str, data: str, *, gpu: bool | None = None
) -> dict[str, Any]:
    """Settings in the inputs that decide a sample's row, with which a run's folder must agree.

    The number of samples is no such setting, unless samples lend each other their latents.

    Args:
        config: The inputs.
        command: Name of the command.
        model: Name of the model.
        data: Name of the data.
        gpu: True for a GPU, False for the CPU; detected by default, which loads torch.
    """
    gpu = config.on_gpu() if gpu is None else gpu
    root = config.image_root
    return {
        "experiment": command,
        "model": model,
        "revision": config.revision,
        "latent_size": config.latent_size,
        "max_pixels": config.max_pixels,
        "weights": identity(model),
        "dtype": config.chosen_dtype(gpu),
        "gpu": gpu,
        "attn_implementation": config.attn_implementation,
        "data": data,
        "image_root": None if root is None else root.resolve(),
        "seed": config.seed,
        "max_new_tokens": config.max_new_tokens,
    }


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
    """
    refuse_folder(config, folder, command, model, data, **more)
    settings = run_settings(config, command, model, data) | more
    return Run.open(folder, settings, overwrite=config.overwrite, retry_failed=config.retry_failed)


def refuse_folder(
    config: Inputs, folder: Path, command: str, model: str, data: str, **more: Any
) -> None:
    """Refuse a folder in which this run cannot go on, before torch is loaded.

    It has the arguments of `open_run`. The presence of a GPU, and every setting that is `UNKNOWN`
    before the model is loaded, are assumed to be those of the run in the folder.

    Raises:
        LanternError: the folder cannot be used, or holds another run.
    """
    with explained(folder):
        manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else {"config": {}}
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        usable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        # A run that was killed as it began leaves hidden files.
        foreign = usable and place == folder and any(_is_shown(p) for p in place.iterdir())
    there = manifest["config"]
    settings = run_settings(config, command, model, data, gpu=bool(there.get("gpu"))) | more
    known = {name: value for name, value in settings.items() if value is not UNKNOWN}
    if there and manifest["format"] != FORMAT:
        there = modern_config(there, to_plain(known, "config"))
    assumed = {name: there.get(name) for name in settings} | known
    if there:
        changed = any(differences(there, to_plain(assumed, "config")))
        refused = changed and not config.overwrite
    else:
        refused = foreign
    if refused or not usable:  # the run says why
        Run.open(folder, assumed, overwrite=config.overwrite).close()


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
    """
    due = len(wanted - run.done())
    bar = progress.add_task(escape(title or load.name), total=len(wanted))
    progress.advance(bar, len(wanted) - due)
    if due:
        engine(load(), lambda rows: progress.advance(bar, rows))
