"""`python -m experiments.reproduce`: published next to measured, from organisms and records."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments import ablate_latents
from experiments.reproduce import Config, main
from lantern_probe.analysis.literature.figures import published_figures
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows

SHARED = Path(__file__).parents[3] / "shared" / "published" / "lvr_results"


def saved(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name / "figure.json").read_text())


def official(folder: Path, answers: dict[str, str], name: str = "vstar") -> Path:
    """Result files in the official layout; a letter per sample, ? for none."""
    for condition, letters in answers.items():
        path = folder / condition / name / f"{name}.json"
        path.parent.mkdir(parents=True)
        entries = [
            {
                "id": str(i),
                "label": "A",
                "prediction": "what" if letter == "?" else f"<answer> {letter} </answer>",
                "category": ("direct_attributes", "relative_position")[i % 2],
            }
            for i, letter in enumerate(letters)
        ]
        path.write_text(json.dumps(entries))
    return folder


def test_the_list_names_every_figure_and_what_it_takes(
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = command("reproduce", "--list")
    assert done.returncode == 0, done.stderr
    for figure in published_figures().values():
        assert figure.name in done.stdout
        assert figure.model is None or figure.model in done.stdout
        assert figure.stand_in is None or figure.stand_in[0] in done.stdout
    assert "from RECORDS" in done.stdout
    assert all(len(line) <= 98 for line in done.stdout.splitlines())
    assert command("reproduce").stdout == done.stdout


def test_a_figure_of_accuracies_on_its_stand_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(figure=("tetris",), samples=40, output=tmp_path)
    assert main(config) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "NOT the published setting: the model is collapsed, not AGViveiros/LanteRn-3B-Te" in said
    assert "no evidence for or against what was published" in said
    assert "right in 1.000 [0.987, 1.000] of 300 puzzles; the question alone gives 0.250" in said
    found = saved(tmp_path, "tetris")
    lines = {line["published"]["condition"]: line for line in found["comparison"]["lines"]}
    assert lines["oracle"]["measured"]["count"] >= 38
    assert lines["own"]["measured"]["n"] == 40 and lines["own"]["measured"]["estimate"] < 0.4
    assert lines["oracle"]["published"]["low"] == 0.925
    assert found["published"]["mark"] == "P" and found["packages"]
    assert (tmp_path / "tetris" / "figure.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(tmp_path / "tetris" / "figure.png") as picture:
        assert min(picture.size) > 700
    # Given again it runs nothing, and the run can be read as records.
    run = tmp_path / "tetris" / "run" / "collapsed"
    rows = (run / "rows.jsonl").read_bytes()
    assert main(config) == 0
    assert (run / "rows.jsonl").read_bytes() == rows
    assert main(Config(figure=("tetris",), records=(run,), output=tmp_path / "read")) == 0
    read = saved(tmp_path / "read", "tetris")
    assert read["comparison"] == found["comparison"]
    assert "the model is collapsed" in read["measured"]["departures"][0]


def test_a_figure_of_retrieval_on_its_stand_in_and_from_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(figure=("retrieval-sft",), model="faithful", samples=60, output=tmp_path)
    assert main(config) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the authors' reading: recall near k / n, which the authors call near random" in said
    assert "the rank test, published: 134, by chance 150.5, z = -3.30, p = 0.00097" in said
    assert "n is 60, not 300" in said
    found = saved(tmp_path, "retrieval-sft")
    own, forced = found["comparison"]
    assert (own["query"], forced["query"]) == ("own", "teacher-forced")
    assert own["measured_test"]["z"] < -10 and own["lines"][0]["measured"] > 0.5
    assert all(line["agrees"] is None for line in own["lines"])
    record = tmp_path / "retrieval-sft" / "run"
    again = Config(figure=("retrieval-rl",), records=(record,), output=tmp_path)
    assert main(again) == 0
    read = saved(tmp_path, "retrieval-rl")
    assert read["comparison"][0]["measured_test"] == own["measured_test"]
    assert "the data are scenes, not VisCoT" in read["measured"]["departures"]
    # Fewer samples than were captured before are measured as asked.
    fewer = Config(figure=("retrieval-sft",), model="faithful", samples=30, output=tmp_path)
    assert main(fewer) == 0
    assert saved(tmp_path, "retrieval-sft")["comparison"][0]["lines"][0]["n"] == 30
    with pytest.raises(LanternError, match="have retrieval of faithful; choose one by --model"):
        main(Config(figure=("retrieval-rl",), records=(record,), model="bypass", output=tmp_path))


def test_official_result_files_are_read_by_condition_and_split(tmp_path: Path) -> None:
    files = official(
        tmp_path / "results",
        {
            "own": "AB" * 10,
            "no_lvr": "AA" * 10,
            "random_bbox": "BB" * 10,
            "zeros": "A?" * 10,
        },
    )
    config = Config(figure=("sft-vstar", "lvr7b-vstar"), records=(files,), output=tmp_path)
    assert main(config) == 0
    measured = {
        (line["published"]["condition"], line["published"]["split"]): line["measured"]
        for line in saved(tmp_path, "sft-vstar")["comparison"]["lines"]
    }
    assert measured["own", "all"]["count"] == 10
    assert measured["own", "direct_attributes"]["estimate"] == 1
    assert measured["own", "relative_position"]["estimate"] == 0
    assert measured["skip", "all"]["estimate"] == 1
    assert measured["random-box", "all"]["estimate"] == 0
    other = saved(tmp_path, "lvr7b-vstar")
    assert other["measured"]["departures"] == ["n is 20, not 191"]
    assert "which name neither model nor data" in other["measured"]["trust"][0]
    departures = saved(tmp_path, "sft-vstar")["measured"]["departures"]
    assert departures[-1] == "result files do not say that they are of AGViveiros/LanteRn-3B-SFT"
    assert other["comparison"]["notes"][0] == "not measured: noise"


def test_one_condition_by_itself_and_what_is_odd_about_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = official(tmp_path / "results", {"own": "AB" * 10})
    path = files / "own" / "vstar" / "vstar.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([*entries, entries[0]]))
    assert main(Config(figure=("lvr7b-vstar",), records=(files,), output=tmp_path)) == 0
    assert "note: own: " in capsys.readouterr().out  # the duplicate
    official(files, {"no_lvr": "AB" * 10, "empty_latent": "AB" * 10})
    with pytest.raises(LanternError, match="several result files are of skip"):
        main(Config(figure=("lvr7b-vstar",), records=(files,), output=tmp_path))


def test_a_record_of_generated_data_is_never_the_published_setting(tmp_path: Path) -> None:
    """Whatever its checkpoint is called."""
    run = tmp_path / "run"
    ablate_latents.main(
        ablate_latents.Config(model=("vanilla",), samples=12, conditions=("own",), output=run)
    )
    manifest = json.loads((run / "run.json").read_text())
    manifest["config"]["model"] = "AGViveiros/LanteRn-3B-SFT"
    (run / "run.json").write_text(json.dumps(manifest))
    assert main(Config(figure=("sft-viscot",), records=(run,), output=tmp_path)) == 0
    departures = saved(tmp_path, "sft-viscot")["measured"]["departures"]
    assert departures == ["the data are scenes, not VisCoT", "n is 12, not 1200"]


def test_a_real_model_is_run_under_the_published_corruption(tmp_path: Path) -> None:
    config = Config(
        figure=("black-box",), model="vanilla", task="scenes", samples=24, output=tmp_path
    )
    assert main(config) == 0
    lines = saved(tmp_path, "black-box")["comparison"]["lines"]
    measured = {line["published"]["condition"]: line["measured"]["estimate"] for line in lines}
    assert measured["oracle"] > measured["own"] + 0.3  # the box is black, and vanilla looks there
    run = tmp_path / "black-box" / "run" / "vanilla"
    assert {row["condition"] for row in read_rows(run)} >= {"own", "own@black-box"}


def test_all_figures_are_tried_and_those_without_records_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = official(tmp_path / "results", {"own": "AB" * 5, "zeros": "AA" * 5})
    config = Config(figure=("all",), records=(files,), output=tmp_path / "out")
    assert main(config) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 of 14 figures made" in said  # all of V*
    assert "no folder of result files (CONDITION/blink/blink.json)" in said
    assert (
        sorted(path.name for path in (tmp_path / "out").glob("*/figure.json"))
        == ["figure.json"] * 3
    )


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    def refused(message: str, **given: Any) -> None:
        with pytest.raises(LanternError, match=message):
            main(Config(output=tmp_path / "out", **given))

    refused("no organism stands in for lvr7b-blink; give RECORDS", figure=("lvr7b-blink",))
    refused("is no run .* and no folder of result", figure=("tetris",), records=(tmp_path,))
    refused("cannot use .*retrieval.json", figure=("retrieval-sft",), records=(tmp_path,))
    (tmp_path / "retrieval.json").write_text('{"no": 1}')
    refused("is no retrieval record", figure=("retrieval-sft",), records=(tmp_path,))
    refused(
        "with RECORDS nothing is run: leave out --task, --samples",
        figure=("tetris",), records=(tmp_path,), task="scenes", samples=3,
    )  # fmt: skip
    several = tmp_path / "several"
    ablate_latents.main(
        ablate_latents.Config(
            model=("faithful", "bypass"), samples=4, conditions=("own",), output=several
        )
    )
    refused("give one of the runs in it: bypass, faithful", figure=("tetris",), records=(several,))
    both = (several / "bypass", several / "faithful")
    refused("give one run, or result files", figure=("tetris",), records=both)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published record files are not here")
@pytest.mark.parametrize("name", ["lvr7b-blink", "lvr7b-vstar"])
def test_the_published_record_files_give_the_published_figures(name: str, tmp_path: Path) -> None:
    assert main(Config(figure=(name,), records=(SHARED,), output=tmp_path)) == 0
    found = saved(tmp_path, name)
    for line in found["comparison"]["lines"]:
        assert line["measured"]["count"] == line["published_interval"]["count"], line
    for pair in found["comparison"]["pairs"]:
        test = pair["measured"]["mcnemar"]
        assert (test["b"], test["c"]) == (pair["flips"]["b"], pair["flips"]["c"])
    assert found["measured"]["departures"] == []
