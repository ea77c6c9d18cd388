"""Logs in the format of inspect_ai, one per model and condition, for its viewer and its tools.

A log is written by the documented schema, so that the package itself is not needed. A row becomes a
sample of the log: the question and the generated text as messages, the right answer as the target,
the reading of the run's parser as the score `answer`, and every other field of the row as metadata.
A pass of sampled decoding is an epoch. The accuracy of a log is the one of its graded rows: the
mean over samples of the mean over passes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import statistics
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained, replacing
from lantern_probe.records.rows import Row
from lantern_probe.records.samples import ImageRecord, SampleRecord, read_samples
from lantern_probe.records.table_files import RunRows, read_runs
from lantern_probe.tasks import load_task
from lantern_probe.tasks.images import UNREADABLE, open_image, upright

SCORE = "answer"
"""Name of the score."""

_STATUS = {"complete": "success", "failed": "error", "interrupted": "cancelled"}
_OWN_FIELDS = ("sample", "text", "gold", "answer", "correct", "error", "pass")
_SHOWN = {"image/jpeg", "image/png", "image/webp", "image/gif"}
_ORIENTATION = 0x0112
_METRICS = [{"name": f"inspect_ai/{name}"} for name in ("accuracy", "stderr")]


def log_files(folder: str | Path, output: Path) -> dict[Path, tuple[RunRows, str]]:
    """Name the logs of a run, or of several: the file, the run and the condition of each.

    Args:
        folder: Folder of a run, or of the runs of several models.
        output: Folder of the logs.

    Raises:
        LanternError: the runs cannot be used, or their rows hold no texts.
    """
    found = {}
    for run in read_runs(folder):
        if run.rows and not any("text" in row or row["status"] == "failed" for row in run.rows):
            raise LanternError(
                f"the rows of '{run.folder}' ({run.manifest['config'].get('experiment')}) hold no "
                "texts, which a log of inspect_ai is made of; export them to parquet or csv"
            )
        for condition in dict.fromkeys(str(row["condition"]) for row in run.rows):
            found[output / _file_name(run, condition)] = (run, condition)
    return found


def write_log(file: Path, run: RunRows, condition: str, *, images: bool = False) -> int:
    """Write the log of one condition of a run, whole or not at all.

    Args:
        file: File to write, `.eval`; one that exists is replaced.
        run: The run.
        condition: Label of the condition.
        images: Put the images into the log; default False, their records are in the metadata.

    Returns:
        Number of rows in the log.

    Raises:
        LanternError: the file cannot be written.
    """
    rows = [row for row in run.rows if str(row["condition"]) == condition]
    asked = read_samples(run.folder)
    with explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(file) as target,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        summaries = []
        for row in rows:
            record = asked.get(str(row["sample"]))
            pictures = list(_pictures(record, run)) if images and record else []
            sample = _sample(row, record, run.model, pictures)
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", _json(sample))
            summaries.append(_summary(sample))
        archive.writestr("summaries.json", _json(summaries))
        archive.writestr("header.json", _json(_header(run, condition, rows)))
    return len(rows)


def _file_name(run: RunRows, condition: str) -> str:
    """A name as inspect_ai makes it: time, task and id; the same whenever a run is exported."""
    created = re.sub(r"[:.]", "-", str(run.manifest.get("created") or "1970-01-01T00:00:00+00:00"))
    task = re.sub(r"[^\w.+-]+|_", "-", f"{Path(run.model).name}-{condition}").strip("-")[:80]
    return f"{created}_{task}_{_id(run, condition)}.eval"


def _id(run: RunRows, condition: str, kind: str = "task") -> str:
    parts = (kind, run.name, run.model, condition, str(run.manifest.get("created")))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:22]


def _epoch(row: Row) -> int:
    return int(row.get("pass") or 0) + 1


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "backslashreplace"
    )


def _header(run: RunRows, condition: str, rows: Sequence[Row]) -> dict[str, Any]:
    manifest, config = run.manifest, run.manifest["config"]
    created = manifest.get("created") or "1970-01-01T00:00:00+00:00"
    packages = {k: v for k, v in (manifest.get("packages") or {}).items() if isinstance(v, str)}
    git = manifest.get("git") or None
    shown = {name: value for name, value in config.items() if name != "checkpoint"}  # it is long
    data = str(config.get("data") or config.get("experiment") or "data")
    status = _STATUS.get(str(manifest.get("status")), "started")
    message = str(manifest.get("error") or "the run failed")
    ids = list(dict.fromkeys(str(row["sample"]) for row in rows))
    return {
        "version": 2,
        "status": status,
        "eval": {
            "eval_id": _id(run, condition, "eval"),
            "run_id": _id(run, "", "run"),
            "created": created,
            "task": f"{data} {condition}",
            "task_id": _id(run, condition),
            "task_args": {"condition": condition},
            "task_args_passed": {"condition": condition},
            "dataset": {"name": data, "samples": len(ids), "sample_ids": ids},
            "model": run.model,
            "config": {"epochs": max(map(_epoch, rows), default=1), "epochs_reducer": ["mean"]},
            "revision": None
            if git is None
            else {"type": "git", "origin": "", "commit": git["commit"], "dirty": git.get("dirty")},
            "packages": packages,
            "metadata": {"condition": condition, "folder": run.name, "config": shown},
            "scorers": [{"name": SCORE, "metrics": _METRICS}],
        },
        "results": _results(rows),
        "stats": {"started_at": created, "completed_at": manifest.get("finished") or ""},
        "error": {"message": message, "traceback": message, "traceback_ansi": message}
        if status == "error"
        else None,
    }


def _results(rows: Sequence[Row]) -> dict[str, Any]:
    by_sample: dict[str, list[bool]] = {}
    for row in rows:
        if row.get("correct") is not None:
            by_sample.setdefault(str(row["sample"]), []).append(bool(row["correct"]))
    means = [statistics.fmean(correct) for correct in by_sample.values()]
    error = statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0
    metrics = {"accuracy": statistics.fmean(means), "stderr": error} if means else {}
    score = {
        "name": SCORE,
        "scorer": SCORE,
        "reducer": "mean",
        "scored_samples": len(means),
        "unscored_samples": len({str(row["sample"]) for row in rows}) - len(means),
        "metrics": {name: {"name": name, "value": value} for name, value in metrics.items()},
    }
    return {
        "total_samples": len(rows),
        "completed_samples": sum(row["status"] == "ok" for row in rows),
        "scores": [score] if means else [],
    }


def _sample(
    row: Row, record: SampleRecord | None, model: str, pictures: Sequence[str]
) -> dict[str, Any]:
    text, gold = row.get("text"), row.get("gold")
    prompt = record["prompt"] if record else f"sample {row['sample']}"
    content = [{"type": "image", "image": picture} for picture in pictures]
    asked = {
        "role": "user",
        "content": [*content, {"type": "text", "text": prompt}] if content else prompt,
    }
    said = {"role": "assistant", "content": text or "", "source": "generate", "model": model}
    about = {name: value for name, value in row.items() if name not in _OWN_FIELDS}
    if record:
        kept = ("question", "lettered", "boxes", "images", "attributes")
        about |= {name: record[name] for name in kept}  # type: ignore[literal-required]
    stop = {"closed": "stop", "truncated": "max_tokens"}.get(str(row.get("finish")), "unknown")
    choice = {"message": said, "stop_reason": stop}
    sample: dict[str, Any] = {
        "id": str(row["sample"]),
        "epoch": _epoch(row),
        "input": [asked],
        "choices": (record["options"] if record else []) or None,
        "target": "" if gold is None else gold,
        "messages": [asked] if text is None else [asked, said],
        "output": {
            "model": model,
            "choices": [] if text is None else [choice],
            "completion": text or "",
        },
        "scores": _scores(row),
        "metadata": about,
    }
    if row["status"] != "ok":
        message = str(row.get("error") or row["status"])
        sample["error"] = {"message": message, "traceback": message, "traceback_ansi": message}
    return sample


def _scores(row: Row) -> dict[str, Any]:
    if row.get("correct") is None:
        return {}
    value = "C" if row["correct"] else "I"
    return {SCORE: {"value": value, "answer": row.get("answer"), "explanation": row.get("text")}}


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a sample in the viewer's list, without its images."""
    about = ("condition", "category", "finish", "emitted")
    error = sample.get("error")
    return {
        **{name: sample[name] for name in ("id", "epoch", "choices", "target")},
        "input": _words(sample["input"][0]["content"]),
        "scores": {
            name: {**score, "explanation": None} for name, score in sample["scores"].items()
        },
        "metadata": {k: sample["metadata"][k] for k in about if k in sample["metadata"]},
        "error": None if error is None else error["message"],
        "completed": True,
        "message_count": len(sample["messages"]),
    }


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _pictures(record: SampleRecord, run: RunRows) -> Iterator[str]:
    """The images of a sample that can still be had, as data URIs."""
    root = run.manifest["config"].get("image_root")
    for image in record["images"]:
        if "path" in image:
            file = Path(image["path"])
            if uri := _file_uri(str(file if file.is_absolute() or not root else root / file)):
                yield uri
        elif "task" in image:
            yield _made_uri(image)
        elif uri := _upright_uri(str(record["attributes"].get("file", ""))):
            yield uri


@lru_cache(maxsize=64)
def _file_uri(file: str) -> str | None:
    """A file as it is where a browser shows what the model saw; else its pixels as PNG."""
    try:
        with Image.open(file) as image:
            kind = Image.MIME.get(image.format or "", "")
            turned = image.getexif().get(_ORIENTATION, 1) != 1
        if kind in _SHOWN and not turned:
            return _uri(kind, Path(file).read_bytes())
        return _png_uri(open_image(file))
    except (*UNREADABLE, LanternError):  # its row says why
        return None


def _upright_uri(file: str) -> str | None:
    """A photo as `ask` turned it, which is an image in memory for the run."""
    try:
        with Image.open(file) as image:
            return _png_uri(upright(image).convert("RGB"))
    except UNREADABLE:
        return None


def _made_uri(image: ImageRecord) -> str:
    made = _made(image["task"], image["seed"], image["index"] // 256)
    (source, *_) = made[image["index"]].images
    return _png_uri(open_image(source))


@lru_cache(maxsize=2)
def _made(task: str, seed: int, part: int) -> Sequence[Any]:
    return load_task(task, 256 * (part + 1), seed)


def _png_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _uri("image/png", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
