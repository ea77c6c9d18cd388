"""Calls that a `with` enters, told from plain calls on every Python that is here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lantern_probe.model import call_site
from lantern_probe.model.call_site import is_entered_after

ENTERED = {
    "name": "with f(1) as t:\n    pass\n",
    "method": "with l.f(1):\n    pass\n",
    "keyword": "with l.f(1, a=2) as t:\n    pass\n",
    "unpacked": "with l.f(*s, **k) as t:\n    pass\n",
    "second": "with g(), l.f(1) as t:\n    pass\n",
    "lines": "with (\n    l.f(\n        1\n    )\n    as t\n):\n    pass\n",
    "function": "def h():\n    with l.f(1) as t:\n        pass\nh()\n",
    "hot loop": "def h():\n  for _ in range(300):\n    with l.f(1) as t:\n      pass\nh()\n",
    "async": "async def h():\n    async with l.f(1) as t:\n        pass\nrun(h())\n",
    "traced": "settrace(print)\ndef h():\n  with l.f(1) as t:\n    pass\nh()\nsettrace(None)\n",
}  # fmt: skip
PLAIN = {
    "assigned": "x = l.f(1)\n",
    "last": "l.f(1)\n",
    "same line": "with g(): x = l.f(1)\n",
    "argument": "with g(l.f(1)) as t:\n    pass\n",
    "attribute": "with l.f(1).own as t:\n    pass\n",
    "walrus": "with (y := l.f(1)) as t:\n    pass\n",
    "either": "with (l.f(1) if s else l.f(2)) as t:\n    pass\n",
    "returned": "def h():\n    return l.f(1)\nwith h() as t:\n    pass\n",
    "comprehension": "x = [l.f(1) for _ in range(3)]\n",
    "hot loop": "def h():\n    for _ in range(300):\n        x = l.f(1)\nh()\n",
}
CHECK = """
import sys
from types import SimpleNamespace

class Context:
    @property
    def own(self): return self
    def __enter__(self): return self
    def __exit__(self, *_): return None
    async def __aenter__(self): return self
    async def __aexit__(self, *_): return None

def run(coroutine):
    try:
        coroutine.send(None)
    except StopIteration:
        pass

for expected, sources in ((True, ENTERED), (False, PLAIN)):
    for name, source in sources.items():
        seen = []
        def f(*_, **__):
            seen.append(is_entered(sys._getframe(1)))
            return Context()
        names = {"f": f, "l": SimpleNamespace(f=f), "g": lambda *_: Context(), "s": [1], "k": {},
                 "run": run, "settrace": sys.settrace, "print": lambda *_: None}
        exec(compile(source, name, "exec"), names)
        assert seen and set(seen) == {expected}, (sys.version, expected, name, seen)
print("%d.%d" % sys.version_info[:2])
"""


def others() -> list[Path]:
    """Interpreters of pyenv, if it is here: one of each version that the package supports."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return [
        python
        for minor in (11, 12, 13, 14)
        for python in sorted(root.glob(f"3.{minor}.*/bin/python"))[-1:]
    ]


@pytest.mark.parametrize(
    "python", [Path(sys.executable), *others()], ids=lambda python: python.parts[-3]
)
def test_a_call_that_is_entered_is_told_from_a_plain_one(python: Path):
    source = Path(call_site.__file__).read_text()
    code = f"{source}\nENTERED = {ENTERED!r}\nPLAIN = {PLAIN!r}\n{CHECK}"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-600:]
    assert done.stdout.startswith("3.")


def test_the_end_of_the_code_is_no_with():
    assert not is_entered_after(bytes([call_site.opcode.opmap["CALL"], 1]), 0)


def test_a_copy_that_is_searched_for_its_exit_is_entered(monkeypatch: pytest.MonkeyPatch):
    """As Python 3.14 enters a `with`; a copy that is stored is an assignment."""
    monkeypatch.setattr(call_site, "_SPECIAL", 200)
    call, copy = call_site.opcode.opmap["CALL"], call_site.opcode.opmap["COPY"]
    assert is_entered_after(bytes([call, 1, 0, 0, copy, 1, 200, 1]), 0)
    assert not is_entered_after(bytes([call, 1, 0, 0, copy, 1, 90, 1]), 0)
    assert not is_entered_after(bytes([call, 1, 0, 0, copy, 1]), 0)
