"""Protocols: all in which latent visual reasoners differ, as one frozen value each.

A latent step of any of them is an ordinary decode step whose input embedding is the previous final
hidden state. `LatentProtocol` says which tokens surround such steps, which position the first state
takes, which token is recorded there and how a block ends; `PROTOCOLS` has the published ones. The
decoder, roles, cuts and readers of texts share one walk through a text (`BlockWalk`). Nothing here
needs a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.protocols.detection import CheckpointFiles, candidates, find_protocol
    from lantern_probe.protocols.files import load_protocol
    from lantern_probe.protocols.named import PROTOCOLS
    from lantern_probe.protocols.protocol import LatentProtocol
    from lantern_probe.protocols.walk import BlockWalk, LvrTokens, walk_blocks

__all__ = [
    "PROTOCOLS",
    "BlockWalk",
    "CheckpointFiles",
    "LatentProtocol",
    "LvrTokens",
    "candidates",
    "find_protocol",
    "load_protocol",
    "walk_blocks",
]

__getattr__ = lazily(
    __name__,
    detection="CheckpointFiles candidates find_protocol",
    files="load_protocol",
    named="PROTOCOLS",
    protocol="LatentProtocol",
    walk="BlockWalk LvrTokens walk_blocks",
)
