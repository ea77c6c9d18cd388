"""The protocol of a checkpoint, found from its files, and checked against one that is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.protocols.named import LANTERN, PROTOCOLS
from lantern_probe.protocols.protocol import LatentProtocol
from lantern_probe.protocols.walk import LvrTokens

_PARTS = ("start marker", "slot token", "end marker")
_TOLD_APART = ("first", "slot_token", "close", "restarts", "opens", "end_of_text", "size")


@dataclass(frozen=True)
class CheckpointFiles:
    """The parts of a checkpoint by which its protocol is known.

    Attributes:
        name: Name of the checkpoint, for messages.
        config: Entries of `config.json`.
        tokens: Ids of the tokenizer's tokens by their text.
    """

    name: str
    config: Mapping[str, Any]
    tokens: Mapping[str, int]

    @property
    def model_type(self) -> str:
        """The architecture."""
        return str(self.config.get("model_type"))

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names that the config gives."""
        return tuple(map(str, self.config.get("architectures") or ()))

    def token(self, protocol: LatentProtocol, part: int) -> Any:
        """The id of a protocol's start marker, slot token or end marker; None without one.

        Args:
            protocol: The protocol.
            part: 0 for the start marker, 1 for the slot token, 2 for the end marker.
        """
        found = self.config.get(protocol.keys[part])
        if found is None and protocol.markers is not None:
            found = self.tokens.get(protocol.markers[part])
        return found

    def missing(self, protocol: LatentProtocol) -> list[str]:
        """The texts (else config keys) of a protocol's tokens that the checkpoint lacks.

        Args:
            protocol: The protocol.
        """
        names = protocol.markers or protocol.keys
        return [names[part] for part in range(3) if self.token(protocol, part) is None]

    def against(self, protocol: LatentProtocol) -> list[str]:
        """Everything in the checkpoint that speaks against a protocol, in words.

        Args:
            protocol: The protocol.
        """
        found = []
        if self.model_type != protocol.model_type:
            found.append(f"it is a {self.model_type} model, not {protocol.model_type}")
        others = {name for one in PROTOCOLS.values() for name in one.classes}
        if foreign := sorted(others & set(self.classes) - set(protocol.classes)):
            found.append(f"its class is {foreign[0]}")
        if lacking := self.missing(protocol):
            found.append(f"it has no {', '.join(lacking)}")
        return found + self._other_texts(protocol)

    def _other_texts(self, protocol: LatentProtocol) -> list[str]:
        """Ids of the config that the tokenizer gives to tokens of another protocol."""
        if protocol.markers is None or set(protocol.markers) & self.tokens.keys():
            return []
        texts = {self.token(protocol, part): part for part in range(3)}
        known = {text for one in PROTOCOLS.values() for text in one.markers or ()}
        return [
            f"its {_PARTS[texts[number]]} is {text}, not {protocol.markers[texts[number]]}"
            for text, number in self.tokens.items()
            if number in texts and text in known
        ]


def candidates(files: CheckpointFiles) -> list[LatentProtocol]:
    """The named protocols that a checkpoint may follow.

    Args:
        files: The checkpoint's files.
    """
    return [protocol for protocol in PROTOCOLS.values() if not files.against(protocol)]


def find_protocol(
    files: CheckpointFiles, given: LatentProtocol | None = None
) -> LatentProtocol | None:
    """The protocol of a checkpoint: the one given, if nothing speaks against it, or the only one.

    Args:
        files: The checkpoint's files.
        given: The protocol by name or by hand; default None, which finds it.

    Returns:
        The protocol; None for a checkpoint without latent blocks.

    Raises:
        LanternError: the given protocol contradicts the checkpoint, or several protocols fit it.
    """
    if given is not None:
        if reasons := files.against(given):
            fitting = ", ".join(p.name for p in candidates(files)) or "none of the named ones"
            raise LanternError(
                f"{files.name} does not follow the protocol {given.name!r}: {'; '.join(reasons)}. "
                f"Its files fit: {fitting}"
            )
        return given
    found = candidates(files)
    if len(found) > 1:
        raise LanternError(
            f"{files.name} may follow the protocols {' or '.join(p.name for p in found)}, which "
            f"its files cannot tell apart ({differences(found)}); name one: "
            f"--protocol {found[0].name}"
        )
    return found[0] if found else None


def nearest(files: CheckpointFiles) -> LatentProtocol:
    """The named protocol of which a checkpoint has most tokens; LanteRn's if it has none.

    Args:
        files: The checkpoint's files.
    """
    return min([LANTERN, *PROTOCOLS.values()], key=lambda p: len(files.missing(p)))


def differences(protocols: Sequence[LatentProtocol]) -> str:
    """Fields in which protocols differ, in words.

    Args:
        protocols: The protocols.
    """
    texts = []
    for field in fields(LatentProtocol):
        values = [getattr(protocol, field.name) for protocol in protocols]
        if field.name in _TOLD_APART and len(set(values)) > 1:
            said = ", ".join(f"{p.name}: {v}" for p, v in zip(protocols, values, strict=True))
            texts.append(f"{field.name} is {said}")
    return "; ".join(texts)


def latent_size_of(files: CheckpointFiles, protocol: LatentProtocol) -> int | None:
    """K as a protocol reads it from a config; None where the config does not say it.

    Args:
        files: The checkpoint's files.
        protocol: The protocol.

    Raises:
        LanternError: the config's entry is no number of slots.
    """
    value = None if protocol.size_key is None else files.config.get(protocol.size_key)
    if value is None:
        return protocol.size_number
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_SLOTS:
        raise LanternError(
            f"cannot load the checkpoint {files.name!r}: config.json has {protocol.size_key} "
            f"{value!r}; the number of slots in a block is a whole number from 1 to {MOST_SLOTS}, "
            "such as 8"
        )
    return value * protocol.size_times


MOST_SLOTS = 4096
"""Most slots of a block; a larger number is a slip of the pen."""


def find_tokens(
    files: CheckpointFiles, protocol: LatentProtocol, latent_size: int | None = None
) -> LvrTokens:
    """The ids of a protocol's tokens in a checkpoint, and K.

    Args:
        files: The checkpoint's files.
        protocol: The protocol.
        latent_size: Number of slots of a block; None for the protocol's own source.

    Raises:
        LanternError: an id is none, two tokens have one id, or K is not known.
    """
    ids = []
    for part, key in enumerate(protocol.keys):
        found = files.token(protocol, part)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise LanternError(
                f"{files.name}: config.json has {key} {found!r}, which is no token id"
            )
        ids.append(found)
    size = latent_size if latent_size is not None else latent_size_of(files, protocol)
    if size is None:
        raise LanternError(
            f"{files.name} has the tokens of {protocol.name} but no {protocol.size_key} in its "
            "config; pass the number of slots it was trained with, latent_size=8 (--latent-size 8) "
            "for LanteRn"
        )
    if latent_size is not None and latent_size < 1:
        raise LanternError(f"{files.name}: a block needs at least one slot, latent_size is {size}")
    if len(set(ids)) < len(ids):
        said = dict(zip(("start", "slot", "end"), ids, strict=True))
        raise LanternError(f"{files.name}: two tokens of its blocks have one id ({said})")
    others = [files.config.get(key) for key in protocol.also]
    more = tuple(number for number in others if isinstance(number, int))
    return LvrTokens(ids[0], ids[1], ids[2], size, protocol, more)
