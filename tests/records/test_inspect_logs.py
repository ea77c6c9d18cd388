"""Logs in the format of inspect_ai: what is in them, and that the package reads them."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lantern_probe import LanternError, Run, Sample
from lantern_probe.records.inspect_logs import log_files, write_log

INSPECT = os.environ.get("INSPECT_PYTHON") or (
    sys.executable if importlib.util.find_spec("inspect_ai") else None
)
"""Python that has inspect_ai; its dependencies differ from those pinned for this package."""


def row(sample: str, condition: str, correct: bool | None, **more: Any) -> dict[str, Any]:
    answer = None if correct is None else "A" if correct else "B"
    return {
        "sample": sample,
        "condition": condition,
        "status": "ok",
        "cluster": sample,
        "gold": "A",
        "answer": answer,
        "correct": correct,
        "finish": "closed",
        "text": f"<answer> {answer} </answer>",
        "logprobs": {"A": -0.5},
        **more,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two conditions on three samples; one of them failed, and one has no right answer."""
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a b.png")
    photo, exif = Image.new("RGB", (8, 6), "blue"), Image.Exif()
    exif[0x112] = 6
    photo.save(tmp_path / "side.jpg", exif=exif)
    images = [("1", "a b.png"), ("2/x", "side.jpg"), ("3", "gone.png")]
    samples = [
        Sample(key, (str(tmp_path / name),), "what ?", ("cup", "cat"), "A", lettered=True)
        for key, name in images
    ]
    with Run.open(tmp_path / "run", {"model": "folder/some_model", "data": "mine"}) as run:
        run.register(samples)
        run.append_many(
            [
                row("1", "own", True),
                row("2/x", "own", False),
                row("1", "zeros:slots=1", False, finish="truncated"),
                row("2/x", "zeros:slots=1", None, gold=None),
                *(
                    {"sample": "3", "condition": condition, "status": "failed", "error": "no image"}
                    for condition in ("own", "zeros:slots=1")
                ),
            ]
        )
    return tmp_path / "run"


def written(run: Path, output: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """The members of every log, by condition."""
    logs = {}
    for file, (rows, condition) in log_files(run, output).items():
        write_log(file, rows, condition, **options)
        with zipfile.ZipFile(file) as archive:
            logs[condition] = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    return logs


def test_a_log_has_the_accuracy_of_its_graded_rows(run: Path, tmp_path: Path) -> None:
    logs = written(run, tmp_path / "logs")
    header = logs["own"]["header.json"]
    assert (header["status"], header["eval"]["model"]) == ("success", "folder/some_model")
    (score,) = header["results"]["scores"]
    assert score["metrics"]["accuracy"]["value"] == 0.5
    assert (score["scored_samples"], score["unscored_samples"]) == (2, 1)
    assert header["results"]["completed_samples"] == 2
    (score,) = logs["zeros:slots=1"]["header.json"]["results"]["scores"]
    assert (score["metrics"]["accuracy"]["value"], score["scored_samples"]) == (0.0, 1)


def test_a_sample_has_its_question_its_text_and_the_rest_as_metadata(
    run: Path, tmp_path: Path
) -> None:
    log = written(run, tmp_path / "logs")["zeros:slots=1"]
    sample = log["samples/1_epoch_1.json"]
    assert [message["role"] for message in sample["messages"]] == ["user", "assistant"]
    assert sample["messages"][0]["content"] == "what ?"
    assert (sample["target"], sample["choices"]) == ("A", ["cup", "cat"])
    assert sample["scores"]["answer"]["value"] == "I"
    assert sample["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert sample["metadata"]["logprobs"] == {"A": -0.5}
    assert sample["metadata"]["condition"] == "zeros:slots=1"
    assert log["samples/2/x_epoch_1.json"]["scores"] == {}
    failed = log["samples/3_epoch_1.json"]
    assert (failed["error"]["message"], len(failed["messages"])) == ("no image", 1)
    assert len(log["summaries.json"]) == 3


def test_images_stand_in_the_question_upright(run: Path, tmp_path: Path) -> None:
    log = written(run, tmp_path / "logs", images=True)["own"]
    content = log["samples/1_epoch_1.json"]["input"][0]["content"]
    assert [part["type"] for part in content] == ["image", "text"]
    kind, _, data = content[0]["image"].partition(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(data) == (run.parent / "a b.png").read_bytes()
    turned = log["samples/2/x_epoch_1.json"]["input"][0]["content"][0]["image"]
    pixels = Image.open(io.BytesIO(base64.b64decode(turned.partition(";base64,")[2])))
    assert pixels.size == (8, 6)  # as the model saw it, whatever a browser does with EXIF
    assert isinstance(log["samples/3_epoch_1.json"]["input"][0]["content"], str)


def test_a_pass_is_an_epoch_and_means_come_first(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {"model": "m"}) as run:
        for number, correct in enumerate([True, True, False, True]):
            label = f"own-{number}"
            run.append(row("1" if number < 3 else "2", label, correct))
    rows = [
        {**one, "condition": "own", "pass": number}
        for number, one in enumerate(
            json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()
        )
    ]
    rows[3]["pass"] = 0
    text = "".join(json.dumps(one) + "\n" for one in rows)
    (tmp_path / "run" / "rows.jsonl").write_text(text)
    log = written(tmp_path / "run", tmp_path / "logs")["own"]
    assert {name for name in log if name.startswith("samples/1")} == {
        f"samples/1_epoch_{epoch}.json" for epoch in (1, 2, 3)
    }
    (score,) = log["header.json"]["results"]["scores"]
    assert score["metrics"]["accuracy"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert log["header.json"]["eval"]["config"]["epochs"] == 3


def test_rows_without_texts_make_no_log(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {"experiment": "sense_latents"}) as run:
        run.append({"sample": "1", "condition": "blur", "status": "ok", "moved": {"a": [1.0]}})
    with pytest.raises(LanternError, match=r"sense_latents\) hold no texts"):
        log_files(tmp_path / "run", tmp_path / "logs")


def test_names_stay_the_same_when_a_run_is_exported_again(run: Path, tmp_path: Path) -> None:
    first = list(log_files(run, tmp_path / "logs"))
    assert list(log_files(run, tmp_path / "logs")) == first
    assert len(first) == 2 and all(file.suffix == ".eval" for file in first)


READ_BACK = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample, recompute_metrics
found = {}
for info in list_eval_logs(sys.argv[1]):
    log = read_eval_log(info)
    given = {name: m.value for name, m in log.results.scores[0].metrics.items()}
    recompute_metrics(log)
    again = {name: m.value for name, m in log.results.scores[0].metrics.items()}
    one = read_eval_log_sample(info, id=log.samples[0].id, epoch=1)
    found[log.eval.task_args["condition"]] = [given, again, len(log.samples), one.target]
print(json.dumps(found))
"""


@pytest.mark.extra
@pytest.mark.skipif(INSPECT is None, reason="inspect_ai is in no environment (INSPECT_PYTHON)")
def test_the_package_reads_the_logs_and_computes_the_same(run: Path, tmp_path: Path) -> None:
    written(run, tmp_path / "logs", images=True)
    assert INSPECT is not None
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [INSPECT, "-c", READ_BACK, str(tmp_path / "logs")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: values[2:] for name, values in found.items()} == {
        "own": [3, "A"],
        "zeros:slots=1": [3, "A"],
    }
    for given, again, *_ in found.values():
        assert given == pytest.approx(again)
    assert found["own"][0]["accuracy"] == 0.5
