"""Traces as they are written: where a `with` block stands, and in which order its loop reads.

nnsight compiles the source of the `with` block, and tells a trace from a plain call by the source
line. The instruction that follows the call says it for certain, source or not.
"""

from __future__ import annotations

import ast
import dis
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from nnsight.intervention.interleaver import Mediator
from nnsight.intervention.iterator import Iterations
from nnsight.intervention.tracer import InterleavingTracer
from nnsight.tracing.tracer import Tracer, WithBlockNotFoundError

from lantern_probe.errors import LanternError

WAY_OUT = (
    "put the `with` block into a file and run that by name, or into a notebook cell of its own "
    "without %%time"
)

_ENTERING = {"BEFORE_WITH", "BEFORE_ASYNC_WITH", "SETUP_WITH", "LOAD_SPECIAL"}
_SKIPPED = ("nnsight", "jaxtyping", "beartype")
_OWN = (__name__, "lantern_probe.model.tracing")


class PlainCall:
    """In place of a tracer, for a call that is no `with` block: nnsight then makes a plain call."""

    def capture(self) -> None:
        """Say that there is no block.

        Raises:
            WithBlockNotFoundError: always.
        """
        raise WithBlockNotFoundError("a plain call")


def calling_frame() -> FrameType | None:
    """The frame of the user's code that asked for a trace; None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _SKIPPED and module not in _OWN:
            return frame
        frame = frame.f_back
    return None


def opens_with(frame: FrameType) -> bool:
    """True if what the frame is calling is entered by a `with` statement.

    Args:
        frame: A frame in the middle of a call.
    """
    coming = (i for i in dis.get_instructions(frame.f_code) if i.offset > frame.f_lasti)
    following = [i.opname for i in islice((i for i in coming if i.opname != "CACHE"), 2)]
    if following[:1] == ["COPY"]:  # Python 3.14
        return following[1:] == ["LOAD_SPECIAL"]
    return bool(_ENTERING.intersection(following[:1]))


def check_source(frame: FrameType) -> None:
    """Refuse a `with` block that cannot be traced because of where it is written.

    Args:
        frame: The frame that enters the block.

    Raises:
        LanternError: the source of the block cannot be read, is another one, or the block's body
            is on the line of the `with`.
    """
    code, line = frame.f_code, frame.f_lineno
    place = f"{code.co_filename}, line {line}"
    source = Tracer.source(code.co_filename)
    lines = source.splitlines()
    if not 1 <= line <= len(lines):
        raise LanternError(
            f"the source of the `with` block at {place} cannot be read here (standard input, "
            f"exec, or a cell with %%time), and a trace is made from its source; {WAY_OUT}"
        )
    node = _block_at(source, line)
    if node is None or not _is_call_of(frame, lines):
        raise LanternError(
            f"the source found for {place} is not the code that runs (it reads "
            f"{lines[line - 1].strip()[:60]!r}): a cell magic, exec, or a file edited since it was "
            f"loaded; {WAY_OUT}"
        )
    if node.body[0].lineno <= max(item.context_expr.end_lineno or line for item in node.items):
        raise LanternError(
            f"the body of the `with` block at {place} begins on the line of the `with` itself; a "
            "trace needs it on lines of its own: put it on the next line, indented"
        )


@lru_cache(maxsize=256)
def _block_at(source: str, line: int) -> ast.With | ast.AsyncWith | None:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.With | ast.AsyncWith) and (
            node.lineno == line or any(item.context_expr.lineno == line for item in node.items)
        ):
            return node
    return None


def _is_call_of(frame: FrameType, lines: list[str]) -> bool:
    """True if the source has a call exactly where the running instruction comes from."""
    where = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    first, last, begin, end = where
    if first is None or last is None or begin is None or end is None:
        return True  # compiled without positions
    if last > len(lines):
        return False
    picked = [line.encode() for line in lines[first - 1 : last]]
    picked[-1] = picked[-1][:end]
    picked[0] = picked[0][begin:]
    try:
        text = b"\n".join(picked).decode()
        return isinstance(ast.parse(f"({text})", mode="eval").body, ast.Call)
    except (SyntaxError, UnicodeDecodeError):
        return False


class SlotIterations(Iterations):
    """`tracer.iter`: a loop whose body reads `lantern.latent` before anything else of a slot.

    nnsight counts the visits of each module. The first visit of the latent is slot 0, that of a
    layer is the prompt, so that a layer read first would be another position's.
    """

    def __getitem__(self, key: Any) -> SlotIterations:
        chosen = super().__getitem__(key)
        return SlotIterations(chosen.start, chosen.stop, chosen.steps)

    def __iter__(self) -> Iterator[int]:
        mediator = Mediator.current("tracer.iter")
        plain = mediator.wanted
        asked: list[str] = []  # in this step so far

        def wanted(location: str) -> int:
            if _is_latent(location):
                if asked and not _is_latent(asked[0]):
                    raise LanternError(
                        "in a loop over tracer.iter, read lantern.latent first: "
                        f"{_short(asked[0])} was read before it, and is then the prompt's or "
                        "another step's and not this slot's"
                    )
            elif asked and mediator.iteration == 0:
                # nnsight pins all of step 0 to first visits; behind the latent it is this slot's.
                mediator.iteration = None
            asked.append(location)
            return int(plain(location))

        mediator.wanted = wanted
        try:
            for step in super().__iter__():
                asked.clear()
                yield step
        finally:
            mediator.wanted = plain


def _is_latent(location: str) -> bool:
    return ".latent." in f".{location}."


def _short(location: str) -> str:
    return location.removeprefix("model.").replace("model.language_model.", "")


class SlotTracer(InterleavingTracer):
    """The tracer of a model with latent blocks: what goes wrong in a loop is said in its words."""

    @property
    def iter(self) -> SlotIterations:
        """Steps of a generation: slots where the body reads `lantern.latent` first."""
        return SlotIterations()

    def execute(self, code: CodeType) -> None:
        """Run the block, and say it if its loop asked for more slots than were fed.

        Args:
            code: The compiled block.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            super().execute(code)
        for one in caught:
            text = str(one.message)
            if ".latent." in text and "was never reached" in text:
                step = text.partition("'")[2].partition("'")[0].rpartition(".i")[2]
                text = (
                    f"the loop over tracer.iter asked for slot {step} (counted over all blocks), "
                    "and the model fed no such slot: the loop ended there, what it saved is kept, "
                    "and the statements after it in the `with` block did not run. Bound the loop "
                    "by the slots that are fed, such as tracer.iter[:lantern.latent_size]"
                )
                one.message = UserWarning(text)
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
