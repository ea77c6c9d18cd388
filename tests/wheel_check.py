"""Build the wheel, install it with its dependencies into an empty environment, and use it there.

    python tests/wheel_check.py

Run by `make wheel-check`, outside of pytest: it installs several GB (or links them from uv's cache)
and needs the package index. The environment is far from the repository, which it must not see.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = [sys.executable, "-m", "uv"]


def call(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and give its output; its failure ends the check."""
    print(
        "+", *(Path(part).name if isinstance(part, Path) else part for part in command), flush=True
    )
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        print(done.stdout)
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return done.stdout


def readme_block() -> str:
    """The first block of Python in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, "the README has no block of Python"
    return block[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call(*UV, "build", "--quiet", "--wheel", "--out-dir", folder)
        (wheel,) = folder.glob("*.whl")
        python = folder / "environment" / "bin" / "python"
        call(*UV, "venv", "--quiet", "--python", sys.executable, folder / "environment")
        constraints = ("--constraint", ROOT / "constraints.txt")
        call(*UV, "pip", "install", "--quiet", "--python", python, *constraints, wheel)
        outside = folder / "outside"
        outside.mkdir()
        command = python.with_name("lantern-probe")
        assert "ablate-latents" in call(command, cwd=outside)
        find = "import importlib.util as u; print(u.find_spec('experiments'))"
        assert call(python, "-c", find, cwd=outside).strip() == "None", "a top-level `experiments`"
        call(
            *(command, "ablate-latents", "--model", "faithful", "--samples", "4"),
            *("--conditions", "zeros", "--output", "run"),
            cwd=outside,
        )
        assert (outside / "run" / "accuracy.png").is_file()
        (outside / "readme.py").write_text(readme_block(), encoding="utf-8")
        print(call(python, "readme.py", cwd=outside))
    print("the wheel works in an environment of its own")


if __name__ == "__main__":
    main()
