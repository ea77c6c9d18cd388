"""The program `lantern-probe`: one entry point for all commands.

`lantern-probe` alone lists the commands with a line each, and `lantern-probe ablate-latents ...`
runs one. In a checkout the commands are the package `experiments`; a wheel carries the same files
as `lantern_probe.experiments`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "lantern-probe"
COLUMNS = 24
"""Columns of a command's name in the list."""


def find_package() -> tuple[str, Path]:
    """Find the package that holds the commands: its name and its folder.

    Raises:
        ModuleNotFoundError: neither a wheel nor a checkout has it.
    """
    spec = importlib.util.find_spec("lantern_probe.experiments")
    if spec is not None and spec.origin is not None:
        return spec.name, Path(spec.origin).parent
    root = Path(__file__).parents[1]
    if not (root / "experiments" / "console.py").is_file():
        raise ModuleNotFoundError(f"the commands of {PROGRAM} are not installed beside it")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return "experiments", root / "experiments"


def list_commands(folder: Path) -> dict[str, str]:
    """List the commands by module name, each with the first line of its docstring.

    A command is a module with a function `main` and a class `Config`. Nothing is imported.

    Args:
        folder: Folder of the package that holds the commands.
    """
    found = {}
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = {
            node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }
        if {"Config", "main"} <= named:
            found[file.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def written(module: str) -> str:
    """The name of a command as it is typed: `ablate-latents`."""
    return module.replace("_", "-")


def show(commands: dict[str, str]) -> None:
    """Print the commands with a line each."""
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", ""]
    lines += [f"  {written(name):{COLUMNS}}{about}" for name, about in commands.items()]
    lines += ["", f"{PROGRAM} COMMAND --help says what a command takes."]
    sys.stdout.write("\n".join(lines) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or list all of them.

    Args:
        arguments: Name and options of a command; those of the command line by default.

    Returns:
        The exit status of the command; 2 for a command that does not exist.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    package, folder = find_package()
    commands = list_commands(folder)
    if not given or given[0] in ("-h", "--help"):
        show(commands)
        return 0
    module = given[0].replace("-", "_")
    if module not in commands:
        close = difflib.get_close_matches(module, commands, n=1, cutoff=0.4)
        hint = f"did you mean {written(close[0])}? " if close else ""
        sys.stderr.write(f"error: no command {given[0]!r}; {hint}{PROGRAM} lists them\n")
        return 2
    program = f"{PROGRAM} {written(module)}"
    sys.argv = [program, *given[1:]]
    command = importlib.import_module(f"{package}.{module}")
    console = importlib.import_module(f"{package}.console")
    status: int = console.run_main(command.Config, command.main, program)
    return status


if __name__ == "__main__":
    sys.exit(main())
