"""Options of commands: the data, the loading of the model, the course of the run.

A configuration combines these groups of options by inheritance, so that all flags stay flat. Each
group has the one method that uses it, and a check that refuses unusable values before anything
heavy is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import AnswerForm, BoxUnit, Match, OptionStyle

from .console import quiet_transformers

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.tasks import DataReading, Sample

Parser = Literal["default", "official", "strict"]
StoreDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class DataOptions:
    """Questions to ask."""

    task: str | None = None
    """A generated task: scenes, scenes-grey, tetris, tetris-held-out, or two families in a share,
    as in scenes-mixed:0.25 or scenes-seen:0.25. By default the one for which the truth of an
    organism is stated."""
    data: Path | None = None
    """Data in place of a task: a table (JSON lines, JSON, CSV, TSV, Parquet), a folder saved by
    datasets, a file of VisCoT multiple choice, or the folder of BLINK or V* as published."""
    image_root: Path | None = None
    """Folder under which the image paths of a table are looked up; by default the table's."""
    malformed: Literal["raise", "skip"] = "raise"
    """Rows of --data that cannot be used: raise stops at the first, skip leaves them out and counts
    them."""
    boxes: BoxUnit | None = None
    """Form of the boxes in --data: left, top, right, bottom (xyxy), left, top, width, height (xywh)
    or points (polygon), in pixels, or with -1, -100 or -1000 as numbers up to that over the image's
    sides. By default that of VisCoT (xyxy) and V* (xywh); boxes of other data need it."""
    fields: tuple[str, ...] = ()
    """Columns of the fields of --data, as FIELD=COLUMN: question, options (COL,COL for several),
    answer, images, boxes, category, cluster, twin, id, hint. By default by their usual names;
    FIELD= leaves one out."""
    prompt: str | None = None
    """Template of the prompt, with {question}, {options}, {hint} or {COLUMN}, and \\n for a line
    break. By default {question}\\nOptions:\\n{options} for letters, {question}\\n{options} for
    words, and {question} without options."""
    options: OptionStyle | None = None
    """Form of the options: letters ("A. text", answered by the letter) or words (answered by the
    text). By default letters, but words for yes and no."""
    answers: AnswerForm | None = None
    """Form of the answers to options in --data: letter, text, or the number of an option from 0
    (index0) or from 1 (index1). By default told from the answers, and refused where it is not
    clear."""
    match: Match | None = None
    """Comparison of free texts with the right answer: exact, normalised (default: without case,
    articles, punctuation) or numeric."""
    split: str | None = None
    """Split of a folder of --data that has several."""
    samples: int | None = None
    """Number of samples, from the first. By default 256 of a task and all of --data."""
    seed: int = 0
    """Seed of a task's samples, and of every random draw that names no seed of its own."""

    def check_data(self, model: str) -> None:
        """Refuse options that select no data.

        Args:
            model: Name of the model that is asked.

        Raises:
            LanternError: there is no such task, file or folder, or none is given.
        """
        for flag, value, least in (("samples", self.samples, 1), ("seed", self.seed, 0)):
            if value is not None and value < least:
                raise LanternError(f"--{flag} must be at least {least}, not {value}")
        from .data import check_data

        check_data(self, model)

    def load_samples(self, model: str) -> tuple[str, list[Sample]]:
        """Load the samples for one model, with the name of the data.

        Args:
            model: Name of the model that is asked.

        Raises:
            LanternError: as for `check_data`, or the data cannot be read.
        """
        self.check_data(model)
        from .data import load_samples

        return load_samples(self, model)

    @cached_property
    def reading(self) -> DataReading | None:
        """The samples of a table of --data, and how they were read; None for other data.

        Raises:
            LanternError: the table cannot be read.
        """
        from .data import read_table_data

        return read_table_data(self)


@dataclass(frozen=True)
class ModelOptions:
    """Loading of the model."""

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

    def check_model(self) -> None:
        """Refuse numbers of pixels and slots below 1.

        Raises:
            LanternError: naming the flag.
        """
        for flag, value in (
            ("--max-pixels", self.max_pixels),
            ("--latent-size", self.latent_size),
        ):
            if value is not None and value < 1:
                raise LanternError(f"{flag} must be at least 1, not {value}")

    def threads(self, name: str) -> int:
        """The number of CPU threads that the model will run with.

        Args:
            name: Name of the model.
        """
        from lantern_probe.model.content import parameter_count
        from lantern_probe.model.location import TINY, fetch

        tiny = parameter_count(fetch(name, self.revision, self.offline)) < TINY
        return 1 if tiny else _all_threads()

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
        """The requested dtype, or the default of the device.

        Args:
            gpu: True for a GPU, False for the CPU; detected by default.
        """
        gpu = self.on_gpu() if gpu is None and self.dtype is None else gpu
        return self.dtype or ("auto" if gpu else "float32")


@dataclass(frozen=True)
class RunOptions:
    """Course of the run."""

    output: Path = Path("runs")
    """Folder of the run. Given again, the command goes on where it stopped."""
    overwrite: bool = False
    """Delete existing rows and start again."""
    retry_failed: bool = False
    """Run samples again that failed before."""
    explain_resume: bool = False
    """Show, part by part, how the run in the folder and this start compare, and run nothing."""
    allow_changed: tuple[str, ...] = ()
    """Parts that may differ from the run in the folder, as --explain-resume names them: code,
    versions, threads and so on. The change is recorded in run.json."""
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
    """All options of a command that runs a model."""

    def check(self, models: Sequence[str]) -> None:
        """Refuse what cannot be used, as far as it shows before anything is loaded.

        Raises:
            LanternError: a limit is below 1, or there is no such model or data.
        """
        self.check_run()
        self.check_model()
        if not models:
            raise LanternError("--model needs at least one model")
        for model in models:
            self.check_data(model)

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
    """Options of commands that compare conditions."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed", "vanilla")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    conditions: tuple[str, ...] = ("own",)
    """Conditions; own is always run."""
    parser: Parser = "default"
    """Parser of the answers: default reads letters and words, official and strict read
    letters as the published evaluations did. Rows keep the readings of all three."""
    margin: float = 0.02
    """Largest difference from own's accuracy, as a fraction, that is called equivalent; to be fixed
    before the run. It decides no row."""

    def check_run(self) -> None:
        """Refuse limits below 1, and a margin that is no fraction.

        Raises:
            LanternError: naming the flag.
        """
        super().check_run()
        if not 0 < self.margin < 1:
            raise LanternError(f"--margin lies between 0 and 1, not at {self.margin}")


def file_name(name: str) -> str:
    """File or folder name for a model, a column or a condition."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


@cache
def _all_threads() -> int:
    """The number of threads before any model was loaded."""
    import torch

    return torch.get_num_threads()
