"""An output layer that generates words or copies them from the source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import s2sfast


class CopyGenerator(nn.Module):
    r"""The pointer-generator's output layer (See et al. 2017, arXiv:1704.04368, eq. 8 and 9).

    .. math::
        p_{gen} = \sigma(w_c \cdot c + w_s \cdot s + w_x \cdot x + b), \quad
        P(w) = p_{gen} P_{vocab}(w) + (1 - p_{gen}) \sum_{t: source_t = w} a_t

    Args:
        context_dim: width of the context c that an attention gave.
        state_dim:   width of the decoder's state s; See et al. take an LSTM's [c; h].
        input_dim:   width of the decoder's input x. 0 leaves a term out; its argument is then None.

    One linear layer, ``p_gen``, has the weights in the order context, state, input. Words of the source that are not in
    the vocabulary have ids from V on, the same in ``source_ids`` and in the targets; ids below 0 are padding.

    The leading dimensions of a call are rows R, sentence-major (:func:`s2sfast.beam_search`), or sentences and queries
    (S, Q); S divides R, as the beams of a sentence share its source.

    >>> import torch, s2sfast
    >>> copying = s2sfast.nn.CopyGenerator(context_dim=8, state_dim=6, input_dim=4)
    >>> c, s, x = torch.randn(2, 3, 8), torch.randn(2, 3, 6), torch.randn(2, 3, 4)  # S=2, Q=3
    >>> vocab_logits, copy_weights = torch.randn(2, 3, 10), torch.rand(2, 3, 5).softmax(-1)
    >>> source_ids = torch.tensor([[4, 10, 4, 7, 11], [3, 10, 2, -1, -1]])  # V=10, and two words more
    >>> log_probs = copying(vocab_logits, copy_weights, source_ids, c, s, x, extended_size=12)
    >>> log_probs.shape
    torch.Size([2, 3, 12])
    >>> targets = torch.tensor([[4, 10, 1], [3, 10, -100]])
    >>> copying.nll(vocab_logits, copy_weights, source_ids, targets, c, s, x).shape
    torch.Size([2, 3])
    """

    def __init__(self, context_dim: int, state_dim: int, input_dim: int) -> None:
        super().__init__()
        self.widths = {"context": context_dim, "state": state_dim, "input": input_dim}
        self.p_gen = nn.Linear(sum(self.widths.values()), 1)

    def p_gen_logit(self, context: Tensor | None, state: Tensor | None, input: Tensor | None) -> Tensor:
        """``(...)``, what the sigmoid makes the probability of generating of."""
        given = {"context": context, "state": state, "input": input}
        for name, width in self.widths.items():
            value = given[name]
            got = 0 if value is None else value.shape[-1]
            if got != width:
                raise ValueError(f"CopyGenerator: expected {name} of width {width}; got {got}")
        return self.p_gen(torch.cat([value for value in given.values() if value is not None], -1)).squeeze(-1)

    def forward(
        self,
        vocab_logits: Tensor,
        copy_weights: Tensor,
        source_ids: Tensor,
        context: Tensor | None = None,
        state: Tensor | None = None,
        input: Tensor | None = None,
        *,
        extended_size: int | None = None,
    ) -> Tensor:
        """Log-probabilities ``(R, V')`` or ``(S, Q, V')``, of all words and of what the sources add to them.

        Args:
            vocab_logits: ``(R, V)`` or ``(S, Q, V)``.
            copy_weights: ``(R, T)`` or ``(S, Q, T)``, the weights of an attention.
            source_ids:   ``(S, T)`` int64.
            context, state, input: ``(R, ...)`` or ``(S, Q, ...)``.
            extended_size: V', above all ids; None: V, when nothing lies outside the vocabulary.
        """
        log_probs = s2sfast.pointer_mixture(
            vocab_logits.flatten(0, -2),
            copy_weights.flatten(0, -2),
            source_ids,
            self.p_gen_logit(context, state, input).flatten(),
            extended_size=extended_size,
        )
        return log_probs.unflatten(0, vocab_logits.shape[:-1])

    def nll(
        self,
        vocab_logits: Tensor,
        copy_weights: Tensor,
        source_ids: Tensor,
        targets: Tensor,
        context: Tensor | None = None,
        state: Tensor | None = None,
        input: Tensor | None = None,
        *,
        ignore_index: int = -100,
    ) -> Tensor:
        """-log P of the targets, for training: ``(R,)`` or ``(S, Q)``, 0 at ``ignore_index``; else as ``forward``."""
        loss = s2sfast.pointer_nll(
            vocab_logits.flatten(0, -2),
            copy_weights.flatten(0, -2),
            source_ids,
            self.p_gen_logit(context, state, input).flatten(),
            targets.flatten(),
            ignore_index=ignore_index,
        )
        return loss.unflatten(0, targets.shape)
