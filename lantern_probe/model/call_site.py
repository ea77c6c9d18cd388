"""A call as the bytecode of its caller shows it, with the standard library alone.

The instructions behind a call differ between versions of Python: up to 3.13 a `with` enters what a
call returns by one instruction, from 3.14 on by a copy of it and a search for `__exit__`. A caller
of any other shape is taken for a plain call, whose result refuses to be entered.
"""

from __future__ import annotations

import opcode
from types import FrameType

_CACHE = opcode.opmap.get("CACHE")
_ENTERS = {
    opcode.opmap[name] for name in ("BEFORE_WITH", "BEFORE_ASYNC_WITH") if name in opcode.opmap
}
_COPY, _SPECIAL = opcode.opmap.get("COPY"), opcode.opmap.get("LOAD_SPECIAL")


def is_entered(frame: FrameType) -> bool:
    """True if what the frame's current call returns is entered by a `with` at once.

    The bytecode says so of every call, also where there is no source, or where the line is shared
    with another `with`.

    Args:
        frame: The frame that makes the call.
    """
    return is_entered_after(frame.f_code.co_code, frame.f_lasti)


def is_entered_after(code: bytes, call: int) -> bool:
    """True if a `with` enters the result of a call, as the instructions behind it say.

    Args:
        code: Bytecode, of two bytes an instruction.
        call: Offset of the call, or of the last of the caches behind it: versions differ.
    """
    after = call + 2
    while after < len(code) and code[after] == _CACHE:
        after += 2
    if after >= len(code):
        return False
    copied = code[after] == _COPY and code[after + 2 : after + 3] == bytes([_SPECIAL or 0])
    return code[after] in _ENTERS or (_SPECIAL is not None and copied)
