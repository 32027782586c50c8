"""Beam search in a model of one's own: a GRU decoder with dot attention over an encoder's memory.

    python examples/attention_decoder.py

The weights are random; what matters is the shape of `step`: state follows its hypotheses, memory is shared by the beams
of a sentence and never copied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import s2sfast

BOS, EOS = 0, 1


class Decoder(nn.Module):
    """V tokens, H hidden units; memory (B, T, H)."""

    def __init__(self, vocabulary: int = 500, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.cell = nn.GRUCell(2 * hidden, hidden)
        self.output = nn.Linear(2 * hidden, vocabulary)

    def step(self, tokens: Tensor, state: dict[str, Tensor], memory: Tensor) -> tuple[Tensor, dict, Tensor]:
        """(R,), rows of (R, H), (S, T, H) -> logits (R, V), state, attention (R, T)."""
        hidden = self.cell(torch.cat((self.embedding(tokens), state["context"]), 1), state["hidden"])
        queries = hidden.view(len(memory), -1, hidden.shape[1])  # (S, K, H): the beams are queries
        weights = (queries @ memory.mT).softmax(-1)  # (S, K, T)
        context = (weights @ memory).flatten(0, 1)
        logits = self.output(torch.cat((hidden, context), 1))
        return logits, {"hidden": hidden, "context": context}, weights.flatten(0, 1)


def main() -> None:
    torch.manual_seed(0)
    decoder, memory = Decoder().eval(), torch.randn(3, 12, 64)  # three sources of 12 positions
    state = {"hidden": torch.tanh(memory.mean(1)), "context": torch.zeros(3, 64)}
    found = s2sfast.beam_search(
        decoder, state, memory=memory, start=BOS, eos=EOS, beam=5, n_best=2, max_length=8, return_attention=True,
        pruning=s2sfast.Pruning(absolute=2.5),
    )  # fmt: skip
    for b in range(3):
        print(f"sentence {b}: {found.best(b)}  score {found.scores[b, 0]:.3f}")
    print(f"attention {tuple(found.attention.shape)}; {found.stats}")


if __name__ == "__main__":
    main()
