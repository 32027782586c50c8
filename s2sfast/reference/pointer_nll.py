"""The meaning of :func:`s2sfast.pointer_nll`."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from s2sfast.reference.pointer import Arguments, generated, mixed


def pointer_nll(
    vocab_logits: Tensor,
    copy_weights: Tensor,
    source_ids: Tensor,
    p_gen_logit: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
) -> Tensor:
    """-log(p_gen softmax + (1 - p_gen) copied) of the targets; the contract is :func:`s2sfast.pointer_nll`'s."""
    given = Arguments("pointer_nll", vocab_logits, copy_weights, source_ids, p_gen_logit)
    R, V = vocab_logits.shape
    given.expect(tuple(targets.shape) == (R,), f"targets (R,)=({R},)", targets)
    given.expect_integers("targets", targets)
    ignored = targets == ignore_index
    negative = ((targets < 0) & ~ignored).nonzero().flatten()
    if len(negative):
        row = int(negative[0])
        raise ValueError(
            f"pointer_nll: expected targets >= 0 or ignore_index={ignore_index}; got {int(targets[row])} for row {row}"
        )
    rows = ignored[:, None]
    targets = targets.masked_fill(ignored, 0)[:, None]
    gate = given.gate.masked_fill(ignored, 0)
    vocab = pad(generated(given.vocab.masked_fill(rows, 0), gate), (0, 1), value=-math.inf)
    vocab = vocab.gather(1, targets.clamp(max=V)).squeeze(1)  # the last column stands for all that are no words
    mass = given.weights.masked_fill((given.ids != targets) | rows, 0).sum(-1)
    return (-mixed(vocab, logsigmoid(-gate), mass)).masked_fill(ignored, 0)
