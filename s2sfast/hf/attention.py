"""Attention in which the beams of a sentence are queries of one sequence, and how a model comes to use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from s2sfast.hf.cache import Pool

NAME = "s2sfast_beams"

_here = threading.local()  # .pool: of the step that runs in this thread
_lock = threading.Lock()
_switched: dict[int, list[Any]] = {}  # by id of a configuration: [it, its own implementation, searches that run]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Queries (R, H, 1, d) over keys (S, H', N, d) of sentences; -> (R, 1, H, d).

    Outside a step of a search, that is in its prefill and in other threads, it is transformers' "sdpa".
    """
    pool: Pool | None = getattr(_here, "pool", None)
    if pool is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, position_bias=position_bias, **others
        )
    layer: Any = pool.touched
    pool.touched = None
    _check(module, query, pool, layer, attention_mask, others)
    S, W, H, groups = pool.sentences, pool.width, key.shape[1], query.shape[1] // key.shape[1]
    # (R, H * groups, 1, d) -> (S, H, groups * W, d): the beams, and the heads that share keys, are queries of one head.
    folded = query.reshape(S, W, H, groups, -1).permute(0, 2, 3, 1, 4)
    bias = layer.bias()
    if position_bias is not None:
        own = layer.by_entry(position_bias)
        bias = own if bias is None else own + bias
    if groups > 1 and bias is not None:
        bias = bias.unsqueeze(2).expand(-1, -1, groups, W, -1).reshape(*bias.shape[:2], groups * W, -1)
    context = scaled_dot_product_attention(
        folded.reshape(S, H, groups * W, -1), key, value, attn_mask=bias, scale=scaling
    )
    context = context.view(S, H, groups, W, -1).permute(0, 3, 1, 2, 4)
    return context.reshape(S * W, 1, H * groups, -1), None


def _check(
    module: nn.Module,
    query: Tensor,
    pool: Pool,
    layer: Any,
    attention_mask: Tensor | None,
    others: dict[str, Any],
) -> None:
    what, window = None, others.get("sliding_window")
    if layer is None or query.shape[2] != 1:
        what = "attention of one token over what its cache layer holds"
    elif attention_mask is not None:
        what = "a model that leaves its masks to transformers.masking_utils"
    elif others.get("softcap") is not None or (window is not None and window < pool.longest):
        what = f"attention without softcap, and a sliding_window of {pool.longest} tokens if any"
    if what is not None:
        raise ValueError(f"s2sfast.hf.beam_search: expected {what}; {type(module).__name__} does something else")


def mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The mask that a model makes itself: none within a step, where the cache knows who sees what."""
    return sdpa_mask(*args, **kwargs) if getattr(_here, "pool", None) is None else None


@contextmanager
def stepping(pool: Pool) -> Iterator[None]:
    """Within, attention in this thread is over the pool."""
    _here.pool = pool
    try:
        yield
    finally:
        _here.pool = None


@contextmanager
def switched(model: nn.Module) -> Iterator[None]:
    """Within, the model attends with :func:`attend`; afterwards as before. Searches of several threads may overlap."""
    owners = (getattr(module, "config", None) for module in model.modules())
    configs: dict[int, Any] = {id(config): config for config in owners if isinstance(config, PreTrainedConfig)}
    with _lock:
        for key, config in configs.items():
            held = _switched.setdefault(key, [config, config._attn_implementation_internal, 0])
            held[2] += 1
            config._attn_implementation_internal = NAME
    try:
        yield
    finally:
        with _lock:
            for key in configs:
                held = _switched[key]
                held[2] -= 1
                if not held[2]:
                    config, own, _ = _switched.pop(key)
                    config._attn_implementation_internal = own


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, mask)
