"""The copy generator against See et al.'s formula in plain PyTorch."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from s2sfast.nn import AdditiveAttention, CopyGenerator
from tests.nn.compare import assert_same, leaf

S, Q, T, V = 2, 3, 5, 7
WIDTHS = (4, 6, 3)  # context, state, input
EXTENDED = 9
SOURCE = torch.tensor([[2, 7, 2, 5, 8], [7, 0, -1, -1, -1]])  # two words twice, two unknown ones, padding
TARGETS = torch.tensor([[2, 7, 6], [0, -100, 7]])  # both ways, copied only, generated only


class SeeEtAl(nn.Module):
    """Probabilities, as in the paper and the code that follows it; the layer's name is that code's too."""

    def __init__(self):
        super().__init__()
        self.p_gen_linear = nn.Linear(sum(WIDTHS), 1)

    def forward(self, vocab_logits, attention, source, context, state, x):
        p_gen = torch.sigmoid(self.p_gen_linear(torch.cat((context, state, x), -1)))
        final = torch.cat((p_gen * vocab_logits.softmax(-1), torch.zeros(S, Q, EXTENDED - V)), -1)
        for s in range(S):
            for t in range(T):
                if source[s, t] >= 0:
                    onto = nn.functional.one_hot(source[s, t], EXTENDED)
                    copied = ((1 - p_gen[s]) * attention[s, :, t, None]) * onto
                    final = final + copied * nn.functional.one_hot(torch.tensor(s), S)[:, None, None]
        return final


@pytest.fixture
def inputs():
    """(vocab_logits, copy_weights, context, state, input); weights only where there is a source."""
    attention = leaf(S, Q, T).softmax(-1) * (SOURCE >= 0)[:, None]
    attention = (attention / attention.sum(-1, keepdim=True)).detach().requires_grad_()
    return leaf(S, Q, V), attention, *(leaf(S, Q, width) for width in WIDTHS)


@pytest.fixture
def both():
    old, new = SeeEtAl(), CopyGenerator(*WIDTHS)
    new.p_gen.load_state_dict(old.p_gen_linear.state_dict())
    return old, new


def test_it_mixes_as_see_et_al(both, inputs):
    old, new = both
    logits, attention, *rest = inputs
    theirs = old(logits, attention, SOURCE, *rest)
    mine = new(logits, attention, SOURCE, *rest, extended_size=EXTENDED)
    possible = theirs > 0
    assert torch.equal(mine > -torch.inf, possible)
    assert not possible.all()  # words that only the other source has
    mine, theirs = torch.where(possible, mine, 0.0), torch.where(possible, theirs, 1.0).log()
    assert_same((mine,), (theirs,), inputs, list(new.parameters()), list(old.parameters()))
    assert_close(torch.where(possible, mine.exp(), 0.0).sum(-1), torch.ones(S, Q))


def test_its_loss_is_the_one_of_see_et_al(both, inputs):
    old, new = both
    logits, attention, *rest = inputs
    keep = TARGETS >= 0
    theirs = -old(logits, attention, SOURCE, *rest).gather(-1, TARGETS.clamp(min=0)[..., None]).squeeze(-1).log()
    theirs = torch.where(keep, theirs, 0.0)
    mine = new.nll(logits, attention, SOURCE, TARGETS, *rest)
    assert_same((mine,), (theirs,), inputs, list(new.parameters()), list(old.parameters()))


def test_rows_and_queries_are_the_same(both, inputs):
    """(R, ...) sentence-major, as in a search, and (S, Q, ...)."""
    _, new = both
    logits, attention, *rest = inputs
    together = new(logits, attention, SOURCE, *rest, extended_size=EXTENDED)
    rows = [x.flatten(0, 1) for x in rest]
    flat = new(logits.flatten(0, 1), attention.flatten(0, 1), SOURCE, *rows, extended_size=EXTENDED)
    assert torch.equal(flat, together.flatten(0, 1))
    loss = new.nll(logits.flatten(0, 1), attention.flatten(0, 1), SOURCE, TARGETS.flatten(), *rows)
    assert torch.equal(loss, new.nll(logits, attention, SOURCE, TARGETS, *rest).flatten())


def test_a_term_can_be_left_out(inputs):
    logits, attention, _, state, _ = inputs
    copying = CopyGenerator(0, WIDTHS[1], 0)
    p_gen = torch.sigmoid(state @ copying.p_gen.weight[0] + copying.p_gen.bias)
    log_probs = copying(logits, attention, SOURCE, state=state, extended_size=EXTENDED)
    assert_close(log_probs[0, :, 6].exp(), p_gen[0] * logits[0].softmax(-1)[:, 6])  # nothing to copy there
    with pytest.raises(ValueError, match="expected context of width 0; got 4"):
        copying(logits, attention, SOURCE, torch.randn(S, Q, 4), state)
    with pytest.raises(ValueError, match="expected state of width 6; got 0"):
        copying(logits, attention, SOURCE)


def test_a_state_dict_carries_it_over(both, inputs):
    _, new = both
    logits, attention, *rest = inputs
    buffer = io.BytesIO()
    torch.save(new.state_dict(), buffer)
    buffer.seek(0)
    other = CopyGenerator(*WIDTHS)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    expected = new.nll(logits, attention, SOURCE, TARGETS, *rest)
    assert torch.equal(other.nll(logits, attention, SOURCE, TARGETS, *rest), expected)
    assert torch.equal(copy.deepcopy(new).nll(logits, attention, SOURCE, TARGETS, *rest), expected)


def test_it_compiles_whole(both, inputs):
    _, new = both

    def loss(*arguments):
        return new.nll(arguments[0], arguments[1], SOURCE, TARGETS, *arguments[2:])

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_same((compiled(*inputs),), (loss(*inputs),), inputs, list(new.parameters()), list(new.parameters()))


class Copier(nn.Module):
    """Writes "x y" for a source that has a name y after the mark 1; names from V on were never in the vocabulary."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V + 1, 16)  # the last one: a word that it does not know
        self.encoder = nn.GRU(16, 16, batch_first=True)
        self.attention = AdditiveAttention(16, 16, 16)
        self.start = nn.Parameter(torch.zeros(16))
        self.output = nn.Linear(16, V)
        self.copying = CopyGenerator(16, 16, 0)

    def forward(self, source, targets):
        encoded, _ = self.encoder(self.embedding(source.clamp(max=V)))
        context, weights = self.attention(self.start.expand(len(source), 16), encoded)
        state = self.start.expand(len(source), 16)
        loss = self.copying.nll(self.output(context), weights, source, targets, context, state)
        return loss, self.copying(self.output(context), weights, source, context, state, extended_size=V + 20)


def test_it_learns_to_copy_names_that_it_never_saw():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    model = Copier()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def sources(count, names):
        source = torch.randint(2, V, (count, 6))
        place, name = torch.randint(5, (count,)), torch.randint(*names, (count,))
        source[torch.arange(count), place] = 1
        source[torch.arange(count), place + 1] = name
        return source, name

    for _ in range(200):
        source, name = sources(32, (V, V + 10))
        loss, _ = model(source, name)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    source, name = sources(300, (V + 10, V + 20))  # other names
    _, log_probs = model(source, name)
    assert (log_probs.argmax(-1) == name).double().mean() > 0.9  # a vocabulary without them: 0
