"""The output distribution of a pointer-generator: a mixture of generating and copying."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops.attention import first_derivative_of, promoted, real_of, wants_gradient
from s2sfast.ops.pointer import diagnosis, no_graph

_raw = torch.ops.s2sfast.pointer_mixture.default
_raw_backward = torch.ops.s2sfast.pointer_mixture_backward.default
no_graph("pointer_mixture", "pointer_mixture_backward")


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        log_probs, lse, links = _raw(*arguments)
        ctx.save_for_backward(*arguments[:4], lse, links)
        return log_probs

    @staticmethod
    @first_derivative_of("pointer_mixture")
    def backward(ctx: Any, grad: Tensor) -> tuple:
        vocab, weights, gate = _raw_backward(grad, *ctx.saved_tensors)
        return vocab, weights, None, gate, None


def pointer_mixture(
    vocab_logits: Tensor,
    copy_weights: Tensor,
    source_ids: Tensor,
    p_gen_logit: Tensor,
    *,
    extended_size: int | None = None,
) -> Tensor:
    r"""Mixes generating a token with copying one from the source; log-probabilities of all tokens, in nats.

    .. math:: \log P(w) = \log\Bigl(p\,\mathrm{softmax}(vocab\_logits)_w + (1 - p) \sum_{t: source\_ids_t = w}
              copy\_weights_t\Bigr), \quad p = \sigma(p\_gen\_logit)

    Computed in log space, so that neither a saturated `p_gen_logit` nor a tiny probability underflows.

    Args:
        vocab_logits: ``(R, V)`` float32, float64, bfloat16 or float16; -inf forbids a token. Rows may be strided.
        copy_weights: ``(R, T)`` in the same dtype: the attention to each source position, usually summing to 1.
        source_ids: ``(S, T)`` int64, the token at each source position; ids in [V, V') are words of the source that the
            vocabulary lacks; a negative id (padding) is ignored. S divides R: row r reads source r // (R / S), so the
            beams of a sentence share theirs. Weights of equal ids add up.
        p_gen_logit: ``(R,)`` in the same dtype: the logit of the probability to generate.
        extended_size: V', at least V (the default).

    Returns:
        ``(R, V')`` float32 (float64 for float64); -inf where the probability is 0. Differentiable once in vocab_logits,
        copy_weights and p_gen_logit; an entry of -inf has no gradient. The gradient of copy_weights, which has no bound
        where a probability is tiny, is at most the largest finite number.

    Raises:
        ValueError: shapes, dtypes or devices disagree, S does not divide R, or a source id of V' or more. On CUDA the
            last is found late (:func:`s2sfast.synchronize`), and V' > 2**26 or T > 2**22 are errors.

    Training needs only the probability of the target: :func:`s2sfast.pointer_nll`. Same bits for any number of threads.
    The meaning: :func:`s2sfast.reference.pointer_mixture`. See, Liu & Manning 2017, arXiv:1704.04368, eq. 8-9.

    >>> import torch, s2sfast
    >>> vocab_logits = torch.tensor([[0.5, 0.25, 0.25]]).log()  # R=1, V=3
    >>> copy_weights, source_ids = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[2, 3, 2]])
    >>> s2sfast.pointer_mixture(vocab_logits, copy_weights, source_ids, torch.zeros(1), extended_size=4).exp()
    tensor([[0.2500, 0.1250, 0.4750, 0.1500]])
    """
    try:
        vocab_logits, copy_weights, p_gen_logit = promoted(vocab_logits, copy_weights, p_gen_logit)
        size = vocab_logits.shape[-1] if extended_size is None else extended_size
        arguments = (vocab_logits, copy_weights, source_ids, p_gen_logit, size)
        if wants_gradient(vocab_logits, copy_weights, p_gen_logit):
            return _Mixture.apply(*arguments)
        return _raw(*arguments)[0]
    except (RuntimeError, AttributeError, TypeError, IndexError) as error:  # looked into only when a call has failed
        tensors = {
            "vocab_logits": vocab_logits, "copy_weights": copy_weights, "source_ids": source_ids,
            "p_gen_logit": p_gen_logit,
        }  # fmt: skip
        raise diagnosis("pointer_mixture", error, tensors, "extended_size", extended_size) from None


@torch.library.register_fake("s2sfast::pointer_mixture")
def _(vocab_logits, copy_weights, source_ids, p_gen_logit, extended_size):
    real = real_of(vocab_logits.dtype)
    R = vocab_logits.shape[0]
    lse = vocab_logits.new_empty((R,), dtype=real)
    links = vocab_logits.new_empty(source_ids.shape, dtype=torch.int32)
    return vocab_logits.new_empty((R, extended_size), dtype=real), lse, links


@torch.library.register_fake("s2sfast::pointer_mixture_backward")
def _(grad, vocab_logits, copy_weights, source_ids, p_gen_logit, lse, links):
    return tuple(x.new_empty(x.shape) for x in (vocab_logits, copy_weights, p_gen_logit))
