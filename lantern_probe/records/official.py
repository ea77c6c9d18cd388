"""Official per-sample result files, read as rows of this project.

One JSON list per condition, as the LanteRn evaluation writes them (repository
GuilhermeViveiros/LanteRn, `evals/viscot_blink_vstar_eval.py`): objects with `id`, or `img_path`
and `question`, then `label`, `prediction` (the whole text), and often `pred_answer` and
`category`. Every entry becomes a row; a file's notes report what is unusual about it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lantern_probe.errors import LanternError, named
from lantern_probe.records.json_files import explained
from lantern_probe.records.rows import Row
from lantern_probe.tasks.answers import Parser, check_parser, parse_answer, parse_strict
from lantern_probe.tasks.sample import Sample

Entry = dict[str, Any]


KeyKind = Literal["id", "img_path + question"]


OFFICIAL_NAMES = {
    "gt": "oracle",
    "no_lvr": "skip",
    "empty_latent": "skip",
    "random": "noise",
    "random_bbox": "random-box",
    "qwen_generate": "stock",
}
"""This project's names of conditions, by the official name where it differs."""


_MARKER = "<|lvr_start|>"


_LABEL = re.compile(r"\(?([A-Za-z])\)?[.:]?")


_OPTION = re.compile(r"\(?([A-Z])\)?[.:)]\s*(.*)")


@dataclass(frozen=True)
class ResultFile:
    """One condition, as published.

    Attributes:
        path: Path of the file.
        condition: Name of the condition: as given, or from the name of the file or its folder.
        rows: One row per entry, in the order of the file: `sample`, `condition`, `status`, `gold`,
            `answer`, `correct`, `candidates`, `emitted`, `cluster`, `logprobs` (None), `text` and
            `parser`, as in the rows of an ablation, and the entry's other fields (`category`,
            `img_path` ...). `emitted` is True if the text has a latent block's marker. If no text
            of any file has one, special tokens were not kept, and it is True everywhere. An entry
            without a prediction has the status `failed`.
        notes: Remarks on the entries: duplicates, missing labels and so on.
    """

    path: Path
    condition: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def read_published(
    paths: Sequence[str | Path],
    *,
    names: Sequence[str] | None = None,
    parser: Parser = "strict",
) -> list[ResultFile]:
    """Read the files of several conditions on the same samples.

    Samples are identified by `id`, or else by `img_path` and `question`; the same key is used for
    all files. A sample that occurs more than once is kept each time. Its copies are told apart by
    their label, then by their order in the file.

    Args:
        paths: One file per condition.
        names: Names of the conditions, in the order of the paths. By default the names of the
            files, or of their folders if the files have the same name.
        parser: Parser of the answers, default `strict` (see `parse_answer`). `official` takes the
            recorded `pred_answer` if there is one. Options are taken from the entry or its
            question; if they are unknown, `official` and `default` read letters only.

    Raises:
        LanternError: a file cannot be read or is no list of such objects (file and entry are
            named), or names and files do not match.
    """
    files = [Path(path) for path in paths]
    if not files:
        raise LanternError("there are no result files to read")
    check_parser(parser)
    if names is not None and len(names) != len(files):
        raise LanternError(f"{len(names)} names for {len(files)} result files")
    labels = list(names) if names is not None else condition_names(files)
    entries = [_entries(path) for path in files]
    kind = _key_kind(files, entries)
    counts = [Counter(_key(entry, kind) for entry in some) for some in entries]
    repeated = {key for count in counts for key, times in count.items() if times > 1}
    marked = any(_MARKER in (entry["prediction"] or "") for some in entries for entry in some)
    last = _last_letter(entries)
    read = []
    for path, label, some, count in zip(files, labels, entries, counts, strict=True):
        keys = _sample_keys(some, kind, repeated)
        rows = [
            _row(entry, key, label, kind, parser, last, marked)
            for entry, key in zip(some, keys, strict=True)
        ]
        doubled = [key for key, times in count.items() if times > 1]
        read.append(ResultFile(path, label, tuple(rows), tuple(_notes(rows, doubled))))
    return read


def condition_names(paths: Sequence[str | Path]) -> list[str]:
    """Names that tell the files apart: file names, or else the folders in which the paths differ.

    `own/blink.json` and `zeros/blink.json` are `own` and `zeros`.

    Raises:
        LanternError: a file is given twice.
    """
    parts = [Path(path).with_suffix("").parts for path in paths]
    if len(set(parts)) < len(parts):
        twice = next(path for path in paths if list(paths).count(path) > 1)
        raise LanternError(f"the result file '{twice}' is given twice")
    stems = [part[-1] for part in parts]
    if len(set(stems)) == len(stems):
        return stems
    while all(len(part) > 1 and part[0] == parts[0][0] for part in parts):
        parts = [part[1:] for part in parts]
    while all(len(part) > 1 and part[-1] == parts[0][-1] for part in parts):
        parts = [part[:-1] for part in parts]
    return ["/".join(part) for part in parts]


def _entries(path: Path) -> list[Entry]:
    with explained(path):
        data = path.read_bytes()
    try:
        entries = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LanternError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(entries, list):
        raise LanternError(
            f"{path}: a result file is a list with one object per sample, and this is "
            f"{_described(entries)}"
        )
    if not entries:
        raise LanternError(f"{path}: the list of results is empty")
    for number, entry in enumerate(entries, start=1):
        problem = _problem(entry)
        if problem:
            raise LanternError(f"{path}, entry {number}: {problem}")
    return entries


def _problem(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return f"not an object but {_described(entry)}"
    for name in ("label", "prediction"):
        if name not in entry:
            return f"no '{name}' among its fields ({', '.join(map(repr, entry))})"
        if not isinstance(entry[name], str | None):
            return f"'{name}' must be text or null, not {_described(entry[name])}"
    if isinstance(entry.get("id"), bool) or not isinstance(entry.get("id"), str | int | None):
        return f"'id' must be text or a whole number, not {_described(entry['id'])}"
    if entry.get("id") is None and not all(
        isinstance(entry.get(name), str) for name in ("img_path", "question")
    ):
        return f"neither 'id' nor 'img_path' and 'question' say which sample it is ({list(entry)})"
    return None


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:4])) or 'no fields'}"
    return f"{value!r:.60}"


def _key_kind(files: Sequence[Path], entries: Sequence[Sequence[Entry]]) -> KeyKind:
    """Fields by which all files name their samples; a mixture could not be paired."""
    if all(entry.get("id") is not None for some in entries for entry in some):
        return "id"
    for path, some in zip(files, entries, strict=True):
        for number, entry in enumerate(some, start=1):
            if not all(isinstance(entry.get(name), str) for name in ("img_path", "question")):
                raise LanternError(
                    f"{path}, entry {number}: it has an 'id' and no 'img_path' and 'question', "
                    "and other entries have no 'id', so that samples cannot be paired"
                )
    return "img_path + question"


def _key(entry: Entry, kind: KeyKind) -> str:
    return str(entry["id"]) if kind == "id" else f"{entry['img_path']} | {entry['question']}"


def _sample_keys(entries: Sequence[Entry], kind: KeyKind, repeated: set[str]) -> list[str]:
    """Names of the samples; those in `repeated` (by this file or another) are numbered."""
    seen: Counter[str] = Counter()
    keys = []
    for entry in entries:
        key = _key(entry, kind)
        if key in repeated:
            key = f"{key} | {entry['label']}"
            seen[key] += 1
            key = f"{key} #{seen[key]}"
        keys.append(key)
    return keys


def _row(
    entry: Entry,
    key: str,
    condition: str,
    kind: KeyKind,
    parser: Parser,
    last: str,
    marked: bool,
) -> Row:
    text, gold = entry["prediction"], _gold(entry)
    row: Row = {name: value for name, value in entry.items() if name not in ("label", "prediction")}
    row |= {"sample": key, "condition": condition, "status": "ok", "gold": gold}
    if text is None:
        return row | {"status": "failed", "error": "the file has no prediction for it"}
    options = _options(entry)
    answer = _answer(entry, text, options, parser, last)
    return row | {
        "answer": answer,
        "correct": None if gold is None else answer == gold,
        "candidates": len(options) if options else None,
        "emitted": _MARKER in text if marked else True,
        # Without a path, every sample is assumed to have its own image.
        "cluster": entry.get("img_path") or key,
        "logprobs": None,
        "text": text,
        "parser": parser,
    }


def _gold(entry: Entry) -> str | None:
    """The letter of the label, without its marks; the whole label if it is no letter."""
    label = (entry["label"] or "").strip()
    match = _LABEL.fullmatch(label)
    return match.group(1).upper() if match else label or None


def _options(entry: Entry) -> tuple[str, ...]:
    """The texts to choose from, of the entry or at the end of its question; empty if unknown."""
    options = entry.get("options")
    if isinstance(options, list) and all(isinstance(option, str) for option in options):
        lines = options
    elif isinstance(entry.get("question"), str):
        lines = entry["question"].partition("\nOptions:\n")[2].strip().splitlines()
    else:
        return ()
    matches = [_OPTION.fullmatch(line.strip()) for line in lines]
    letters = [match.group(1) if match else None for match in matches]
    if letters == [chr(ord("A") + i) for i in range(len(lines))]:
        return tuple(match.group(2) for match in matches if match)
    return tuple(lines) if isinstance(options, list) else ()


def _last_letter(entries: Sequence[Sequence[Entry]]) -> str:
    golds = (_gold(entry) or "" for some in entries for entry in some)
    return max((gold for gold in golds if len(gold) == 1), default="D")


def _answer(
    entry: Entry, text: str, options: tuple[str, ...], parser: Parser, last: str
) -> str | None:
    if parser == "strict":
        return parse_strict(text)
    if parser == "official" and "pred_answer" in entry:
        recorded = entry["pred_answer"]
        return recorded if isinstance(recorded, str) and recorded else None
    # Options unknown: as many as the labels tell, each called by its letter only.
    known = options or tuple(chr(code) for code in range(ord("A"), ord(last) + 1))
    sample = Sample(str(entry.get("id", "")), (), "", known, lettered=True)
    return parse_answer(text, sample, parser)


def _notes(rows: Sequence[Row], doubled: Sequence[str]) -> list[str]:
    notes = []
    if doubled:
        notes.append(
            f"{len(doubled)} samples occur more than once ({named(doubled)}); each copy counts, "
            "paired by label and order"
        )
    failed = [row["sample"] for row in rows if row["status"] == "failed"]
    if failed:
        notes.append(f"{len(failed)} entries have no prediction and are left out ({named(failed)})")
    ungraded = [row["sample"] for row in rows if row["gold"] is None]
    if ungraded:
        notes.append(f"{len(ungraded)} entries have no label and are left out ({named(ungraded)})")
    wordy = [row["sample"] for row in rows if row["gold"] is not None and len(row["gold"]) > 1]
    if wordy:
        notes.append(
            f"{len(wordy)} labels are no letters, and no letter is right there ({named(wordy)})"
        )
    return notes
