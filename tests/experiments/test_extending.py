"""Another package adds a condition, a data set, a parser and a figure: the page's, as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def fence(language: str) -> str:
    """The first fenced block of a language on the page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return next(code for name, code in found if name == language)


def install(
    folder: Path,
    modules: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
    name: str = "my-extension",
    version: str | None = "0.1",
) -> Path:
    """Lay a package into a folder, as an installer does; on the path it is installed."""
    folder.mkdir(exist_ok=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    stem = name.replace("-", "_") + ("" if version is None else f"-{version}")
    info = folder / f"{stem}.dist-info"
    info.mkdir(exist_ok=True)
    if version is not None:
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines: list[str] = []
    for group, entries in groups.items():
        lines += [f"[lantern_probe.{group}]", *(f"{k} = {v}" for k, v in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def the_page(folder: Path, module: str | None = None) -> Path:
    """Install the package of the page."""
    project = tomllib.loads(fence("toml"))["project"]
    groups = {
        group.removeprefix("lantern_probe."): entries
        for group, entries in project["entry-points"].items()
    }
    source = fence("python") if module is None else module
    return install(folder, {"my_extension": source}, groups, project["name"], project["version"])


def command(arguments: list[str], *installed: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, *installed)))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def refused(*arguments: str, installed: Path | tuple[Path, ...], cwd: Path) -> str:
    """What a command says that ends with one line."""
    given = (installed,) if isinstance(installed, Path) else installed
    done = command(["-m", *arguments], *given, cwd=cwd)
    said = done.stderr.strip()
    assert done.returncode == 2 and said.startswith("error: ") and len(said.splitlines()) == 1, said
    return said


ABLATE = ("experiments.ablate_latents", "--model", "faithful", "--samples", "2")


@pytest.mark.slow
def test_the_package_of_the_page_adds_one_of_each(tmp_path: Path) -> None:
    """Its commands are run as they stand; a change of the package stops the run from going on."""
    package = the_page(tmp_path / "package")
    lines = fence("").replace("\\\n", " ").splitlines()
    ablate, export = (shlex.split(line)[1:] for line in lines)
    done = command(ablate, package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "extended"
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert {row["condition"] for row in rows} == {"own", "zeros", "dim:factor=0.1"}
    assert {row["sample"] for row in rows} == {f"dots-0-{index}" for index in range(12)}
    assert all(row["parsed"]["last-named"] == row["answer"] for row in rows)
    assert {*rows[0]["parsed"]} == {"default", "last-named"}
    own = {row["sample"]: row["latent_norms"] for row in rows if row["condition"] == "own"}
    for row in rows:
        if row["condition"] == "dim:factor=0.1":  # at the first slot, before anything is re-rolled
            assert row["latent_norms"][0] == pytest.approx(own[row["sample"]][0] / 10, rel=1e-3)

    manifest = json.loads((folder / "run.json").read_text())
    used = {**manifest["config"]["extensions"], **manifest["extensions"]}
    assert {*used} == {"task dots", "answer parser last-named", "condition dim"}
    assert {(x["package"], x["version"]) for x in used.values()} == {("my-extension", "0.1")}

    done = command(export, package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lengths.png").read_bytes().startswith(b"\x89PNG")

    the_page(package, fence("python").replace("own * self.factor", "own - self.factor"))
    said = refused(*ablate[1:], installed=package, cwd=tmp_path)
    assert "extensions.answer parser last-named.sha256" in said and "another configuration" in said
    said = refused(*ablate[1:], installed=(), cwd=tmp_path)
    assert "no task 'dots'" in said or "no answer parser" in said


@pytest.mark.slow
def test_a_changed_condition_stops_the_run_and_another_one_does_not(tmp_path: Path) -> None:
    package = the_page(tmp_path / "package")
    output = ("--output", str(tmp_path / "run"))
    for conditions in (("zeros",), ("zeros", "dim")):  # a run may be extended
        done = command(["-m", *ABLATE, *output, "--conditions", *conditions], package, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    the_page(package, fence("python") + "\nCHANGED = True\n")
    said = refused(*ABLATE, *output, "--conditions", "dim", installed=package, cwd=tmp_path)
    assert "extensions.condition dim.sha256" in said
    done = command(["-m", *ABLATE, *output, "--conditions", "zeros"], package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr  # without the changed condition


def test_help_and_messages_name_what_is_installed(tmp_path: Path) -> None:
    package = the_page(tmp_path / "package")
    shown = command(["-m", "experiments.ablate_latents", "--help"], package, cwd=tmp_path).stdout
    for part in ("conditions: dim (my-extension 0.1)", "data: dots", "parsers: last-named"):
        assert part in " ".join(shown.split())
    said = refused(*ABLATE, "--conditions", "dimm", installed=package, cwd=tmp_path)
    assert said.endswith("dim (my-extension 0.1)")
    said = refused(*ABLATE[:3], "--task", "dot", installed=package, cwd=tmp_path)
    assert said.endswith("dots (my-extension 0.1)")
    said = refused(*ABLATE, "--parser", "last", installed=package, cwd=tmp_path)
    assert said.endswith("last-named (my-extension 0.1)")


BROKEN = {"conditions": {"dim": "broken:Dim"}, "data": {"dots": "broken:dots"}}


def test_a_broken_package_is_named_and_only_when_it_is_asked_for(tmp_path: Path) -> None:
    package = install(tmp_path / "p", {"broken": "import no_such_module\n"}, BROKEN, "broken")
    for arguments in (("--conditions", "dim"), ("--task", "dots")):
        said = refused(*ABLATE, *arguments, installed=package, cwd=tmp_path)
        assert "of the package broken 0.1 (broken:D" in said or "(broken:dots)" in said
        assert "ModuleNotFoundError: No module named 'no_such_module'" in said
    said = refused(*ABLATE, "--conditions", "zeros:slots=9", installed=package, cwd=tmp_path)
    assert "there is no slot 9" in said and "broken" not in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def Dim(): pass", "is no frozen dataclass of lantern_probe.interventions.Intervention"),
        ("Other = 1", "cannot be loaded: AttributeError"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        (
            "from lantern_probe.interventions import Zeros\nDim = Zeros",
            "is named 'zeros' in its class; write name = 'dim' there",
        ),
    ],
)
def test_what_is_no_condition_is_refused(tmp_path: Path, source: str, message: str) -> None:
    package = install(tmp_path / "p", {"broken": source}, {"conditions": {"dim": "broken:Dim"}})
    said = refused(*ABLATE, "--conditions", "dim", installed=package, cwd=tmp_path)
    assert message in said and "my-extension 0.1" in said


def test_names_that_collide_are_refused_with_both_named(tmp_path: Path) -> None:
    one = install(tmp_path / "a", {"a": ""}, {"conditions": {"zeros": "a:A", "dim": "a:A"}}, "a")
    two = install(tmp_path / "b", {"b": ""}, {"conditions": {"dim": "b:B"}}, "b")
    both = (one, two)
    said = refused(*ABLATE, "--conditions", "zeros", installed=both, cwd=tmp_path)
    assert "condition 'zeros' is given by lantern-probe and by a 0.1 (a:A)" in said
    said = refused(*ABLATE, "--conditions", "dim", installed=both, cwd=tmp_path)
    assert "condition 'dim' is given by a 0.1 (a:A) and by b 0.1 (b:B)" in said
    said = refused(*ABLATE, "--conditions", "mean:x=1", installed=both, cwd=tmp_path)
    assert "has no setting 'x=1'" in said  # the others are untouched


def test_a_condition_that_fails_while_it_runs_is_named(tmp_path: Path) -> None:
    package = the_page(tmp_path / "p", fence("python").replace("own * self.factor", "own * gone"))
    output = ("--output", str(tmp_path / "run"))
    said = refused(*ABLATE, *output, "--conditions", "dim", installed=package, cwd=tmp_path)
    assert "the package my-extension 0.1 (my_extension:Dim) raised NameError" in said


def read_here(installed: Path, code: str, cwd: Path) -> Any:
    """The JSON that some Python prints, with a package installed."""
    done = command(["-c", f"import json\n{code}"], installed, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_package_without_metadata_and_a_malformed_one_do_no_harm(tmp_path: Path) -> None:
    package = install(tmp_path / "p", {"x": ""}, {"data": {"d": "x:f"}}, "bare", None)
    (tmp_path / "p" / "bad-1.dist-info").mkdir()
    (tmp_path / "p" / "bad-1.dist-info" / "entry_points.txt").write_text("[a]\nno equals sign\n")
    code = "from lantern_probe import extensions; print(json.dumps(extensions.names('data', ())))"
    assert read_here(package, code, tmp_path) == ["d (bare)"]


def test_nothing_is_imported_before_its_name_is_asked_for(tmp_path: Path) -> None:
    package = install(
        tmp_path / "p", {"loud": "raise RuntimeError"}, {"conditions": {"x": "loud:X"}}
    )
    code = (
        "import sys\nfrom lantern_probe import parse_condition\n"
        "parse_condition('zeros')\nprint(json.dumps('loud' in sys.modules))"
    )
    assert read_here(package, code, tmp_path) is False


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(n, seed): return 3", "gives no list of lantern_probe.Sample"),
        ("def f(n, seed): return 1 / 0", "failed: ZeroDivisionError"),
        ("f = 3", "failed: TypeError"),
    ],
)
def test_a_data_set_that_fails_is_named(tmp_path: Path, source: str, message: str) -> None:
    package = install(tmp_path / "p", {"x": source}, {"data": {"d": "x:f"}})
    output = ("--output", str(tmp_path / "run"))
    said = refused(*ABLATE, *output, "--task", "d", installed=package, cwd=tmp_path)
    assert message in said and "task 'd' of the package my-extension 0.1 (x:f)" in said
