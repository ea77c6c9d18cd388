"""What commands take: the data, how the model is loaded, how the run goes.

A configuration combines these ingredients by inheritance, so that all flags stay flat. Each
ingredient has the one method that uses it, and a check that refuses what cannot be used before
anything heavy is loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.interventions.image import CORRUPTIONS, parse_image_corruption
from lantern_probe.model.location import locate
from lantern_probe.tasks import TASKS, Sample, load_folder, load_task
from lantern_probe.tasks.scenes import twin as scene_twin
from lantern_probe.tasks.twins import UNRELATED, unrelated_pairs, with_twins
from lantern_probe.tasks.viscot import viscot

from .console import console, quiet_transformers

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

TASK_SAMPLES = 256
"""Samples of a generated task unless another number is asked for."""

SCENE_TWINS = ("color", "shape", "cell")
"""Edits of scenes after which the right answer is known."""

Parser = Literal["default", "official", "strict"]
Load = Callable[[str], tuple[str, list[Sample]]]
"""The name of the data, and the samples, for a model."""


@dataclass(frozen=True)
class DataOptions:
    """Which questions are asked."""

    task: str | None = None
    """A generated task: scenes, scenes-grey, tetris or tetris-held-out. By default the one for
    which the truth of an organism is stated."""
    data: Path | None = None
    """Data in place of a task: a file of VisCoT multiple-choice JSON lines, or the folder of BLINK
    or V* in its original layout."""
    image_root: Path | None = None
    """Folder under which the image paths of JSON lines are looked up; by default the file's."""
    malformed: Literal["raise", "skip"] = "raise"
    """Lines of --data that are no multiple choice: raise stops at the first, skip leaves them out
    and counts them."""
    samples: int | None = None
    """Number of samples, from the first. By default 256 of a task and all of --data."""
    seed: int = 0
    """Seed of a task's samples, and of every random draw that names no seed of its own."""

    def check_data(self, model: str) -> None:
        """Refuse data that cannot be asked for.

        Raises:
            LanternError: there is no such task, file or folder, or it is not said which.
        """
        if self.samples is not None and self.samples < 1:
            raise LanternError(f"--samples must be at least 1, not {self.samples}")
        if self.seed < 0:
            raise LanternError(f"--seed must be at least 0, not {self.seed}")
        if self.data is None:
            if self.image_root is not None or self.malformed != "raise":
                raise LanternError("--image-root and --malformed are about --data; give it too")
            if self._task(model) not in TASKS:
                raise LanternError(f"no task {self.task!r}; known: {', '.join(TASKS)}")
            return
        if self.task is not None:
            raise LanternError("give --task or --data, not both")
        if not self.data.exists():
            raise LanternError(f"--data: there is no file or folder '{self.data}'")
        if self.image_root is not None and not self.image_root.is_dir():
            raise LanternError(f"--image-root: there is no folder '{self.image_root}'")

    def load_samples(self, model: str) -> tuple[str, list[Sample]]:
        """The name of the data, and the samples for one model.

        Raises:
            LanternError: as for `check_data`, or the data cannot be read.
        """
        self.check_data(model)
        if self.data is None:
            task = self._task(model)
            return task, load_task(task, self.samples or TASK_SAMPLES, self.seed)
        if self.data.is_dir():
            found = load_folder(self.data, self.seed)
            return self.data.resolve().name, found[: self.samples]
        found = viscot(self.data, self.image_root, self.samples, malformed=self.malformed)
        return self.data.name, found

    def _task(self, model: str) -> str:
        if self.task is not None:
            return self.task
        card = organisms.find_card(model)
        if card is None:
            raise LanternError(
                f"say what to ask {model!r}: --data FILE.jsonl --image-root DIR, or --task "
                f"({', '.join(TASKS)})"
            )
        return card.task


@dataclass(frozen=True)
class ModelOptions:
    """How the model is loaded."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """Dtype of the weights; auto is the checkpoint's own. By default float32 on the CPU and auto
    on a GPU."""
    device: str | None = None
    """Device: cpu, cuda, cuda:1 and so on. By default the first GPU, or the CPU without one."""
    attn_implementation: str | None = None
    """Attention: sdpa (default), eager or flash_attention_2."""
    max_pixels: int | None = None
    """Most pixels of an image; larger ones are made smaller, to one token per 28 x 28 pixels. By
    default the limit of the official evaluation."""
    latent_size: int | None = None
    """Number of slots in a block, for a checkpoint whose config does not say."""
    revision: str | None = None
    """Branch, tag or commit of a Hub repository."""
    offline: bool = False
    """Never contact the Hub."""

    def load_model(self, name: str) -> LanternModel:
        """Load the model; one CPU thread for tiny models, all of them otherwise."""
        import torch

        from lantern_probe.model.lantern import LanternModel

        quiet_transformers()
        threads = _all_threads()
        lantern = LanternModel(
            name,
            dtype=self.chosen_dtype(),
            device_map={"": self.device} if self.device else None,
            attn_implementation=self.attn_implementation,
            max_pixels=self.max_pixels,
            latent_size=self.latent_size,
            revision=self.revision,
            offline=self.offline,
        )
        # Threads cost more than they bring on matrices this small.
        torch.set_num_threads(1 if lantern.is_tiny else threads)
        return lantern

    def on_gpu(self) -> bool:
        """True if the model is loaded onto a GPU."""
        if (self.device or "").startswith("cpu"):
            return False
        import torch

        return torch.cuda.is_available()

    def chosen_dtype(self, gpu: bool | None = None) -> str:
        """The dtype asked for, or the default of the device.

        Args:
            gpu: True for a GPU, False for the CPU; found out by default.
        """
        gpu = self.on_gpu() if gpu is None and self.dtype is None else gpu
        return self.dtype or ("auto" if gpu else "float32")


@dataclass(frozen=True)
class RunOptions:
    """How a run goes."""

    output: Path = Path("runs")
    """Folder of the run. Given again, the command goes on with what is there."""
    overwrite: bool = False
    """Delete the rows that are there and start again."""
    retry_failed: bool = False
    """Run samples again that failed before."""
    max_new_tokens: int | None = None
    """Most tokens of a continuation, latent slots included. By default the checkpoint's own limit,
    or 512."""
    batch_rows: Literal["auto"] | int = "auto"
    """Rows run together. auto takes as many as are useful and fit into the free memory. Either is
    halved whenever memory runs out."""

    def check_run(self) -> None:
        """Refuse limits below 1.

        Raises:
            LanternError: naming the flag.
        """
        for flag, value in (
            ("--max-new-tokens", self.max_new_tokens),
            ("--batch-rows", self.rows_together),
        ):
            if value is not None and value < 1:
                raise LanternError(f"{flag} must be at least 1, not {value}")

    @property
    def rows_together(self) -> int | None:
        """Rows run together as a number; None where memory decides."""
        return None if self.batch_rows == "auto" else self.batch_rows


@dataclass(frozen=True)
class Inputs(RunOptions, ModelOptions, DataOptions):
    """Everything that a command which runs a model takes."""

    def check(self, models: Sequence[str]) -> None:
        """Refuse what cannot be used, as far as it shows before anything is loaded.

        Raises:
            LanternError: a limit is below 1, or there is no such model or data.
        """
        self.check_run()
        if not models:
            raise LanternError("--model needs at least one model")
        for model in models:
            if self.task is None and self.data is None:
                locate(model)  # before it is asked what the model is to answer
            self.check_data(model)
            locate(model)

    def folders(self, names: Sequence[str]) -> dict[str, Path]:
        """The folder of each: the output itself for one, a folder in it for each of several.

        Args:
            names: Models, or conditions.

        Raises:
            LanternError: the output of several holds the run of one.
        """
        names = list(dict.fromkeys(names))
        if len(names) == 1:
            return {names[0]: self.output}
        if (self.output / "run.json").exists():
            raise LanternError(
                f"'{self.output}' holds a single run; give {len(names)} runs another --output"
            )
        return {name: self.output / file_name(name) for name in names}


@dataclass(frozen=True)
class AblationInputs(Inputs):
    """What commands take that compare conditions."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed", "vanilla")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    conditions: tuple[str, ...] = ("own",)
    """Conditions; own is always run."""
    parser: Parser = "default"
    """How answers are read from texts: default reads letters and words, official and strict read
    letters as the published evaluations did. Rows keep the readings of all three."""


def check_twin(twin: str, scenes: Sequence[str]) -> None:
    """Refuse an edit that makes no twins.

    Args:
        twin: Label of the edit.
        scenes: Edits of scenes that can be taken.

    Raises:
        LanternError: it is no edit of scenes and no corruption of the image.
    """
    if twin in scenes:
        return
    if twin in SCENE_TWINS:
        raise LanternError(f"--twin {twin}: twins by {twin} have the same answer; take another")
    if twin.partition(":")[0] not in CORRUPTIONS:
        raise LanternError(
            f"--twin: no twins by {twin!r}; there are {', '.join((*scenes, *CORRUPTIONS))}"
        )
    parse_image_corruption(twin)


def load_pairs(config: DataOptions, twin: str, model: str) -> tuple[str, list[Sample]]:
    """The name of the data, and the samples of a model, each followed by its twin.

    Args:
        config: Says which samples.
        twin: Label of the edit, or `unrelated` for another sample with another answer.
        model: Name of the model.

    Raises:
        LanternError: the data cannot be read, or no sample has a twin.
    """
    data, samples = config.load_samples(model)
    if twin == UNRELATED:
        return f"{data} in unrelated pairs", unrelated_pairs(samples)
    if twin in SCENE_TWINS:
        pairs, without = with_twins(
            samples,
            lambda sample: scene_twin(sample, twin, config.seed),  # type: ignore[arg-type]
            answers_known=True,
        )
    else:
        corruption = parse_image_corruption(twin)
        pairs, without = with_twins(
            samples, lambda sample: corruption.apply(sample, samples), answers_known=False
        )
    if without:
        console.print(f"{len(without)} samples have no twin: {without[0]} ...", markup=False)
    return f"{data} with twins by {twin}", pairs


COLUMNS = (
    *("prompt", "gold", "answer", "correct", "emitted", "blocks", "cluster", "text"),
    *("box_x", "box_y", "box_width", "box_height"),
)
"""Columns of every capture, beside the attributes of its samples."""


def check_columns(flag: str, names: Sequence[str], samples: Sequence[Sample]) -> None:
    """Refuse columns that a capture of these samples will not have.

    Args:
        flag: Name of the flag, for the message.
        names: Names of columns.
        samples: The samples.

    Raises:
        LanternError: naming the column, and those that there are.
    """
    known = [*COLUMNS, *dict.fromkeys(key for sample in samples for key in sample.attributes)]
    for name in names:
        if name.removeprefix("attribute_") not in known:
            raise LanternError(f"--{flag}: no column {name!r}; there are {', '.join(known)}")


def file_name(name: str) -> str:
    """The name of a model, a column or a condition as one of a file or folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def sha256(data: Path) -> str:
    """The digest of a file's content, or of the names and sizes of a folder's files."""
    try:
        if data.is_dir():
            files = sorted(path for path in data.rglob("*") if path.is_file())
            listing = [f"{path.relative_to(data)}\0{path.stat().st_size}" for path in files]
            return hashlib.sha256("\n".join(listing).encode()).hexdigest()
        return hashlib.sha256(data.read_bytes()).hexdigest()
    except OSError as error:
        raise LanternError(f"cannot read '{data}': {error.strerror or error}") from None


@cache
def _all_threads() -> int:
    """The number of threads before any model was loaded."""
    import torch

    return torch.get_num_threads()
