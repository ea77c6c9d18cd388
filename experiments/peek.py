"""The first samples of a command as they will be asked: as text, and as a picture with boxes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained
from lantern_probe.records.run_folder import PEEK
from lantern_probe.records.samples import sample_record
from lantern_probe.tasks import Sample
from lantern_probe.tasks.crops import check_evidence
from lantern_probe.tasks.images import open_image
from lantern_probe.tasks.sample import IMAGE_MARK
from lantern_probe.tasks.twins import TWIN

from .console import console
from .inputs import Inputs, file_name
from .sample_text import print_field, print_plain, print_sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST = 3
"""Number of samples that are shown unless others are picked."""

MARKER = re.compile(r"<\|[^|<>]+\|>")
"""A text that looks like a special token."""

MOST_DRAWN = 24
"""Most samples of a picture."""

ABOUT = (
    "The prompt is the text of the user turn, to the letter. The images come first, unless it is "
    "said otherwise, and the chat template of the model goes around both."
)


def show_samples(config: Inputs, models: Sequence[str]) -> None:
    """Print and draw the first samples, or those picked, once for every data set of the models.

    Args:
        config: The inputs.
        models: Names of the models.

    Raises:
        LanternError: the data cannot be read, or the picture cannot be written.
    """
    seen: set[str] = set()
    for model in dict.fromkeys(models):
        data, samples = config.asked(model)
        if data not in seen:
            seen.add(data)
            _show(config, data, samples)
        if config.data is not None:  # the same for all models
            return


def _show(config: Inputs, data: str, samples: Sequence[Sample]) -> None:
    shown = list(samples) if config.sample_ids is not None else first_samples(samples)
    print_plain(f"{data}: {len(shown)} of {len(samples)} samples as they will be asked")
    print_plain(ABOUT, style="italic")
    for sample in shown:
        console.print()
        print_plain(f"sample {sample.id}", style="bold")
        try:
            record = sample_record(sample, config.image_root)
            images = [describe_image(sample, n) for n in range(len(sample.images))]
            print_sample(dict(record), images)
            if sample.interleaved:
                print_field("order", f"every {IMAGE_MARK} is the place of an image, in their order")
        except LanternError as error:
            print_field("problem", str(error))
        for problem in problems(sample):
            print_field("problem", problem)
    drawn = shown[:MOST_DRAWN]
    if drawn:
        path = config.output / PEEK / f"{file_name(data) or 'data'}.png"
        write_picture(drawn, path)
        console.print()
        some = f"the first {len(drawn)} are " if len(drawn) < len(shown) else ""
        print_plain(f"{some}drawn in {path}")


def first_samples(samples: Sequence[Sample], count: int = FIRST) -> list[Sample]:
    """The first samples, each with its twin.

    Args:
        samples: All samples.
        count: Number of samples, not counting twins.
    """
    pairs = [str(s.attributes.get("pair", s.id)) if TWIN in s.attributes else s.id for s in samples]
    kept = {*list(dict.fromkeys(pairs))[:count]}
    return [sample for sample, pair in zip(samples, pairs, strict=True) if pair in kept]


def problems(sample: Sample) -> list[str]:
    """Reasons for which a sample will fail, beside images that cannot be read.

    Args:
        sample: The sample.
    """
    found = []
    for text in (sample.text, *sample.options):
        if not str(text).strip():
            found.append(f"{text!r} is no text that can be asked, so that the sample will fail")
        if marker := MARKER.search(str(text)):
            found.append(f"{marker[0]} fails the sample if it is a special token of the model")
    try:
        check_evidence(sample)
    except LanternError as error:
        if readable(sample):
            found.append(f"{error}; what needs the box will fail")
    return list(dict.fromkeys(found))


def readable(sample: Sample) -> bool:
    """True if the first image of a sample can be read.

    Args:
        sample: The sample.
    """
    try:
        open_image(sample.images[0])
    except LanternError:
        return False
    return True


def describe_image(sample: Sample, number: int) -> str:
    """The size and the place of an image, or the reason why it cannot be read.

    Args:
        sample: The sample.
        number: 0-based index of the image.
    """
    source = sample.images[number]
    try:
        width, height = open_image(source, sample.id).size
    except LanternError as error:
        return f"cannot be used, so that the sample will fail: {error}"
    place = f", {source}" if isinstance(source, str | Path) else ""
    return f"{width} x {height} pixels{place}"


def write_picture(samples: Sequence[Sample], path: Path) -> None:
    """Draw samples into a PNG file, whose folder is made if it is missing.

    Args:
        samples: Samples to draw.
        path: The file.

    Raises:
        LanternError: the file cannot be written.
    """
    from lantern_probe.plots.samples import samples_figure
    from lantern_probe.plots.style import save_figure

    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    figure: Figure = samples_figure(samples)
    with warnings.catch_warnings():
        # A font without the signs of a question's language draws boxes in their place.
        warnings.filterwarnings("ignore", message="Glyph")
        save_figure(figure, path, dpi=100)
