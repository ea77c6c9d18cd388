"""Values turned into JSON, and files replaced whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import to_line, to_plain, write_json


@dataclass(frozen=True)
class Noise:
    """Stands for an intervention."""

    sigma: float
    slots: tuple[int, ...]


def test_values_become_plain_json() -> None:
    value = {
        "scalars": [np.float32(0.5), np.int64(3), np.bool_(True), np.str_("x")],
        "torch": [torch.tensor(2, dtype=torch.bfloat16), torch.ones(2, requires_grad=True)],
        "array": np.array([[1.0, np.nan]]),
        "not finite": (math.inf, -math.inf, np.float64("nan"), torch.tensor(math.nan)),
        "set": {"b", "a"},
        "noise": Noise(0.1, (0, 7)),
        "path": Path("a") / "b",
        3: None,
    }
    assert json.loads(to_line(to_plain(value, "row"))) == {
        "scalars": [0.5, 3, True, "x"],
        "torch": [2.0, [1.0, 1.0]],
        "array": [[1.0, None]],
        "not finite": [None] * 4,
        "set": ["a", "b"],
        "noise": {"sigma": 0.1, "slots": [0, 7]},
        "path": "a/b",
        "3": None,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_any_row_is_one_line_that_comes_back(value: dict[str, Any]) -> None:
    line = to_line(to_plain(value, "row"))
    assert line.count(b"\n") == 1
    assert json.loads(line) == to_plain(value, "row")


def test_write_json_replaces_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.json"
    write_json(path, {"a": np.float64("nan")})
    assert json.loads(path.read_text()) == {"a": None}

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LanternError, match=r"table\.json.*No space"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": None}
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]
