"""Pages made from runs of every kind: whole, cut off, broken, hostile."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.records.overlays import write_overlay
from lantern_probe.records.run import Run
from lantern_probe.report import Report, write_report
from lantern_probe.report.columns import Strings, column
from lantern_probe.report.marks import MARKS, PRESENT, marks_of
from lantern_probe.report.runs import names_of
from lantern_probe.report.tables import CHUNK_SAMPLES
from lantern_probe.tasks import Sample

FORMAT1 = Path(__file__).parents[1] / "records" / "format1"

HOSTILE = (
    "</script><script>alert(1)</script> \u2028 \"quoted\" 'id' <|lvr_start|> <think> {{ 7*7 }}"
)


def row(sample: str, condition: str = "own", **more: Any) -> dict[str, Any]:
    answer = more.get("answer", "red")
    plain = {
        "sample": sample, "condition": condition, "status": "ok", "cluster": sample, "gold": "red",
        "answer": answer, "correct": answer == "red", "parsed": {"default": answer},
        "emitted": True, "blocks": 1, "fed": [8], "finish": "closed", "text": f"it is {answer}",
        "kept": "everything" if condition == "own" else "markers, slots", "acted": True,
        "logprobs": {"red": -0.1, "blue": -2.5}, "candidates": 2, "tokens": 9, "category": None,
    }  # fmt: skip
    return {**plain, **more}


def made(
    folder: Path, rows: list[dict[str, Any]], samples: list[Sample] | None = None, **config: Any
) -> Path:
    with Run.open(folder, {"experiment": "ablate_latents", "model": "made", **config}) as run:
        run.register(samples or [])
        run.append_many(rows)
    return folder


def state_of(page: Path) -> dict[str, Any]:
    text = (page.parent / "data" / "state.js").read_text(encoding="ascii")
    found: dict[str, Any] = json.loads(text.removeprefix("lanternState(").removesuffix(")\n"))
    return found


def data_of(page: Path, name: str) -> Any:
    text = (page.parent / "data" / f"{name}.js").read_text(encoding="ascii")
    match = re.fullmatch(r'lanternData\("([0-9a-f]{20})","([A-Za-z0-9+/=]*)"\)\n', text)
    assert match is not None and match[1] == name
    return json.loads(gzip.decompress(base64.b64decode(match[2])))


def chunks_of(page: Path, run: int = 0) -> list[dict[str, Any]]:
    return [data_of(page, name) for name in state_of(page)["runs"][run]["chunks"]]


def index_of(page: Path, run: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = data_of(page, state_of(page)["runs"][run]["index"])
    return found


def test_a_page_holds_every_row_once(tmp_path: Path) -> None:
    keys = [f"s{number}" for number in range(2 * CHUNK_SAMPLES + 5)]
    rows = [row(key, label) for key in keys for label in ("zeros", "own")]
    page = write_report([made(tmp_path / "run", rows)])
    assert page == tmp_path / "run" / "report" / "index.html"
    index, chunks = index_of(page), chunks_of(page)
    assert index["ids"] == keys and index["labels"] == ["own", "zeros"]
    assert index["starts"] == [0, CHUNK_SAMPLES, 2 * CHUNK_SAMPLES]
    found = [
        (chunk["first"] + of, at)
        for chunk in chunks
        for of, at in zip(chunk["of"], chunk["at"], strict=True)
    ]
    assert found == [(place, at) for place in range(len(keys)) for at in (0, 1)]
    assert all(len(set(chunk["strings"])) == len(chunk["strings"]) for chunk in chunks)
    assert all(chunk["strings"].count("it is red") == 1 for chunk in chunks)


def test_a_long_text_has_a_chunk_of_its_own(tmp_path: Path) -> None:
    rows = [
        row(key, f"noise:seed={n}", text="x" * 100_000 + str(n)) for key in "ab" for n in range(20)
    ]
    chunks = chunks_of(write_report([made(tmp_path / "run", rows)]))
    assert [len(chunk["of"]) for chunk in chunks] == [20, 20]


def test_no_text_of_data_can_end_a_script(tmp_path: Path) -> None:
    samples = [Sample(HOSTILE, (), HOSTILE, ("red", HOSTILE), HOSTILE)]
    rows = [row(HOSTILE, HOSTILE, text=HOSTILE, answer=HOSTILE, category=HOSTILE)]
    run = made(tmp_path / "run", rows, samples, model=HOSTILE, data=HOSTILE)
    (run / f"{'x' * 9}<b>.json").write_text(json.dumps([{"name": HOSTILE}]), encoding="utf-8")
    for folder, embed in (("beside", False), ("inside", True)):
        page = write_report([run], tmp_path / folder, embed=embed)
        html = page.read_text(encoding="utf-8")
        assert html.count("<script>") == 1 and "alert(1)</script>" not in html
        assert "<b>" not in re.sub(r"<b>(holds|open)</b>", "", html)
    chunk, index = (
        chunks_of(tmp_path / "beside" / "index.html")[0],
        index_of(tmp_path / "beside" / "index.html"),
    )
    assert index["ids"] == [HOSTILE] and HOSTILE in chunk["strings"]


def test_marks_say_how_an_answer_compares_with_own() -> None:
    own = row("a")
    given = row("a", "swap", answer="blue", donor_answer="blue", finish="truncated")
    names = [*MARKS]

    def names_in(found: int) -> set[str]:
        assert found & PRESENT
        return {name for place, name in enumerate(names) if found >> place & 1}

    assert names_in(marks_of(given, own)) == {"changed", "donor", "wrong", "truncated"}
    assert names_in(marks_of(own, None)) == {"right"}
    assert names_in(marks_of(row("a", answer=None, emitted=False), own)) == {
        *("changed", "unread", "no-block")
    }
    assert names_in(marks_of(row("a", answer="red", donor_answer="red"), own)) == {"right"}
    assert names_in(marks_of({"status": "failed", "error": "x"}, own)) == {"failed"}


def test_columns_keep_missing_values_apart_from_empty_ones() -> None:
    strings = Strings()
    assert column(["", None, "a"], strings) == {"text": [0, -1, 1]}
    assert column([[1.23456789], None], strings) == {"plain": [[1.23457], None]}
    assert column([{"a": None}, {}], strings) == {
        "keys": [[1], []],
        "of": [0, 1],
        "values": [[None], []],
    }
    assert column([{"a": True}], strings) == {"plain": [{"a": True}]}


def test_images_are_copied_and_missing_or_changed_ones_are_named(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for name in ("kept", "gone", "changed", "large", "turned"):
        Image.new("RGB", (3000, 20) if name == "large" else (40, 20), "red").save(
            root / f"{name}.png"
        )
    turned = Image.new("RGB", (40, 20), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "turned.png", exif=exif)
    samples = [
        Sample(path.stem, (path,), "what ?", ("red", "blue"), "red", boxes=((1, 2, 3, 4),))
        for path in sorted(root.iterdir())
    ]
    run = made(tmp_path / "run", [row(s.id) for s in samples], samples, image_root=str(root))
    (root / "gone.png").unlink()
    Image.new("RGB", (40, 20), "blue").save(root / "changed.png")

    def shown(**options: Any) -> dict[str, dict[str, Any]]:
        page = write_report([run], tmp_path / "page", **options)
        (chunk,) = chunks_of(page)
        found = chunk["samples"]["images"]["plain"]
        return dict(zip(index_of(page)["ids"], (images[0] for images in found), strict=True))

    found = shown()
    assert found["kept"]["name"] == "kept.png" and found["kept"]["size"] == [40, 20]
    assert (tmp_path / "page" / "images" / found["kept"]["file"]).is_file()
    assert found["gone"] == {"name": "gone.png", "why": "There is no such file here."}
    assert found["changed"]["why"] == "The file is not the one that the run recorded."
    assert found["turned"]["size"] == [40, 20]
    with Image.open(tmp_path / "page" / "images" / found["turned"]["file"]) as image:
        assert image.size == (40, 20) and not image.getexif()

    root.rename(tmp_path / "moved")
    assert "why" in shown()["kept"]
    assert shown(image_roots=[tmp_path / "moved"])["kept"]["size"] == [40, 20]


def test_a_recorded_path_is_found_by_its_last_parts(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "a" / "deep" / "1.png")
    sample = Sample("s", (str(tmp_path / "a" / "deep" / "1.png"),), "what ?")
    run = made(tmp_path / "run", [row("s")], [sample])
    (tmp_path / "a").rename(tmp_path / "b")
    page = write_report([run], image_roots=[tmp_path / "b"])
    assert "file" in chunks_of(page)[0]["samples"]["images"]["plain"][0][0]


def test_overlays_are_layers_by_name(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [row("s"), row("t")], [Sample("s", (), "?"), Sample("t", (), "?")])
    maps = np.array([[[0, 0.5], [1, 0.25]], np.zeros((2, 2))])
    write_overlay(run, "attention", {"s": (["slot 0", "slot 1"], maps)})
    (layers, none) = chunks_of(write_report([run]))[0]["samples"]["layers"]["plain"]
    (layer,) = layers
    assert none == [] and layer["layer"] == "attention" and layer["names"] == ["slot 0", "slot 1"]
    assert [*base64.b64decode(layer["levels"])] == [0, 128, 255, 64, 0, 0, 0, 0]
    assert layer["top"] == [1, 0] and layer["sum"] == [1.75, 0]

    (run / "overlays" / "broken.safetensors").write_bytes(b"no")
    page = write_report([run])
    assert "not a layer of overlays" in page.read_text(encoding="utf-8")


def test_a_run_that_was_cut_off_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [row("a"), row("a", "zeros"), row("b")])
    rows = run / "rows.jsonl"
    rows.write_bytes(rows.read_bytes() + b'{"sample": "b", "condi')
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "status": "running"}))
    page = write_report([run])
    html = page.read_text(encoding="utf-8")
    assert "cut off" in html and "The run is running" in html
    assert len(index_of(page)["ids"]) == 2


def test_a_run_without_rows_is_a_page(tmp_path: Path) -> None:
    page = write_report([made(tmp_path / "run", [])])
    assert index_of(page)["ids"] == [] and chunks_of(page) == []


@pytest.mark.parametrize("old", sorted(p for p in FORMAT1.iterdir() if (p / "run.json").is_file()),
                         ids=lambda path: path.name)  # fmt: skip
def test_runs_of_format_1_are_read(old: Path, tmp_path: Path) -> None:
    page = write_report([old], tmp_path / "page")
    assert index_of(page)["ids"]


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match="no such folder"):
        write_report([tmp_path / "nowhere"])
    with pytest.raises(LanternError, match="holds no run"):
        write_report([tmp_path])
    run = made(tmp_path / "run", [row("a")])
    (run / "rows.jsonl").write_text('{"sample": "a", "condition": "own"}\nnot json\n')
    with pytest.raises(LanternError, match="line 2: corrupt"):
        write_report([run])
    (run / "rows.jsonl").write_text('{"text": "no key"}\n')
    with pytest.raises(LanternError, match="line 1: a row needs a 'sample'"):
        write_report([run])
    (run / "rows.jsonl").write_text("")
    (run / "samples.jsonl").write_text('{"question": "no id"}\n')
    with pytest.raises(LanternError, match="line 1: a sample without 'id'"):
        write_report([run])
    (run / "run.json").write_text('{"format": 99, "config": {}}')
    with pytest.raises(LanternError, match="update lantern-probe"):
        write_report([run])


ODD_SAMPLE = {
    "id": "a", "question": 3, "prompt": None, "options": "red", "boxes": "none", "images": 7,
    "attributes": ["x"], "answer": 1.5, "category": {"a": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        {"answer": 3, "correct": None},
        {"text": None, "logprobs": None},
        {"text": ["a"], "logprobs": {"red": "x"}},
        {"status": 7},
        {"emitted": "yes", "finish": None, "parsed": None},
        {"cluster": None, "kept": 1},
        {"logprobs": {"red": None, "blue": -1}},
    ],
)
def test_odd_values_are_shown_or_left_out(odd: dict[str, Any], tmp_path: Path) -> None:
    run = made(tmp_path / "run", [])
    lines = [row("a"), row("a", "zeros", **odd), row("b", "zeros", **odd)]
    (run / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "samples.jsonl").write_text(json.dumps(ODD_SAMPLE) + "\n" + '{"id": "c"}\n')
    assert index_of(write_report([run]))["ids"] == ["a", "c", "b"]


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"estimates": 3}', '{"model": "x"}'])
def test_a_card_that_is_none_is_said_and_left_out(content: str, tmp_path: Path) -> None:
    run = made(tmp_path / "run", [row("a")])
    (run / "card.json").write_text(content)
    assert "it is left out" in write_report([run]).read_text(encoding="utf-8")


def test_passes_are_columns(tmp_path: Path) -> None:
    rows = [row("a", label, **{"pass": n}) for label in ("own", "zeros") for n in (0, 1)]
    index = index_of(write_report([made(tmp_path / "run", rows)]))
    assert index["labels"] == [*("own, pass 0", "zeros, pass 0", "own, pass 1", "zeros, pass 1")]


def test_several_runs_are_one_page(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made(tmp_path / "out" / name, [row("a")], model=name)
    (tmp_path / "out" / "attention.json").write_text('[{"a": 1}, {"a": 2}]')
    page = write_report([tmp_path / "out"])
    assert page == tmp_path / "out" / "report" / "index.html"
    state = state_of(page)
    assert [run["name"] for run in state["runs"]] == ["one", "two"]
    assert "attention.json" in data_of(page, state["overview"])["html"]
    both = write_report([tmp_path / "out" / "one", tmp_path / "out" / "two", tmp_path / "out"])
    assert both == page and len(state_of(both)["runs"]) == 2
    assert names_of([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]


def test_parts_of_a_run_are_one_run(tmp_path: Path) -> None:
    for number in (0, 1):
        made(tmp_path / "run" / f"shard-{number}-of-2", [row(f"s{number}")])
    page = write_report([tmp_path / "run"])
    assert index_of(page)["ids"] == ["s0", "s1"] and len(state_of(page)["runs"]) == 1


def test_a_page_is_written_again_and_old_data_go(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [row("a")])
    report = Report([run], live=True)
    pages = []
    for number in range(4):
        page = report.write()
        pages.append(state_of(page)["runs"][0]["index"])
        with Run.open(run, {"experiment": "ablate_latents", "model": "made"}) as again:
            again.append(row(f"b{number}"))
    there = {path.stem for path in (page.parent / "data").glob("*.js")}
    assert pages[-1] in there and pages[-2] in there and pages[0] not in there
    assert state_of(page)["live"] is True


def test_a_page_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [row("a")])
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    for embed in (False, True):
        with pytest.raises(LanternError, match="choose another --output"):
            write_report([run], tmp_path / "site", embed=embed)
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_a_page_too_large_to_hold_its_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path / "run", [row("a")])
    assert write_report([run], tmp_path / "small", embed=True).is_file()
    monkeypatch.setattr("lantern_probe.report.files.LARGEST_EMBEDDED", 100)
    with pytest.raises(LanternError, match="leave --embed out"):
        write_report([run], tmp_path / "large", embed=True)
    assert not (tmp_path / "large" / "index.html").exists()


def test_nothing_is_fetched_and_the_script_is_short() -> None:
    folder = Path(__file__).parents[2] / "lantern_probe" / "report" / "templates"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert len(texts["report.js"].splitlines()) <= 600
    for name, text in texts.items():
        addresses = set(re.findall(r"https?://[^\s\"']+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
    assert not re.search(
        r"\bfetch\(|XMLHttpRequest|\beval\(|@import|url\(", "".join(texts.values())
    )
