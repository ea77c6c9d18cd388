"""`python -m experiments.compare_records` as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from experiments.compare_records import Config, main
from experiments.console import WIDTH
from lantern_probe.errors import LanternError
from lantern_probe.records.preregistration import Preregistration, write_preregistration
from lantern_probe.records.run import Run
from lantern_probe.stats import mcnemar

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def compare(command: Command) -> Command:
    return partial(command, "compare_records")


def one_line_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


def published(folder: Path, condition: str, answers: str) -> Path:
    """A result file in its condition's folder; ? is a text that cannot be read."""
    path = folder / condition / "vstar" / "vstar.json"
    path.parent.mkdir(parents=True)
    entries = [
        {
            "id": str(i),
            "label": "A",
            "prediction": "<|lvr_start|><|endoftext|>"
            if answer == "?"
            else f"<|lvr_start|><|lvr_end|>\n<answer> {answer} </answer>",
            "category": "direct_attributes",
        }
        for i, answer in enumerate(answers)
    ]
    path.write_text(json.dumps(entries))
    return path


def run_folder(folder: Path, conditions: dict[str, str], *, without_block: int = 0) -> Path:
    """A run as an ablation writes it."""
    with Run.open(folder, {"experiment": "ablate_latents", "parser": "default"}) as run:
        for condition, answers in conditions.items():
            run.append_many(
                {
                    "sample": f"s{i}",
                    "condition": condition,
                    "status": "ok",
                    "gold": "red",
                    "answer": "red" if answer == "A" else "blue",
                    "correct": answer == "A",
                    "candidates": 4,
                    "emitted": i >= without_block,
                    "cluster": f"{i // 2}.png",
                    "logprobs": {"red": -0.1 if answer == "A" else -2.0 - i / 100, "blue": -1.0},
                    "text": "",
                }
                for i, answer in enumerate(answers)
            )
    return folder


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """LVR-7B on V* (docs/methods.md, Statistics): 154 and 145 of 191, 12:3, 9 unparsed."""
    return [
        published(tmp_path, "own", "A" * 154 + "B" * 37),
        published(tmp_path, "no_lvr", "A" * 142 + "B" * 5 + "?" * 7 + "AAA" + "B" * 32 + "??"),
        published(tmp_path, "random", "BBB" + "A" * 139 + "B" + "A" * 16 + "B" * 32),
    ]


def test_published_files_are_compared_pair_by_pair(
    compare: Command, files: list[Path], tmp_path: Path
) -> None:
    strict = ("--parser", "strict")  # as the published figures were counted
    done = compare(*files, *strict, "--margin", 0.05, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    wide = [line for line in done.stdout.splitlines() if len(line) > WIDTH]
    assert all(str(tmp_path) in line for line in wide)
    text = " ".join(done.stdout.split())
    assert "own 191 154 .806" in text and "no_lvr 191 145 .759" in text
    assert "own - no_lvr 191 12:3 .035 .070" in text and "own - random 191 4:5 1.000" in text
    assert "own - no_lvr 0 9 0:9 .004" in text
    assert "own - random: no difference shown, and the two are equivalent within 5.0 pp" in text
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [c["condition"] for c in record["conditions"]] == ["own", "no_lvr", "random"]
    assert [(p["mcnemar"]["b"], p["mcnemar"]["c"]) for p in record["pairs"]] == [
        (12, 3), (4, 5), (3, 13)
    ]  # fmt: skip
    assert record["pairs"][0]["mcnemar"]["p"] == mcnemar(12, 3).p
    assert record["pairs"][0]["reading"] and record["config"]["margin"] == 0.05
    assert record["git"] is not None and record["command"]
    assert (tmp_path / "out" / "differences.png").stat().st_size > 5000


def test_runs_are_compared_condition_by_condition(compare: Command, tmp_path: Path) -> None:
    sft = run_folder(
        tmp_path / "sft",
        {"own": "A" * 40, "zeros": "A" * 20 + "B" * 20, "mean": "A" * 40},
        without_block=4,
    )
    rl = run_folder(tmp_path / "rl", {"own": "A" * 40, "zeros": "A" * 38 + "BB"})
    output = ("--output", tmp_path / "out")
    done = compare(sft, "--against", rl, *output)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "sft/own - rl/own 36 0:0" in text and "sft/zeros - rl/zeros 36 0:18" in text
    assert "4 of 40 samples have no latent block and are left out" in text
    assert "only in sft: mean" in text and "log-odds" in text
    assert "p clust." in text  # two questions an image
    alone = compare(sft, "--reference", "own", "--every-sample", *output)
    assert alone.returncode == 0, alone.stderr
    text = " ".join(alone.stdout.split())
    assert "own - zeros 40 20:0" in text and "zeros - mean" not in text


def test_an_error_is_one_line(compare: Command, files: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('[{"id": "1", "label": "A", "prediction": "x"}, {"id": "2", "label": "A"}]')
    assert f"{broken}, entry 2: no 'prediction'" in one_line_error(compare(files[0], broken))


def test_what_cannot_be_compared(files: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    run = run_folder(tmp_path / "run", {"own": "AB", "zeros": "BA"})
    other = run_folder(tmp_path / "other", {"mean": "AB", "skip": "BA"})
    some = tuple(files)
    for config, message in (
        (Config(()), "at least one result file"),
        (Config(some[:1]), "nothing to compare 'vstar' with"),
        (Config(some, names=("a", "b")), "2 --names for 3 result files"),
        (Config(some, names=("a", "b", "a")), "two conditions are called 'a'"),
        (Config(some, reference="x"), "--reference 'x' is none of own, no_lvr, random"),
        (Config(some, reference="own", against=some), "not both"),
        (Config((empty,)), "holds no run"),
        (Config((run,), parser="strict"), "the 'strict' parser has not read the answers"),
        (Config((run,), against=(other,)), "no condition is on both sides: own, zeros here"),
        (Config((run, files[0])), "have no sample in common"),
    ):
        with pytest.raises(LanternError, match=message):
            main(replace(config, output=tmp_path / "out"))


def test_a_run_is_compared_as_any_parser_reads_it(tmp_path: Path):
    """Rows hold what every parser read, so that none has to be chosen before a run."""
    folder = tmp_path / "run"
    with Run.open(folder, {"experiment": "ablate_latents", "parser": "default"}) as run:
        for condition in ("own", "zeros"):
            for i in range(8):
                official = "a" if condition == "own" and i < 3 else "A"
                run.append(
                    {
                        "sample": f"s{i}",
                        "condition": condition,
                        "status": "ok",
                        "gold": "A",
                        "answer": "A",
                        "correct": True,
                        "parsed": {"default": "A", "official": official},
                        "candidates": 4,
                        "emitted": True,
                        "cluster": f"{i}.png",
                        "logprobs": None,
                        "text": "",
                    }
                )
    for parser, right in (("default", 8), ("official", 5)):
        output = tmp_path / parser
        assert main(Config((folder,), parser=parser, output=output)) == 0
        record = json.loads((output / "comparison.json").read_text())
        assert f"answers are read by the {parser} parser" in record["notes"]
        (pair,) = record["pairs"]
        assert sum(pair["outcomes"]["counts"][0]) == right


def family_run(folder: Path, model: str, conditions: dict[str, str], **facts: object) -> Path:
    """A run of a model, with what it was planned to be."""
    config = {"experiment": "ablate_latents", "parser": "default", "model": model, "data": "d"}
    with Run.open(folder, config, facts=facts) as run:
        for condition, answers in conditions.items():
            run.append_many(
                {
                    "sample": f"s{i}",
                    "condition": condition,
                    "status": "ok",
                    "gold": "A",
                    "answer": answer,
                    "correct": answer == "A",
                    "emitted": True,
                    "cluster": f"{i}",
                    "candidates": 2,
                    "logprobs": None,
                    "text": "",
                }
                for i, answer in enumerate(answers)
            )
    return folder


LOST = {"own": "A" * 30, "zeros": "A" * 22 + "B" * 8, "swap": "A" * 29 + "B"}


def test_several_runs_with_a_reference_are_one_family(compare: Command, tmp_path: Path) -> None:
    runs = [
        family_run(tmp_path / "one", "one", LOST, planned_samples=60),
        family_run(tmp_path / "two", "two", {"own": "A" * 30, "mask": "A" * 24 + "B" * 6}),
    ]
    done = compare(*runs, "--reference", "own", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "one family of 3 comparisons, from 2 runs" in text and "at 0.05 / 3" in text
    assert "60 samples were planned and 30 ran" in text
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert record["family"]["size"] == 3
    assert [run["model"] for run in record["family"]["runs"]] == ["one", "two"]
    found = {pair["second"]: pair["holm_p"] for pair in record["pairs"]}
    assert found["one/zeros"] == pytest.approx(3 * mcnemar(8, 0).p)
    assert found["two/mask"] == pytest.approx(2 * mcnemar(6, 0).p)


def test_runs_that_cannot_belong_to_one_family_are_refused_by_name(
    compare: Command, tmp_path: Path
) -> None:
    one = family_run(tmp_path / "one", "one", LOST)
    copy = family_run(tmp_path / "copy", "one", {"own": "A" * 30, "zeros": "A" * 30})
    other = family_run(tmp_path / "other", "two", {"zeros": "A" * 30, "swap": "A" * 30})
    own = ("--reference", "own", "--output", tmp_path / "out")
    said = one_line_error(compare(one, copy, *own))
    assert f"'{one}' and '{copy}' both hold zeros of one on d" in said
    assert "'other' has no condition 'own'" in one_line_error(compare(one, other, *own))
    assert "no run has 'maks'" in one_line_error(
        compare(one, copy, *own, "--conditions", "zeros", "maks")
    )
    apart = compare(one, copy, *own, "--conditions", "one/swap", "copy/zeros")
    assert apart.returncode == 0 and "one family of 2 comparisons" in apart.stdout


def test_runs_of_two_plans_are_two_families(tmp_path: Path) -> None:
    plan = Preregistration("swap", ("swap", "zeros"), 30, 0.05, 0.05, 0.8, 0.1, 1.0, None)
    folders = []
    for number, model in enumerate(("one", "two")):
        registered = write_preregistration(
            tmp_path / f"{model}.json", replace(plan, samples=30 - number)
        )
        folders.append(
            family_run(tmp_path / model, model, LOST, preregistration=registered.as_record())
        )
    config = Config(tuple(folders), reference="own", margin=0.05, output=tmp_path / "out")
    with pytest.raises(LanternError, match="follow different preregistrations .* compare them"):
        main(config)
    with pytest.raises(LanternError, match="fixes the margin of equivalence at 0.05"):
        main(replace(config, margin=0.02))
    free = family_run(tmp_path / "three", "three", LOST)
    mixed = replace(config, records=(folders[0], free))
    assert main(mixed) == 0
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert "three: exploratory, because not in the preregistration: zeros, swap" in record["notes"]
