"""Help and refusals: what a first hour is made of comes at once, and loads nothing heavy."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.ablate_latents import Config, main
from lantern_probe import organisms
from lantern_probe.commands import find_package, list_commands

ROOT = Path(__file__).parents[2]
COMMANDS = list_commands(find_package()[1])
STARTS = Path(__file__).with_name("starts.py")

MODEL = (
    *("ablate_latents", "decompose_markers", "exchange_latents", "knock_out", "map_latents"),
    *("patch_latents", "probe_latents", "read_attention", "sense_latents", "capture_activations"),
    *("read_triggers", "diagnose", "read_slots"),
)
"""Commands that run a model on data."""

SERVER = ("--endpoint", "http://127.0.0.1:9/v1")

OF_SERVERS = {
    "are about --endpoint; give it too": ("--served-model", "name"),
    "--endpoint needs --served-model": SERVER,
    "--endpoint 'nowhere' is no address": ("--endpoint", "nowhere", "--served-model", "name"),
    "the address holds a password": (
        *("--endpoint", "http://me:secret@host/v1", "--served-model", "name"),
    ),
    "--concurrency must be at least 1": (
        *(*SERVER, "--served-model", "name", "--concurrency", "0"),
    ),
    "--timeout must be a positive number": (
        *(*SERVER, "--served-model", "name", "--timeout", "0"),
    ),
    "--api-key-file: cannot read 'gone'": (
        *(*SERVER, "--served-model", "name", "--api-key-file", "gone"),
    ),
}
"""Arguments that commands refuse before they connect to a server."""

QUESTION = ("--model", "faithful", "--question", "what ?")

SERVED = {
    "ablate_latents": ("--model", "faithful"),
    "diagnose": ("--model", "faithful"),
    "ask": (*QUESTION, "--image", "docs/images"),
    "reproduce": ("--figure", "sft-viscot"),
}
"""Commands that ask a server, with what else they need."""

OF_DATA = {
    "--samples must be at least 1, not 0": ("--samples", "0"),
    "--seed must be at least 0, not -1": ("--seed", "-1"),
    "--batch-rows must be at least 1, not 0": ("--batch-rows", "0"),
    "--max-new-tokens must be at least 1, not 0": ("--max-new-tokens", "0"),
    "no task 'chess'; known: scenes": ("--task", "chess"),
    "no file or folder 'nowhere.jsonl'": ("--data", "nowhere.jsonl"),
    "not both": ("--data", "README.md", "--task", "scenes"),
    "--image-root: there is no folder 'gone'": ("--data", "README.md", "--image-root", "gone"),
    "are about --data": ("--image-root", "tests"),
    "no model 'nowhere': give a checkpoint folder, a Hub name": ("--model", "nowhere"),
    "say what to ask 'owner/name'": ("--model", "owner/name"),
    "Unrecognized options": ("--sample", "3"),
    "--sample-ids needs at least one id": ("--sample-ids",),
    "has no sample nowhere": ("--sample-ids", "nowhere"),
    "--preregistration 'gone.json' does not exist": ("--preregistration", "gone.json"),
    "'README.md' is no preregistration": ("--preregistration", "README.md"),
    "give --samples or --sample-ids, not both": ("--sample-ids", "a", "--samples", "3"),
    "--batch-rows": ("--batch-rows", "many"),
}
"""Arguments that all of them refuse, by what they say."""

REFUSALS: dict[str, dict[str, tuple[str, ...]]] = {
    "ablate_latents": {
        "no condition 'nonsense'; there are own": ("--conditions", "nonsense"),
        "has no setting 'size=2'": ("--conditions", "noise:size=2"),
        "no keys 'nowhere'": ("--conditions", "after->nowhere"),
        "there is no slot 9; the model has slots 0 to 7": ("--conditions", "zeros:slots=9"),
        "no corruption 'sepia'; there are clean": ("--images", "sepia"),
        "--model needs at least one model": ("--model",),
        "--endpoint serves one model": (*SERVER, "--served-model", "name"),
        "--endpoint is asked for greedy texts": (
            *("--model", "faithful", *SERVER, "--served-model", "name", "--temperature", "1"),
        ),
        "no answer parser 'lenient'; there are default": ("--parser", "lenient"),
        "--prior lies between 0.001 and 1000, not at 0.0": ("--prior", "0"),
        "--shard takes i/n": ("--shard", "2/2"),
        "--workers is about --ray": ("--workers", "2"),
        "HOST:PORT": ("--ray", "somewhere"),
    },
    "ask": {
        "Missing from ask": (),
        "there is no file or folder 'gone.png'": (*QUESTION, "--image", "gone.png"),
        "the folder 'experiments' holds no image (it holds __init__.py": (
            *(*QUESTION, "--image", "experiments"),
        ),
        "' ' is no text that can be asked": (
            *("--model", "faithful", "--question", " ", "--image", "docs/images"),
        ),
        "--words reads one of --options": (*QUESTION, "--image", "docs/images", "--words"),
        "no condition 'nonsense'": (
            *(*QUESTION, "--image", "docs/images", "--conditions", "nonsense"),
        ),
        "no model 'nowhere'": (
            *("--model", "nowhere", "--question", "what ?", "--image", "docs/images"),
        ),
    },
    "capture_activations": {
        "no condition 'nonsense'": ("--conditions", "nonsense"),
        "needs the own latents of the whole data set": ("--conditions", "swap"),
        "--conditions needs at least one": ("--conditions",),
        "no site 'residual'": ("--sites", "residual"),
        "layers 0 to 3": ("--sites", "residual.9@slot"),
        "i from 0 to n - 1": ("--shard", "4/4"),
        "holds no run": ("--force", "tests"),
    },
    "check_conformance": {"'tests' is no conformance folder: it has no checkpoint": ("tests",)},
    "compare_records": {
        "at least one result file": (),
        "there is no result file or run 'nowhere'": ("nowhere",),
        "holds no run": ("tests",),
        "not both": ("tests", "--against", "tests", "--reference", "own"),
        "--alpha lies between 0 and 1": ("tests", "--alpha", "2"),
        "--conditions are those of several runs": ("tests", "--conditions", "swap"),
    },
    "diagnose": {
        "--minutes must be positive": ("--minutes", "0"),
        "0 < delta < high < 1": ("--delta", "0.9"),
    },
    "decompose_markers": {
        "--base 'stock' is none of the --conditions": ("--base", "stock"),
        "Unrecognized options: --images": ("--images", "blur"),
    },
    "evaluate_readings": {
        "give at least one pool": (),
        "--n must be at least 1": ("tests", "--n", "0"),
        "--shares lie between 0 and 1": ("tests", "--shares", "2"),
        "there is no run or table 'gone'": ("gone",),
        "'README.md' is no table of a pool": ("README.md",),
        "'docs' holds neither a run (run.json) nor tables": ("docs",),
    },
    "exchange_latents": {
        "no twins by 'size'; there are color, shape, cell, clean": ("--twin", "size"),
        "leaves the image as it is": ("--twin", "hide-image"),
        "too many; give --subsets 0": ("--latent-size", "12"),
        "--subsets must be at least 0": ("--subsets", "-1"),
        "Unrecognized options: --images": ("--images", "blur"),
    },
    "export": {
        "there is no folder 'nowhere'": ("nowhere",),
        "'docs' holds no run: there is no run.json in it or below it": ("docs",),
        "--to xlsx: there are parquet, csv, inspect and figure:NAME": ("tests", "--to", "xlsx"),
        "no figure 'nothing'": ("tests", "--to", "figure:nothing"),
        "--images are put into logs": ("tests", "--images"),
        "is named as csv; give --to csv": ("tests", "--output", "rows.csv"),
    },
    "knock_out": {
        "no keys 'nowhere'; there are": ("--conditions", "after->nowhere"),
        "no layer 9; the model has layers 0 to 3": ("--conditions", "after->slot:layers=9"),
    },
    "merge_shards": {
        "give the folder that holds the shards": ("--output", "whole"),
        "there is no folder 'nowhere'": ("nowhere", "--output", "whole"),
        "is no shard, and holds none": ("tests", "--output", "whole"),
    },
    "map_latents": {
        "no column 'taste'; there are": ("--alike", "taste"),
        "at least 5 are needed": ("--samples", "4"),
    },
    "patch_latents": {
        "--roles: 'image' cannot be patched; take box, last-question": ("--roles", "image"),
        "--components: there is nothing to patch": ("--components",),
        "no layer 9; the model has layers 0 to 3": ("--layers", "9"),
        "no layers 'two'; write 3, 0": ("--layers", "two"),
        "twins by cell have the same answer": ("--twin", "cell"),
        "no twins by 'size'": ("--twin", "size"),
        "--batch-rows must be at least 2": ("--batch-rows", "1"),
    },
    "preregister": {
        "Missing from preregister": (),
        "--primary own is what the others are compared with": ("--primary", "own"),
        "--primary 'twin' is none of the --conditions": ("--primary", "twin"),
        "no condition 'nonsense'": ("--primary", "nonsense"),
        "no corruption 'sepia'": ("--primary", "zeros@sepia"),
        "--margin lies between 0 and 1, not at 2.0": ("--primary", "swap", "--margin", "2"),
        "--samples must be at least 1": ("--primary", "swap", "--samples", "0"),
        "--discordance is a fraction": ("--primary", "swap", "--discordance", "-1"),
        "--design-effect is at least 1": ("--primary", "swap", "--design-effect", "0.5"),
        "--seed must be at least 0": ("--primary", "swap", "--seed", "-1"),
        "'README.md' exists": ("--primary", "swap", "--output", "README.md"),
    },
    "probe_latents": {
        "--targets: no column 'size'; there are": ("--targets", "size"),
        "--types: no column 'size'; there are": ("--types", "size"),
        "layers 0 to 3": ("--sites", "residual.9@slot"),
        "--folds must be at least 2": ("--folds", "1"),
    },
    "read_attention": {"--overlays must be at least 0": ("--overlays", "-1")},
    "read_slots": {
        "--maps must be at least 0, not -1": ("--maps", "-1"),
        "--targets needs at least one": ("--targets",),
        "--targets: no column 'hue'": ("--targets", "hue"),
        "needs the own latents of the whole data set": ("--conditions", "mean"),
    },
    "read_triggers": {
        "--conditions need ban, as in --conditions own force ban": ("--conditions", "force"),
        "Unrecognized options: --images": ("--images", "blur"),
    },
    "reproduce": {
        "no figure 'sft-viscott'; there are sft-viscot": ("--figure", "sft-viscott"),
        "no organism stands in for lvr7b-blink; give RECORDS": ("--figure", "lvr7b-blink"),
        "leave out --task, --samples": (
            *("tests", "--figure", "tetris", "--task", "scenes", "--samples", "3"),
        ),
        "give RECORDS before --figure": ("--figure", "tetris", "tests"),
        "is no run (it has no run.json)": ("tests", "--figure", "tetris"),
        "--batch-rows must be at least 1": ("--figure", "tetris", "--batch-rows", "0"),
        "no model 'nowhere'": ("--figure", "tetris", "--model", "nowhere"),
    },
    "report": {
        "give the folder of a run": (),
        "there is no run 'nowhere': no such folder": ("nowhere",),
        "'README.md' is a file": ("README.md",),
        "'docs' holds no run": ("docs",),
        "--watch and --embed exclude each other": ("tests", "--watch", "--embed"),
        "--port serves a page that --watch writes": ("tests", "--port", "0"),
        "--image-root: there is no folder 'gone'": ("tests", "--image-root", "gone"),
    },
    "show": {
        "there is no run 'nowhere': no such folder": ("nowhere", "a"),
        "'README.md' is a file": ("README.md", "a"),
        "'docs' holds no run": ("docs", "a"),
        "'tests' holds several runs": ("tests", "a"),
    },
    "sense_latents": {
        "no corruption 'sepia'": ("--images", "sepia"),
        "leaves the image as it is": ("--images", "hide-image"),
        "--images needs at least one": ("--images",),
    },
    "train_organism": {
        "Missing from train_organism: --kind": (),
        "need test_scenes >= 10 (not 5)": ("--kind", "bypass", "--test-scenes", "5"),
        "is a file; give a folder": ("--kind", "bypass", "--output", "README.md"),
        "no organism in 'tests'": ("--kind", "bypass", "--measure-only", "--output", "tests"),
    },
    "write_pools": {
        "give at least one folder of a run": (),
        "'docs' holds no run: there is no run.json": ("docs",),
    },
}
"""Arguments that each refuses beside, by what it says."""


def starts(name: str, given: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(STARTS), name, json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_command_is_listed() -> None:
    assert set(COMMANDS) == set(REFUSALS)
    assert all(about.endswith((".", "?")) and len(about) < 80 for about in COMMANDS.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_refusals_load_nothing_heavy(name: str, tmp_path: Path) -> None:
    expected = {**(OF_DATA if name in MODEL else {}), **REFUSALS[name]}
    if name in SERVED:
        expected |= {said: (*SERVED[name], *given) for said, given in OF_SERVERS.items()}
    writes = name not in ("check_conformance", "show")
    output = ("--output", str(tmp_path / "run")) if writes else ()
    given = [("--help",)]
    for arguments in expected.values():
        given.append(arguments if "--output" in arguments else (*arguments, *output))
    shown, *refused = starts(name, given)
    assert shown["status"] == 0 and shown["heavy"] == [] and COMMANDS[name] in shown["out"]
    for message, start in zip(expected, refused, strict=True):
        said = start["error"]
        assert start["status"] == 2 and start["heavy"] == [], start
        assert "Traceback" not in said
        if said.startswith("error: "):
            assert message in said and len(said.strip().splitlines()) == 1, said
        else:  # of the parser itself
            assert message in " ".join(said.replace("│", " ").split()), said
    assert max(start["megabytes"] for start in (shown, *refused)) < 200
    assert list(tmp_path.iterdir()) == []


FOLDERS = ("map_latents", "probe_latents", "read_attention", "read_slots", "sense_latents")
"""Commands with a folder for each model in their output."""


def test_a_folder_in_the_way_is_refused_at_once(tmp_path: Path) -> None:
    other, file = tmp_path / "other", tmp_path / "file"
    (other / "stuff").mkdir(parents=True)
    file.write_text("")
    before = sorted(tmp_path.rglob("*"))
    cases = {
        f"'{other}' holds files but no run (stuff)": ("--output", str(other)),
        "a file stands where a folder is needed": ("--output", str(file)),
        "a file stands where a folder": ("--output", str(file / "in it")),
    }
    for name in MODEL:
        if name in FOLDERS:
            continue
        model = ("--model", "faithful", "--samples", "2")
        found = starts(name, [(*model, *arguments) for arguments in cases.values()])
        for message, start in zip(cases, found, strict=True):
            assert start["status"] == 2 and start["heavy"] == [], start
            assert message in start["error"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run, made in this process."""
    output = tmp_path_factory.mktemp("ablation") / "run"
    config = Config(model=("faithful",), samples=4, conditions=("own", "zeros"), output=output)
    assert main(config) == 0
    return output


def test_another_run_in_the_folder_is_refused_at_once(run: Path) -> None:
    given = ("--model", "faithful", "--samples", "4", "--output", str(run))
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}
    changes = {
        "seed: 0 there, 1 here": ("--seed", "1"),
        "samples: 4 there, 3 here": ("--samples", "3"),
        "dtype: 'float32' there, 'bfloat16' here": ("--dtype", "bfloat16"),
        "max_new_tokens: None there, 40 here": ("--max-new-tokens", "40"),
        "give 2 runs another --output": ("--model", "faithful", "bypass"),
    }
    found = starts("ablate_latents", [(*given, *change) for change in changes.values()])
    found += starts("knock_out", [given])
    wanted = [*changes, "experiment: 'ablate_latents' there, 'knock_out' here"]
    for message, start in zip(wanted, found, strict=True):
        assert start["status"] == 2 and start["heavy"] == [] and message in start["error"], start
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_run_that_is_complete_needs_no_model(run: Path, tmp_path: Path) -> None:
    """Its rows are read, tested and drawn again with the model stack left out."""
    given = ("--model", "faithful", "--samples", "4", "--conditions", "zeros", "--output", str(run))
    (again,) = starts("ablate_latents", [given])
    assert again["status"] == 0 and not {"transformers", "nnsight"} & {*again["heavy"]}
    out = ("--output", str(tmp_path / "out"))
    (compared,) = starts("compare_records", [(str(run), *out)])
    (made,) = starts("reproduce", [(str(run), "--figure", "sft-viscot", *out)])
    for start in (compared, made):
        assert start["status"] == 0, start
        assert not {"torch", "transformers", "nnsight"} & {*start["heavy"]}


def test_a_checkpoint_folder_is_known_by_its_config(tmp_path: Path) -> None:
    folder = shutil.copytree(organisms.path("bypass"), tmp_path / "model")
    given = ("--model", str(folder), "--task", "scenes", "--layers", "7")
    (start,) = starts("patch_latents", [given])
    assert start["heavy"] == [] and "no layer 7; the model has layers 0 to 3" in start["error"]


def processor_seconds(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_no_more_than_three_times_the_parser_itself() -> None:
    """Processor time, over some commands; `benchmarks.startup` has each of them."""
    base = help_ = 0.0
    for name in list(COMMANDS)[::3]:  # in turns, so that a busy machine slows both
        base += processor_seconds("-c", "import numpy, tyro, rich")
        help_ += processor_seconds("-m", f"experiments.{name}", "--help")
    assert help_ < 3 * base
