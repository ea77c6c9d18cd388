"""Weights of a checkpoint folder as files: their format, their length and their index."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NoReturn

from lantern_probe.errors import LanternError, named
from lantern_probe.model.files import INDEX, WEIGHTS, read_head, read_json, refuse

_log = logging.getLogger(__name__)

OTHER_WEIGHTS = (
    *("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.gguf", "*.onnx", "*.h5", "*.msgpack"),
    *("*.npz", "*.zip", "*.tar", "*.tar.gz", "*.tgz", "*.distcp"),
)
"""Weights and archives that are never read."""


def check_weights(folder: Path) -> dict[str, tuple[int, ...]]:
    """Refuse weights that are absent, cut off, of another format, or not what the index says.

    Args:
        folder: The checkpoint.

    Returns:
        The shape of every tensor that will be read, by name.

    Raises:
        LanternError: naming the file.
    """
    if (folder / WEIGHTS).is_file():
        if (folder / INDEX).is_file():
            _check_second_set(folder)
        files = [WEIGHTS]
    elif (folder / INDEX).is_file():
        files = sorted(set(_weight_map(folder).values()))
    else:
        _refuse_no_weights(folder)
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        refuse(
            folder / INDEX, f"names {len(absent)} of {len(files)} files that are missing: "
            f"{named(absent)}; copy or download them",
        )  # fmt: skip
    tensors = {name: read_shapes(folder / name) for name in files}
    if files != [WEIGHTS]:
        _check_index(folder, tensors)
    unread = sorted({path.name for path in folder.glob("*.safetensors")} - {*files})
    if unread:
        _log.warning("'%s': weights that are not read: %s", folder, named(unread))
    return {name: shape for found in tensors.values() for name, shape in found.items()}


def _weight_map(folder: Path) -> dict[str, str]:
    content = read_json(folder / INDEX)
    found = content.get("weight_map")
    if "metadata" not in content:  # transformers needs it, empty or not
        refuse(folder / INDEX, 'has no "metadata"; add "metadata": {} to it')
    if not isinstance(found, dict) or not found:
        refuse(folder / INDEX, "has no weight_map from tensors to files")
    for name in found.values():
        if not isinstance(name, str) or Path(name).name != name:
            refuse(folder / INDEX, f"names {name!r}, which is no file beside it")
    return found


def _check_index(folder: Path, tensors: dict[str, dict[str, tuple[int, ...]]]) -> None:
    lacking = [name for name, file in _weight_map(folder).items() if name not in tensors[file]]
    if lacking:
        refuse(
            folder / INDEX,
            f"names {len(lacking)} tensors that are missing from their files: {named(lacking)}; "
            "download all files of one version",
        )


def _check_second_set(folder: Path) -> None:
    others = sorted({*_weight_map(folder).values()} - {WEIGHTS})
    if any((folder / name).is_file() for name in others):
        refuse(
            folder / INDEX,
            f"names other weights ({named(others)}) than {WEIGHTS} beside it; remove one of the "
            "two sets",
        )
    if others:
        _log.warning("'%s': %s is not read, %s is", folder, INDEX, WEIGHTS)


def _refuse_no_weights(folder: Path) -> NoReturn:
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    if shards:
        raise LanternError(
            f"cannot load the checkpoint '{folder}': it has {named(shards)}, but neither "
            f"{WEIGHTS} nor {INDEX}; copy or download that file too"
        )
    other = sorted({path.name for pattern in OTHER_WEIGHTS for path in folder.glob(pattern)})
    other = [name for name in other if name not in ("training_args.bin", "optimizer.pt")]
    if other:
        raise LanternError(
            f"cannot load the checkpoint '{folder}': it has its weights as {named(other)}, and "
            "only safetensors is read; convert them to safetensors (save_pretrained of "
            "transformers writes it)"
        )
    inside = sorted(path.name for path in folder.glob("checkpoint-*") if path.is_dir())
    hint = f"; do you mean one of {named(inside)} in it?" if inside else ""
    raise LanternError(
        f"cannot load the checkpoint '{folder}': it has no weights ({WEIGHTS}, or {INDEX} and "
        f"its files){hint}"
    )


MOST_HEADER = 100_000_000
"""Bytes of the longest header of a safetensors file."""


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the tensors in a safetensors file, and check its length.

    Args:
        file: The file.

    Returns:
        The shape of every tensor, by name.

    Raises:
        LanternError: it is no safetensors file, or not a whole one.
    """
    head = read_head(file)
    size = file.stat().st_size
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or not 2 <= length <= MOST_HEADER or head[8:9] != b"{":
        refuse(file, "is no safetensors file; copy or download it again")
    with file.open("rb") as opened:
        opened.seek(8)
        text = opened.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        shapes = {name: tuple(item["shape"]) for name, item in header.items()}
        end = max((item["data_offsets"][1] for item in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        if len(text) < length:
            refuse(file, f"is cut off after {size} bytes; copy or download it again")
        refuse(file, "has a corrupt header; copy or download it again")
    if size != 8 + length + end:
        state = "is cut off" if size < 8 + length + end else "is too long"
        refuse(
            file, f"{state}: {size} bytes, and its header says {8 + length + end}; copy or "
            "download it again",
        )  # fmt: skip
    if not shapes:
        refuse(file, "holds no tensors; copy or download it again")
    return shapes
