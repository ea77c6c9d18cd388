"""Names that a package hands on and loads only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(package: str, **modules: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package whose public names live in its modules.

    Importing the package then loads nothing, and `from package import name` loads the one module
    that has the name. The package still lists its names in `__all__`, and imports them under
    `TYPE_CHECKING` for type checkers and editors; a test holds the three lists together.

    Args:
        package: Full name of the package, its `__name__`.
        modules: For each module, relative to the package, its public names separated by spaces. Two
            underscores stand for a dot: `patching__sweep` is `patching.sweep`.
    """
    places = {name: module for module, names in modules.items() for name in names.split()}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{places[name].replace('__', '.')}")
        return getattr(module, name)

    return load
