"""Options of commands: the data, the loading of the model, the course of the run.

A configuration combines these groups of options by inheritance, so that all flags stay flat. Each
group has the one method that uses it, and a check that refuses unusable values before anything
heavy is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import AnswerForm, BoxUnit, Match, OptionStyle

from .console import Explained, quiet_transformers

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.model.sampling import Sampling
    from lantern_probe.tasks import DataReading, Sample

Parser = str
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
    sample_ids: tuple[str, ...] | None = None
    """Ids of the samples to take, from all of the data and in its order, in place of --samples.
    Samples that lend each other latents or images then do so among themselves."""
    peek: bool = False
    """Show the first three samples (or those of --sample-ids) as they will be asked, as text and as
    a picture with their boxes in the folder peek of the output, and run nothing."""

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
        if self.sample_ids is not None:
            if not self.sample_ids:
                raise LanternError("--sample-ids needs at least one id")
            if self.samples != type(self).samples:
                raise LanternError("give --samples or --sample-ids, not both")
        from .data import check_data

        check_data(self, model)

    @property
    def limit(self) -> int | None:
        """Number of samples to read, from the first; None for all of --data or a task's default."""
        if self.sample_ids is None:
            return self.samples
        from .picks import farthest

        return None if self.data else farthest(self.sample_ids)

    def load_samples(self, model: str) -> tuple[str, list[Sample]]:
        """Load the samples for one model, with the name of the data.

        Args:
            model: Name of the model that is asked.

        Raises:
            LanternError: as for `check_data`, or the data cannot be read.
        """
        self.check_data(model)
        if self.sample_ids is not None:
            from .picks import load_picked

            return load_picked(self, model)
        from .data import load_samples

        return load_samples(self, model)

    def asked(self, model: str) -> tuple[str, list[Sample]]:
        """The name of the data, and the samples as this command asks them, twins included.

        Args:
            model: Name of the model that is asked.

        Raises:
            LanternError: as for `load_samples`.
        """
        return self.load_samples(model)

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
    device_map: str | None = None
    """Spread of the model over all devices, in place of --device: auto, balanced, balanced_low_0 or
    sequential, as accelerate names them; or one device. Rows are the same but for rounding."""
    adapter: Path | None = None
    """Folder of a peft adapter, which is merged into the one --model. A folder that holds only an
    adapter can be given as --model itself, and is loaded on the base that it names."""
    quantize: Literal["4bit", "8bit"] | None = None
    """Number of bits to which bitsandbytes rounds the weights as they are loaded; none by default.
    It changes every answer's probabilities, and is part of the run."""
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
        """Refuse numbers below 1, two placements, and an adapter that cannot be merged.

        Raises:
            LanternError: naming the flag, or the adapter.
        """
        if self.device and self.device_map:
            raise LanternError("give --device or --device-map, not both")
        if self.device_map is not None:
            from lantern_probe.model.device_maps import check_placement

            check_placement(self.device_map)
        if self.quantize is not None and self.adapter is None:
            from lantern_probe.model.quantised import require_bitsandbytes

            require_bitsandbytes(f"--quantize {self.quantize}")
        for flag, value in (
            ("--max-pixels", self.max_pixels),
            ("--latent-size", self.latent_size),
        ):
            if value is not None and value < 1:
                raise LanternError(f"{flag} must be at least 1, not {value}")

    def check_adapter(self, model: str) -> None:
        """Refuse an adapter, given or found in the model's folder, that could not be merged.

        Args:
            model: Name of the model.

        Raises:
            LanternError: there is no such model, or the reason.
        """
        from lantern_probe.model.adapter_files import read_adapter, require_peft
        from lantern_probe.model.location import resolve

        _, adapter = resolve(model, self.adapter)
        if adapter is None:
            return
        read_adapter(adapter)
        if self.quantize is not None:
            raise LanternError(
                "an adapter is merged into whole weights: leave out --quantize, or merge it "
                "first and quantise the result"
            )
        require_peft()

    def label(self, name: str) -> str:
        """The name of a model in tables; an adapted one is not the model whose truth is known.

        Args:
            name: Name of the model.
        """
        return name if self.adapter is None else f"{name} + {self.adapter.resolve().name}"

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
            adapter=self.adapter,
            device_map={"": self.device} if self.device else self.device_map,
            quantize=self.quantize,
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
        if (self.device or self.device_map or "").startswith("cpu"):
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
    dry_run: bool = False
    """Say how many rows and tokens are due, and from one batch, which is not recorded, how long
    they will take and how much memory; then stop. The folder stays as it is."""
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
    def only_shows(self) -> bool:
        """True if a comparison or an estimate is shown, and nothing is run."""
        return self.explain_resume or self.dry_run

    @property
    def rows_together(self) -> int | None:
        """Rows run together as a number; None where memory decides."""
        return None if self.batch_rows == "auto" else self.batch_rows


@dataclass(frozen=True)
class SamplingOptions:
    """Decoding of texts: greedy, or sampled in several passes."""

    temperature: float | None = None
    """Temperature of sampled decoding, above 0. By default 0, greedy decoding. Of the checkpoint's
    own sampling settings none is applied; repetition_penalty and the like are."""
    top_p: float | None = None
    """Sampling from the likeliest tokens that hold this probability, after the temperature; by
    default 1, all tokens."""
    passes: int = 1
    """Texts sampled for each sample and condition. A run can be continued with more of them."""

    def check_sampling(self) -> None:
        """Refuse values out of range, and those that greedy decoding would ignore.

        Raises:
            LanternError: naming the flag.
        """
        if self.passes < 1:
            raise LanternError(f"--passes must be at least 1, not {self.passes}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise LanternError(f"--top-p lies above 0 and at most at 1, not at {self.top_p}")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise LanternError(
                f"--temperature must be a number above 0, or 0 for greedy decoding, not "
                f"{self.temperature}"
            )
        if self.temperature:
            return
        if self.passes > 1:
            raise LanternError(
                f"--passes {self.passes} under greedy decoding would give {self.passes} times the "
                "same text; give a --temperature above 0"
            )
        if self.top_p not in (None, 1):
            raise LanternError(
                f"--top-p {self.top_p} does nothing under greedy decoding; give a --temperature "
                "above 0"
            )

    def check_one_pass(self, command: str) -> None:
        """Refuse several passes, for a command whose analysis reads one text.

        Args:
            command: Name of the command.

        Raises:
            LanternError: naming the command and the flag.
        """
        if self.passes > 1:
            raise LanternError(
                f"{command} reads one text per sample and condition, and cannot take --passes "
                f"{self.passes}; leave it out, or use ablate_latents or knock_out"
            )

    def sampling(self, seed: int) -> Sampling | None:
        """The settings of sampled decoding; None for greedy.

        Args:
            seed: Seed of the random numbers.
        """
        from lantern_probe.model.sampling import Sampling

        if not self.temperature:
            return None
        return Sampling(self.temperature, self.top_p or 1.0, self.passes, seed)


@dataclass(frozen=True)
class Inputs(RunOptions, ModelOptions, DataOptions):
    """All options of a command that runs a model."""

    def check(self, models: Sequence[str]) -> None:
        """Refuse what cannot be used, as far as it shows before anything is loaded.

        Raises:
            LanternError: a limit is below 1, or there is no such model or data.
            Explained: `peek` was asked for, and the samples have been shown.
        """
        self.check_run()
        self.check_model()
        if not models:
            raise LanternError("--model needs at least one model")
        if self.adapter is not None and len(models) > 1:
            raise LanternError(
                f"--adapter '{self.adapter}' belongs to one model, and --model has {len(models)}; "
                "give its base alone"
            )
        for model in models:
            self.check_adapter(model)
        for model in models:
            self.check_data(model)
        if self.sample_ids is not None and not self.peek:
            for model in dict.fromkeys(models[:1] if self.data else models):
                self.load_samples(model)  # before the first of them runs for hours
        if self.peek:
            from .peek import show_samples

            show_samples(self, models)
            raise Explained

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
class AblationInputs(SamplingOptions, Inputs):
    """Options of commands that compare conditions."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed", "vanilla")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    conditions: tuple[str, ...] = ("own",)
    """Conditions; own is always run."""
    parser: Parser = "default"
    """Parser of the answers: default reads letters and words, official and strict read
    letters as the published evaluations did, and installed packages may add more. Rows keep the
    readings of all three."""
    margin: float = 0.02
    """Largest difference from own's accuracy, as a fraction, that is called equivalent; to be fixed
    before the run. It decides no row."""

    def check_run(self) -> None:
        """Refuse limits below 1, and a margin that is no fraction.

        Raises:
            LanternError: naming the flag.
        """
        super().check_run()
        self.check_sampling()
        if not 0 < self.margin < 1:
            raise LanternError(f"--margin lies between 0 and 1, not at {self.margin}")
        from lantern_probe.tasks.answers import check_parser

        check_parser(self.parser)


def file_name(name: str) -> str:
    """File or folder name for a model, a column or a condition."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


@cache
def _all_threads() -> int:
    """The number of threads before any model was loaded."""
    import torch

    return torch.get_num_threads()
