"""What tells one system's beam search from another's: the candidates it keeps, when eos counts, when it stops.

A rule is a small object; ``rules="hf"`` stands for ``rules.HF()``. docs/rules.md lists every difference side by side.
"""

from __future__ import annotations

from s2sfast.search.rules.base import Progress, Ranked, Rule
from s2sfast.search.rules.elsewhere import HF, AllenNLP, CTranslate2, Fairseq, OpenNMT
from s2sfast.search.rules.here import Exact, Greedy

__all__ = [
    "HF",
    "AllenNLP",
    "CTranslate2",
    "Exact",
    "Fairseq",
    "Greedy",
    "OpenNMT",
    "Progress",
    "Ranked",
    "Rule",
    "as_rule",
]

_NAMED: dict[str, type[Rule]] = {
    "hf": HF,
    "exact": Exact,
    "fairseq": Fairseq,
    "opennmt": OpenNMT,
    "ctranslate2": CTranslate2,
    "allennlp": AllenNLP,
}


def as_rule(rules: str | Rule) -> Rule:
    """The rule that a user's argument names.

    Raises:
        ValueError: an unknown name, or no rule.
    """
    if isinstance(rules, Rule):
        return rules
    if not isinstance(rules, str) or rules not in _NAMED:
        raise ValueError(f"beam_search: expected rules to be one of {', '.join(_NAMED)}, or an object; got {rules!r}")
    return _NAMED[rules]()
