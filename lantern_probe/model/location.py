"""From the name of a checkpoint to its place, and what its config says, without torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.model.adapter_files import is_adapter, read_adapter
from lantern_probe.model.files import (
    INDEX,
    SETTINGS,
    TEMPLATES,
    VOCABULARY,
    check_settings,
    read_json,
    refuse,
)
from lantern_probe.protocols import CheckpointFiles, LatentProtocol, find_protocol
from lantern_probe.protocols.detection import latent_size_of

QUIET_BELOW = 200e6
"""Bytes of weights below which loading shows no progress bar, and memory is not checked."""

TINY = 50e6
"""Number of parameters below which a model is tiny."""


def locate(source: str) -> str:
    """The folder of an organism or of a local checkpoint; a Hub name is returned as it is.

    Args:
        source: An organism's name, a folder (of an adapter too), or a Hub name (owner/name).

    Raises:
        LanternError: the source is none of the three, or an adapter whose base is none.
    """
    try:
        if is_adapter(Path(source)):
            base_of(Path(source))
            return source
        if (Path(source) / "config.json").is_file():
            return source
        if source in organisms.names():
            return str(organisms.path(source))
        if Path(source).is_dir():
            raise LanternError(f"{source!r} holds no config.json, so it is no checkpoint folder")
        if Path(source).is_file():
            raise LanternError(f"{source!r} is a file; give the checkpoint's folder")
        if Path(source).is_symlink():
            raise LanternError(f"{source!r} is a symbolic link that leads nowhere")
    except (OSError, ValueError, RuntimeError) as error:  # no permission, a loop, a name too long
        reason = getattr(error, "strerror", None) or error
        raise LanternError(f"cannot use the model {source[:200]!r}: {reason}") from None
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source):
        return source
    raise LanternError(
        f"no model {source!r}: give a checkpoint folder, a Hub name (owner/name), or an "
        f"organism ({', '.join(organisms.names())})"
    )


def base_of(adapter: Path) -> str:
    """The base that an adapter names: an organism, a folder, or a Hub name.

    A relative folder is looked for from here, and from the adapter's folder.

    Args:
        adapter: Folder of the adapter.

    Raises:
        LanternError: the adapter cannot be used, names no base, or one that is not to be had.
    """
    said = read_adapter(adapter).settings.get("base_model_name_or_path")
    way_out = f"give the base too: --model BASE --adapter {adapter}"
    if not said:
        raise LanternError(
            f"the adapter '{adapter}' names no base (base_model_name_or_path); {way_out}"
        )
    try:
        for place in (Path(said), adapter / said):
            if place.is_dir() and is_adapter(place):
                raise LanternError("it is an adapter itself; merge that one first")
            if (place / "config.json").is_file():
                return str(place)
        return locate(said)
    except (LanternError, OSError, ValueError) as error:
        raise LanternError(
            f"the adapter '{adapter}' is for the base {said!r}, which is not to be had ({error}); "
            f"{way_out}"
        ) from None


def resolve(source: str, adapter: str | Path | None = None) -> tuple[str, Path | None]:
    """Tell a checkpoint's base from the adapter that is applied to it; None without one.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name); the folder of an adapter
            stands for the base that it names.
        adapter: Folder of an adapter for that base; default none.

    Raises:
        LanternError: the source is no checkpoint, or an adapter is given twice.
    """
    location = locate(source)
    found = Path(location) if is_adapter(Path(location)) else None
    if adapter is None:
        return (location, None) if found is None else (base_of(found), found)
    if found is not None:
        raise LanternError(
            f"{source!r} is an adapter itself, and --adapter gives another; give its base as "
            "--model, and merge one of the two first to have both"
        )
    return location, Path(adapter)


def fetch(source: str, revision: str | None = None, offline: bool = False) -> Path:
    """The folder of a checkpoint, downloaded first if it is a Hub name.

    Of an adapter's folder it is that of its base. Of a Hub repository only files that loading reads
    are downloaded, the weights after all others have been found usable; code in it never is.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
        revision: Branch, tag or commit of a Hub repository; None for its main branch.
        offline: Use the local cache only.

    Raises:
        LanternError: there is no such checkpoint, it cannot be downloaded, or a revision of a
            folder is asked for.
    """
    source, adapter = resolve(source)
    location = Path(source)
    if location.is_dir():
        if revision is not None:
            raise LanternError(f"revision {revision!r} is about Hub names, and {source!r} is none")
        return location
    if adapter is None:
        return _snapshot(source, revision, offline)
    try:
        noted = read_adapter(adapter).settings.get("revision")
        return _snapshot(source, revision or noted, offline)
    except LanternError as error:
        raise LanternError(
            f"the adapter '{adapter}' is for the base {source!r}, which is not to be had "
            f"({error}); give the base too: --model BASE --adapter {adapter}"
        ) from error


@cache
def _snapshot(source: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import snapshot_download  # takes a third of a second

    patterns = [*SETTINGS, *VOCABULARY, *TEMPLATES, INDEX, "adapter_config.json"]
    try:
        for more in ([], ["model.safetensors", "model-*.safetensors"]):
            folder = snapshot_download(
                source,
                revision=revision,
                local_files_only=offline,
                allow_patterns=[*patterns, *more],
            )
            if not more:
                check_settings(Path(folder))
    except LanternError:
        raise
    except Exception as error:  # of the network, of the Hub, of the cache on the disk
        lines = str(error).strip().splitlines() or [repr(error)]
        raise LanternError(
            f"cannot load {source!r} (there is no such folder, so it was taken for a Hub name): "
            f"{lines[0]}"
        ) from error
    return Path(folder)


def commit_of(folder: Path) -> str | None:
    """The commit of a folder in the Hub's cache; None for any other folder.

    Args:
        folder: A checkpoint's folder, as `fetch` gives it.
    """
    return folder.name if folder.parent.name == "snapshots" else None


def identity(source: str) -> str | None:
    """A digest that tells a local checkpoint from another at the same place; None for a Hub name.

    It covers the config and the weights; of large weights, their names, sizes and times instead.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
    """
    base, adapter = resolve(source)
    folder = Path(base)
    if not folder.is_dir():
        return None
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")) + _weights_of(adapter):
        status = file.stat()
        if status.st_size < QUIET_BELOW:
            digest.update(file.read_bytes())
        else:
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _weights_of(adapter: Path | None) -> list[Path]:
    return [] if adapter is None else sorted(adapter.glob("*.safetensors"))


def read_config(source: str) -> Mapping[str, Any] | None:
    """The content of `config.json` of a checkpoint on this machine; None for a Hub name.

    Of an adapter's folder it is that of its base.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).

    Raises:
        LanternError: the source is no checkpoint, or its config is not JSON.
    """
    file = Path(resolve(source)[0]) / "config.json"
    return read_json(file) if file.is_file() else None


def known_layers(source: str) -> int | None:
    """The number of decoder layers of a checkpoint on this machine; None where it is not known.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
    """
    config = read_config(source) or {}
    text = config.get("text_config") or config
    count = text.get("num_hidden_layers") if isinstance(text, dict) else None
    if isinstance(count, int) and not isinstance(count, bool) and count >= 1:
        return count
    if count is None:
        return None
    refuse(
        Path(resolve(source)[0]) / "config.json", f"has num_hidden_layers {count!r}, no number >= 1"
    )


def known_files(source: str) -> CheckpointFiles | None:
    """The config and the added tokens of a checkpoint on this machine; None for a Hub name.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).

    Raises:
        LanternError: the source is no checkpoint, or a file is not JSON.
    """
    config = read_config(source)
    if config is None:
        return None
    return CheckpointFiles(source, config, _added_tokens(Path(resolve(source)[0])))


def _added_tokens(folder: Path) -> dict[str, int]:
    """The added tokens of a tokenizer, by text, from whichever file has them."""
    found: dict[str, int] = {}
    for name, entries in (
        ("tokenizer_config.json", _decoder),
        ("added_tokens.json", dict.items),
        ("tokenizer.json", _listed),
    ):
        if (folder / name).is_file():
            content = read_json(folder / name)
            pairs = entries(content) if isinstance(content, dict) else ()
            found |= {str(text): number for text, number in pairs if isinstance(number, int)}
    return found


def _decoder(content: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    decoder = content.get("added_tokens_decoder")
    items = decoder.items() if isinstance(decoder, dict) else ()
    return [
        (item.get("content"), int(number))
        for number, item in items
        if isinstance(item, dict) and str(number).isdecimal()
    ]


def _listed(content: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    added = content.get("added_tokens")
    items = added if isinstance(added, list) else []
    return [(item.get("content"), item.get("id")) for item in items if isinstance(item, dict)]


def check_protocol(source: str, given: LatentProtocol | None) -> LatentProtocol | None:
    """The protocol of a checkpoint, as far as it is known before the model is loaded.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
        given: Protocol that is given; None to find it.

    Returns:
        The protocol; None where it is not known: for a Hub name, an adapter's folder, or a
        checkpoint without latent blocks.

    Raises:
        LanternError: the given protocol contradicts the checkpoint, or several fit.
    """
    files = None if resolve(source)[1] is not None else known_files(source)
    return None if files is None else find_protocol(files, given)


def known_slots(source: str, given: LatentProtocol | None = None) -> int | None:
    """The number of slots in a block of a checkpoint on this machine; None where it is not known.

    Args:
        source: An organism's name, a folder, or a Hub name (owner/name).
        given: Protocol that is given; None to find it.

    Raises:
        LanternError: the config names no number of slots, or the protocol is not clear.
    """
    files = known_files(source)
    sure = given is not None and (files is None or resolve(source)[1] is not None)
    protocol = given if sure or files is None else find_protocol(files, given)
    if protocol is None:
        return None
    if files is None:
        return None if protocol.size_key else protocol.size_number
    return latent_size_of(files, protocol)
