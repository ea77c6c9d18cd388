"""Commands that ask a server beside the local conditions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import ablate_latents, ask, diagnose, reproduce
from lantern_probe import LanternModel
from lantern_probe.errors import LanternError
from lantern_probe.model.prompting import Prompting, load_prompting
from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.tasks import Sample, load_task
from tests.serving.conftest import BenchServer, Script, answer, images_in, prompt_count

Serve = Callable[[Script], BenchServer]
LABEL = "served:name"
STOCK = "<think> look <|lvr_start|> <|lvr_end|> </think> <answer> red </answer>"


@pytest.fixture(scope="module")
def asking() -> Prompting:
    return load_prompting("faithful", offline=True)


@pytest.fixture
def serve() -> Any:
    running: list[BenchServer] = []

    def start(script: Script) -> BenchServer:
        running.append(BenchServer(script))
        return running[-1]

    yield start
    for server in running:
        server.close()


def plain(asking: Prompting, more: int = 0) -> Script:
    """A server that feeds no latents: *faithful* then says red to everything."""
    count = asking.count(STOCK) + 1
    return lambda _, body, __: answer(STOCK, prompt_count(asking, body) + more, count)


def feeding(asking: Prompting) -> Script:
    """A server with the latents: the local model, asked with what came over the wire."""
    lantern, free = LanternModel("faithful"), threading.Lock()

    def reply(_: Any, body: dict[str, Any], __: int) -> Any:
        text = body["messages"][0]["content"][-1]["text"]
        sample = Sample(id="1", images=tuple(images_in(body)), question=text)
        with free:
            written = lantern.generate(sample).texts[0]
        return answer(written, prompt_count(asking, body), asking.count(written) + 1)

    return reply


def config(server: BenchServer, output: Path, **more: Any) -> ablate_latents.Config:
    given = {"samples": 24, "conditions": ("own", "zeros"), **more}
    return ablate_latents.Config(
        model=("faithful",), output=output, endpoint=server.url, served_model="name", **given
    )


def written(output: Path) -> dict[str, Any]:
    (found,) = json.loads((output / "served.json").read_text())
    return dict(found)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_server_that_feeds_the_latents_is_told_from_one_that_does_not(
    asking: Prompting, serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate_latents.main(config(serve(feeding(asking)), tmp_path / "fed")) == 0
    fed = written(tmp_path / "fed")
    assert fed["verdict"] == "latents fed"
    own = next(one for one in fed["agreements"] if one["condition"] == "own")
    assert own["answers"] == own["texts"] == own["n"] == 24
    capsys.readouterr()
    assert ablate_latents.main(config(serve(plain(asking)), tmp_path / "plain")) == 0
    found = written(tmp_path / "plain")
    assert found["verdict"] == "slots written as text"
    stock = next(one for one in found["agreements"] if one["condition"] == "stock")
    assert stock["answers"] == 24
    text = said(capsys)
    assert "accuracy own minus accuracy stock: +" in text and "answer like stock" in text
    summary = json.loads((tmp_path / "plain" / "summary.json").read_text())
    assert [one["condition"] for one in summary] == ["own", "zeros", "stock", LABEL]
    served = summary[-1]
    assert served["pairs"] == 24 and served["diff_to_own"] == summary[2]["diff_to_own"]


@pytest.mark.slow
def test_a_local_run_is_extended_by_a_server_and_a_complete_one_asks_nobody(
    asking: Prompting, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(plain(asking))
    whole = config(server, tmp_path)
    assert ablate_latents.main(replace(whole, endpoint=None, served_model=None)) == 0
    assert server.seen == [] and not (tmp_path / "served.json").exists()
    local = read_rows(tmp_path)
    assert ablate_latents.main(whole) == 0
    assert [row for row in read_rows(tmp_path) if row in local] == local
    monkeypatch.setattr(ablate_latents.Config, "load_model", lambda *_: pytest.fail("loaded"))
    before = len(server.seen)
    server.close()
    assert ablate_latents.main(whole) == 0
    assert len(server.seen) == before


def test_another_prompt_is_refused_before_any_row_local_ones_included(
    asking: Prompting, serve: Serve, tmp_path: Path
) -> None:
    server = serve(plain(asking, more=9))
    with pytest.raises(LanternError, match=r"counts \d+ tokens in the prompt.*--allow-prompt-mis"):
        ablate_latents.main(config(server, tmp_path))
    assert read_rows(tmp_path) == []


@pytest.mark.slow
def test_an_allowed_mismatch_is_said_in_every_table(
    asking: Prompting, serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(plain(asking, more=9))
    ablate_latents.main(config(server, tmp_path / "a", allow_prompt_mismatch=True))
    text = said(capsys)
    assert f"{LABEL} (other prompt)" in text and "--allow-prompt-mismatch" in text
    image = tmp_path / "scene.png"
    load_task("scenes", 1)[0].open_images()[0].save(image)
    asked = ask.Config(
        model=("faithful",), image=(image,), question="what color is the diamond ?",
        endpoint=server.url, served_model="name", allow_prompt_mismatch=True,
        output=tmp_path / "b",
    )  # fmt: skip
    assert ask.main(asked) == 0
    assert f"{LABEL} (other prompt)" in said(capsys)
    conditions = {row["condition"] for row in read_rows(tmp_path / "b")}
    assert conditions == {"own", "ban", "zeros", "stock", LABEL}


@pytest.mark.parametrize("flag", ["dry_run", "explain_resume", "peek"])
def test_nobody_is_asked_where_nothing_is_run(
    asking: Prompting, serve: Serve, tmp_path: Path, flag: str
) -> None:
    from experiments.console import Explained

    server = serve(plain(asking))
    with pytest.raises(Explained):
        ablate_latents.main(config(server, tmp_path / "run", samples=2, **{flag: True}))
    assert server.seen == []


def test_the_key_is_sent_and_is_in_no_file(
    asking: Prompting, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(plain(asking))
    monkeypatch.setenv("LANTERN_API_KEY", "sk-very-secret")
    run = config(server, tmp_path / "run", samples=3, conditions=("own",))
    assert ablate_latents.main(run) == 0
    assert {body["headers"]["authorization"] for body in server.seen} == {"Bearer sk-very-secret"}
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert len(files) > 4
    assert not any(b"sk-very-secret" in file.read_bytes() for file in files)
    assert "sk-very-secret" not in repr(run)


@pytest.mark.slow
def test_a_diagnosis_says_what_an_endpoint_cannot_show_and_its_card_stays(
    asking: Prompting, serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(plain(asking))
    local = diagnose.Config(model=("faithful",), samples=24, output=tmp_path / "local")
    with_server = replace(
        local, output=tmp_path / "both", endpoint=server.url, served_model="name"
    )  # fmt: skip
    assert diagnose.main(local) == diagnose.main(with_server) == 0
    cards = [json.loads((tmp_path / n / "card.json").read_text()) for n in ("local", "both")]
    assert cards[0] == cards[1]
    text = said(capsys)
    assert "cannot be said over an endpoint: follows, carries over" in text
    assert written(tmp_path / "both")["statements"]
    assert diagnose.main(with_server) == 0
    assert json.loads((tmp_path / "both" / "card.json").read_text()) == cards[0]


@pytest.mark.slow
def test_a_published_figure_is_set_beside_a_server(
    asking: Prompting, serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(plain(asking))
    given = reproduce.Config(
        figure=("sft-viscot",), model="faithful", task="scenes", samples=12, output=tmp_path,
        endpoint=server.url, served_model="name",
    )  # fmt: skip
    assert reproduce.main(given) == 0
    assert f"{LABEL} beside faithful: slots written as text" in said(capsys)
    run = tmp_path / "sft-viscot" / "run" / "faithful"
    assert LABEL in read_manifest(run)["served"]


def test_figures_of_latents_cannot_be_had_from_a_server(tmp_path: Path) -> None:
    from lantern_probe.analysis.literature.figures import published_figures

    names = [name for name, one in published_figures().items() if one.kind != "accuracy"]
    assert names
    for name in names:
        given = reproduce.Config(
            figure=(name,), output=tmp_path, endpoint="http://127.0.0.1:9/v1", served_model="x"
        )
        with pytest.raises(LanternError, match="which no server shows"):
            reproduce.main(given)
