"""From backpointers to sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast

_raw = torch.ops.s2sfast.backtrace.default


def backtrace(parents: Tensor, tokens: Tensor, beams: Tensor, *, steps: Tensor | None = None) -> Tensor:
    r"""Follows backpointers from the last token of each hypothesis to its first.

    .. math:: y_l = tokens_{l,b,s_l}, \quad s_{l-1} = parents_{l,b,s_l}, \quad s_{steps-1} = beams_{b,i}

    Args:
        parents: ``(L, B, K)`` int64: slot k of step l continues slot ``parents[l, b, k]`` of step l - 1.
        tokens: ``(L, B, K)`` int64: the token that slot k took at step l.
        beams: ``(B, n)`` int64: the slot that holds the last token of each of the n hypotheses of a sentence.
        steps: ``(B, n)`` int64 in [0, L]: how many tokens each hypothesis has; None: all L. 0 needs no slot.

    Returns:
        ``(B, n, L)`` int64, padded with -1 from ``steps`` on. Not differentiable.

    Raises:
        ValueError: shapes, dtypes or devices disagree, steps outside [0, L], or a slot outside [0, K) on the way.
            On CUDA the last two are found late (:func:`s2sfast.synchronize`), and the hypothesis ends there with -1.

    The meaning: :func:`s2sfast.reference.backtrace`.

    >>> import torch, s2sfast
    >>> parents = torch.tensor([[[0, 0]], [[1, 0]]])  # L=2, B=1, K=2
    >>> tokens = torch.tensor([[[7, 8]], [[5, 6]]])
    >>> s2sfast.backtrace(parents, tokens, beams=torch.tensor([[0, 1]]))
    tensor([[[8, 5],
             [7, 6]]])
    """
    return _raw(parents, tokens, beams, steps)


@torch.library.register_fake("s2sfast::backtrace")
def _(parents, tokens, beams, steps):
    return parents.new_empty((beams.shape[0], beams.shape[1], parents.shape[0]))
