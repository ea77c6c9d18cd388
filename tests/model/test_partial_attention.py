"""Attention by parts is attention, by torch's kernel and by products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from lantern_probe.model import partial_attention
from lantern_probe.model.partial_attention import attend, attend_by_products, cpu_kernel, merge

WAYS = [attend, attend_by_products]


def parts(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    stream = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(3, 2, n, 16, generator=stream).to(dtype) for n in (4, 9, 9))
    seen = torch.rand(3, 1, 4, 9, generator=stream) < 0.6
    seen[:, :, :, 8] = True
    seen[1, :, 2, :5] = False  # one query sees nothing of the first part
    return query, key, value, seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 4e-3)]
)
def test_two_parts_make_a_whole(way: Any, dtype: torch.dtype, close: float):
    query, key, value, seen = parts(dtype)
    bias = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)
    one = way(query, key[:, :, :5], value[:, :, :5], bias[..., :5], 0.25)
    two = way(query, key[:, :, 5:], value[:, :, 5:], bias[..., 5:], 0.25)
    found = merge(one, two, blind=~seen[..., :5].any(-1))
    assert found.dtype == dtype
    expected = sdpa(query, key, value, attn_mask=seen, scale=0.25)
    assert torch.allclose(found, expected, atol=close)


@pytest.mark.parametrize("way", WAYS)
def test_without_a_mask_all_is_seen(way: Any):
    query, key, value, _ = parts()
    found, lse = way(query, key, value, None, 0.25)
    assert torch.allclose(found, sdpa(query, key, value, scale=0.25), atol=1e-6)
    assert torch.allclose(lse, (query @ key.mT * 0.25).logsumexp(-1), atol=1e-6)


def test_the_kernel_is_used_where_it_is_what_it_was(monkeypatch: pytest.MonkeyPatch):
    """And products where its name is gone, its arguments or its results are others."""
    kernel = cpu_kernel()
    assert kernel is not None

    def other_arguments(query: Any, key: Any, value: Any) -> None:
        raise AssertionError("called with too many arguments")

    def other_results(*args: Any, **kwargs: Any) -> Any:
        out, lse = kernel(*args, **kwargs)
        return out, lse / torch.tensor(2.0).log()

    query, key, value, _ = parts()
    expected = attend_by_products(query, key, value, None, 0.25)
    for name, put in ((None, None), ("x", other_arguments), ("x", other_results)):
        cpu_kernel.cache_clear()
        with monkeypatch.context() as patch:
            if put is not None:
                patch.setattr(torch.ops.aten, "x", put, raising=False)
            patch.setattr(partial_attention, "KERNEL", name or "no_such_operator")
            assert cpu_kernel() is None
            found = attend(query, key, value, None, 0.25)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    cpu_kernel.cache_clear()
    assert cpu_kernel() is kernel
