"""Attention functions: sdpa with hooks that read it and cut edges, and sdpa as in older versions.

sdpa gives no weights, and eager attention needs memory quadratic in the sequence, for all
queries. transformers keeps registries of attention functions and of the masks they take:
`HOOKED_SDPA` is entered in both. It asks its hooks for the mask, shows them queries and keys, and
leaves the output to sdpa. While no hook touches the mask, the output is sdpa's, bit for bit.
`REPEATED_SDPA` needs no hook: a model is loaded with it, to be compared with older outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lantern_probe.errors import LanternError
from lantern_probe.model.shared_prefixes import SharedPrefixes

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


REPEATED_SDPA = "lantern_repeated_sdpa"
"""`attn_implementation` that rounds like transformers 4.57, with which LanteRn was published.

Newer versions fold the query heads of one masked query instead of repeating keys and values:
the same mathematics, other rounding. On a random model, whose latents feed rounding errors back,
that alone changes tokens, so outputs recorded under 4.57 are compared under this one. It copies
the cache in every step: slower, and for comparisons only.
"""


def repeated_sdpa(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kw: Any
) -> Any:
    """Attention by sdpa, with keys and values repeated over query heads wherever there is a mask.

    The arguments are those of transformers' attention functions.
    """
    groups = getattr(module, "num_key_value_groups", 1)
    if attention_mask is not None and groups > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        module = SimpleNamespace(is_causal=module.is_causal)  # without groups: repeated already
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kw)


HOOKED_SDPA = "lantern_hooked_sdpa"
"""`attn_implementation` that a model has while it is `hooked`; not one to load a model with."""

_INNER: dict[str, Callable[..., Any]] = {
    "sdpa": sdpa_attention_forward,
    REPEATED_SDPA: repeated_sdpa,
}
"""The attention functions that can be hooked: those that take sdpa's mask."""


class AttentionHook:
    """A hook at the attention of every layer; this one does nothing, subclasses cut or look.

    Rows that share prefixes have no whole keys. While a hook reads keys, prefixes are copied into
    every row; one that says it does not is given the shape of the keys, filled with NaN. Rows may
    be put into another order, and leave the batch: `select` tells a hook.

    Shapes: query [rows, heads, queries, dim], key [rows, kv heads, keys, dim], both rotated;
    mask [rows, 1, queries, keys], True for what may be attended to. A mask of None is causal:
    the last query is the last key.

    Attributes:
        reads_keys: False for a hook that looks at the shape of keys alone; default True.
    """

    reads_keys: ClassVar[bool] = True

    def select(self, rows: Sequence[int]) -> None:
        """Take note of the rows of the forwards to come.

        Args:
            rows: Their numbers in the batch as it was begun, in order.
        """

    def cut(self, layer: int, mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
        """The mask with which this attention is computed.

        Args:
            layer: Decoder layer (0-based).
            mask: The mask, as earlier hooks left it.
            query: Queries.
            key: Keys.
        """
        return mask

    def look(
        self, layer: int, mask: Tensor | None, query: Tensor, key: Tensor, scaling: float
    ) -> None:
        """Look at queries and keys, and at the mask as all hooks left it.

        Args:
            layer: Decoder layer (0-based).
            mask: The mask.
            query: Queries.
            key: Keys.
            scaling: Factor of the products of queries and keys.
        """


@dataclass
class _Active:
    inner: str
    hooks: list[AttentionHook]


_ACTIVE: dict[int, _Active] = {}
"""The hooks of each hooked model, by the id of its language config, which its layers share."""


def hooked_sdpa(
    module: Any,
    query: Tensor,
    key: Tensor | SharedPrefixes,
    value: Tensor | SharedPrefixes,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    **kw: Any,
) -> Any:
    """Attention by sdpa under the hooks of the language model to which `module` belongs.

    The arguments are those of transformers' attention functions.
    """
    active = _ACTIVE[id(module.config)]
    layer = module.layer_idx
    shared = isinstance(key, SharedPrefixes)
    shown = query.new_full((), torch.nan).expand(key.shape) if shared else key
    for hook in active.hooks:
        attention_mask = hook.cut(layer, attention_mask, query, shown)
    for hook in active.hooks:
        hook.look(layer, attention_mask, query, shown, scaling)
    inner = shared_sdpa if shared else _INNER[active.inner]
    return inner(module, query, key, value, attention_mask, scaling=scaling, **kw)


SHARED_SDPA = "lantern_shared_sdpa"
"""`attn_implementation` that a model has while its rows share prefixes (`sharing_prefixes`)."""


def shared_sdpa(
    module: Any,
    query: Tensor,
    key: Tensor | SharedPrefixes,
    value: Tensor | SharedPrefixes,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    **kw: Any,
) -> Any:
    """Attention to shared prefixes and to what is a row's own; to anything else by sdpa.

    The arguments are those of transformers' attention functions.
    """
    if isinstance(key, SharedPrefixes):
        return key.attention(query, attention_mask, scaling), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kw)


for _name, _function in ((HOOKED_SDPA, hooked_sdpa), (SHARED_SDPA, shared_sdpa)):
    AttentionInterface.register(_name, _function)
    AttentionMaskInterface.register(_name, sdpa_mask)
AttentionInterface.register(REPEATED_SDPA, repeated_sdpa)
AttentionMaskInterface.register(REPEATED_SDPA, sdpa_mask)


@contextmanager
def hooked(lantern: LanternModel, hook: AttentionHook) -> Iterator[None]:
    """Hook the attention of the language model inside the block; the vision tower stays as it is.

    Hooks may be nested: an inner one gets the mask as the outer ones left it.

    Args:
        lantern: The model.
        hook: The hook.

    Raises:
        LanternError: the model was loaded with an attention that is not sdpa.
    """
    language = lantern.hf.model.language_model
    key = id(language.config)
    outermost = key not in _ACTIVE
    if outermost:
        inner = language.config._attn_implementation
        if inner not in _INNER:
            raise LanternError(
                f"attention cannot be read or cut under {inner!r}; "
                "load the model with attn_implementation='sdpa'"
            )
        _ACTIVE[key] = _Active(inner, [])
        language.set_attn_implementation(HOOKED_SDPA)
    active = _ACTIVE[key]
    active.hooks.append(hook)
    try:
        yield
    finally:
        active.hooks.pop()
        if outermost:
            language.set_attn_implementation(active.inner)
            del _ACTIVE[key]


def can_share(lantern: LanternModel) -> bool:
    """True if rows may share prefixes: under sdpa, while no hook reads keys.

    Otherwise prefixes are copied into every row, as under older rounding (`REPEATED_SDPA`).

    Args:
        lantern: The model.
    """
    config = lantern.hf.model.language_model.config
    active = _ACTIVE.get(id(config))
    if active is None:
        return bool(config._attn_implementation in ("sdpa", SHARED_SDPA))
    return active.inner == "sdpa" and not any(hook.reads_keys for hook in active.hooks)


@contextmanager
def sharing_prefixes(lantern: LanternModel) -> Iterator[None]:
    """Let caches of shared prefixes be attended to inside the block; all others are as ever.

    Args:
        lantern: The model, one that `can_share`.
    """
    language = lantern.hf.model.language_model
    before = language.config._attn_implementation
    if before == HOOKED_SDPA:  # hooks stand in front of either attention
        yield
        return
    language.set_attn_implementation(SHARED_SDPA)
    try:
        yield
    finally:
        language.set_attn_implementation(before)


def takes_masks(implementation: str) -> bool:
    """True if an attention takes sdpa's masks, [rows, 1, queries, keys] with True for what is seen.

    Args:
        implementation: Name of the attention.
    """
    return implementation in _INNER or implementation in (HOOKED_SDPA, SHARED_SDPA)


def select_rows(lantern: LanternModel, rows: Sequence[int]) -> None:
    """Tell the hooks of a model which rows the next forwards have (`AttentionHook.select`).

    Args:
        lantern: The model.
        rows: Their numbers in the batch as it was begun, in order.
    """
    active = _ACTIVE.get(id(lantern.hf.model.language_model.config))
    for hook in active.hooks if active is not None else ():
        hook.select(rows)


def causal(queries: int, keys: int, device: torch.device) -> Tensor:
    """The causal mask that None means, [1, 1, queries, keys].

    Args:
        queries: Number of queries, which are the last of the keys.
        keys: Number of keys.
        device: Device of the mask.
    """
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)[
        None, None
    ]
