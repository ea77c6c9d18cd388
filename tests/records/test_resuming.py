"""The parts of a run: what differs between two starts is refused by name, or allowed and kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.records import resuming, resumption, run
from lantern_probe.records.json_files import fingerprint
from lantern_probe.records.resuming import LATER, MISSING, Part, code_digest, compare, parts_of
from lantern_probe.records.rows import read_manifest
from lantern_probe.records.run import Run

CONFIG = {
    "model": "here/model",
    "revision": None,
    "commit": None,
    "checkpoint": {
        "config.json": {"latent_size": 8, "model_type": "qwen2_5_vl"},
        "model.safetensors": "sha256:aa",
    },
    "seed": 0,
}
ROW = {"sample": "1", "condition": "own", "status": "ok"}


def begin(folder: Path, condition: str = "own", **facts: Any) -> None:
    with Run.open(folder, CONFIG) as made:
        made.note(**facts)
        made.append(ROW | {"condition": condition})


def forget(folder: Path, *names: str) -> None:
    """Make a run of a version that did not record some parts."""
    manifest = read_manifest(folder)
    config = {k: v for k, v in manifest["config"].items() if k not in names}
    manifest = {k: v for k, v in manifest.items() if k not in (*names, "made_with")}
    manifest |= {"config": config, "fingerprint": fingerprint(config)}
    (folder / "run.json").write_text(json.dumps(manifest))


def other_code(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    found = {**resuming.made_with(), **changes}
    for module in (resuming, resumption, run):
        monkeypatch.setattr(module, "made_with", lambda: found)


@pytest.mark.parametrize("name", ["torch", "transformers", "nnsight", "torchvision", "pillow"])
def test_another_version_of_a_package_is_refused_with_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    begin(tmp_path)
    old = resuming.made_with()["versions"]
    other_code(monkeypatch, versions={**old, name: "0.0.1"})
    with pytest.raises(LanternError, match=f"versions.{name}: '{old[name]}' there, '0.0.1' here"):
        Run.open(tmp_path, CONFIG)
    with Run.open(tmp_path, CONFIG, allow_changed=["versions"]) as again:
        assert again.manifest["resumed"][-1]["changed"] == {
            f"versions.{name}": [old[name], "0.0.1"]
        }
    Run.open(tmp_path, CONFIG).close()  # it is the run's now


def test_other_code_is_refused_until_it_is_allowed_and_the_change_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    other_code(monkeypatch, code={"version": "0.1.0", "sha256": "other"})
    with pytest.raises(LanternError, match=r"code.sha256: .* there, 'other' here.*--allow-changed"):
        Run.open(tmp_path, CONFIG)
    with pytest.raises(LanternError, match=r"--allow-changed: no part 'cod'; there are .*code"):
        Run.open(tmp_path, CONFIG, allow_changed=["cod"])
    assert (tmp_path / "run.json").read_bytes() == before
    for allowed in (["code"], ["code.sha256"]):
        Run.open(tmp_path, CONFIG, allow_changed=allowed).close()
    history = [entry.get("changed") for entry in read_manifest(tmp_path)["resumed"]]
    assert history[0]["code.sha256"][1] == "other" and history[1] is None


def test_the_digest_of_the_code_is_of_names_and_content(tmp_path: Path) -> None:
    def digest(**files: str) -> str:
        root = tmp_path / "-".join(files)
        for name, text in files.items():
            path = root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").write_text(text)
        return code_digest(root)

    one = digest(a="1", b__c="2")
    assert one != digest(a="1", b__d="2") and code_digest() == code_digest()
    assert one == digest(a="1", b__c="2", experiments__x="3")
    (tmp_path / "a-b__c" / "a.py").write_text("one")
    assert code_digest(tmp_path / "a-b__c") != one


def test_a_moved_checkpoint_of_equal_content_is_the_same_model(tmp_path: Path) -> None:
    begin(tmp_path)
    moved = CONFIG | {"model": "/elsewhere", "revision": "main", "commit": "abc"}
    with Run.open(tmp_path, moved) as again:
        assert again.manifest["config"]["model"] == "here/model"
    other = {**CONFIG["checkpoint"], "config.json": {"latent_size": 4, "model_type": "qwen2_5_vl"}}
    with pytest.raises(LanternError, match=r"config.json.latent_size: 8 there, 4 here; .*model: "):
        Run.open(tmp_path, moved | {"checkpoint": other})


def test_another_commit_of_a_hub_model_is_another_run(tmp_path: Path) -> None:
    with Run.open(tmp_path, CONFIG | {"commit": "abc"}) as made:
        made.append(ROW)
    with pytest.raises(LanternError, match="commit: 'abc' there, 'def' here"):
        Run.open(tmp_path, CONFIG | {"commit": "def"})


def test_facts_of_the_loaded_model_decide_rows(tmp_path: Path) -> None:
    facts = {"threads": 4, "decoding": {"device": "cuda:0", "dtype": "float32"}}
    begin(tmp_path, **facts)
    with Run.open(tmp_path, CONFIG) as again:
        again.note(**facts)
        again.note(threads=4, decoding={"device": "cuda", "dtype": "float32", "new": 1}, note="x")
        for name, value, said in (
            ("threads", 8, "threads: 4 there, 8 here"),
            ("decoding", {"device": "cpu", "dtype": "float32"}, "decoding.device: 'cuda' there"),
            ("decoding", {"device": "cuda", "dtype": "bfloat16"}, "decoding.dtype: 'float32'"),
        ):
            with pytest.raises(LanternError, match=said):
                again.note(**{name: value})
        again.note(batch_rows=7)
    with pytest.raises(LanternError, match="threads: 4 there, 8 here"):
        Run.open(tmp_path, CONFIG, facts={"threads": 8})
    with Run.open(tmp_path, CONFIG, allow_changed=["threads"]) as again:
        again.note(threads=8)
        assert again.manifest["resumed"][-1]["changed"] == {"threads": [4, 8]}


def test_parts_that_were_not_recorded_are_named_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begin(tmp_path)
    forget(tmp_path, "checkpoint", "commit")
    with caplog.at_level(logging.WARNING), Run.open(tmp_path, CONFIG) as again:
        entry = again.manifest["resumed"][-1]
    assert entry["not_recorded"] == ["checkpoint", "commit", "code", "versions"]
    assert "did not record checkpoint, commit, code, versions" in caplog.text
    with pytest.raises(LanternError, match="model.safetensors"):
        Run.open(tmp_path, CONFIG | {"checkpoint": {"model.safetensors": "sha256:bb"}})


def test_what_an_older_version_did_record_must_agree(tmp_path: Path) -> None:
    begin(tmp_path)
    forget(tmp_path, "checkpoint")
    with pytest.raises(LanternError, match="seed: 0 there, 1 here"):
        Run.open(tmp_path, CONFIG | {"seed": 1})


def test_rows_of_a_condition_that_was_redefined_are_not_mixed_with_new_ones(
    tmp_path: Path,
) -> None:
    begin(tmp_path, "ban@black-box")
    forget(tmp_path)
    for _ in range(2):  # the second start is of a run that records everything
        with Run.open(tmp_path, CONFIG) as again:
            again.refuse_outdated(["own", "ban"])
            again.append(ROW | {"sample": str(len(again.rows()) + 1)})
            for use in (
                lambda run: run.refuse_outdated(["own", "ban@black-box"]),
                lambda run: run.append(ROW | {"sample": "9", "condition": "ban@black-box"}),
            ):
                with pytest.raises(
                    LanternError, match=r"rows of ban@black-box from before.*marker"
                ):
                    use(again)
    begin(tmp_path / "new", "ban")
    with Run.open(tmp_path / "new", CONFIG) as again:
        again.append(ROW | {"sample": "2", "condition": "ban"})


def test_a_run_edited_by_hand_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    manifest = read_manifest(tmp_path)
    manifest["config"]["seed"] = 5
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(LanternError, match="edited by hand"):
        Run.open(tmp_path, CONFIG | {"seed": 5})


def test_the_comparison_has_a_line_for_each_part() -> None:
    there = {"config": {"a": 1, "b": {"x": 1, "y": 2}, "c": 3}, "threads": 1}
    parts = parts_of(there, {"a": 1, "b": {"x": 1, "y": 5}, "d": 4}, {})
    found = {part.name: part.same for part in parts}
    assert found | {"b.x": True, "b.y": False, "c": False, "d": None, "threads": True} == found
    assert Part("threads", 1, LATER, True) in parts
    (only,) = (part for part in compare({}, {"d": 4}, lenient=False))
    assert only.same is False and only.then is MISSING
