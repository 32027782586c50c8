"""Step objects made of several: an ensemble, and a translation model with a language model."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from s2sfast.search.arguments import step_functions
from s2sfast.search.ranking import log_softmax
from s2sfast.search.stepper import Output


class Ensemble:
    r"""Several models as one step, for any search: the mean of their distributions.

    With the members' next-token distributions :math:`p_m` and weights :math:`w_m`,

    * "linear": :math:`\log \sum_m w_m p_m / \sum_m w_m`: a token is probable where some member says so;
    * "log_linear": :math:`\sum_m w_m \log p_m`, normalised again over the vocabulary: a product of experts, where each
      may forbid. The weights act as they are: two members of weight 1 multiply their probabilities.

    These are the two interpolations of Sockeye (Hieber et al. 2017, arXiv:1712.05690).

    The state is a tuple, one member's each; so is the memory, or None for all, and so may ``state_dims`` be. If each
    member returns attention (R, T), so does the ensemble: the mean, weighted alike in both modes. If each has a
    ``prefill``, the ensemble has one.

    Args:
        steps: M >= 1 steps, functions or objects, over one vocabulary.
        weights: M positive numbers; None: 1/M each.
        mode: "linear" or "log_linear".

    Raises:
        ValueError: no steps, weights or a mode out of range, a member whose scores are no log-probabilities
            (``normalized``); while it runs, a state or memory that is no tuple of M, or members that disagree in shape,
            with the member's number.

    >>> import torch, s2sfast
    >>> P, Q = torch.tensor([0.6, 0.3, 0.1]).log(), torch.tensor([0.1, 0.5, 0.4]).log()
    >>> steps = [lambda tokens, state, memory, p=p: (p.expand(len(tokens), -1), state) for p in (P, Q)]
    >>> logits, state = s2sfast.Ensemble(steps).step(torch.tensor([0]), (None, None), None)
    >>> logits.exp()
    tensor([[0.3500, 0.4000, 0.2500]])
    >>> s2sfast.greedy_search(s2sfast.Ensemble(steps), (None, None), start=[0], eos=1).best(0)
    [1]
    """

    # No `normalized = True`: log-probabilities pass a log-softmax unchanged, and so a temperature acts on the mean.

    def __init__(
        self,
        steps: Sequence[Any],
        weights: Sequence[float] | None = None,
        mode: Literal["linear", "log_linear"] = "linear",
    ):
        if mode not in ("linear", "log_linear"):
            raise ValueError(f'Ensemble: expected mode "linear" or "log_linear"; got {mode!r}')
        self._mean = _linear if mode == "linear" else _log_linear
        members = [_functions("Ensemble", f"step {number}", step) for number, step in enumerate(steps)]
        if not members:
            raise ValueError("Ensemble: expected at least one step; got none")
        self.weights = _weights(weights, len(members))
        self._steps = [step for step, _ in members]
        prefills = [prefill for _, prefill in members if prefill is not None]
        self._prefills = prefills
        self.prefill: Callable | None = self._prefill if len(prefills) == len(members) else None

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple:
        """As :func:`s2sfast.beam_search` calls it."""
        return self._call(self._steps, state, memory, tokens)

    def _prefill(self, prefix: Tensor, lengths: Tensor, state: Any, memory: Any) -> tuple:
        return self._call(self._prefills, state, memory, prefix, lengths)

    def _call(self, functions: list[Callable], state: Any, memory: Any, *tokens: Tensor) -> tuple:
        states = self._of_each("state", state)
        memories = (None,) * len(functions) if memory is None else self._of_each("memory", memory)
        outputs = [
            _member_output("Ensemble", f"step {number}", function(*tokens, states[number], memories[number]))
            for number, function in enumerate(functions)
        ]
        self._check_same("logits", [output.logits for output in outputs])
        log_probs = self._mean(torch.stack([log_softmax(output.logits) for output in outputs]), self._column(outputs))
        after = tuple(output.state for output in outputs)
        attention = self._attention(outputs)
        return (log_probs, after) if attention is None else (log_probs, after, attention)

    def _of_each(self, what: str, values: Any) -> tuple:
        if not isinstance(values, tuple) or len(values) != len(self._steps):
            got = f"a tuple of {len(values)}" if isinstance(values, tuple) else type(values).__name__
            raise ValueError(f"Ensemble: expected {what} to be a tuple of {len(self._steps)}; got {got}")
        return values

    def _column(self, outputs: list[Output]) -> Tensor:
        """(M, 1, 1)"""
        return torch.tensor(self.weights, dtype=torch.float64, device=outputs[0].logits.device)[:, None, None]

    def _attention(self, outputs: list[Output]) -> Tensor | None:
        attentions = [output.attention for output in outputs if output.attention is not None]
        if len(attentions) < len(outputs):
            return None
        self._check_same("attention", attentions)
        weights = self._column(outputs)
        return (torch.stack(attentions) * (weights / weights.sum()).to(attentions[0].dtype)).sum(0)

    def _check_same(self, what: str, tensors: list[Tensor]) -> None:
        for number, tensor in enumerate(tensors):
            if tensor.shape != tensors[0].shape:
                raise ValueError(
                    f"Ensemble: expected {what} {tuple(tensors[0].shape)} from step {number}, as from step 0; "
                    f"got {tuple(tensor.shape)}"
                )


def _linear(log_probs: Tensor, weights: Tensor) -> Tensor:
    """(M, R, V), (M, 1, 1) -> (R, V)"""
    return torch.logsumexp(log_probs + (weights / weights.sum()).log().to(log_probs.dtype), 0)


def _log_linear(log_probs: Tensor, weights: Tensor) -> Tensor:
    return log_softmax((log_probs * weights.to(log_probs.dtype)).sum(0))


def _weights(weights: Sequence[float] | None, members: int) -> tuple[float, ...]:
    if weights is None:
        return (1 / members,) * members
    given = tuple(weights)
    if len(given) != members or not all(_is_number(w) and 0 < w < math.inf for w in given):
        raise ValueError(f"Ensemble: expected {members} positive weights, one per step; got {weights!r}")
    return tuple(float(w) for w in given)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def _functions(name: str, member: str, step: Any) -> tuple[Callable, Callable | None]:
    """(step, prefill or None) of a member."""
    if getattr(step, "normalized", False):
        raise ValueError(
            f"{name}: expected {member} to return logits or log-probabilities; "
            f"got {type(step).__name__}, whose scores are to be used as they are"
        )
    return step_functions(name, step)


def _member_output(name: str, member: str, output: Any) -> Output:
    """What a member's step returned, or what is wrong with it."""
    if not isinstance(output, tuple) or len(output) not in (2, 3):
        got = f"a tuple of {len(output)}" if isinstance(output, tuple) else type(output).__name__
        raise ValueError(f"{name}: expected (logits, state) or (logits, state, attention) from {member}; got {got}")
    logits, state, attention = (*output, None)[:3]
    for what, tensor in (("logits (R, V)", logits), ("attention (R, T)", attention)):
        if tensor is None and tensor is attention:
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.dim() != 2:
            got = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name}: expected floating {what} from {member}; got {got}")
    return Output(logits, state, attention)


class ShallowFusion:
    r"""A model and a language model as one step: each token scores

    .. math:: \log p(y_t \mid y_{<t}, x) + \lambda \log p_{LM}(y_t \mid y_{<t})

    (Gulcehre et al. 2015, arXiv:1503.03535, eq. 6). The sum is not normalised again, which ``normalized = True`` tells
    the search: a log-softmax of each row would take away how much the language model likes a hypothesis as a whole, and
    rank otherwise. Scores and ``log_probs`` of the result are these sums, never above 0.

    The state is a tuple (the model's, the language model's); the memory is the model's, the language model gets None.
    Attention is the model's. There is a ``prefill`` if both have one.

    Args:
        step: the model: a function or an object, returns logits (R, V).
        lm_step: the language model, over the same vocabulary.
        weight: lambda, finite and at least 0. (With a negative one continuing could raise a score, on which no stopping
            rule counts.)

    Raises:
        ValueError: a weight out of range, a member whose scores are ``normalized`` already; while it runs, a state that
            is no pair, or logits of two shapes.

    >>> import torch, s2sfast
    >>> P, LM = torch.tensor([0.6, 0.3, 0.1]).log(), torch.tensor([0.1, 0.5, 0.4]).log()
    >>> steps = [lambda tokens, state, memory, p=p: (p.expand(len(tokens), -1), state) for p in (P, LM)]
    >>> scores, state = s2sfast.ShallowFusion(*steps, weight=1.0).step(torch.tensor([0]), (None, None), None)
    >>> scores.exp()
    tensor([[0.0600, 0.1500, 0.0400]])
    """

    normalized = True

    def __init__(self, step: Any, lm_step: Any, weight: float):
        if not (_is_number(weight) and 0 <= weight < math.inf):
            raise ValueError(f"ShallowFusion: expected a finite weight >= 0; got {weight!r}")
        self.weight = float(weight)
        self._step, prefill = _functions("ShallowFusion", "step", step)
        self._lm_step, lm_prefill = _functions("ShallowFusion", "lm_step", lm_step)
        self._prefills = prefill, lm_prefill
        self.prefill: Callable | None = None if prefill is None or lm_prefill is None else self._prefill

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple:
        """As :func:`s2sfast.beam_search` calls it."""
        return self._call(self._step, self._lm_step, state, memory, tokens)

    def _prefill(self, prefix: Tensor, lengths: Tensor, state: Any, memory: Any) -> tuple:
        return self._call(*self._prefills, state, memory, prefix, lengths)

    def _call(self, function: Any, lm_function: Any, state: Any, memory: Any, *tokens: Tensor) -> tuple:
        if not isinstance(state, tuple) or len(state) != 2:
            got = f"a tuple of {len(state)}" if isinstance(state, tuple) else type(state).__name__
            raise ValueError(f"ShallowFusion: expected state to be a pair, the model's and the LM's; got {got}")
        model = _member_output("ShallowFusion", "step", function(*tokens, state[0], memory))
        lm = _member_output("ShallowFusion", "lm_step", lm_function(*tokens, state[1], None))
        if lm.logits.shape != model.logits.shape:
            raise ValueError(
                f"ShallowFusion: expected logits {tuple(model.logits.shape)} from lm_step, as from step; "
                f"got {tuple(lm.logits.shape)}"
            )
        scores = log_softmax(model.logits)
        if self.weight:  # 0 times the -inf of what the LM forbids would be NaN
            scores = scores + self.weight * log_softmax(lm.logits)
        after = (model.state, lm.state)
        return (scores, after) if model.attention is None else (scores, after, model.attention)
