"""Samples from any table: its columns matched to fields, its prompt made from a template.

`read_data` gives the samples together with how they were read; `read_samples` gives them alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import in_pixels, refuse_beyond
from lantern_probe.tasks.clusters import CYCLES, cluster_keys
from lantern_probe.tasks.columns import Matched, match_columns, parse_fields
from lantern_probe.tasks.fields import Skipped, passing
from lantern_probe.tasks.generic_rows import RowReader, answer_form, kind_of, written_ids
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.tables import Table, read_table
from lantern_probe.tasks.twins import linked_twins
from lantern_probe.vocabulary import AnswerForm, BoxUnit, Match, OptionStyle

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataReading:
    """Samples of a table, and how they were read.

    Attributes:
        where: Name of the file, the folder or the object.
        samples: The samples.
        columns: Names of the columns of each field that has any.
        templates: Template of the prompt by kind of question: `letters`, `words` and `open`.
        options: Form of the options as asked for; None for letters, and words for yes and no.
        answers: Form of all answers to options, where it was told; None for letters or texts,
            whichever each is.
        match: Comparison of free texts as asked for; None for `normalised`, and options for yes
            and no.
        boxes: Form of the boxes in the table; None if there are none.
        clusters: Source of the clusters: a column, or what was recognised.
        skipped: Number of rows that were left out.
    """

    where: str
    samples: list[Sample] = field(repr=False, compare=False)
    columns: Matched
    templates: Mapping[str, str]
    options: OptionStyle | None
    answers: AnswerForm | None
    match: Match | None
    boxes: BoxUnit | None
    clusters: str
    skipped: int = 0

    @property
    def prompts(self) -> dict[str, str]:
        """The templates of the kinds of question that occur."""
        kinds = {kind_of(sample) for sample in self.samples}
        return {kind: text for kind, text in self.templates.items() if kind in kinds}

    def settings(self) -> dict[str, Any]:
        """The way the samples were read, as `run.json` records it, for any number of samples."""
        return {
            "columns": {name: list(columns) for name, columns in self.columns.items()},
            "prompts": dict(self.templates),
            "options": self.options,
            "answers": self.answers,
            "match": self.match or "normalised",
            "boxes": self.boxes,
            "clusters": self.clusters,
        }

    def lines(self) -> list[str]:
        """The way the samples were read, for the console."""
        matched = ", ".join(f"{name} = {'+'.join(found)}" for name, found in self.columns.items())
        prompts = "; ".join(f"{text!r} ({kind})" for kind, text in self.prompts.items())
        rest = {
            "answers read as": self.answers,
            "free text compared": (self.match or "normalised") if "open" in self.prompts else None,
            "boxes": self.boxes,
            "clusters by": self.clusters,
            "rows left out": self.skipped or None,
        }
        said = "; ".join(f"{name} {value}" for name, value in rest.items() if value is not None)
        return [f"columns of {self.where}: {matched}", f"prompt: {prompts}; {said}"]


def read_samples(source: Any, **how: Any) -> list[Sample]:
    """Read samples from a table of any layout.

    Args:
        source: A path, or a table in memory: see `read_data`.
        **how: Options of `read_data`.

    Raises:
        LanternError: as for `read_data`.

    Examples:
        >>> from lantern_probe.tasks import read_samples
        >>> rows = [{"question": "what color?", "image": "a.png", "A": "red", "B": "blue"}]
        >>> sample = read_samples(rows)[0]
        >>> print(sample.text)
        what color?
        Options:
        A. red
        B. blue
    """
    return read_data(source, **how).samples


def read_data(
    source: Any,
    *,
    image_root: str | Path | None = None,
    fields: Mapping[str, str | Sequence[str]] | Sequence[str] = (),
    prompt: str | None = None,
    options: OptionStyle | None = None,
    answers: AnswerForm | None = None,
    match: Match | None = None,
    boxes: BoxUnit | None = None,
    split: str | None = None,
    malformed: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
) -> DataReading:
    r"""Read samples from a table of any layout, with how they were read.

    Args:
        source: Path of a file (JSON lines, a JSON list, CSV, TSV, Parquet) or folder (saved by
            `datasets`, images beside a `metadata` file, Parquet files); or a `datasets` data set, a
            pandas frame, an Arrow table, or a list of mappings.
        image_root: Folder to which image paths are relative; None (default) for the file's own.
        fields: Columns of the fields question, options, answer, images, boxes, category, cluster,
            twin, id and hint, as a mapping or as texts `FIELD=COLUMN`. Columns of other fields are
            found by their usual names (`lantern_probe.tasks.columns.USUAL`).
        prompt: Template of the prompt with `{question}`, `{options}`, `{hint}` or `{COLUMN}`. By
            default `{question}\nOptions:\n{options}` for letters, `{question}\n{options}` for
            words, `{question}` without options; and `{hint}` on a line before, if there are hints.
        options: `letters` writes options as "A. text" and reads letters; `words` writes their texts
            and reads those. By default letters, but words for yes and no.
        answers: Form of the answers to options; by default letters, texts, or numbers if it shows
            from where they count.
        match: Comparison of free texts with the right answer, by default `normalised`. A question
            without options whose answer is yes or no has these two as options, in words, unless a
            comparison is given.
        boxes: Form of the boxes. There is no default: it must be said if there are boxes.
        split: Split of a data set that has several.
        malformed: `raise` (default) stops at a row that cannot be used; `skip` leaves such rows out
            and counts them.
        limit: Most samples, from the start; None (default) for all.

    Raises:
        LanternError: the table, a row or an option cannot be used; the message names the row.
    """
    if limit is not None and limit < 1:
        raise LanternError(f"the limit on samples must be at least 1, not {limit}")
    if malformed not in ("raise", "skip"):
        raise LanternError(f"malformed is 'raise' or 'skip', not {malformed!r}")
    skipped = Skipped() if malformed == "skip" else None
    table = read_table(source, split, skipped)
    given = fields if isinstance(fields, Mapping) else parse_fields(fields)
    matched = match_columns(table.columns, given, table.where)
    if "boxes" in matched and boxes is None:
        raise LanternError(
            f"{table.where}: the column {matched['boxes'][0]!r} has boxes, and it is not said of "
            "which form; give boxes= (--boxes) xyxy, xywh or polygon, with -1, -100 or -1000 if "
            "they count the sides as that number (--fields boxes= leaves them out)"
        )
    if "boxes" not in matched and boxes is not None:
        raise LanternError(
            f"{table.where}: --boxes {boxes}, but no column has boxes; say which by "
            "--fields boxes=COLUMN"
        )
    ids, numbered = written_ids(table, matched, skipped)
    form = answers or answer_form(table, matched)
    root = Path(image_root) if image_root is not None else table.folder
    reader = RowReader(table, matched, ids, root, prompt, options, match, form, boxes)
    # Clusters and twins are those of the whole table, whatever part of it is asked.
    whole = "twin" in matched or CYCLES in table.columns
    samples = _samples(reader, ids, skipped, numbered, None if whole else limit)
    if skipped is not None:
        skipped.say(table.where)
    if not samples:
        reason = f"; the first: {skipped.messages[0]}" if skipped and skipped.messages else ""
        raise LanternError(f"{table.where}: no samples in it{reason}")
    samples, clusters = _clustered(table, matched, samples)
    if "twin" in matched:
        clusters += "" if "cluster" in matched else " and twin"
        samples = linked_twins(samples, table.where, partly=bool(skipped and skipped.messages))
    samples = samples[:limit]
    if boxes is not None:
        samples = in_pixels(samples, boxes, table.where, _log.warning)
        refuse_beyond(samples, boxes, table.where)
    return DataReading(
        where=table.where,
        samples=samples,
        columns=matched,
        templates={kind: template.text for kind, template in reader.templates.items()},
        options=options,
        answers=form,
        match=match,
        boxes=boxes,
        clusters=clusters,
        skipped=len(skipped.messages) if skipped else 0,
    )


def _samples(
    reader: RowReader,
    ids: Sequence[str | None],
    skipped: Skipped | None,
    numbered: bool,
    limit: int | None,
) -> list[Sample]:
    samples: list[Sample] = []
    for row, name in zip(reader.table.rows, ids, strict=True):
        if len(samples) == limit:
            break
        if name is None:  # left out for its id
            continue
        with passing(skipped):
            try:
                sample = reader.sample(row, name)
            except LanternError as error:
                raise row.error(str(error)) from None
            samples.append(replace(sample, numbered=numbered))
    return samples


def _clustered(table: Table, matched: Matched, samples: list[Sample]) -> tuple[list[Sample], str]:
    """Samples with the attribute `cluster` where a column or a known layout has one."""
    if "cluster" in matched:
        return samples, f"the column {matched['cluster'][0]}"
    keys, source = cluster_keys(table, samples)
    if keys is None:
        return samples, source
    return [
        replace(sample, attributes={**sample.attributes, "cluster": key})
        for sample, key in zip(samples, keys, strict=True)
    ], source
