"""The latent block, token by token: one state machine for decoding and for reading back.

`BlockWalk` follows the tokens of one row. Before a token is chosen, `turn` says what it may be;
once it is, `take` says what its position is: a start marker, a slot that is fed, the end of a
block, or nothing of the kind. The decoder feeds the slots that it names, and roles, cuts and texts
read from files get their blocks from the same walk.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lantern_probe.protocols.named import LANTERN
from lantern_probe.protocols.protocol import LatentProtocol

Mark = Literal["start", "slot", "end"]
"""Part of a block that a position can be."""


@dataclass(frozen=True)
class LvrTokens:
    """The ids of the tokens of a latent block, its number of slots, and its protocol.

    Attributes:
        start: Id of the start marker, which opens a block.
        sep: Id of the slot token.
        end: Id of the end marker, which closes a block.
        size: K, the number of slots in a block; the most, where a block may end early.
        protocol: The protocol of the block; default LanteRn's.
        others: Ids of further tokens that belong to a block; default none.
    """

    start: int
    sep: int
    end: int
    size: int
    protocol: LatentProtocol = LANTERN
    others: tuple[int, ...] = ()

    @property
    def banned(self) -> tuple[int, ...]:
        """All tokens of a block, which a text without blocks may not contain."""
        return (self.start, self.sep, self.end, *self.others)

    @property
    def feeds_marker(self) -> bool:
        """True if the first state takes the place of the start marker's own embedding."""
        return self.protocol.first == "marker"

    def opens_after(self, last: int) -> bool:
        """True if a prompt that ends with a token opens a block.

        Args:
            last: The prompt's last token.
        """
        return last == self.start and self.protocol.opens == "last" and not self.feeds_marker

    def sized(self, size: int | None) -> LvrTokens:
        """The same tokens with blocks of another number of slots.

        Args:
            size: Number of slots; None leaves it.
        """
        return self if size is None else replace(self, size=size)


@dataclass(frozen=True)
class Turn:
    """A rule for the next token of a row.

    Attributes:
        otherwise: Token that is written whatever the model chooses; None for its own choice.
        unless: Tokens that are written if the model chooses them.
        end_of_text: False where no end-of-text token may be chosen.
    """

    otherwise: int | None = None
    unless: tuple[int, ...] = ()
    end_of_text: bool = True


@dataclass
class Walked:
    """A block as it was walked.

    Attributes:
        start: Position of the start marker.
        first: Position of the first slot; that of the marker where the first state takes its place.
        slots: Number of slots that were fed.
        end: Position after the last slot, which closes the block; None for a block that never
            closed.
        restarted: True if another start marker broke the block off.
    """

    start: int
    first: int
    slots: int = 0
    end: int | None = None
    restarted: bool = False


@dataclass
class BlockWalk:
    """The blocks of one row, followed token by token.

    Attributes:
        tokens: Ids, number of slots, and protocol. A size of 0 makes blocks of two markers: the end
            marker is forced right after the start marker, which is then fed nowhere.
        ends: Tokens that end the row; default none.
        spans: The blocks so far.
    """

    tokens: LvrTokens
    ends: Collection[int] = ()
    spans: list[Walked] = field(default_factory=list)
    _open: bool = False
    _over: bool = False

    @property
    def open(self) -> Walked | None:
        """The block that the row is in; None outside a block."""
        return self.spans[-1] if self._open else None

    def begin(self, token: int, position: int, *, generated: bool) -> Mark | None:
        """Take the last token of what a row begins with.

        Args:
            token: The token.
            position: Its position.
            generated: True if the model wrote it, False for a prompt's.
        """
        opens = generated or self.tokens.opens_after(token)
        return self.take(token, position) if opens else None

    def turn(self) -> Turn:
        """The rule for the next token."""
        tokens, protocol = self.tokens, self.tokens.protocol
        if not self._open:
            return Turn()
        full = self.spans[-1].slots >= tokens.size
        again = (tokens.start,) if protocol.restarts and tokens.size else ()
        if full and not tokens.size:
            return Turn(tokens.end)
        if protocol.close == "no marker":
            if full:
                return Turn()
            own = protocol.slot_token == "own"
            return self._own() if own else Turn(tokens.sep, again)
        if protocol.slot_token == "own":
            return Turn(tokens.end) if full else self._own()
        early = (tokens.end,) if protocol.close == "early" else ()
        return Turn(tokens.end, again) if full else Turn(tokens.sep, early + again)

    @property
    def _goes_on(self) -> bool:
        """True if the open block is full, and the text goes on by itself."""
        size, full = self.tokens.size, self.spans[-1].slots >= self.tokens.size
        return bool(size) and full and self.tokens.protocol.close == "no marker"

    def _own(self) -> Turn:
        return Turn(end_of_text=self.tokens.protocol.end_of_text == "ends")

    def take(self, token: int, position: int) -> Mark | None:
        """Take a token that was chosen, and say what its position is.

        Args:
            token: The token.
            position: Its position; positions rise by one.
        """
        if self._over:
            return None
        if token in self.ends:
            if self._open and self._goes_on:
                self.spans[-1].end = position
            self._open, self._over = False, True
            return None
        if self._open and (mark := self._inside(token, position)) is not None:
            return mark
        if token != self.tokens.start:
            return None
        fed = self.tokens.feeds_marker and self.tokens.size > 0
        self.spans.append(Walked(position, position if fed else position + 1, int(fed)))
        self._open = True
        return "slot" if fed else "start"

    def _inside(self, token: int, position: int) -> Mark | None:
        """The mark of a token in the open block; None for one that leaves it."""
        tokens, protocol, span = self.tokens, self.tokens.protocol, self.spans[-1]
        full = span.slots >= tokens.size
        if self._goes_on:
            self._open, span.end = False, position
            return None if token == tokens.start else "end"
        if token == tokens.end and (protocol.close != "no marker" or not tokens.size):
            self._open, span.end = False, position
            return "end"
        restarts = protocol.restarts and token == tokens.start
        recorded = protocol.slot_token == "own" or token == tokens.sep
        if not full and recorded and not restarts:
            span.slots += 1
            return "slot"
        self._open, span.restarted = False, token == tokens.start
        return None


def walk_blocks(
    ids: Sequence[int], prompt_length: int, tokens: LvrTokens, ends: Collection[int] = ()
) -> list[Walked]:
    """The blocks of a text, read back from its tokens as if its protocol had been followed.

    Args:
        ids: Tokens of prompt and continuation.
        prompt_length: Number of prompt tokens.
        tokens: Ids, number of slots, and protocol.
        ends: Tokens that end the text; default none.
    """
    walk = BlockWalk(tokens, ends)
    if prompt_length:
        walk.begin(ids[prompt_length - 1], prompt_length - 1, generated=False)
    for position in range(prompt_length, len(ids)):
        walk.take(ids[position], position)
    return walk.spans
