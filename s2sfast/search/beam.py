"""Beam search and greedy search over any step function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from s2sfast.search import arguments as check
from s2sfast.search.constraints import Constraints, as_constraints
from s2sfast.search.coverage import CoveragePenalty, as_coverage
from s2sfast.search.loop import Loop
from s2sfast.search.penalties import LengthPenalty, Penalty, as_penalty
from s2sfast.search.processors.base import Processor
from s2sfast.search.ranking import ByLogProb, Ranking
from s2sfast.search.result import BeamResult
from s2sfast.search.rules import Greedy, Rule, as_rule
from s2sfast.search.siblings import as_siblings
from s2sfast.search.uid import UID, as_regularizer
from s2sfast.search.view import LiveBeams
from s2sfast.types import Pruning


@torch.no_grad()
def beam_search(
    step: Any,
    state: Any,
    *,
    start: int | Sequence | Tensor,
    eos: int | Sequence[int] | Tensor,
    beam: int = 5,
    n_best: int = 1,
    max_length: int | Tensor = 200,
    min_length: int = 0,
    memory: Any = None,
    batch_size: int | None = None,
    prefix_lengths: Tensor | None = None,
    state_dims: Any = 0,
    length_penalty: float | LengthPenalty | Penalty = 1.0,
    coverage_penalty: CoveragePenalty | None = None,
    pruning: Pruning | None = None,
    regularizer: UID | None = None,
    sibling_penalty: float = 0.0,
    constraints: Constraints | Sequence[Constraints] | None = None,
    processors: Sequence[Callable[[Tensor, Tensor], Tensor] | Processor] = (),
    rules: str | Rule = "hf",
    temperature: float = 1.0,
    return_attention: bool = False,
    return_tree: bool = False,
    on_step: Callable[[LiveBeams], None] | None = None,
    ends: Callable[[Tensor], Tensor] | None = None,
    backend: Literal["fast", "reference"] = "fast",
) -> BeamResult:
    """Finds the n best sequences of each of B sentences, K beams wide.

    ``step(tokens (R,), state, memory)`` returns ``(logits (R, V), state)`` or ``(logits, state, attention (R, T))``; it
    is called under ``torch.no_grad()``. Rows are sentence-major: with S sentences alive, row r is beam ``r % (R // S)``
    of sentence ``r // (R // S)``, so that ``tokens.view(S, -1)`` lines up with ``memory``. The first call has one row a
    sentence; finished sentences leave, and so do beams that pruning has emptied everywhere. An object with ``.step``
    and optionally ``.prefill(prefix (B, P), lengths (B,), state, memory) -> (logits (B, V), state)`` works too.

    Args:
        step: the model. Log-probabilities are fine as logits; -inf forbids a token.
        state: any pytree (dict, tuple, list, dataclass) of tensors with B rows, or None. Rows are gathered by parent
            after each step; 0-d tensors and other values pass; an object with ``reorder(index)`` returns the new
            object, or None when it worked in place (the index may be longer than the rows).
        start: the first token: an id, ids ``(B,)``, or a prefix ``(B, P)``. It is fed, not scored, counted or returned.
        eos: the token id that ends a hypothesis, or several; ``s2sfast.NO_EOS`` where none does.
        beam: K, how many hypotheses run.
        n_best: how many to return per sentence.
        max_length: how many tokens may be generated, eos included; an int, or one per sentence ``(B,)``.
        min_length: eos is forbidden until that many tokens are generated.
        memory: pytree of tensors with B rows in dimension 0, given to every step; never expanded to beams.
        batch_size: B, needed only where neither start, state nor memory tells it.
        prefix_lengths: ``(B,)`` how many tokens of each row of a ragged ``start`` count. Without ``prefill``, sentences
            with longer prefixes are still fed theirs while the others generate.
        state_dims: the dimension of the rows: an int, or ints in a prefix of the state's structure.
        length_penalty: hypotheses are ranked by log_prob / length**length_penalty, length being the generated tokens,
            eos included (0: none); or a :class:`s2sfast.LengthPenalty`, or a callable ``(log_prob, length) -> score``.
        coverage_penalty: a :class:`s2sfast.CoveragePenalty`, added to the score of finished hypotheses; needs a step
            that returns attention.
        pruning: drops candidates before they are ranked, see :class:`s2sfast.Pruning`.
        processors: callables ``(tokens_so_far (R, t), log_probs (R, V)) -> log_probs``, applied in turn after the
            log-softmax and not renormalised; tokens_so_far begins with the prefix. Those of
            :mod:`s2sfast.processors` need no tokens_so_far.
        rules: whose candidates, stopping and counting: "hf" (transformers), "fairseq", "opennmt", "ctranslate2",
            "allennlp" or "exact"; or an object of :mod:`s2sfast.rules` such as ``rules.HF(early_stopping=True)``.
        temperature: divides the logits before the log-softmax.
        return_attention: keep what the step returned as attention, along each hypothesis.
        return_tree: keep every candidate, for :func:`s2sfast.plot.beam_tree`.
        on_step: called after every step that chooses tokens with the :class:`s2sfast.LiveBeams` that run on;
            ``beams.stop(sentence)`` ends a sentence there, its running hypotheses flagged unfinished.
        ends: ``(tokens (N, t)) -> bool (N,)``, asked of every ranked candidate with its prefix: where it says yes, the
            candidate ends as with eos.
        backend: "reference" runs the same loop on :mod:`s2sfast.reference`.
        regularizer: a :class:`s2sfast.UID`: beams and hypotheses are ranked by log_prob minus its penalty.
        sibling_penalty: gamma >= 0 of Li, Monroe & Jurafsky 2016 (arXiv:1611.08562): a candidate loses gamma * i when
            it is the i-th best of its parent, i from 1; all steps but the first, as in fairseq. Scores keep what was
            lost; log_probs do not. Not together with `regularizer`.
        constraints: what the hypotheses must contain: :class:`s2sfast.Constraints` for all sentences, or a list of B.
            Not together with pruning, ends, regularizer, sibling_penalty or rules that keep what has ended in the beam.

    Returns:
        :class:`s2sfast.BeamResult`.

    Raises:
        ValueError: an argument out of its range, or a step that returns the wrong thing, naming the step's number and
            what was expected. What the step itself raises passes unchanged.

    A sentence's result is the same bits in any batch, in any order and for any number of threads, as far as the step's
    rows do not depend on their neighbours.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.4, 0.0], [0.6, 0.3, 0.1], [0.0, 0.1, 0.9]]).log()  # next of 0, 1, 2; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> found = s2sfast.beam_search(step, None, start=1, eos=2, beam=2, max_length=4, batch_size=1, length_penalty=0.0)
    >>> found.best(0), found.finished[0, 0].item()
    ([0, 0, 0, 0], False)
    """
    return beam_loop(
        "beam_search", step, state, start=start, eos=eos, beam=beam, n_best=n_best, max_length=max_length,
        min_length=min_length, memory=memory, batch_size=batch_size, prefix_lengths=prefix_lengths,
        state_dims=state_dims, length_penalty=length_penalty, coverage_penalty=coverage_penalty, pruning=pruning,
        regularizer=regularizer, sibling_penalty=sibling_penalty, constraints=constraints, processors=processors,
        rules=rules, temperature=temperature, return_attention=return_attention, return_tree=return_tree,
        on_step=on_step, ends=ends, backend=backend,
    ).run()  # fmt: skip


def beam_loop(
    name: str,
    step: Any,
    state: Any,
    *,
    length_penalty: Any,
    coverage_penalty: Any,
    regularizer: Any,
    sibling_penalty: Any,
    constraints: Any,
    rules: Any,
    on_step: Any,
    ends: Any,
    **options: Any,
) -> Loop:
    """The loop of a beam search, ready to run; arguments as there, and fields of Arguments."""
    arguments = check.prepare(
        name, step, state, penalty=as_penalty(length_penalty), rule=as_rule(rules),
        ranking=_ranking(regularizer, sibling_penalty, constraints),
        coverage=as_coverage(coverage_penalty), ends=check.function_of(name, "ends", ends),
        on_step=check.function_of(name, "on_step", on_step), **options,
    )  # fmt: skip
    return Loop(arguments)


def _ranking(
    regularizer: UID | None, sibling_penalty: float, constraints: Constraints | Sequence[Constraints] | None
) -> Ranking:
    uid, siblings, banks = as_regularizer(regularizer), as_siblings(sibling_penalty), as_constraints(constraints)
    if sum(ranking is not None for ranking in (uid, siblings, banks)) > 1:
        raise ValueError("beam_search: expected one of regularizer, sibling_penalty and constraints; got both")
    return uid or siblings or banks or ByLogProb()


@torch.no_grad()
def greedy_search(
    step: Any,
    state: Any,
    *,
    start: int | Sequence | Tensor,
    eos: int | Sequence[int] | Tensor,
    max_length: int | Tensor = 200,
    min_length: int = 0,
    memory: Any = None,
    batch_size: int | None = None,
    prefix_lengths: Tensor | None = None,
    state_dims: Any = 0,
    processors: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
    temperature: float = 1.0,
    return_attention: bool = False,
    backend: Literal["fast", "reference"] = "fast",
) -> BeamResult:
    """Follows the best token until the first eos. ``beam_search(beam=1, length_penalty=0)`` gives the same.

    Arguments and result as in :func:`s2sfast.beam_search`; the score is the log-probability.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]]).log()  # 2 is eos
    >>> s2sfast.greedy_search(lambda tokens, state, memory: (P[tokens], state), None, start=[0], eos=2).best(0)
    [1, 2]
    """
    arguments = check.prepare(
        "greedy_search", step, state, start=start, memory=memory, batch_size=batch_size, prefix_lengths=prefix_lengths,
        state_dims=state_dims, backend=backend, max_length=max_length, eos=eos, min_length=min_length,
        processors=processors, temperature=temperature, return_attention=return_attention, return_tree=False,
        beam=1, n_best=1, penalty=LengthPenalty(alpha=0.0), rule=Greedy(), pruning=None, ranking=ByLogProb(),
    )  # fmt: skip
    return Loop(arguments).run()
