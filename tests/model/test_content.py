"""The content of a checkpoint: every file that loading reads, wherever the folder is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.model import content, location
from lantern_probe.model.content import checkpoint_content, parameter_count
from lantern_probe.model.lantern import LanternModel


@pytest.fixture
def copy(untrained_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(untrained_folder, tmp_path / "copy")


def test_equal_content_is_one_model_in_any_place(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    found = checkpoint_content(copy)
    assert checkpoint_content(tmp_path / "link") == found
    (copy / "README.md").write_text("words")
    (copy / "trainer_state.json").write_text("{}")
    assert checkpoint_content(copy) == found
    assert found["config.json"]["latent_size"] == 8
    assert found["model.safetensors"].startswith("sha256:")


def test_every_file_that_is_read_counts(copy: Path) -> None:
    before = checkpoint_content(copy)
    for file in (
        *("special_tokens_map.json", "preprocessor_config.json", "video_preprocessor_config.json"),
        *("added_tokens.json", "chat_template.json"),
    ):
        (copy / file).write_text(json.dumps({"chat_template": "x" * 300}))
        found = checkpoint_content(copy)
        assert {*found} - {*before} == {file}
        before = found
    assert before["chat_template.json"]["chat_template"].startswith("sha256:")


def test_parameters_are_counted_from_the_files(copy: Path, untrained: LanternModel) -> None:
    assert parameter_count(copy) == sum(p.numel() for p in untrained.hf.parameters())


def test_the_digest_of_a_large_file_is_kept_until_the_file_changes(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "CACHED_FROM", 1)
    file, hashed = copy / "model.safetensors", []
    original = content._hash
    monkeypatch.setattr(content, "_hash", lambda f: hashed.append(f.name) or original(f))
    first = checkpoint_content(copy)
    assert hashed.count(file.name) == 1
    assert checkpoint_content(copy) == first and hashed.count(file.name) == 1
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=times)  # set back by hand: the time of the status gives it away
    assert checkpoint_content(copy)["model.safetensors"] != first["model.safetensors"]
    (tmp_path / "cache" / "lantern_probe" / "digests.json").write_text("torn")
    assert checkpoint_content(copy)["config.json"] == first["config.json"]


def test_a_hub_name_is_downloaded_without_its_code(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []
    place = tmp_path / "models--owner--name" / "snapshots" / "0123abcd"
    shutil.copytree(copy, place)

    def snapshot(source: str, **given: Any) -> str:
        asked.append({"source": source, **given})
        return str(place)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    location._snapshot.cache_clear()
    folder = location.fetch("owner/name", "v1", offline=True)
    assert folder == place and location.commit_of(folder) == "0123abcd"
    assert location.commit_of(copy) is None
    settings, everything = asked
    assert settings["revision"] == "v1" and settings["local_files_only"] is True
    assert not any("safetensors" in p and "index" not in p for p in settings["allow_patterns"])
    for pattern in everything["allow_patterns"]:
        assert not pattern.endswith((".py", ".bin", "*")), pattern
    (place / "adapter_config.json").write_text("{}")
    asked.clear()
    with pytest.raises(LanternError, match="merge the adapter first"):
        location.fetch("owner/name", "v2")
    assert len(asked) == 1, "its weights are not downloaded"
    location._snapshot.cache_clear()
