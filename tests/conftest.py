"""What every test runs under: checked shapes and types, no network, repeatable examples."""

from __future__ import annotations

import builtins
import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is first imported
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Before nnsight, which adds an unhashable `save` to `object`, on which beartype's import fails.
import beartype  # noqa: F401
import hypothesis
import jaxtyping

# Before a module of the package imports them: under the hook below they would miss their
# bytecode cache, and compiling them takes longer than most tests.
import nnsight  # noqa: F401
import pytest
import qwen_vl_utils  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor  # noqa: F401

# Rooms that load without torch import these two for type checkers only. A name that cannot be found
# would leave an annotation unchecked, so here they can be found everywhere.
builtins.Tensor, builtins.Generator = torch.Tensor, torch.Generator  # type: ignore[attr-defined]

# Annotations are enforced under pytest only, in whatever is imported after this. As for mypy, an
# int may stand for a float (PEP 484's numeric tower).
assert "lantern_probe" not in sys.modules, "imported before its annotations could be enforced"
jaxtyping.install_import_hook(
    "lantern_probe", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

# Models this small gain nothing from threads, and lose much where workers share the cores.
torch.set_num_threads(1)

# Everywhere the same examples, so that a change and not the draw decides whether tests pass;
# `make fuzz` looks for new ones, and says how to repeat what it finds.
hypothesis.settings.register_profile("fixed", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=300,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("fuzz" if os.environ.get("LANTERN_FUZZ") == "1" else "fixed")


def is_local(host: str | bytes | None) -> bool:
    """Whether a host is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def guarded(original: Callable[..., Any], host_of: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, failing the test for a host elsewhere: no `except Exception` can hide it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        host = host_of(*args, **kwargs)
        if not is_local(host):
            pytest.fail(f"a test tried to reach {host!r}; tests have no network")
        return original(*args, **kwargs)

    return call


def host_of_connection(sock: socket.socket, address: Any) -> Any:
    return None if sock.family == socket.AF_UNIX else address[0]


def pytest_configure() -> None:
    socket.socket.connect = guarded(socket.socket.connect, host_of_connection)
    socket.socket.connect_ex = guarded(socket.socket.connect_ex, host_of_connection)
    socket.getaddrinfo = guarded(socket.getaddrinfo, lambda host, *_, **__: host)


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder with the official implementation's outputs and its tiny checkpoint."""
    return Path(__file__).parent / "conformance" / "lantern"


@pytest.fixture(scope="session")
def official(conformance: Path) -> Any:
    """The conformance checkpoint: random weights, no chat template, takes ready inputs."""
    from lantern_probe.model.lantern import LanternModel

    return LanternModel(str(conformance / "checkpoint"), offline=True)


@pytest.fixture(scope="session")
def official_inputs(conformance: Path, official: Any) -> Callable[[str], dict[str, Any]]:
    """Model inputs of a recorded batch, by its name."""
    import numpy as np

    arrays = np.load(conformance / "generation.npz", allow_pickle=False)

    def inputs(batch: str) -> dict[str, Any]:
        names = ("input_ids", "attention_mask", "pixel_values", "image_grid_thw")
        found = {name: torch.from_numpy(arrays[f"{batch}/{name}"]) for name in names}
        image = found["input_ids"] == official.hf.config.image_token_id
        return {**found, "mm_token_type_ids": image.long()}

    return inputs


@pytest.fixture(scope="session")
def untrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An organism before any training, as a checkpoint folder."""
    from lantern_probe.organisms.training.build import build_model, save

    folder = tmp_path_factory.mktemp("untrained")
    save(build_model(seed=0), folder)
    return folder


@pytest.fixture(scope="session")
def untrained(untrained_folder: Path) -> Any:
    """An organism before any training: blocks come only where a bias asks for them."""
    from lantern_probe.model.lantern import LanternModel

    return LanternModel(str(untrained_folder), offline=True)
