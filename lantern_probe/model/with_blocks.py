"""The `with` block of a trace: found from the call itself, and refused where it cannot be run."""

from __future__ import annotations

import ast
import functools
import itertools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, ParamSpec, TypeVar, cast, no_type_check

from nnsight.intervention.editing import EditingTracer
from nnsight.intervention.tracer import InterleavingTracer, Invoker
from nnsight.tracing.tracer import TRY_STATEMENTS, Tracer, skippable

from lantern_probe.errors import LanternError
from lantern_probe.model.call_site import is_entered
from lantern_probe.model.slot_loops import Slots

Given = ParamSpec("Given")
Result = TypeVar("Result")


def check_call(frame: FrameType) -> None:
    """Refuse a source that is not the code that runs, of which another block would be traced.

    Code under exec and some magics bear the name of another file, and files are edited while they
    are loaded. In the code that runs, the place of the call is known to the column.

    Args:
        frame: The frame that makes the call.

    Raises:
        LanternError: the source has no call at that place.
    """
    lines = Tracer.source(frame.f_code.co_filename).splitlines()
    places = itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
    first, last, begin, end = next(places, (None,) * 4)
    if not lines or first is None or last is None or begin is None or end is None:
        return
    picked = [line.encode() for line in lines[first - 1 : last]] or [b""]
    picked[-1] = picked[-1][:end]
    picked[0] = picked[0][begin:]
    try:
        is_call = isinstance(
            ast.parse(b"(" + b"\n".join(picked) + b")", mode="eval").body, ast.Call
        )
    except (SyntaxError, ValueError):
        is_call = False
    if not is_call:
        raise LanternError(_unreadable("\n".join(lines), frame.f_lineno))


def traceable(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that runs as it is, or under nnsight as `with model.method(...) as tracer`.

    nnsight's own decorator decides by the source line, which a call may share with another `with`
    or not have at all.
    """

    @no_type_check  # a checker's frame between this one and the caller's would hide the caller
    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        bound = method.__get__(self, type(self))
        if self.interleaver.interleaving:
            return bound(*args, **kwargs)
        if not is_entered(sys._getframe(1)):
            return self.interleave(bound, *args, **kwargs)
        check_call(sys._getframe(1))
        tracer = self.trace(*args, fn=bound, **kwargs)
        tracer.capture()  # from here, so that nnsight finds the frame of the caller
        return tracer

    return cast(Callable[..., Any], wrapper)


def untraceable(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """A method that refuses to be the header of a `with`, before it does its work."""

    @no_type_check
    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        if is_entered(sys._getframe(1)):
            raise LanternError(
                f"`lantern.{method.__name__}` answers and is no trace; "
                "use `with lantern.generate(sample) as tracer:`"
            )
        return method(*args, **kwargs)

    return cast(Callable[Given, Result], wrapper)


class OwnBlock(Tracer):
    """A tracer that says in words of this package why its block cannot be run."""

    def parse(self, source: str, lineno: int) -> ast.With | ast.AsyncWith:
        """The `with` statement at a line.

        Args:
            source: Text of the file or cell; empty where there is none.
            lineno: Line of the call, from 1.

        Raises:
            LanternError: there is no source or no `with` at that line, or the block cannot be
                taken out of it.
        """
        try:
            node = super().parse(source, lineno)
        except SyntaxError:  # what was read is not what runs
            node = None
        if node is None:
            raise LanternError(_unreadable(source, lineno))
        if skippable(node):
            if node.body[0].lineno == node.lineno:
                raise LanternError(
                    f"the block of the trace in line {lineno} stands on the line of its `with`; "
                    "start it on a line of its own"
                )
            if isinstance(node.body[0], TRY_STATEMENTS):
                raise LanternError(
                    f"the block of the trace in line {lineno} starts with `try`; "
                    "put another statement above it, or the `try` around the `with`"
                )
        return node


def _unreadable(source: str, lineno: int) -> str:
    if not source.strip():
        return (
            f"the source of the `with` block in line {lineno} cannot be read: there is none on "
            "standard input, in exec() and in a cell under %%time; "
            "put the trace into a file, or into a notebook cell of its own without a magic"
        )
    return (
        f"there is no readable `with` block in line {lineno} of the source, from which a trace "
        "is entered; write the call itself into the header (`with lantern.generate(...) as "
        "tracer:`), in a file or a notebook cell of its own, and load source anew once changed"
    )


class LanternInvoker(OwnBlock, Invoker):
    """One `with tracer.invoke(...)` block."""


class LanternSession(OwnBlock):
    """One `with lantern.session()` block."""


class LanternEdit(OwnBlock, EditingTracer):
    """One `with lantern.edit()` block."""

    @property
    def iter(self) -> Slots:
        """The steps or slots to visit, as `for slot in tracer.iter[:8]`."""
        return Slots()


class LanternTracer(OwnBlock, InterleavingTracer):
    """One trace, as `with lantern.generate(...) as tracer` opens it."""

    @property
    def iter(self) -> Slots:
        """The steps or slots to visit, as `for slot in tracer.iter[:8]`."""
        return Slots()

    def invoke(self, *args: Any, **kwargs: Any) -> LanternInvoker:
        """A block for the rows of one input, as nnsight's.

        Args:
            *args: The samples of these rows.
            **kwargs: Settings of the call.
        """
        return LanternInvoker(self, *args, **kwargs)

    def next(self, *_: Any, **__: Any) -> None:
        """Refuse the way in which older versions of nnsight went on to the next step.

        Raises:
            LanternError: always.
        """
        raise LanternError(
            "`tracer.next` is not of this version of nnsight; "
            "`for slot in tracer.iter[:8]` visits the slots one after the other"
        )
