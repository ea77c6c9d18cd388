"""From the name of a checkpoint to its place, and what its config says, without torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lantern_probe import organisms
from lantern_probe.errors import LanternError

QUIET_BELOW = 200e6
"""Bytes of weights below which loading shows no progress bar, and memory is not checked."""


def locate(source: str) -> str:
    """The folder of an organism or of a local checkpoint; a Hub name is returned as it is.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).

    Raises:
        LanternError: the source is none of the three.
    """
    if (Path(source) / "config.json").is_file():
        return source
    if source in organisms.names():
        return str(organisms.path(source))
    if Path(source).is_dir():
        raise LanternError(f"{source!r} holds no config.json, so it is no checkpoint folder")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source):
        return source
    raise LanternError(
        f"no model {source!r}: give a checkpoint folder, a Hub name (owner/name), or an "
        f"organism ({', '.join(organisms.names())})"
    )


def identity(source: str) -> str | None:
    """A digest that tells a local checkpoint from another at the same place; None for a Hub name.

    It covers the config and the weights; of large weights, their names, sizes and times instead.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
    """
    folder = Path(locate(source))
    if not folder.is_dir():
        return None
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        status = file.stat()
        if status.st_size < QUIET_BELOW:
            digest.update(file.read_bytes())
        else:
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def read_config(source: str) -> Mapping[str, Any] | None:
    """The content of `config.json` of a checkpoint on this machine; None for a Hub name.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).

    Raises:
        LanternError: the source is no checkpoint, or its config is not JSON.
    """
    file = Path(locate(source)) / "config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LanternError(f"cannot read '{file}': {error}") from None
    return config if isinstance(config, dict) else {}


def known_layers(source: str) -> int | None:
    """The number of decoder layers of a checkpoint on this machine; None where it is not known.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
    """
    config = read_config(source) or {}
    count = (config.get("text_config") or config).get("num_hidden_layers")
    return count if isinstance(count, int) else None


def known_slots(source: str) -> int | None:
    """The number of slots in a block of a checkpoint on this machine; None where it is not known.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
    """
    size = (read_config(source) or {}).get("latent_size")
    return size if isinstance(size, int) else None
