"""The command that exports runs: what it writes, what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.export import Config, main
from lantern_probe import LanternError, Run
from lantern_probe.records import read_rows, read_table


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Run.open(tmp_path / "run", {"model": "faithful", "experiment": "x"}) as run:
        for sample in ("1", "2"):
            run.append(
                {
                    "sample": sample,
                    "condition": "own",
                    "status": "ok",
                    "text": "a\nb",
                    "correct": sample == "1",
                    "answer": "A",
                    "gold": "A",
                }
            )
    return tmp_path / "run"


def test_tables_are_written_beside_the_rows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for to in ("parquet", "csv"):
        assert main(Config(run, to=to)) == 0
        assert read_table(run / f"rows.{to}")["."] == read_rows(run)
        assert f"2 rows are in {run}/rows.{to}" in capsys.readouterr().out.replace("\n", "")
    assert pd.read_csv(run / "rows.csv")["text"].tolist() == ["a\nb", "a\nb"]


@pytest.mark.parametrize("to", ["parquet", "csv", "inspect"])
def test_what_is_there_is_replaced_only_when_told(run: Path, tmp_path: Path, to: str) -> None:
    output = tmp_path / "out"
    assert main(Config(run, to=to, output=output)) == 0
    before = {file: file.read_bytes() for file in (output, *output.rglob("*")) if file.is_file()}
    with pytest.raises(LanternError, match=r"already; give another --output, or --overwrite"):
        main(Config(run, to=to, output=output))
    assert before == {file: file.read_bytes() for file in before}
    assert main(Config(run, to=to, output=output, overwrite=True)) == 0


def test_the_files_of_a_run_are_never_replaced(run: Path) -> None:
    before = (run / "rows.jsonl").read_bytes()
    for name in ("rows.jsonl", "run.json", "samples.jsonl"):
        with pytest.raises(LanternError, match="is a file of the run itself"):
            main(Config(run, to="csv", output=run / name, overwrite=True))
    assert (run / "rows.jsonl").read_bytes() == before


def test_outputs_that_do_not_fit_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(LanternError, match="is a folder; give --output a file"):
        main(Config(run, to="csv", output=tmp_path))
    with pytest.raises(LanternError, match="is a folder, for several logs"):
        main(Config(run, to="inspect", output=tmp_path / "x.eval"))
    (tmp_path / "file").write_text("")
    with pytest.raises(LanternError, match="a file stands where a folder is needed"):
        main(Config(run, to="csv", output=tmp_path / "file" / "rows.csv"))


def test_an_unfinished_run_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Run.open(tmp_path / "run", {}) as run:
        run.append({"sample": "1", "condition": "own", "status": "ok", "text": "t"})
        assert main(Config(tmp_path / "run", to="csv", output=tmp_path / "t.csv")) == 0
        assert "has the status 'running'" in capsys.readouterr().out
        with (tmp_path / "run" / "rows.jsonl").open("a") as file:
            file.write('{"sample": "2", "cond')  # being written
        assert main(Config(tmp_path / "run", to="inspect")) == 0
    assert len(pd.read_csv(tmp_path / "t.csv")) == 1
