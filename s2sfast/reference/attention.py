"""What the attentions share: which positions are attended to, and what becomes of their scores.

A masked pair of query and position is computed on zeros (or ones) instead of what stands there, so that not even a NaN
reaches an output or a gradient. That takes O(B Q T D) memory, which the fast ops do not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2sfast.types import AttentionOutput

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def real_of(dtype: torch.dtype) -> torch.dtype:
    """What numbers of a dtype are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Arguments:
    """The checked arguments of an attention, with a dimension Q and in the dtype of the computation."""

    def __init__(
        self,
        op: str,
        query: Tensor,
        keys: Tensor,
        values: Tensor | None,
        mask: Tensor | None,
        lengths: Tensor | None,
        width: int | None = None,
    ) -> None:
        """`width`: of the query, where it is not D."""
        self.op, self.dtype, self.single = op, query.dtype, query.dim() == 2
        letter = "D" if width is None else "C"
        self.expect(query.dim() in (2, 3), f"query (B, Q, {letter}) or (B, {letter})", query)
        self.expect(keys.dim() == 3, "keys (B, T, D)", keys)
        B, T, D = keys.shape
        width = D if width is None else width
        Q = 1 if self.single else query.shape[1]
        self.sizes = B, Q, T, D
        wanted = f"(B, {letter})=({B}, {width})" if self.single else f"(B, Q, {letter})=({B}, Q, {width})"
        self.expect(query.shape[0] == B and query.shape[-1] == width, f"query {wanted}", query)
        if values is not None:
            self.expect(values.dim() == 3 and values.shape[:2] == (B, T), f"values (B, T, E)=({B}, {T}, E)", values)
        for name, value in (("query", query), ("keys", keys), ("values", values)):
            if value is not None:
                self.expect_like_query(name, value)
        self.query = self.real(query.unsqueeze(1) if self.single else query)
        self.keys = self.real(keys)
        self.values = self.keys if values is None else self.real(values)
        self.allowed = self._allowed(mask, lengths)

    def expect(self, ok: bool, what: str, got: Tensor) -> None:
        if not ok:
            raise ValueError(f"{self.op}: expected {what}; got {tuple(got.shape)}")

    def expect_like_query(self, name: str, value: Tensor) -> None:
        if value.dtype not in DTYPES:
            raise ValueError(
                f"{self.op}: expected floating {name} (float32, float64, bfloat16, float16); got another dtype"
            )
        if value.dtype != self.dtype:
            raise ValueError(f"{self.op}: expected {name} in the dtype of query; got another dtype")
        self._expect_device(name, value)

    def _expect_device(self, name: str, value: Tensor) -> None:
        if hasattr(self, "keys") and value.device != self.keys.device:
            raise ValueError(f"{self.op}: expected {name} on the device of query")

    def real(self, value: Tensor) -> Tensor:
        return value.to(real_of(self.dtype))

    def per_query(self, name: str, value: Tensor, *rest: tuple[str, int]) -> Tensor:
        """An argument of (B, Q, ...), or (B, ...) with a 2-D query."""
        B, Q, _, _ = self.sizes
        wanted = [("B", B), *([] if self.single else [("Q", Q)]), *rest]
        letters, sizes = ", ".join(w[0] for w in wanted), ", ".join(str(w[1]) for w in wanted)
        tail = "," if len(wanted) == 1 else ""
        self.expect(
            tuple(value.shape) == tuple(w[1] for w in wanted), f"{name} ({letters}{tail})=({sizes}{tail})", value
        )
        return self.real(value.unsqueeze(1) if self.single else value)

    def _allowed(self, mask: Tensor | None, lengths: Tensor | None) -> Tensor:
        """(B, Q, T) bool."""
        B, Q, T, _ = self.sizes
        allowed = torch.ones(B, Q, T, dtype=torch.bool, device=self.keys.device)
        if mask is not None:
            if mask.dtype != torch.bool:
                raise ValueError(f"{self.op}: expected mask to be bool; got another dtype")
            self._expect_device("mask", mask)
            self.expect(
                tuple(mask.shape) in ((B, T), (B, Q, T)), f"mask (B, T)=({B}, {T}) or (B, Q, T)=({B}, {Q}, {T})", mask
            )
            allowed = allowed & (mask[:, None] if mask.dim() == 2 else mask)
        if lengths is not None:
            if lengths.dtype not in (torch.int32, torch.int64):
                raise ValueError(f"{self.op}: expected lengths to be int32 or int64; got another dtype")
            self._expect_device("lengths", lengths)
            self.expect(tuple(lengths.shape) == (B,), f"lengths (B,)=({B},)", lengths)
            outside = ((lengths < 0) | (lengths > T)).nonzero().flatten()
            if outside.numel():
                b = int(outside[0])
                raise ValueError(
                    f"{self.op}: expected lengths in [0, T]=[0, {T}]; got {int(lengths[b])} for sentence {b}"
                )
            allowed = allowed & (torch.arange(T, device=lengths.device) < lengths[:, None])[:, None]
        return allowed

    def pairs(self, rows: Tensor, instead: float = 0) -> Tensor:
        """(B, Q, T, W) of (B, Q, 1, W) or (B, 1, T, W) rows, `instead` at masked pairs."""
        return rows.expand(*self.allowed.shape, rows.shape[-1]).masked_fill(~self.allowed[..., None], instead)

    def attend(self, scores: Tensor, need_weights: bool) -> AttentionOutput:
        """softmax over the positions that are attended to, and the values in these proportions."""
        some = self.allowed.any(-1, keepdim=True)
        weights = scores.masked_fill(~self.allowed & some, -torch.inf).softmax(-1).masked_fill(~self.allowed, 0)
        context = (weights[..., None] * self.pairs(self.values[:, None])).sum(2)
        return AttentionOutput(self.shown(context), self.shown(weights) if need_weights else None)

    def shown(self, value: Tensor) -> Tensor:
        """As it is returned: in the dtype of the query, without Q for a 2-D query."""
        value = value.to(self.dtype)
        return value.squeeze(1) if self.single else value
