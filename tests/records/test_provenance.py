"""What a result says it came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lantern_probe.records import provenance
from lantern_probe.records.provenance import git_state

ROOT = Path(provenance.__file__).parents[2]


def test_the_commit_is_that_of_the_packages_own_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        settings = ("user.name=n", "user.email=e@x", "commit.gpgsign=false", "core.hooksPath=/")
        command = ["git", "-C", str(tmp_path)]
        command += [word for setting in settings for word in ("-c", setting)] + [*arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "__init__.py").touch()
    assert git_state(tmp_path) is None
    git("init", "-q")
    assert git_state(tmp_path) is None  # inside a checkout, but not of it
    git("add", "__init__.py")
    git("commit", "-q", "-m", "x")
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))  # as inside a hook
    clean = git_state(tmp_path)
    monkeypatch.delenv("GIT_DIR")
    assert clean == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new.py").touch()
    assert git_state(tmp_path) == {**clean, "dirty": True}
