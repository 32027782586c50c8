"""The loss of a pointer-generator, without its output distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops.attention import first_derivative_of, promoted, real_of, wants_gradient
from s2sfast.ops.pointer import diagnosis, no_graph

_raw = torch.ops.s2sfast.pointer_nll.default
_raw_backward = torch.ops.s2sfast.pointer_nll_backward.default
no_graph("pointer_nll", "pointer_nll_backward")


class _Nll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        losses, lse = _raw(*arguments)
        ctx.save_for_backward(*arguments[:5], lse)
        ctx.ignore_index = arguments[5]
        return losses

    @staticmethod
    @first_derivative_of("pointer_nll")
    def backward(ctx: Any, grad: Tensor) -> tuple:
        vocab, weights, gate = _raw_backward(grad, *ctx.saved_tensors, ctx.ignore_index)
        return vocab, weights, None, gate, None, None


def pointer_nll(
    vocab_logits: Tensor,
    copy_weights: Tensor,
    source_ids: Tensor,
    p_gen_logit: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
) -> Tensor:
    r"""The negative log-likelihood of targets under :func:`s2sfast.pointer_mixture`, in nats, without the mixture.

    .. math:: loss = -\log\Bigl(p\,\mathrm{softmax}(vocab\_logits)_y + (1 - p) \sum_{t: source\_ids_t = y}
              copy\_weights_t\Bigr), \quad p = \sigma(p\_gen\_logit), \quad y = target

    Args:
        vocab_logits: ``(R, V)`` float32, float64, bfloat16 or float16; -inf forbids a token. Rows may be strided.
        copy_weights: ``(R, T)`` in the same dtype: the attention to each source position, usually summing to 1.
        source_ids: ``(S, T)`` int64, the token at each source position; ids from V on are words of the source that the
            vocabulary lacks; a negative id (padding) is ignored. S divides R: row r reads source r // (R / S).
        p_gen_logit: ``(R,)`` in the same dtype: the logit of the probability to generate.
        targets: ``(R,)`` int64, any id from 0 on; one that is neither in the vocabulary nor in the source has
            probability 0.
        ignore_index: rows with this target do not count, whatever stands in them: loss 0, zero gradients.

    Returns:
        ``(R,)`` float32 (float64 for float64). +inf where the probability is 0, with zero gradients; every other loss
        is finite. Differentiable once in vocab_logits, copy_weights and p_gen_logit. The gradient of copy_weights,
        which has no bound where a probability is tiny, is at most the largest finite number.

    Raises:
        ValueError: shapes, dtypes or devices disagree, S does not divide R, or a negative target other than
            ignore_index. On CUDA the last is found late (:func:`s2sfast.synchronize`; its loss is NaN), and V > 2**26
            or T > 2**22 are errors.

    The logits are read once forward, and once more backward, where their gradient is written; one number a row is kept
    between. Same bits for any number of threads. The meaning: :func:`s2sfast.reference.pointer_nll`. See, Liu & Manning
    2017, arXiv:1704.04368, eq. 6, 8, 9.

    >>> import torch, s2sfast
    >>> vocab_logits = torch.tensor([[0.5, 0.25, 0.25]]).log()  # R=1, V=3
    >>> copy_weights, source_ids = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[2, 3, 2]])
    >>> loss = s2sfast.pointer_nll(vocab_logits, copy_weights, source_ids, torch.zeros(1), torch.tensor([2]))
    >>> loss.neg().exp()  # 0.5 * 0.25 + 0.5 * (0.5 + 0.2)
    tensor([0.4750])
    """
    try:
        vocab_logits, copy_weights, p_gen_logit = promoted(vocab_logits, copy_weights, p_gen_logit)
        arguments = (vocab_logits, copy_weights, source_ids, p_gen_logit, targets, ignore_index)
        if wants_gradient(vocab_logits, copy_weights, p_gen_logit):
            return _Nll.apply(*arguments)
        return _raw(*arguments)[0]
    except (RuntimeError, AttributeError, TypeError) as error:  # looked into only when a call has failed
        tensors = {
            "vocab_logits": vocab_logits, "copy_weights": copy_weights, "source_ids": source_ids,
            "p_gen_logit": p_gen_logit, "targets": targets,
        }  # fmt: skip
        raise diagnosis("pointer_nll", error, tensors, "ignore_index", ignore_index) from None


@torch.library.register_fake("s2sfast::pointer_nll")
def _(vocab_logits, copy_weights, source_ids, p_gen_logit, targets, ignore_index):
    losses = vocab_logits.new_empty((vocab_logits.shape[0],), dtype=real_of(vocab_logits.dtype))
    return losses, torch.empty_like(losses)


@torch.library.register_fake("s2sfast::pointer_nll_backward")
def _(grad, vocab_logits, copy_weights, source_ids, p_gen_logit, targets, lse, ignore_index):
    return tuple(x.new_empty(x.shape) for x in (vocab_logits, copy_weights, p_gen_logit))
