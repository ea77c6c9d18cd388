"""Estimates in place of a run: how much is due, and from one batch how long and how much memory.

The batch is run in a temporary folder that is deleted, and the run's own folder is only read.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained
from lantern_probe.records.rows import MANIFEST, ROWS_FILE
from lantern_probe.records.run import Run
from lantern_probe.records.samples import SAMPLES_FILE
from lantern_probe.tasks import Sample
from lantern_probe.tasks.twins import TWIN

from .console import console
from .estimates import Estimate, Measured, Tokens
from .sample_text import print_plain
from .tables.estimates import print_estimate

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

    from .runs import Engine, Keys, ModelLoader

MOST_SAMPLES = 64
"""Most samples of the measured batch."""

SECONDS = 60.0
"""Seconds that the measured batch may take, as far as the first samples foretell it."""

COUNTING = 20.0
"""Seconds after which the tokens of the remaining prompts are taken for those of the counted."""


class Copy(Run):
    """A copy of a run, or the place of one, that is deleted when it is closed."""

    def close(self) -> None:
        """Release and delete the folder."""
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


def open_copy(folder: Path, settings: Mapping[str, Any], **opening: Any) -> Run:
    """Open a copy of the run in a folder as the run itself would be opened.

    Args:
        folder: Folder of the run; it is only read, and may be missing.
        settings: Settings of the start.
        **opening: Further arguments of `Run.open`.

    Raises:
        LanternError: the folder holds another run, or cannot be read.
    """
    place = Path(tempfile.mkdtemp(prefix="lantern-dry-run-"))
    try:
        for name in (MANIFEST, ROWS_FILE, SAMPLES_FILE):
            with explained(folder):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, place / name)
        return Copy.open(place, settings, **opening)
    except LanternError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise LanternError(str(error).replace(str(place), str(folder))) from None
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def rehearse(
    run: Run,
    samples: Sequence[Sample],
    wanted: Keys,
    load: ModelLoader,
    engine: Engine,
    title: str,
) -> None:
    """Count what is due, run one batch of it, and print the estimates.

    Args:
        run: Copy of the run.
        samples: Samples of the rows, as the run knows them.
        wanted: Keys of the wanted rows.
        load: Loader of the model.
        engine: Function that makes the missing rows.
        title: Name of what is run.
    """
    due = {key for key in wanted if not run.has(*key)}
    conditions = len({key[1] for key in wanted})
    estimate = Estimate(title, len({key[0] for key in wanted}), conditions, len(wanted), len(due))
    if not due:
        print_estimate(estimate, console)
        return
    ids = {key[0] for key in due}
    # A sample is run with its twin, if only one of them is due.
    left = [s for s in samples if s.id in ids or s.attributes.get(TWIN) in ids]
    lantern = load()
    estimate.loading = load.seconds
    estimate.tokens = count_tokens(lantern, left)
    estimate.limit = load.config.max_new_tokens or lantern.max_new_tokens
    reset_peak(lantern)
    each = max(1, len(due) // len(ids))
    most = load.config.rows_together or max(1, _most_rows(lantern) // each)
    try:
        batch = measure(run, left, lantern, engine, min(most, MOST_SAMPLES))
    except LanternError as error:
        estimate.problem = str(error)
    else:
        estimate.batch = batch
    estimate.memory, estimate.memory_of = peak_memory(lantern)
    print_estimate(estimate, console)


def say_unmeasured(name: str, samples: int, why: str) -> None:
    """Say that a part of a command is counted only.

    Args:
        name: Name of the part.
        samples: Number of its samples.
        why: Words that say what it depends on.
    """
    print_plain(f"{name}: {samples} rows more, {why}, which are not there yet: not measured")


def measure(
    run: Run, samples: Sequence[Sample], lantern: LanternModel, engine: Engine, most: int
) -> Measured:
    """Run one batch, after a few samples that warm the model up and foretell its time.

    Args:
        run: Run whose settings the batch has; it gets no row.
        samples: Samples that are due.
        lantern: The model.
        engine: Function that makes rows.
        most: Most samples of the batch.

    Raises:
        LanternError: the batch cannot be run.
    """
    # Two, since distances and swaps need another sample.
    first = whole_pairs(samples, 2)
    begun = _timed(run, first, lantern, engine, warm=False)
    fit = int(SECONDS / max(begun.seconds / len(first), 1e-6))
    # Two pairs, since each may lend its latents to another.
    batch = whole_pairs(samples, min(max(most, 2 * len(first)), fit))
    if len(batch) <= len(first) and begun.seconds > SECONDS / 4:
        return begun
    return _timed(run, batch, lantern, engine, warm=True)


def _timed(
    run: Run, samples: Sequence[Sample], lantern: LanternModel, engine: Engine, *, warm: bool
) -> Measured:
    with (
        tempfile.TemporaryDirectory(prefix="lantern-dry-run-") as place,
        Run.open(place, run.manifest["config"]) as scratch,
    ):
        # Rows that are there are not made again, as in the run itself.
        ids = {sample.id for sample in samples}
        there = [row for row in run.rows() if row.get("sample") in ids]
        scratch.append_many(there)
        started = time.perf_counter()
        engine(lantern, scratch, samples, lambda rows: None)
        seconds = time.perf_counter() - started
        return Measured(len(samples), scratch.rows()[len(there) :], seconds, warm)


def whole_pairs(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The first samples, and the twin of each among them.

    Args:
        samples: Samples; a twin follows its sample.
        count: Number of samples wanted, at least one pair where there are pairs.
    """
    paired = bool(samples) and all(TWIN in sample.attributes for sample in samples)
    count = max(2, count - count % 2) if paired else max(1, count)
    return list(samples[:count])


def count_tokens(lantern: LanternModel, samples: Sequence[Sample]) -> Tokens:
    """Count the tokens of prompts, and those of them that are images.

    Args:
        lantern: The model.
        samples: Samples; where counting takes long, only some are counted, spread over all.
    """
    prompt = image = counted = bad = 0
    started = time.perf_counter()
    for sample in _spread(samples):
        if counted and time.perf_counter() - started > COUNTING:
            break
        try:
            ids = lantern.inputs([sample])["input_ids"]
        except LanternError:
            bad += 1
            continue
        counted += 1
        prompt += int(ids.shape[1])
        image += int((ids == lantern.hf.config.image_token_id).sum())
    return Tokens(prompt, image, counted, bad, len(samples))


def _spread(samples: Sequence[Sample]) -> Iterable[Sample]:
    """All samples, such that the first of them are spread over the data."""
    step = max(1, len(samples) // MOST_SAMPLES)
    for offset in range(step):
        yield from samples[offset::step]


def _most_rows(lantern: LanternModel) -> int:
    from lantern_probe.model.memory import most_branches

    return most_branches(lantern.device)


def reset_peak(lantern: LanternModel) -> None:
    """Begin to measure the memory of the GPUs anew.

    Args:
        lantern: The model.
    """
    if lantern.device.type == "cuda":
        import torch

        for number in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(number)


def peak_memory(lantern: LanternModel) -> tuple[int, str]:
    """The most bytes that were held at once, and by what.

    Args:
        lantern: The model.
    """
    if lantern.device.type == "cuda":
        import torch

        peaks = [torch.cuda.max_memory_allocated(n) for n in range(torch.cuda.device_count())]
        return sum(map(int, peaks)), "of the GPUs, weights included"
    return _peak_of_process(), "of this process, loading included"


def _peak_of_process() -> int:
    import resource
    import sys

    status = Path("/proc/self/status")
    if status.is_file():  # `getrusage` would count the process that started this one
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
