"""Attention over a part of the keys, with the log-sum-exp by which parts are put together.

The softmax over two sets of keys is a mixture of the softmax over each, weighted by the sums of
exponentials that the two leave out. So keys that many rows share can be attended to by one product
for all of them, and what is a row's own by another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Kernel = Callable[..., tuple[Tensor, Tensor]]

KERNEL = "_scaled_dot_product_flash_attention_for_cpu"
"""torch's own CPU kernel, which sdpa calls and which returns the log-sum-exp; a private name."""

KERNEL_DTYPES = (torch.float32, torch.bfloat16)
"""The dtypes that are left to the kernel."""


def attend(
    query: Float[Tensor, "rows heads queries dim"],
    key: Float[Tensor, "rows heads keys dim"],
    value: Float[Tensor, "rows heads keys dim"],
    bias: Float[Tensor, "..."] | None,
    scaling: float,
) -> tuple[Float[Tensor, "rows heads queries dim"], Float[Tensor, "rows heads queries"]]:
    """Attention over some keys, at least one, and the log of the sum of its exponentials.

    A query all of whose keys are hidden gets numbers that mean nothing, and may be NaN.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        bias: Terms added to the products, 0 or -inf; their shape can be broadcast to
            [rows, heads, queries, keys]. None for nothing.
        scaling: Factor of the products of queries and keys.
    """
    kernel = cpu_kernel() if query.device.type == "cpu" else None
    if kernel is None or query.dtype not in KERNEL_DTYPES:
        return attend_by_products(query, key, value, bias, scaling)
    return kernel(query, key, value, 0.0, False, attn_mask=bias, scale=scaling)


def attend_by_products(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    """The same by matrix products: on a GPU, and where torch's kernel is not what it was.

    The arguments are those of `attend`. Weights are formed in float32, whatever the dtype.
    """
    scores = (query @ key.mT).float() * scaling
    if bias is not None:
        scores = scores + bias
    lse = scores.logsumexp(-1)
    return (scores - lse[..., None]).exp().to(value.dtype) @ value, lse


@cache
def cpu_kernel() -> Kernel | None:
    """torch's CPU kernel, if it is there and does what `attend_by_products` does; else None."""
    operator: Any = getattr(torch.ops.aten, KERNEL, None)
    if operator is None:
        return None
    stream = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 2, n, 8, generator=stream) for n in (3, 5, 5))
    bias = torch.zeros(2, 1, 3, 5)
    bias[1, :, :, 2:] = -torch.inf
    expected = attend_by_products(query, key, value, bias, 0.3)
    try:
        found = operator(query, key, value, 0.0, False, attn_mask=bias, scale=0.3)
        same = all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    except (RuntimeError, TypeError, ValueError):
        return None
    return operator if same else None


def merge(
    one: tuple[Float[Tensor, "rows heads queries dim"], Float[Tensor, "rows heads queries"]],
    other: tuple[Float[Tensor, "rows heads queries dim"], Float[Tensor, "rows heads queries"]],
    blind: Tensor | None = None,
) -> Float[Tensor, "rows heads queries dim"]:
    """Attention over the keys of two parts, from that over each.

    Args:
        one: Output and log-sum-exp of the first part.
        other: Output and log-sum-exp of the second, in which every query sees a key.
        blind: True for the queries that see no key of the first part, of a shape that can be
            broadcast to [rows, heads, queries]; None for none.
    """
    first, second = one[0], other[0]
    share = torch.sigmoid(other[1] - one[1])[..., None]
    if blind is not None:
        # The kernels disagree on the log-sum-exp of no keys (0, -inf), and 0 x NaN is NaN.
        share = share.masked_fill(blind[..., None], 1.0)
        first = first.masked_fill(blind[..., None], 0.0)
    return torch.lerp(first, second, share.to(first.dtype))
