"""Options of commands: the questions that are asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import AnswerForm, BoxUnit, Match, OptionStyle

if TYPE_CHECKING:
    from lantern_probe.tasks import DataReading, Sample


@dataclass(frozen=True)
class DataOptions:
    """Questions to ask."""

    task: str | None = None
    """A generated task: scenes, scenes-grey, scenes-halves, tetris, tetris-held-out, or two
    families in a share, as in scenes-mixed:0.25 or scenes-seen:0.25. By default the one for which
    the truth of an organism is stated."""
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
