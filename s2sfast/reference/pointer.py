"""What the two pointer-generator ops share: the checks, and the mixture of two ways to get a token, in log space."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from s2sfast.reference.attention import DTYPES, real_of


class Arguments:
    """The checked arguments, in the dtype of the computation; one row of source ids for each row."""

    def __init__(
        self, op: str, vocab_logits: Tensor, copy_weights: Tensor, source_ids: Tensor, p_gen_logit: Tensor
    ) -> None:
        self.op, self.like = op, vocab_logits
        self.expect(vocab_logits.dim() == 2, "vocab_logits (R, V)", vocab_logits)
        R = len(vocab_logits)
        self.expect(copy_weights.dim() == 2 and len(copy_weights) == R, f"copy_weights (R, T)=({R}, T)", copy_weights)
        T = copy_weights.shape[1]
        self.expect(source_ids.dim() == 2 and source_ids.shape[1] == T, f"source_ids (S, T)=(S, {T})", source_ids)
        self.expect(tuple(p_gen_logit.shape) == (R,), f"p_gen_logit (R,)=({R},)", p_gen_logit)
        S = len(source_ids)
        if R % S if S else R:
            raise ValueError(f"{op}: expected S to divide R; got S={S}, R={R}")
        floats = {"vocab_logits": vocab_logits, "copy_weights": copy_weights, "p_gen_logit": p_gen_logit}
        for name, value in floats.items():
            if value.dtype not in DTYPES:
                raise ValueError(
                    f"{op}: expected floating {name} (float32, float64, bfloat16, float16); got another dtype"
                )
            if value.dtype != vocab_logits.dtype:
                raise ValueError(f"{op}: expected {name} in the dtype of vocab_logits; got another dtype")
            self.expect_device(name, value)
        self.expect_integers("source_ids", source_ids)
        self.vocab, self.gate = self.real(vocab_logits), self.real(p_gen_logit)
        self.weights = self.real(_saturating(copy_weights))
        self.ids = source_ids.repeat_interleave(R // S if S else 1, 0)[:R]

    def expect(self, ok: bool, what: str, got: Tensor) -> None:
        if not ok:
            raise ValueError(f"{self.op}: expected {what}; got {tuple(got.shape)}")

    def expect_device(self, name: str, value: Tensor) -> None:
        if value.device != self.like.device:
            raise ValueError(f"{self.op}: expected {name} on the device of vocab_logits; got another device")

    def expect_integers(self, name: str, value: Tensor) -> None:
        if value.dtype != torch.int64:
            raise ValueError(f"{self.op}: expected int64 {name}; got another dtype")
        self.expect_device(name, value)

    def real(self, value: Tensor) -> Tensor:
        return value.to(real_of(value.dtype))


def generated(vocab: Tensor, gate: Tensor) -> Tensor:
    """log(p_gen softmax(vocab)), (R, V); a row of -inf offers nothing."""
    nothing = (vocab == -math.inf).all(-1, keepdim=True)
    logs = vocab.masked_fill(nothing, 0).log_softmax(-1).masked_fill(nothing, -math.inf)
    return logsigmoid(gate)[:, None] + logs


def mixed(generated: Tensor, log_copy: Tensor, mass: Tensor) -> Tensor:
    """log(exp(generated) + exp(log_copy) mass), with gradients that are finite at mass 0 and 0 where nothing is."""
    positive = mass > 0
    log_mass = mass.where(positive, 1).log()
    with torch.no_grad():  # what the sum is divided by
        top = torch.maximum(generated, (log_copy + log_mass).masked_fill(~positive, -math.inf))
        top = top.where(top.isfinite(), 0)
    exponent = log_copy + log_mass - top
    # Of a mass of 0 the derivative is exp(log_copy - top), which may be more than the largest number.
    exponent = exponent.where(positive, exponent.clamp(max=math.log(torch.finfo(mass.dtype).max) - 1))
    total = (generated - top).exp() + exponent.exp() * mass.masked_fill(positive, 1)
    none = total == 0
    return (top + total.masked_fill(none, 1).log()).masked_fill(none, -math.inf)


def _saturating(x: Tensor) -> Tensor:
    """x; its gradient is at most the largest finite number."""
    if not x.requires_grad:
        return x
    x = x.view_as(x)
    x.register_hook(lambda gradient: gradient if gradient is None else gradient.nan_to_num(nan=math.nan))
    return x
