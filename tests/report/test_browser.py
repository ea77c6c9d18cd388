"""Pages in a real Chromium, from a file and from a server: read, filtered, searched, by keys."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import CHROMIUM, CONDITIONS, wait_until, write_run
from lantern_probe.records.overlays import write_overlay
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.report import Report, write_report
from lantern_probe.report.watch import served
from lantern_probe.tasks import Sample, load_task

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHROMIUM.is_file(), reason="there is no Chromium; install Debian's package chromium"
    ),
]

HOSTILE = "</script><img src=x onerror=alert(1)> \u2028 \"quoted\" 'id' <|lvr_start|> <think> &amp;"

READY = "performance.getEntriesByName('lantern-ready').length > 0"
NODES = "document.querySelectorAll('*').length"

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield program
        program.close()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Open]:
    """Opens a page; no page may complain, or ask for anything that is not a file beside it."""
    contexts: list[Any] = []
    said: list[str] = []
    asked: list[str] = []

    def opened(page: Path | str, place: str = "", **options: Any) -> Any:
        context = chromium.new_context(
            **{"viewport": {"width": 1360, "height": 900}, "color_scheme": "light", **options}
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
        tab.on("request", lambda request: asked.append(request.url))
        address = page.as_uri() if isinstance(page, Path) else page
        tab.goto(address + place)
        wait_until(tab, READY)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not re.match(r"file:|data:|http://127\.0\.0\.1:", url)] == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 150 scenes under five conditions, with a hostile sample and maps over one image."""
    folder = tmp_path_factory.mktemp("browser")
    samples = load_task("scenes", 149)
    hostile = Sample(HOSTILE, (), HOSTILE, ("red", HOSTILE), HOSTILE, attributes={"shape": HOSTILE})
    run = write_run(folder / "run", [*samples, hostile], CONDITIONS[:4] + ("swap",))
    maps = load_task("scenes", 1)[0]
    import numpy as np

    names = [f"slot {slot}" for slot in range(8)]
    write_overlay(run, "attention", {maps.id: (names, np.random.default_rng(0).random((8, 3, 3)))})
    return write_report([run])


def ids(tab: Any) -> list[str]:
    found: list[str] = tab.eval_on_selector_all("#rows a", "all => all.map((a) => a.textContent)")
    return found


def count(tab: Any) -> int:
    """Number of samples that the page says it shows, once it has searched."""
    wait_until(tab, "!/search/.test(document.querySelector('#count').textContent)")
    return int(tab.inner_text("#count").split()[0].replace(",", ""))


def shows(tab: Any, samples: int) -> None:
    """Wait for the page to show so many samples: it filters after the click."""
    text = "document.querySelector('#count').textContent"
    wait_until(tab, f"{text}.replace(',', '').split(' ')[0] === '{samples}'")
    assert count(tab) == samples


def test_the_page_opens_from_a_file(page: Path, browse: Open) -> None:
    tab = browse(page)
    assert tab.inner_text("h1") == "run" and count(tab) == 150
    assert tab.locator(".conditions tbody tr").count() == 5
    assert ids(tab)[0] == "scenes-0-0" and tab.evaluate(NODES) < 2000


def test_the_page_opens_from_a_server(page: Path, browse: Open) -> None:
    with served(page.parent, 0) as address:
        tab = browse(address, "#sample=scenes-0-7")
        tab.wait_for_selector("#sample .stage img")
        assert count(tab) == 150


def test_one_file_holds_everything(page: Path, browse: Open, tmp_path: Path) -> None:
    alone = write_report([page.parents[1]], tmp_path / "alone", embed=True)
    assert [path.name for path in alone.parent.iterdir()] == ["index.html"]
    tab = browse(alone, "#sample=scenes-0-7")
    wait_until(tab, "document.querySelector('#sample .stage img').naturalWidth > 0")
    assert count(tab) == 150


def test_filters_filter(page: Path, browse: Open) -> None:
    rows = read_rows(page.parents[1])
    own = {row["sample"]: row["answer"] for row in rows if row["condition"] == "own"}
    donors = [
        row for row in rows
        if row["condition"] == "swap" and row["answer"] == row["donor_answer"]
        and row["answer"] != own[row["sample"]] and row["answer"] is not None
    ]  # fmt: skip
    unread = {row["sample"] for row in rows if row["answer"] is None}
    cut = {row["sample"] for row in rows if row["finish"] == "truncated"}
    tab = browse(page)
    tab.select_option("#condition", "swap")
    tab.check("#marks input[value=donor]")
    assert 0 < len(donors) < 150
    shows(tab, len(donors))
    tab.click("#clear")
    tab.check("#marks input[value=unread]")
    assert 0 < len(unread) < 150
    shows(tab, len(unread))
    tab.uncheck("#marks input[value=unread]")
    tab.check("#marks input[value=truncated]")
    assert 0 < len(cut) < 150
    shows(tab, len(cut))
    tab.click("#clear")
    shows(tab, 150)
    tab.select_option("#category", "circle")
    circles = sum(s.attributes["shape"] == "circle" for s in load_task("scenes", 149))
    shows(tab, circles)
    place = tab.evaluate("location.hash")
    tab.reload()
    wait_until(tab, READY)
    assert "category=circle" in place
    shows(tab, circles)


def test_sorting_sorts(page: Path, browse: Open) -> None:
    tab = browse(page)
    tab.click("#heads button[data-name=id]")
    tab.click("#heads button[data-name=id]")
    assert tab.get_attribute("#heads th >> nth=0", "aria-sort") == "descending"
    assert ids(tab)[:3] == ["scenes-0-148", "scenes-0-147", "scenes-0-146"]
    tab.click("#heads button[data-name=changed]")
    numbers = tab.eval_on_selector_all("#rows .count", "all => all.map((one) => one.textContent)")
    assert numbers == sorted(numbers, key=lambda text: int(text.replace("–", "0")))
    assert "sort=changed" in tab.evaluate("location.hash")


def test_a_link_opens_its_sample(page: Path, browse: Open) -> None:
    tab = browse(page, "#sample=scenes-0-131&condition=swap&only=changed")
    tab.wait_for_selector("#sample .answers")
    assert tab.inner_text("#sample h3 >> nth=0") == "scenes-0-131"
    assert tab.locator("#sample .answers tbody tr").count() == 5
    assert tab.input_value("#condition") == "swap" and tab.is_checked("#marks input[value=changed]")
    tab.goto(page.as_uri() + "#sample=nobody")
    tab.wait_for_selector("#sample .note:has-text('no sample of this id')")
    tab.go_back()
    wait_until(tab, "document.querySelector('#sample h3').textContent === 'scenes-0-131'")


def test_hostile_text_is_shown_searched_and_copied_as_written(page: Path, browse: Open) -> None:
    tab = browse(page, permissions=["clipboard-read", "clipboard-write"])
    for part in ("</script>", "<|lvr_start|> <think>", "\u2028", "\"quoted\" 'id'", "&amp;"):
        tab.fill("#query", part)
        wait_until(tab, "document.querySelector('#count').textContent.startsWith('1 of')")
        assert count(tab) == 1 and ids(tab) == [HOSTILE]
    tab.click("#rows tr[data-sample]")
    tab.wait_for_selector("#sample .answers")
    assert tab.locator("#sample h3 >> nth=0").evaluate("one => one.textContent") == HOSTILE
    assert tab.locator("#sample .question").evaluate("one => one.textContent") == HOSTILE
    tab.click("text=Copy id")
    assert tab.evaluate("navigator.clipboard.readText()") == HOSTILE
    place = tab.evaluate("location.href")
    again = browse(page, "#" + place.partition("#")[2])
    again.wait_for_selector("#sample .answers")
    assert again.locator("#sample h3 >> nth=0").evaluate("one => one.textContent") == HOSTILE


def test_texts_keep_their_markers(page: Path, browse: Open) -> None:
    tab = browse(page, "#sample=scenes-0-3")
    tab.wait_for_selector("#sample .text mark")
    text = tab.locator("#sample .text").first.evaluate("one => one.textContent")
    row = json.loads((page.parents[1] / "rows.jsonl").read_text().splitlines()[15])
    assert row["sample"] == "scenes-0-3" and text == row["text"]
    assert tab.get_attribute("#sample .text mark >> nth=0", "data-label") == "block 1: 8 slots"


def test_maps_are_switched_by_slot(page: Path, browse: Open) -> None:
    tab = browse(page, "#sample=scenes-0-0")
    tab.wait_for_selector("#maps")
    assert tab.is_hidden(".stage canvas")
    tab.click("#maps button:text-is('slot 3')")
    assert tab.is_visible(".stage canvas")
    painted = tab.evaluate(
        "[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 3, 3).data]"
    )
    assert max(painted[3::4]) == 225
    tab.keyboard.press("]")
    assert tab.get_attribute("#maps button:text-is('slot 4')", "aria-pressed") == "true"
    assert tab.locator(".stage svg rect").count() > 0
    tab.keyboard.press("b")
    assert tab.is_hidden(".stage svg")


def test_a_keyboard_is_enough(page: Path, browse: Open) -> None:
    tab = browse(page)
    tab.keyboard.press("/")
    tab.keyboard.type("scenes-0-14")
    wait_until(tab, "document.querySelector('#count').textContent.startsWith('10 of')")
    tab.evaluate("document.querySelector('#query').blur()")
    tab.keyboard.press("j")
    tab.wait_for_selector("#sample .answers")
    first = tab.inner_text("#sample h3 >> nth=0")
    tab.keyboard.press("j")
    wait_until(tab, f"document.querySelector('#sample h3').textContent !== '{first}'")
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#sample")
    assert tab.evaluate("document.activeElement.matches('#rows a')")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#sample .answers")
    tab.keyboard.press("Escape")
    for _ in range(60):
        if tab.evaluate("document.activeElement.id") == "query":
            break
        tab.keyboard.press("Shift+Tab")
    assert tab.evaluate("document.activeElement.id") == "query"


def test_dark_and_light(page: Path, browse: Open) -> None:
    def paper(tab: Any) -> int:
        color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", color))

    assert paper(browse(page)) > 600
    tab = browse(page, color_scheme="dark")
    assert paper(tab) < 200
    tab.click("#theme")
    assert paper(tab) > 600


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_all_of_it(width: int, page: Path, browse: Open) -> None:
    tab = browse(page, "#sample=scenes-0-3", viewport={"width": width, "height": 844})
    tab.wait_for_selector("#sample .answers")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.is_visible("#rows a >> nth=0")


def test_a_print_has_the_opened_sample(page: Path, browse: Open) -> None:
    tab = browse(page, "#sample=scenes-0-3", color_scheme="dark")
    tab.wait_for_selector("#sample .answers")
    tab.emulate_media(media="print")
    assert tab.is_visible("#sample .answers") and tab.is_hidden("#list")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["", "#sample=scenes-0-0"])
def test_axe_finds_nothing_serious(scheme: str, place: str, page: Path, browse: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = browse(page, place, color_scheme=scheme)
    if place:
        tab.wait_for_selector("#sample .answers")
    found = axe.Axe().run(tab).response["violations"]
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found if one["impact"] in ("serious", "critical")
    ]  # fmt: skip
    assert serious == []


def test_an_open_page_follows_a_run(browse: Open, tmp_path: Path) -> None:
    samples = load_task("scenes", 80)
    write_run(tmp_path / "run", samples[:40], ("own", "zeros"))
    report = Report([tmp_path / "run"], live=True)
    tab = browse(report.write(), "#sample=scenes-0-38&condition=zeros&sort=-id")
    tab.wait_for_selector("#sample .answers")
    tab.evaluate("document.querySelector('#list').scrollTop = 300")
    config = {"experiment": "ablate_latents", "model": "random", "data": "scenes", "seed": 0}
    with Run.open(tmp_path / "run", config) as run:
        run.register(samples[40:])
        (last,) = [one for one in run.rows() if one["sample"] == "scenes-0-0"][:1]
        run.append_many(
            {**last, "sample": one.id, "condition": label}
            for one in samples[40:] for label in ("own", "zeros")
        )  # fmt: skip
    with (tmp_path / "run" / "rows.jsonl").open("ab") as file:
        file.write(b'{"sample": "half')
    report.write()
    wait_until(tab, "document.querySelector('#count').textContent.startsWith('80')")
    assert tab.inner_text("#sample h3 >> nth=0") == "scenes-0-38"
    assert tab.input_value("#condition") == "zeros"
    assert tab.evaluate("document.querySelector('#list').scrollTop") == 300
    assert "cut off" in tab.inner_text("#section")


def test_several_runs_are_chosen_from(browse: Open, tmp_path: Path) -> None:
    for name, number in (("one", 3), ("two", 5)):
        write_run(tmp_path / name, load_task("scenes", number), ("own", "zeros"))
    tab = browse(write_report([tmp_path / "one", tmp_path / "two"]))
    assert tab.inner_text("h1") == "one" and count(tab) == 3
    tab.select_option("#run", label="two")
    wait_until(tab, "document.querySelector('h1').textContent === 'two'")
    shows(tab, 5)
    tab.click("#overview a:text-is('one')")
    wait_until(tab, "document.querySelector('h1').textContent === 'one'")


def test_a_sample_of_200_conditions_and_long_texts_does_not_freeze(
    browse: Open, tmp_path: Path
) -> None:
    long = "<|lvr_start|> <|lvr_sep|> <|lvr_end|> word " * 2400
    config = {"experiment": "ablate_latents", "model": "long"}
    with Run.open(tmp_path / "run", config) as run:
        run.register([Sample("s", (), long, ("red", "blue"), "red")])
        run.append_many(
            {"sample": "s", "condition": f"noise:seed={n}" if n else "own", "status": "ok",
             "cluster": "s", "gold": "red", "answer": "red", "text": f"{n} {long}"}
            for n in range(200)
        )  # fmt: skip
    started = time.monotonic()
    tab = browse(write_report([tmp_path / "run"]), "#sample=s")
    tab.wait_for_selector("#sample .answers")
    assert tab.evaluate(NODES) < 6000
    tab.locator("#sample .texts button", has_text="Show all").first.click()
    shown = tab.locator("#sample .texts .text").first.evaluate("one => one.textContent.length")
    assert shown == len(f"0 {long}")
    assert time.monotonic() - started < 60
    tab.click("[aria-label='Later conditions'] >> nth=0")
    tab.wait_for_selector(".pager:has-text('conditions 41 to 80 of 200')")


def test_missing_data_are_said(page: Path, browse: Open, chromium: Any, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(page.parent, tmp_path / "copy")
    shutil.rmtree(copy / "data")
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto((copy / "index.html").as_uri())
    wait_until(tab, "/cannot be shown/.test(document.querySelector('#count').textContent)")
    assert "data/state.js" in tab.inner_text("#count")
    assert tab.is_visible(".conditions")
    context.close()


@pytest.mark.extra
def test_6000_samples_under_18_conditions_are_few_nodes(browse: Open, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", load_task("scenes", 6000), CONDITIONS)
    page = write_report([run])
    assert 90 <= len([*(page.parent / "data").iterdir()]) <= 120
    tab = browse(page)
    assert count(tab) == 6000
    nodes = [tab.evaluate(NODES)]
    tab.evaluate("document.querySelector('#list').scrollTop = 150000")
    tab.wait_for_timeout(300)
    nodes.append(tab.evaluate(NODES))
    tab.click("#rows tr[data-sample] >> nth=10")
    tab.wait_for_selector("#sample .answers")
    nodes.append(tab.evaluate(NODES))
    tab.fill("#query", "scenes-0-59")
    tab.wait_for_selector("#count:has-text(' of 6,000')")
    shows(tab, 111)
    nodes.append(tab.evaluate(NODES))
    assert max(nodes) <= 2000
