"""Options of commands: the data, the loading of the model, the course of the run.

A configuration combines these groups of options by inheritance, so that all flags stay flat. Each
group has the one method that uses it, and a check that refuses unusable values before anything
heavy is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lantern_probe.errors import LanternError

from .console import Explained
from .data_options import DataOptions
from .model_options import ModelOptions
from .scale_options import ScaleOptions

if TYPE_CHECKING:
    from lantern_probe.model.sampling import Sampling
    from lantern_probe.tasks import Sample

Parser = str
StoreDtype = Literal["float32", "bfloat16", "float16"]


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
    preregistration: Path | None = None
    """File of preregister, written before the first row. A start that contradicts it is refused,
    its hash goes into run.json, and conditions that it does not name are exploratory. A run that
    was begun with it keeps it."""
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
        """Refuse limits below 1, and a preregistration that cannot be read.

        Raises:
            LanternError: naming the flag or the file.
        """
        if self.preregistration is not None:
            from lantern_probe.records.preregistration import (
                read_preregistration,
                refuse_contradiction,
            )

            plan = read_preregistration(self.preregistration)
            refuse_contradiction(plan, margin=getattr(self, "margin", None))
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
class SeedOptions:
    """Repetition of everything that is drawn at random."""

    seeds: int = 1
    """Seeds under which everything that is drawn at random is run, from --seed on. Of several the
    mean is shown, with intervals and tests that count the spread between seeds; 5 are a good
    number. A run can be continued with more of them."""

    def check_seeds(self) -> None:
        """Refuse fewer seeds than one.

        Raises:
            LanternError: naming the flag.
        """
        if self.seeds < 1:
            raise LanternError(f"--seeds must be at least 1, not {self.seeds}")


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
            self.check_protocol(model)
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
class ScaledInputs(ScaleOptions, Inputs):
    """All options of a command whose samples can be divided among processes."""

    def check_run(self) -> None:
        """Refuse limits below 1, and processes that cannot be had.

        Raises:
            LanternError: naming the flag.
        """
        super().check_run()
        self.check_scale()
        if self.ray is None:
            return
        for flag, given, why in (
            ("--device", self.device, "Ray gives every worker its GPUs; see --gpus-per-worker"),
            ("--device-map", self.device_map, "Ray gives every worker its GPUs"),
            ("--dry-run", self.dry_run, "an estimate is made in this process"),
        ):
            if given:
                raise LanternError(f"give {flag} or --ray, not both: {why}")

    def __getstate__(self) -> dict[str, Any]:
        """The options alone, for another process; the data that were read stay here."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def only_shows(self) -> bool:
        """True if nothing is run, or only a part, which is no result yet."""
        return super().only_shows or self.division is not None

    def on_gpu(self) -> bool:
        """True if the model is loaded onto a GPU, here or by the workers."""
        if self.ray is None:
            return super().on_gpu()
        from lantern_probe.scale.clusters import gpus_of_worker

        return gpus_of_worker(self.ray, self.gpus_per_worker) > 0

    def load_samples(self, model: str) -> tuple[str, list[Sample]]:
        """Load the samples for one model, with the name of the data.

        Args:
            model: Name of the model that is asked.

        Raises:
            LanternError: the data cannot be read, or there are fewer samples than parts.
        """
        data, samples = super().load_samples(model)
        if self.division is not None and self.division.count > len(samples):
            raise LanternError(
                f"--shard {self.division}: there are only {len(samples)} samples; take at most as "
                "many shards"
            )
        return data, samples

    def folders(self, names: Sequence[str]) -> dict[str, Path]:
        """The folder in which this process writes, for each.

        Args:
            names: Models, or conditions.

        Raises:
            LanternError: the output of several holds the run of one, or parts of another division.
        """
        return {name: self.part(folder) for name, folder in super().folders(names).items()}


@dataclass(frozen=True)
class AblationInputs(SamplingOptions, ScaledInputs):
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
    margin: float | None = None
    """Largest difference from own's accuracy, as a fraction, that is called equivalent; to be fixed
    before the run, which records it. By default that of the preregistration, or 0.02. It decides no
    row."""

    def check_run(self) -> None:
        """Refuse limits below 1, and a margin that is no fraction.

        Raises:
            LanternError: naming the flag.
        """
        super().check_run()
        self.check_sampling()
        if self.margin is not None and not 0 < self.margin < 1:
            raise LanternError(f"--margin lies between 0 and 1, not at {self.margin}")
        from lantern_probe.tasks.answers import check_parser

        check_parser(self.parser)


def file_name(name: str) -> str:
    """File or folder name for a model, a column or a condition."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")
