"""One sample of a run on the console: whole, torn, with faults, of every kind of run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.ablate_latents import Config as AblateConfig
from experiments.ablate_latents import main as ablate
from experiments.exchange_latents import Config as ExchangeConfig
from experiments.exchange_latents import main as exchange
from experiments.show import Config, main
from experiments.tables.row_text import marked
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample

FORMAT1 = Path(__file__).parents[1] / "records" / "format1"

Show = Callable[..., str]


@pytest.fixture
def show(capsys: Any) -> Show:
    """Shows a sample, and gives what was printed."""

    def shown(folder: Path, sample: str, **options: Any) -> str:
        capsys.readouterr()
        assert main(Config(folder, sample, **options)) == 0
        out: str = capsys.readouterr().out
        return out

    return shown


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("show") / "run"
    config = AblateConfig(
        model=("faithful", "bypass"), samples=3, conditions=("zeros", "own"), output=output
    )
    assert ablate(config) == 0
    return output


@pytest.fixture
def faithful(ablation: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return shutil.copytree(ablation / "faithful", tmp_path / "faithful")


def made(folder: Path, rows: list[dict[str, Any]], sample: Sample | None = None) -> Path:
    """A small run of given rows."""
    with Run.open(folder, {"model": "some", "data": "other.jsonl"}) as run:
        if sample is not None:
            run.register([sample])
        run.append_many(rows)
    return folder


def test_a_sample_is_shown_with_its_text_under_every_condition(ablation: Path, show: Show) -> None:
    shown = show(ablation / "faithful", "scenes-0-1")
    rows = {r["condition"]: r for r in read_rows(ablation / "faithful")
            if r["sample"] == "scenes-0-1"}  # fmt: skip
    assert "what color is the square ?" in shown and "right answer  yellow" in shown
    assert shown.index("under own") < shown.index("under zeros")
    text = rows["own"]["text"]
    before, after = text.partition("<|lvr_start|>")[0], text.partition("<|lvr_end|>")[2]
    assert f"{before}[[block 1: 8 slots]]{after}" in shown
    assert "<|lvr" not in shown
    assert f"{rows['own']['answer']}, right" in shown and "nats  yellow  (right)" in shown
    assert shown.count("nats") == 16
    picture = ablation / "faithful" / "peek" / "scenes-0-1.png"
    assert f"drawn in {picture}" in shown
    with Image.open(picture) as found:
        assert found.convert("RGB").getextrema() != ((255, 255),) * 3


def test_conditions_can_be_chosen(ablation: Path, show: Show) -> None:
    shown = show(ablation / "faithful", "scenes-0-1", condition=("zeros",), picture=False)
    assert "under zeros" in shown and "under own" not in shown and "drawn" not in shown
    with pytest.raises(LanternError, match="no row under nonsense; there are zeros, own"):
        main(Config(ablation / "faithful", "scenes-0-1", condition=("nonsense",)))


def test_json_is_the_record_and_the_rows(ablation: Path, show: Show) -> None:
    found = json.loads(show(ablation / "faithful", "scenes-0-2", json=True))
    assert found["sample"]["question"] and found["rows"][0]["condition"] == "own"
    every = [r for r in read_rows(ablation / "faithful") if r["sample"] == "scenes-0-2"]
    assert sorted(found["rows"], key=str) == sorted(every, key=str)


def test_of_several_runs_one_must_be_given(ablation: Path, tmp_path: Path, show: Show) -> None:
    with pytest.raises(LanternError, match="several runs: bypass, faithful; give one, such as"):
        main(Config(ablation, "scenes-0-1"))
    shutil.copytree(ablation / "faithful", tmp_path / "out" / "only")
    assert "under own" in show(tmp_path / "out", "scenes-0-1")


def test_parts_of_several_processes_are_one_run(tmp_path: Path, show: Show) -> None:
    for number in range(2):
        row = {"sample": f"s{number}", "condition": "own", "status": "ok"}
        made(tmp_path / f"shard-{number}-of-2", [row])
    assert f"sample s1 of {tmp_path / 'shard-1-of-2'}" in show(tmp_path, "s1")
    with pytest.raises(LanternError, match="no sample 's2'; near: s1, s0"):
        main(Config(tmp_path, "s2"))


def test_near_ids_are_offered_for_one_that_does_not_exist(ablation: Path) -> None:
    with pytest.raises(LanternError, match="has no sample 'scene-0-2'; near: scenes-0-2"):
        main(Config(ablation / "faithful", "scene-0-2"))
    with pytest.raises(LanternError, match="there are scenes-0-0, scenes-0-1, scenes-0-2"):
        main(Config(ablation / "faithful", "%"))


def test_a_torn_last_line_is_said_and_left_out(faithful: Path, show: Show) -> None:
    with (faithful / "rows.jsonl").open("a") as file:
        file.write('{"sample": "scenes-0-1", "condition": "ha')
    shown = show(faithful, "scenes-0-1")
    assert "the last line" in shown and "is cut off" in shown and "under own" in shown


@pytest.mark.parametrize("name", ["rows.jsonl", "samples.jsonl"])
@pytest.mark.parametrize("line", ["{", "[]", '"text"', '{"sample": NaN}'])
def test_a_corrupt_line_is_refused_by_its_number(faithful: Path, name: str, line: str) -> None:
    path = faithful / name
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(LanternError, match=f"{name}, line 1: corrupt") as refused:
        main(Config(faithful, "scenes-0-1"))
    assert len(str(refused.value).splitlines()) == 1


def test_files_that_are_gone_or_empty_are_no_traceback(faithful: Path, show: Show) -> None:
    (faithful / "rows.jsonl").write_text("")
    assert "there are no rows of it yet" in show(faithful, "scenes-0-1")
    (faithful / "samples.jsonl").unlink()
    with pytest.raises(LanternError, match="it has none yet"):
        main(Config(faithful, "scenes-0-1"))
    (faithful / "run.json").write_text("{")
    with pytest.raises(LanternError, match=r"run\.json, line 1: not valid JSON"):
        main(Config(faithful, "scenes-0-1"))


def test_markup_and_control_characters_of_data_stay_text(tmp_path: Path, show: Show) -> None:
    sample = Sample("a[b]", ("no.png",), "is [red]it[/] <b>?", prompt="x\x1b[31m\r\u202ey")
    row = {
        "sample": "a[b]",
        "condition": "[/]",
        "status": "ok",
        "text": "[bold]hi\x07 :smile:",
        "answer": "[link=x]",
        "correct": False,
        "gold": None,
        "note": {"deep": ["[x]"]},
    }
    shown = show(made(tmp_path / "run", [row], sample), "a[b]")
    for text in ("x\\x1b[31m\\r\\u202ey", "under [/]", "[bold]hi\\x07 :smile:", "[link=x]", "[x]"):
        assert text in shown
    assert "there is no such file here" in shown and "drawn" not in shown


def test_odd_rows_are_shown_as_far_as_they_go(tmp_path: Path, show: Show) -> None:
    rows = [
        {"sample": "1", "condition": "own", "status": "failed", "error": "no image"},
        {"sample": "1", "condition": "a", "status": "ok", "text": None, "logprobs": {"x": None}},
        {"sample": "1", "condition": "b", "status": "ok", "answer": None, "correct": None,
         "gold": "x", "parsed": {"default": None, "strict": "x"}},
        {"sample": 1, "condition": "c", "status": "left out", "error": "same answer"},
    ]  # fmt: skip
    shown = show(made(tmp_path / "run", rows), "1")
    assert "recorded no samples" in shown and shown.count("under ") == 4
    assert "no image" in shown and "same answer" in shown
    assert "none was read" in shown and "strict x" in shown


def test_an_image_that_has_changed_is_shown_as_changed(tmp_path: Path, show: Show) -> None:
    image = tmp_path / "one.png"
    Image.new("RGB", (60, 60), (200, 30, 30)).save(image)
    sample = Sample("a", (str(image),), "what ?", boxes=((5, 5, 20, 20),))
    row = {"sample": "a", "condition": "own", "status": "ok"}
    run = made(tmp_path / "run", [row], sample)
    assert "has changed" not in show(run, "a")
    Image.new("RGB", (60, 60), (30, 30, 200)).save(image)
    assert f"{image}: the file has changed since" in show(run, "a")
    image.write_bytes(b"no image")
    assert "drawn in" in show(run, "a")  # with the message in its place


def test_a_twin_is_drawn_as_it_was_made(tmp_path: Path, show: Show) -> None:
    config = ExchangeConfig(
        model=("faithful",), sample_ids=("scenes-0-2",), subsets=0, output=tmp_path / "run"
    )
    exchange(config)
    shown = show(tmp_path / "run", "scenes-0-2~color0", condition=("own",))
    assert "84 x 84 pixels, generated" in shown and "drawn in" in shown


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in FORMAT1.glob("*/run.json")), ids=lambda p: p.name
)
def test_runs_of_earlier_versions_are_shown(folder: Path, tmp_path: Path, show: Show) -> None:
    copy = shutil.copytree(folder, tmp_path / "run")
    sample = str(read_rows(copy)[0]["sample"])
    assert f"sample {sample} of {copy}" in show(copy, sample)


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        "a <|lvr_start|> <|lvr_sep|> <|lvr_sep|> <|lvr_end|> b": "a [[block 1: 2 slots]] b",
        "<|lvr_start|><|lvr_sep|><|lvr_end|>": "[[block 1: 1 slot]]",
        "a <|lvr_start|> <|lvr_end|> b": "a [[block 1: no slots]] b",
        "a <|lvr_start|> <|lvr_sep|> <|lvr_sep|>": "a [[block 1: 2 slots, not closed]]",
        "<|lvr_start|> <|lvr_end|><|lvr_start|> <|lvr_end|>": (
            "[[block 1: no slots]][[block 2: no slots]]"
        ),
        "a <|lvr_end|> b": "a [[end marker alone]] b",
        "none": "none",
        "": "",
    }.items(),
)
def test_blocks_are_named_and_counted(text: str, shown: str) -> None:
    assert marked(text).plain == shown
