"""Questions about one's own images: the images found, a run per model, the answers shown."""

from __future__ import annotations

import contextlib
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.markup import escape

from lantern_probe.errors import LanternError, named
from lantern_probe.model.location import locate
from lantern_probe.records.rows import Row, read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample

from .ablations import ablation_parts, check_parts
from .ask import COMMAND, OUTPUT, Config
from .console import (
    console,
    end_explained,
    explaining,
    print_failed,
    print_table,
    progress_bar,
    titled_table,
)
from .runs import Advance, ModelLoader, open_run, run_due
from .served import servant, show_served, with_stock

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

MOST_DRAWN = 12
"""Images in the picture of the answers."""

SHORT = 160
"""Characters of a text that is shown in place of an answer."""


def find_images(given: Sequence[Path]) -> dict[str, Path]:
    """Find the images that were given as files and folders, by id.

    The id is the name of the file; the path where two files have one name.

    Args:
        given: Files and folders.

    Raises:
        LanternError: a path does not exist, or a folder holds no image.
    """
    if not given:
        raise LanternError("--image needs at least one file or folder")
    found: dict[Path, Path] = {}
    for path in given:
        if not path.exists():
            raise LanternError(f"--image: there is no file or folder '{path}'")
        for file in _images_in(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    names = Counter(file.name for file in found.values())
    return {f.name if names[f.name] == 1 else f.as_posix(): f for f in found.values()}


def _images_in(folder: Path) -> list[Path]:
    known = Image.registered_extensions()
    try:
        files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise LanternError(f"--image: cannot read '{folder}': {error.strerror}") from None
    images = [file for file in files if known.get(file.suffix.lower()) in Image.OPEN]
    others = [file.name for file in files if file not in images]
    if not images:
        raise LanternError(
            f"--image: the folder '{folder}' holds no image"
            + (f" (it holds {named(others)})" if others else "")
        )
    if others:
        _say(f"{folder}: left out, as no images, are {len(others)} files ({named(others)})")
    return sorted(images, key=lambda file: _natural(file.name))


def _natural(text: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", text)
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts]


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def folder_of(config: Config, images: Sequence[str]) -> Path:
    """The folder of the run: the one given, or one of the question and its images.

    Args:
        config: The options.
        images: Ids of the images.
    """
    if config.output != OUTPUT:
        return config.output
    parts = [config.question, str(config.words), *config.options, "", *sorted(images)]
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:8]
    words = re.sub(r"\W+", "-", config.question.lower()).strip("-")[:40].strip("-")
    return config.output / "-".join(filter(None, (words, digest)))


def ask_all(config: Config, images: dict[str, Path]) -> int:
    """Ask every model about every image, and show the answers.

    Args:
        config: The options.
        images: Image files by id.

    Returns:
        Exit code: 1 if a model could be asked about no image.

    Raises:
        LanternError: something that was given cannot be used.
    """
    from lantern_probe.tasks.questions import asked_question

    parts = ablation_parts(with_stock(config, config.conditions), (), config.seed)
    inputs = config.inputs(folder_of(config, list(images)))
    inputs.check_run()
    for name in config.model:
        locate(name)
        check_parts(inputs, name, parts)
    samples = [
        asked_question(path, config.question, config.options, id=key, lettered=not config.words)
        for key, path in images.items()
    ]
    (part,) = parts
    folders = inputs.folders(config.model)
    labels = list(part.labels)
    with progress_bar() as progress:
        for name, folder in folders.items():
            with (
                explaining(),
                open_run(
                    inputs,
                    folder,
                    COMMAND,
                    name,
                    COMMAND,
                    samples,
                    part.labels,
                    samples=len(samples),
                ) as run,
            ):
                asked = run.register(samples)
                run.note(conditions=sorted({*run.manifest.get("conditions", []), *part.labels}))
                server = servant(config, name, run, asked)

                def engine(
                    lantern: LanternModel, run: Run, some: Sequence[Sample], advance: Advance
                ) -> None:
                    from lantern_probe.causal.ablation import Ablation

                    Ablation(
                        lantern,
                        some,
                        part.conditions,
                        run,
                        max_new_tokens=config.max_new_tokens,
                        batch_rows=inputs.rows_together,
                        advance=advance,
                    ).execute()

                wanted = {(sample.id, label) for sample in asked for label in part.labels}
                run_due(run, asked, wanted, ModelLoader(inputs, name), engine, progress)
                if server is not None:
                    server.ask(progress)
                    labels += server.labels
    end_explained(config.explain_resume)
    rows = {
        name: [row for row in read_rows(folder) if row["condition"] in labels]
        for name, folder in folders.items()
    }
    for name, some in rows.items():
        _show(name, samples, labels, some)
        show_served(config, name, folders[name])
    _draw(config, samples, labels, rows, inputs.output)
    _say(f"rows and answers.png are in {inputs.output}")
    return 0 if all(any(row["status"] == "ok" for row in some) for some in rows.values()) else 1


def answer_of(row: Row, sample: Sample) -> str:
    """The answer of a row in words: the option behind a letter, or the text without an answer.

    Args:
        row: The row.
        sample: Its sample.
    """
    from lantern_probe.causal.asking import plain_text

    if row["status"] != "ok":
        return "could not be run"
    read = row["answer"]
    if sample.lettered and read in sample.candidates:
        return f"{read}. {sample.options[sample.candidates.index(read)]}"
    if read is not None:
        return str(read)
    text = plain_text(row["text"])
    return f"[no answer read] {text if len(text) <= SHORT else text[: SHORT - 3] + '...'}"


def _marked(label: str, rows: Sequence[Row]) -> str:
    """A condition as tables show it, with a mark where a server got another prompt."""
    other = any(row.get("prompt_mismatch") for row in rows if row["condition"] == label)
    return f"{label} (other prompt)" if other else label


def _show(name: str, samples: Sequence[Sample], labels: Sequence[str], rows: Sequence[Row]) -> None:
    """Print one line per image and one column per condition; with texts for a single image."""
    from lantern_probe.causal.asking import plain_text, probabilities

    by_key = {(row["sample"], row["condition"]): row for row in rows}
    table = titled_table(f"{name}: {samples[0].question}")
    if len(samples) == 1:
        for head in ("condition", "answer", "p(answer)", "text"):
            table.add_column(head, overflow="fold")
        for label in labels:
            row = by_key[samples[0].id, label]
            share = probabilities(row.get("logprobs")).get(str(row.get("answer")))
            text = plain_text(row["text"]) if row["status"] == "ok" else str(row["error"])
            shown = "-" if share is None else f"{share:.3f}"
            said = (_marked(label, rows), answer_of(row, samples[0]), shown, text)
            table.add_row(*map(escape, said))
    else:
        table.add_column("image", overflow="fold")
        for label in labels:
            table.add_column(escape(_marked(label, rows)), overflow="fold")
        for sample in samples:
            answers = [answer_of(by_key[sample.id, label], sample) for label in labels]
            table.add_row(*map(escape, (sample.id, *answers)))
    print_table(table)
    idle = {str(r["sample"]) for r in rows if r["status"] == "ok" and not r["emitted"]}
    if idle:
        _say(
            f"{name}: no latent block was opened for {len(idle)} images ({named(sorted(idle))}), "
            "where conditions on the slots do nothing"
        )
    print_failed(name, rows)


def _draw(
    config: Config,
    samples: Sequence[Sample],
    labels: Sequence[str],
    rows: dict[str, list[Row]],
    output: Path,
) -> None:
    from lantern_probe.plots.answers import answers_figure
    from lantern_probe.plots.style import save_figure

    drawn = []
    for sample in samples[:MOST_DRAWN]:
        image = None
        with contextlib.suppress(LanternError):  # its row says why
            image = sample.open_images()[0]
            image.thumbnail((512, 512))
        given: dict[str, tuple[str, bool]] = {}
        for name, some in rows.items():
            by_label = {row["condition"]: row for row in some if row["sample"] == sample.id}
            prefix = f"{name}, " if len(rows) > 1 else ""
            answers = {label: answer_of(by_label[label], sample) for label in labels}
            given |= {
                f"{prefix}{_marked(label, some)}": (said, said != answers["own"])
                for label, said in answers.items()
            }
        drawn.append((image, sample.id, given))
    with warnings.catch_warnings():  # the table has what the figure's font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        save_figure(answers_figure(config.question, drawn), output / "answers.png")
    if len(samples) > MOST_DRAWN:
        _say(f"answers.png shows the first {MOST_DRAWN} images")
