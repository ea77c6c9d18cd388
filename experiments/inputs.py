"""What every experiment takes: data and how to run a model, and what is made of these."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.console import console
from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.location import identity
from lantern_probe.tasks import TASKS, Sample, load_folder, load_task
from lantern_probe.tasks.viscot import viscot

THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class Inputs:
    """Data, and how to run a model on it."""

    task: str | None = None
    """A generated task: scenes, scenes-grey, tetris or tetris-held-out; by default the one an
    organism's truth is stated for."""
    data: Path | None = None
    """In place of a task: VisCoT multiple-choice JSON lines, or the folder of BLINK or of V* in its
    original layout."""
    image_root: Path | None = None
    """Folder under which the image paths of JSON lines are looked up."""
    malformed: Literal["raise", "skip"] = "raise"
    """What to do with lines of --data that are no multiple choice; skip counts them."""
    samples: int | None = None
    """How many samples: 256 of a task by default, all of --data."""
    seed: int = 0
    """Seed of a task's samples, and of every random draw that does not say its own."""
    overwrite: bool = False
    """Start again where the output holds another run."""
    retry_failed: bool = False
    """Run samples again that failed before."""
    max_new_tokens: int | None = None
    """Limit of a continuation, latent slots included; the checkpoint's own by default, else 512."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """Of the weights; float32 on the CPU and the checkpoint's own on a GPU by default."""
    device: str | None = None
    """cpu, cuda, cuda:1 ...; the first GPU where there is one."""
    attn_implementation: str | None = None
    """sdpa (default), eager, flash_attention_2."""
    max_pixels: int | None = None
    """Larger images are made smaller, to a token per 28 x 28 pixels of this; the official limit by
    default. The model then sees less: that is another setting."""
    latent_size: int | None = None
    """Slots in a block, for a checkpoint whose config does not say."""
    revision: str | None = None
    """Branch, tag or commit of a Hub repository."""
    offline: bool = False
    """Never contact the Hub."""


Taken = TypeVar("Taken", bound=Inputs)


def taken(kind: type[Taken], inputs: Inputs, **more: Any) -> Taken:
    """Another experiment's configuration, with the same inputs."""
    names = [field.name for field in dataclasses.fields(Inputs)]
    return kind(**{name: getattr(inputs, name) for name in names} | more)


def load_samples(inputs: Inputs, model: str) -> tuple[str, list[Sample]]:
    """The name of the data and the samples for one model.

    Raises:
        LanternError: there is no such task or file, or it is not said which.
    """
    if inputs.samples is not None and inputs.samples < 1:
        raise LanternError(f"--samples must be at least 1, not {inputs.samples}")
    if inputs.max_new_tokens is not None and inputs.max_new_tokens < 1:
        raise LanternError(f"--max-new-tokens must be at least 1, not {inputs.max_new_tokens}")
    if inputs.data is not None:
        if inputs.task is not None:
            raise LanternError("give --task or --data, not both")
        if inputs.image_root is not None and not inputs.image_root.is_dir():
            raise LanternError(f"--image-root: no folder '{inputs.image_root}'")
        if inputs.data.is_dir():
            found = load_folder(inputs.data, inputs.seed)
            return inputs.data.resolve().name, found[: inputs.samples]
        samples = viscot(inputs.data, inputs.image_root, inputs.samples, malformed=inputs.malformed)
        return inputs.data.name, samples
    if inputs.image_root is not None or inputs.malformed != "raise":
        raise LanternError("--image-root and --malformed are about --data, which is not given")
    task = inputs.task
    if task is None:
        card = organisms.find_card(model)
        if card is None:
            raise LanternError(
                f"say what to ask {model!r}: --data FILE.jsonl --image-root DIR, or --task "
                f"({', '.join(TASKS)})"
            )
        task = card.task
    return task, load_task(task, inputs.samples or 256, inputs.seed)


def load_model(inputs: Inputs, name: str) -> LanternModel:
    """The model, with as many threads as do it good."""
    lantern = LanternModel(
        name,
        dtype=chosen_dtype(inputs),
        device_map={"": inputs.device} if inputs.device else None,
        attn_implementation=inputs.attn_implementation,
        max_pixels=inputs.max_pixels,
        latent_size=inputs.latent_size,
        revision=inputs.revision,
        offline=inputs.offline,
    )
    # Threads cost more than they bring on matrices this small.
    torch.set_num_threads(1 if lantern.is_tiny else THREADS)
    return lantern


def run_settings(inputs: Inputs, experiment: str, model: str, data: str) -> dict[str, Any]:
    """All of the inputs that decides a sample's row: what a run's folder is held against.

    How many samples there are does not, unless the samples lend each other something.
    """
    root = inputs.image_root
    return {
        "experiment": experiment,
        "model": model,
        "revision": inputs.revision,
        "latent_size": inputs.latent_size,
        "max_pixels": inputs.max_pixels,
        "weights": identity(model),
        "dtype": chosen_dtype(inputs),
        "gpu": _on_gpu(inputs),
        "attn_implementation": inputs.attn_implementation,
        "data": data,
        "data_sha256": sha256(inputs.data) if inputs.data is not None else None,
        "image_root": None if root is None else root.resolve(),
        "seed": inputs.seed,
        "max_new_tokens": inputs.max_new_tokens,
    }


def chosen_dtype(inputs: Inputs) -> str:
    """The checkpoint's own on a GPU and float32 elsewhere, unless another is asked for."""
    return inputs.dtype or ("auto" if _on_gpu(inputs) else "float32")


def _on_gpu(inputs: Inputs) -> bool:
    return torch.cuda.is_available() and not (inputs.device or "").startswith("cpu")


def file_name(name: str) -> str:
    """A model's or column's name as one of a file or folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def progress_bar() -> Progress:
    """What is shown while something runs."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def sha256(data: Path) -> str:
    """Of a file's content, or of the names and sizes of a folder's files."""
    try:
        if data.is_dir():
            files = sorted(path for path in data.rglob("*") if path.is_file())
            listing = [f"{path.relative_to(data)}\0{path.stat().st_size}" for path in files]
            return hashlib.sha256("\n".join(listing).encode()).hexdigest()
        return hashlib.sha256(data.read_bytes()).hexdigest()
    except OSError as error:
        raise LanternError(f"cannot read '{data}': {error.strerror or error}") from None
