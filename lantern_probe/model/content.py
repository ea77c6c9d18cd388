"""Identity of a checkpoint: the content of every file that decides an output, without torch.

Two folders of equal content are the same model, wherever they are. JSON files are recorded by their
settings, so that a difference can be named; all other files by a digest of their bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.model.adapter_files import ADAPTER_CONFIG, adapter_files, read_adapter
from lantern_probe.model.files import SETTINGS, check_settings, read_files, read_json
from lantern_probe.model.weight_files import check_weights

LONG = 200
"""Characters of a setting that is recorded as it is; a longer one is recorded by its digest."""

CACHED_FROM = 20_000_000
"""Bytes of a file from which its digest is kept in the user's cache."""


def checkpoint_content(folder: Path, adapter: Path | None = None) -> dict[str, Any]:
    """Record the content of a checkpoint: settings by name, other files by digest.

    Args:
        folder: The checkpoint, as `location.fetch` gives it.
        adapter: Folder of the adapter that is applied to it, as `location.resolve` gives it;
            default none.

    Returns:
        By name of the file its settings, or `sha256:` and a digest. A chat template that is in use
        from within a JSON file counts as one of its settings. Files of the adapter are named
        `adapter/...`.

    Raises:
        LanternError: a file cannot be used; see `files.check_settings`.
    """
    check_settings(folder, adapter)
    check_weights(folder)
    found: dict[str, Any] = {}
    for file in read_files(folder):
        name = str(file.relative_to(folder))
        found[name] = _short(read_json(file)) if name in SETTINGS else _digest(file)
    return found | ({} if adapter is None else _content_of(adapter))


_ABOUT_BASE = ("base_model_name_or_path", "revision", "auto_mapping")
"""Settings of an adapter that say where its base is, whose content is recorded."""


def _content_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    read_adapter(folder)
    for file in adapter_files(folder):
        name = str(file.relative_to(folder))
        if name in (ADAPTER_CONFIG, *SETTINGS):
            settings = read_json(file)
            if name == ADAPTER_CONFIG:
                settings = {key: settings[key] for key in settings if key not in _ABOUT_BASE}
            found[f"adapter/{name}"] = _short(settings)
        else:
            found[f"adapter/{name}"] = _digest(file)
    return found


def _short(value: Any) -> Any:
    """The settings, the long ones among them by digest."""
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    text = json.dumps(value, sort_keys=True)
    return value if len(text) <= LONG else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _digest(file: Path) -> str:
    """The digest of a file's bytes.

    That of a large file is taken from the cache as long as place, size and both times of the file
    are the same. The time of its last change of status cannot be set by hand.
    """
    try:
        status = file.stat()
        if status.st_size < CACHED_FROM:
            return f"sha256:{_hash(file)}"
        key = f"{file.resolve()} {status.st_dev} {status.st_ino}"
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        kept = _kept()
        if kept.get(key, [None])[:-1] != state:
            kept = _kept() | {key: [*state, _hash(file)]}
            _keep(kept)
        return f"sha256:{kept[key][-1]}"
    except OSError as error:
        raise LanternError(f"cannot read '{file}': {error.strerror or error}") from None


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _cache_file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "lantern_probe" / "digests.json"


def _kept() -> dict[str, list[Any]]:
    try:
        found = json.loads(_cache_file().read_text(encoding="utf-8"))
        return {key: item for key, item in found.items() if isinstance(item, list) and item}
    except (OSError, ValueError, AttributeError, RuntimeError):
        return {}


def _keep(kept: dict[str, list[Any]]) -> None:
    """Write the cache; without a place to write, digests are computed again."""
    try:
        file = _cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        temporary.replace(file)
    except (OSError, RuntimeError):
        return


def parameter_count(folder: Path) -> int:
    """Count a checkpoint's parameters from its files, without reading them.

    Args:
        folder: The checkpoint.

    Raises:
        LanternError: a file of its weights cannot be used.
    """
    total = 0
    for shape in check_weights(folder).values():
        size = 1
        for side in shape:
            size *= side
        total += size
    return total
