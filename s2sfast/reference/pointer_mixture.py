"""The meaning of :func:`s2sfast.pointer_mixture`."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from s2sfast.reference.pointer import Arguments, generated, mixed


def pointer_mixture(
    vocab_logits: Tensor,
    copy_weights: Tensor,
    source_ids: Tensor,
    p_gen_logit: Tensor,
    *,
    extended_size: int | None = None,
) -> Tensor:
    """log(p_gen softmax + (1 - p_gen) copied); the contract is :func:`s2sfast.pointer_mixture`'s."""
    given = Arguments("pointer_mixture", vocab_logits, copy_weights, source_ids, p_gen_logit)
    R, V = vocab_logits.shape
    size = V if extended_size is None else extended_size
    if size < V:
        raise ValueError(f"pointer_mixture: expected extended_size >= V={V}; got {size}")
    outside = (source_ids >= size).nonzero()
    if len(outside):
        source, position = outside[0].tolist()
        raise ValueError(
            f"pointer_mixture: expected source_ids < V'={size}; got {int(source_ids[source, position])} for source "
            f"{source}, position {position}"
        )
    vocab = pad(generated(given.vocab, given.gate), (0, size - V), value=-math.inf)
    weights = given.weights.masked_fill(given.ids < 0, 0)
    # One more column, for what is ignored.
    mass = weights.new_zeros(R, size + 1).scatter_add(1, given.ids.where(given.ids >= 0, size), weights)[:, :size]
    return mixed(vocab, logsigmoid(-given.gate)[:, None], mass)
