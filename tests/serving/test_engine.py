"""Servers asked into a run: probed once, rows in the local form, failures asked again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.model.prompting import Prompting
from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.records.run import Run
from lantern_probe.serving import Serving
from lantern_probe.tasks import Sample, load_task
from tests.serving.conftest import Bench, BenchServer, Script, answer, endpoint, prompt_count

Serve = Callable[[Script], BenchServer]
LABEL = "served:model"
PLAIN = "<think> look <|lvr_start|> <|lvr_end|> </think> <answer> red </answer>"
BARE = "<think> look </think> <answer> red </answer>"


def good(asking: Prompting, text: str = PLAIN, **more: Any) -> Script:
    """A server that counts its prompts, and writes the same text to all."""
    count = asking.count(text) + 1
    return lambda bench, body, number: answer(text, prompt_count(asking, body), count, **more)


def refusing(script: Script, *fields: str) -> Script:
    """A server that answers 422 to fields, as transformers' own does."""

    def reply(bench: Bench, body: dict[str, Any], number: int) -> Any:
        if found := set(fields) & body.keys():
            return bench.give(422, {"detail": f"Unexpected fields in the request: {found}"})
        return script(bench, body, number)

    return reply


def failing(script: Script, when: Callable[[int, str], bool], failure: Script) -> Script:
    """A server that fails once it is asked for rows, by the number and the text of the question."""

    def reply(bench: Bench, body: dict[str, Any], number: int) -> Any:
        text = str(body["messages"][0]["content"][-1]["text"])
        if when(number, text):
            return failure(bench, body, number)
        return script(bench, body, number)

    return reply


@pytest.fixture
def samples() -> list[Sample]:
    return load_task("scenes", 6)


def served(
    asking: Prompting, server: BenchServer, folder: Path, samples: list[Sample], **more: Any
) -> list[dict[str, Any]]:
    """Probe a server and ask it, as commands do; the rows."""
    limits = {k: more.pop(k) for k in ("concurrency", "tries", "timeout", "key") if k in more}
    with Run.open(folder, {"seed": 0}) as run:
        run.register(samples)
        engine = Serving(endpoint(server, tries=limits.pop("tries", 2), **limits), asking, run)
        for name, value in more.items():
            setattr(engine, name, value)
        engine.prepare(samples)
        engine.execute(samples)
    return read_rows(folder)


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_manifest(folder)["served"][LABEL]
    return found


def test_every_sample_gets_a_row_in_the_form_of_local_ones(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    rows = served(asking, serve(good(asking)), tmp_path / "run", samples)
    assert [row["sample"] for row in rows].sort() == [s.id for s in samples].sort()
    for row in rows:
        sample = next(s for s in samples if s.id == row["sample"])
        assert row["condition"] == LABEL and row["status"] == "ok"
        assert (row["answer"], row["correct"]) == ("red", sample.answer == "red")
        assert row["prompt_tokens"] == row["served_prompt_tokens"]
        assert (row["opened"], row["slot_tokens"], row["missing_tokens"]) == (1, 0, 1)
        assert row["logprobs"] is None and row["fed"] == []


def test_another_prompt_stops_before_the_first_row_and_names_both_numbers(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    script: Script = lambda bench, body, n: answer(PLAIN, prompt_count(asking, body) + 7)  # noqa: E731
    server = serve(script)
    here = asking.inputs(samples[0])["input_ids"].shape[1]
    with pytest.raises(LanternError, match=f"counts {here + 7} tokens.* it has {here} here"):
        served(asking, server, tmp_path / "run", samples)
    assert read_rows(tmp_path / "run") == []
    rows = served(asking, server, tmp_path / "run", samples, allow_mismatch=True)
    assert all(row["prompt_mismatch"] for row in rows)
    assert facts(tmp_path / "run")["prompt_tokens"]["server"] == here + 7


def test_a_server_that_counts_no_prompts_is_no_proof_of_the_same_input(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    server = serve(lambda *_: {**answer(PLAIN, 3), "usage": None})
    with pytest.raises(LanternError, match="does not say how many tokens.*--allow-prompt-mismatch"):
        served(asking, server, tmp_path / "run", samples)


def test_another_prompt_in_the_middle_is_a_failed_row(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    probing = serve(good(asking))
    served(asking, probing, tmp_path / "first", samples)
    last = len(probing.seen) - 1

    def middle(bench: Bench, body: dict[str, Any], number: int) -> Any:
        return answer(PLAIN, prompt_count(asking, body) + (number == last), asking.count(PLAIN) + 1)

    server = serve(middle)
    rows = served(asking, server, tmp_path / "run", samples)
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["failure"] == "other prompt" and "answer" not in failed


def test_a_field_that_was_refused_is_not_sent_again(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    fields = ("skip_special_tokens", "lantern_probe_unknown", "seed")
    server = serve(refusing(good(asking, BARE), *fields))
    served(asking, server, tmp_path / "run", samples)
    for field in fields:
        assert sum(field in body for body in server.seen) == 1
    found = facts(tmp_path / "run")
    assert found["fields"]["skip_special_tokens"] == found["fields"]["unknown"] == "refused"
    assert found["special_tokens"] == "stripped"


def test_a_field_that_is_taken_and_ignored_is_noticed(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    count = asking.count(PLAIN) + 1
    stripping: Script = lambda b, body, n: answer(BARE, prompt_count(asking, body), count)  # noqa: E731
    served(asking, serve(stripping), tmp_path / "run", samples)
    found = facts(tmp_path / "run")
    assert found["fields"]["skip_special_tokens"] == found["fields"]["logprobs"] == "ignored"
    assert found["special_tokens"] == "stripped"


def test_a_field_that_works_is_sent_with_every_question(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    count = asking.count(PLAIN) + 1
    top = [{"token": " red", "logprob": -0.2}, {"token": " blue", "logprob": -2.0}]
    tokens = [
        {"token": "<answer>", "logprob": -0.1, "top_logprobs": []},
        {"token": " red", "logprob": -0.2, "top_logprobs": top},
    ]

    def reply(bench: Bench, body: dict[str, Any], number: int) -> Any:
        kept = body.get("skip_special_tokens") is False
        scores = {"content": tokens} if body.get("logprobs") else None
        return answer(
            PLAIN if kept else BARE, prompt_count(asking, body), count, logprobs=scores
        )  # fmt: skip

    server = serve(reply)
    rows = served(asking, server, tmp_path / "run", samples)
    found = facts(tmp_path / "run")
    assert found["fields"]["skip_special_tokens"] == found["fields"]["logprobs"] == "works"
    assert (found["special_tokens"], found["alternatives"]) == ("kept", 2)
    sent = server.seen[-1]
    assert sent["skip_special_tokens"] is False and sent["top_logprobs"] == 20
    assert all(row["logprobs"] is None for row in rows)
    outside = set(samples[0].candidates) - {"red", "blue"}
    assert {row["first_logprobs"][name] for row in rows for name in outside} == {None}


@pytest.mark.parametrize(
    ("texts", "word"),
    [(("a", "a", "b"), "works"), (("a", "b", "c"), "ignored"), (("a", "a", "a"), "accepted")],
)
def test_a_seed_is_tried_on_sampled_texts(
    asking: Prompting,
    serve: Serve,
    tmp_path: Path,
    samples: list[Sample],
    texts: tuple[str, ...],
    word: str,
) -> None:
    left = list(texts)

    def reply(bench: Bench, body: dict[str, Any], number: int) -> Any:
        text = left.pop(0) if "seed" in body else PLAIN
        return answer(text, prompt_count(asking, body), 3)

    served(asking, serve(reply), tmp_path / "run", samples)
    assert facts(tmp_path / "run")["fields"]["seed"] == word


def test_what_differs_when_asked_twice_is_the_floor(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    """The first question was asked before, so its answer has changed already."""
    asked: Counter[str] = Counter()

    def reply(bench: Bench, body: dict[str, Any], number: int) -> Any:
        key = json.dumps(body["messages"])
        with bench.lock:
            asked[key] += 1
            text = PLAIN.replace("red", "blue") if asked[key] > 1 else PLAIN
        return answer(text, prompt_count(asking, body), asking.count(PLAIN) + 1)

    served(asking, serve(reply), tmp_path / "run", samples)
    floor = facts(tmp_path / "run")["floor"]
    differ = len(samples) - 1
    assert floor == {
        "asked": len(samples), "texts_differ": differ, "answers_differ": differ, "failed": 0,
    }  # fmt: skip


def test_settings_that_a_server_shows_are_recorded_and_nothing_else_of_its_pages(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    server = serve(good(asking))
    server.pages["/v1/models"] = {"data": [{"id": "model", "max_model_len": 512, "root": "/m"}]}
    server.pages["/get_server_info"] = {"api_key": "sk-theirs", "repetition_penalty": 1.05}
    served(asking, server, tmp_path / "run", samples)
    shown = facts(tmp_path / "run")["shown"]
    assert shown["models"] == {"max_model_len": 512, "root": "/m"}
    assert shown["/get_server_info"] == {"repetition_penalty": 1.05}
    assert "sk-theirs" not in (tmp_path / "run" / "run.json").read_text()


FAILURES: dict[str, tuple[Script, str]] = {
    "rate limit": (lambda b, *_: b.give(429, b"busy"), "rate limit"),
    "server error": (lambda b, *_: b.give(500, b"broken"), "server error"),
    "dropped": (lambda b, *_: b.drop(), "dropped"),
    "no choices": (lambda *_: {"choices": []}, "no choices"),
    "error in reply": (lambda *_: {"error": {"message": "<answer> red </answer>"}}, "error in"),
    "content filter": (lambda *_: answer("red", 3, finish_reason="content_filter"), "content"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_a_failed_row_and_is_asked_again_on_resume(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample], name: str
) -> None:
    script, kind = FAILURES[name]
    served(asking, first := serve(good(asking)), tmp_path / "counted", samples)
    probes = len(first.seen) - len(samples)
    bad = samples[3].text
    broken = serve(failing(good(asking), lambda n, text: n >= probes and text == bad, script))
    alike = {sample.id for sample in samples if sample.text == bad}
    rows = served(asking, broken, tmp_path / "run", samples)
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["sample"] for row in failed} == alike
    for row in failed:
        assert kind in row["error"] and row["finish"] == "failed"
        assert not {"answer", "text", "correct"} & row.keys()
        assert row["attempts"] == (1 if name == "content filter" else 2)
    before = len(broken.seen)
    mended = serve(good(asking))
    rows = served(asking, mended, tmp_path / "run", samples)
    assert {row["status"] for row in rows} == {"ok"} and len(rows) == len(samples)
    assert len(mended.seen) == 1 + len(alike)  # one question to see that it is the same server
    served(asking, mended, tmp_path / "run", samples)
    assert len(broken.seen) == before


def test_a_server_that_dies_in_the_middle_stops_the_run_which_goes_on_later(
    asking: Prompting, serve: Serve, tmp_path: Path
) -> None:
    samples = load_task("scenes", 60)
    served(asking, first := serve(good(asking)), tmp_path / "counted", samples)
    probes = len(first.seen) - len(samples)
    dying = serve(failing(good(asking), lambda n, _: n >= probes + 20, lambda b, *_: b.drop()))
    with pytest.raises(LanternError, match="questions in a row got no answer.*goes on from there"):
        served(asking, dying, tmp_path / "run", samples, concurrency=4, tries=1)
    rows = read_rows(tmp_path / "run")
    assert sum(row["status"] == "ok" for row in rows) == 20 and len(rows) < 40
    rows = served(asking, serve(good(asking)), tmp_path / "run", samples)
    assert len({row["sample"] for row in rows if row["status"] == "ok"}) == 60 == len(rows)


def test_a_client_that_is_stopped_in_the_middle_goes_on_with_what_it_lacks(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    done = []

    def advance(rows: int) -> None:
        done.append(rows)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        served(asking, serve(good(asking)), tmp_path / "run", samples, advance=advance)
    assert len(read_rows(tmp_path / "run")) == 3
    again = serve(good(asking))
    rows = served(asking, again, tmp_path / "run", samples)
    assert len(rows) == len(samples) and len(again.seen) == 1 + len(samples) - 3


def test_another_server_under_the_same_name_is_refused(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    served(asking, serve(good(asking)), tmp_path / "run", samples[:3])
    other: Script = lambda b, body, n: {**good(asking)(b, body, n), "model": "another"}  # noqa: E731
    with pytest.raises(LanternError, match="answers as 'another'.*give another --output"):
        served(asking, serve(other), tmp_path / "run", samples)


@pytest.mark.parametrize("code", [401, 404])
def test_what_every_question_would_get_stops_at_once_with_a_way_out(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample], code: int
) -> None:
    server = serve(lambda b, *_: b.give(code, {"error": {"message": "sk-secret is no key"}}))
    with pytest.raises(LanternError, match="--api-key-file|--served-model") as refused:
        served(asking, server, tmp_path / "run", samples, key="sk-secret")
    assert len(server.seen) == 1 and "sk-secret" not in str(refused.value)
    files = [file.read_text() for file in (tmp_path / "run").iterdir() if file.is_file()]
    assert files and not any("sk-secret" in text for text in files)


def test_no_more_requests_and_images_than_allowed_are_there_at_a_time(
    asking: Prompting, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = load_task("scenes", 40)
    made: list[int] = []
    from lantern_probe.serving import question

    plain = question.make_question

    def counted(asking: Prompting, sample: Sample) -> Any:
        made.append(1)
        return plain(asking, sample)

    monkeypatch.setattr(question, "make_question", counted)
    ahead: list[int] = []

    def reply(bench: Bench, body: dict[str, Any], number: int) -> Any:
        ahead.append(sum(made) - number)
        return good(asking)(bench, body, number)

    server = serve(reply)
    served(asking, server, tmp_path / "run", samples, concurrency=3)
    assert max(body["busy"] for body in server.seen) <= 3
    assert len(server.seen) > len(samples)


def test_an_image_that_cannot_be_read_fails_alone_without_a_request(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    bad = Sample(id="bad", images=(tmp_path / "gone.png",), question="what color is it ?")
    server = serve(good(asking))
    rows = served(asking, server, tmp_path / "run", [bad, *samples])
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["sample"] == "bad" and "gone.png" in failed["error"]
    assert "attempts" not in failed and len(rows) == len(samples) + 1


def test_nothing_is_joined_by_the_text_of_a_prompt(
    asking: Prompting, serve: Serve, tmp_path: Path
) -> None:
    """Samples with one and the same question and image keep their own rows."""
    image = load_task("scenes", 1)[0].open_images()[0]
    twins = [Sample(id=str(i), images=(image,), question="what color is it ?") for i in range(5)]
    rows = served(asking, serve(good(asking)), tmp_path / "run", twins)
    assert sorted(row["sample"] for row in rows) == [sample.id for sample in twins]


def test_a_server_that_writes_more_than_it_is_asked_for_is_noticed(
    asking: Prompting, serve: Serve, tmp_path: Path, samples: list[Sample]
) -> None:
    long: Script = lambda b, body, n: answer(PLAIN, prompt_count(asking, body), 10_000)  # noqa: E731
    served(asking, serve(long), tmp_path / "run", samples)
    assert facts(tmp_path / "run")["limit"] == "ignored"
    assert json.dumps(facts(tmp_path / "run"))
