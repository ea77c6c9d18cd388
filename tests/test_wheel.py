"""The wheel: what is in it, and that its commands run where there is no repository.

Dependencies are those of the environment of the tests; `make wheel-check` installs them afresh.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the project's own backend, which needs no network."""
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lantern-probe` of an environment that holds the wheel, and sees the tests' packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # Entries of a .pth file come last, and the .pth files of the folder that it names are not read:
    # the repository, which is installed there, is out of sight.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(dependencies)))
    script = folder / "bin" / "lantern-probe"
    script.write_text(
        f"#!{folder / 'bin' / 'python'}\n"
        "import sys\n"
        "from lantern_probe.commands import main\n"
        "sys.exit(main())\n"
    )
    script.chmod(0o755)
    return script


def run(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(program), *arguments],
        cwd=folder,
        env={**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "98"},
        capture_output=True,
        text=True,
    )


def test_the_wheel_has_one_package_with_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "lantern-probe = lantern_probe.commands:main" in archive.read(points).decode()
    top = {name.partition("/")[0] for name in names}
    assert "lantern_probe" in top and all(
        name == "lantern_probe" or name.endswith(".dist-info") for name in top
    )
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]

    def tracked(room: str) -> set[str]:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", room],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}

    commands = {f"lantern_probe/{name}" for name in tracked("experiments")}
    assert {name for name in names if ".dist-info/" not in name} == (
        tracked("lantern_probe") | commands
    )
    assert "lantern_probe/analysis/literature/figures.toml" in names
    assert "lantern_probe/organisms/checkpoints/faithful/model.safetensors" in names


def test_it_lists_its_commands_and_names_a_close_one(program: Path, tmp_path: Path) -> None:
    listed = run(program, tmp_path)
    assert listed.returncode == 0 and run(program, tmp_path, "--help").stdout == listed.stdout
    for file in (ROOT / "experiments").glob("*_*.py"):
        if "class Config" in file.read_text():
            assert f"  {file.stem.replace('_', '-')} " in listed.stdout
    assert all(len(line) <= 98 for line in listed.stdout.splitlines())
    wrong = run(program, tmp_path, "abalate-latents")
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr == (
        "error: no command 'abalate-latents'; did you mean ablate-latents? lantern-probe lists "
        "them\n"
    )


def test_a_command_runs_outside_the_repository(program: Path, tmp_path: Path) -> None:
    shown = run(program, tmp_path, "ablate-latents", "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("usage: lantern-probe ablate-latents ")
    assert "lantern-probe ablate-latents --model" in shown.stdout
    assert "python -m experiments" not in shown.stdout
    done = run(
        program, tmp_path, "ablate-latents", "--model", "faithful", "--samples", "4",
        "--conditions", "zeros",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    output = tmp_path / "runs" / "ablate_latents"
    summary = json.loads((output / "summary.json").read_text())
    assert [record["condition"] for record in summary] == ["own", "zeros"]
    manifest = json.loads((output / "run.json").read_text())
    assert manifest["config"]["experiment"] == "ablate_latents" and manifest["git"] is None


def test_the_code_that_runs_is_that_of_the_wheel(program: Path, tmp_path: Path) -> None:
    asked = "import lantern_probe, lantern_probe.experiments as e; print(e.__file__)"
    python = program.with_name("python")
    done = run(python, tmp_path, "-c", asked)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(program.parents[1])
    assert run(python, tmp_path, "-c", "import experiments").returncode == 1
    assert sys.prefix not in done.stdout
