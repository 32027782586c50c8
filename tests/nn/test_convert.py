"""Layers written elsewhere and ours with their weights: the same outputs and the same gradients."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from s2sfast.nn import DotAttention, convert
from tests.nn import elsewhere
from tests.nn.compare import assert_same, gradients, leaf

B, T, Q, ENC, DEC = 3, 7, 4, 6, 5
LENGTHS = torch.tensor([7, 1, 4])


@pytest.mark.parametrize("state_first", [True, False])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_the_concatenation_of_the_tutorials(state_first, lengths):
    old = elsewhere.ConcatTutorial(ENC, DEC, state_first)
    new = convert.from_concat(old.attn, old.v, query_dim=DEC, query_first=state_first)
    hidden, encoded = leaf(B, DEC), leaf(B, T, ENC)
    mine, theirs = new(hidden, encoded, lengths=lengths), old(hidden, encoded, lengths)
    assert_same(mine, theirs, (hidden, encoded), (new.key_projection.bias, new.v), (old.attn.bias, old.v.weight))
    halves = gradients(mine, (new.query_projection.weight, new.key_projection.weight))
    (whole,) = gradients(theirs, (old.attn.weight,))
    assert_close(torch.cat(halves if state_first else halves[::-1], 1), whole)


def test_pytorchs_translation_tutorial():
    old = elsewhere.TranslationTutorial(DEC)
    new = convert.from_linears(old.Wa, old.Ua, old.Va)
    query, keys = leaf(B, 1, DEC), leaf(B, T, DEC)
    mine, theirs = new(query, keys), old(query, keys)
    ours = (new.query_projection.weight, new.key_projection.weight, new.key_projection.bias, new.v)
    assert_same(mine, theirs, (query, keys), ours, (old.Wa.weight, old.Ua.weight, old.Ua.bias, old.Va.weight))
    Wa_bias, Ua_bias, Va_bias = gradients(theirs, (old.Wa.bias, old.Ua.bias, old.Va.bias))
    assert_close(Wa_bias, Ua_bias)  # one bias can stand for both
    assert Va_bias.abs() < 1e-12  # and none for this one


def test_pytorchs_chatbot_tutorial():
    """A bias of the keys' layer changes no weight."""
    old = elsewhere.ChatbotTutorial(DEC, ENC)
    nn.init.normal_(old.attn.bias, std=3.0)
    new = convert.from_linear(old.attn, of="keys")
    hidden, encoded = leaf(B, DEC), leaf(B, T, ENC)
    mine, theirs = new(hidden, encoded).weights, old(hidden, encoded)
    assert_same((mine,), (theirs,), (hidden, encoded), (new.weight,), (old.attn.weight,))


def test_a_linear_layer_of_the_query():
    linear = nn.Linear(DEC, ENC, bias=False)
    new = convert.from_linear(linear, of="query")
    query, keys = leaf(B, Q, DEC), leaf(B, T, ENC)
    weights = (linear(query) @ keys.mT).softmax(-1)
    assert_same(new(query, keys), (weights @ keys, weights), (query, keys))


def test_a_bias_of_the_querys_layer_is_refused_because_it_matters():
    linear = nn.Linear(DEC, ENC)
    with pytest.raises(ValueError, match=r"without bias.*DotAttention"):
        convert.from_linear(linear, of="query")
    query, keys = torch.randn(B, Q, DEC), torch.randn(B, T, ENC)
    as_advised = DotAttention()(linear(query), keys).weights
    linear.bias = None
    assert (as_advised - convert.from_linear(linear, of="query")(query, keys).weights).abs().max() > 1e-3


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("attn_type", ["dot", "general", "mlp"])
def test_opennmt(attn_type, lengths):
    old = elsewhere.OpenNMT(DEC, attn_type)
    model = {f"decoder.attn.{name}": weight for name, weight in old.state_dict().items()} | {"other": torch.ones(1)}
    attention, output = convert.from_opennmt(model, attn_type, prefix="decoder.attn.")
    query, memory_bank = leaf(B, Q, DEC), leaf(B, T, DEC)
    context, weights = attention(query, memory_bank, lengths=lengths)
    mine, theirs = (output(query, context), weights), old(query, memory_bank, lengths)
    names = {
        "dot": [],
        "general": [],
        "mlp": [
            ("query_projection.weight", "linear_query.weight"),
            ("key_projection.weight", "linear_context.weight"),
            ("key_projection.bias", "linear_query.bias"),
            ("v", "v.weight"),
        ],
    }[attn_type]
    my_weights = [attention.get_parameter(name) for name, _ in names] + list(output.parameters())
    their_weights = [old.get_parameter(name) for _, name in names] + list(old.linear_out.parameters())
    assert_same(mine, theirs, (query, memory_bank), my_weights, their_weights)
    if attn_type == "general":
        (mine_w,), (theirs_w,) = gradients(mine, (attention.weight,)), gradients(theirs, (old.linear_in.weight,))
        assert_close(mine_w.T, theirs_w)
    alone = attention(query[:, 0], memory_bank, lengths=lengths)  # one step: (B, D)
    assert_close(output(query[:, 0], alone.context), theirs[0][:, 0])


def test_espnet_from_step_to_step():
    """Three steps, each on the weights of the one before, begun as ESPnet begins."""
    old = elsewhere.ESPnetLocation(ENC, DEC, att_dim=8, aconv_chans=3, aconv_filts=2)
    new = convert.from_espnet(old.state_dict())
    encoded, queries = leaf(B, T, ENC), leaf(3, B, DEC)
    previous = (torch.arange(T) < LENGTHS[:, None]) / LENGTHS[:, None]
    memory = new.precompute(encoded, lengths=LENGTHS)
    mine, theirs, att_prev = [], [], None
    for query in queries:
        context, previous = new(query, memory, previous=previous)
        mine += [context, previous]
        context, att_prev = old(encoded, LENGTHS, query, att_prev)
        theirs += [context, att_prev]
    my_names = ("query_projection.weight", "key_projection.weight", "key_projection.bias", "location.weight")
    their_names = ("mlp_dec.weight", "mlp_enc.weight", "mlp_enc.bias", "loc_conv.weight")
    assert_same(
        mine,
        theirs,
        (encoded, queries),
        [new.get_parameter(name) for name in my_names],
        [old.get_parameter(name) for name in their_names],
    )
    spread, v = gradients(mine, (new.feature_weight, new.v))
    their_spread, their_v = gradients(theirs, (old.mlp_att.weight, old.gvec.weight))
    assert_close(spread.T, their_spread)
    assert_close(2.0 * v, their_v[0])  # the factor before their softmax stands in our v


@pytest.mark.parametrize("wrapped", [True, False])
def test_tacotron2_from_step_to_step(wrapped):
    old = elsewhere.Tacotron2(DEC, ENC, dim=8, filters=3, kernel=5, wrapped=wrapped)
    new = convert.from_tacotron2({f"d.{name}": weight for name, weight in old.state_dict().items()}, prefix="d.")
    assert new.cumulative
    encoded, queries = leaf(B, T, ENC), leaf(3, B, DEC)
    memory = new.precompute(encoded, lengths=LENGTHS)
    mine, theirs = [], []
    previous = accumulated = their_previous = their_sum = torch.zeros(B, T)
    for query in queries:
        context, previous = new(query, memory, previous=previous, accumulated=accumulated)
        accumulated = accumulated + previous
        mine += [context, previous]
        context, their_previous = old(query, encoded, torch.stack((their_previous, their_sum), 1), LENGTHS)
        their_sum = their_sum + their_previous
        theirs += [context, their_previous]
    inner = (lambda layer: next(layer.children())) if wrapped else (lambda layer: layer)
    assert_same(
        mine,
        theirs,
        (encoded, queries),
        (new.query_projection.weight, new.key_projection.weight, new.v, new.location.weight),
        [inner(layer).weight for layer in (old.query_layer, old.memory_layer, old.v, old.location_layer.location_conv)],
    )
    (spread,) = gradients(mine, (new.feature_weight,))
    (their_spread,) = gradients(theirs, (inner(old.location_layer.location_dense).weight,))
    assert_close(spread.T, their_spread)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # between Keras and NumPy
class TestKeras:
    """Through Keras' own torch backend."""

    @pytest.fixture
    def layers(self, monkeypatch, tmp_path):
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # where it would write settings
        import keras

        assert keras.backend.backend() == "torch"
        torch.set_default_dtype(torch.float32)  # its matmul makes float32 of float64
        return keras.layers

    def inputs(self, layer):
        """Query, value, key; the layer is built, with a scale that is no constant."""
        query, value, key = leaf(B, Q, DEC), leaf(B, T, ENC), leaf(B, T, DEC)
        layer.build([query.shape, value.shape, key.shape])
        layer.set_weights([torch.linspace(0.5, 2.0, w.size).reshape(w.shape).numpy() for w in layer.get_weights()])
        return query, value, key

    @pytest.mark.parametrize("lengths", [None, LENGTHS])
    @pytest.mark.parametrize("kind", ["AdditiveAttention", "Attention", "Attention without scale"])
    def test_same(self, layers, kind, lengths):
        name, *bare = kind.split(" without ")
        layer = getattr(layers, name)(use_scale=not bare)
        query, value, key = self.inputs(layer)
        new = convert.from_keras(layer)
        mask = None if lengths is None else [None, torch.arange(T) < lengths[:, None]]
        theirs = layer([query, value, key], mask=mask, return_attention_scores=True)
        mine = new(query, key, value, lengths=lengths)
        weights = [weight.value for weight in layer.weights]
        assert len(weights) == len(list(new.parameters())) == (0 if bare else 1)
        assert_same(mine, theirs, (query, value, key), list(new.parameters()), weights)

    def test_what_is_not_ours(self, layers):
        with pytest.raises(ValueError, match="Dense"):
            convert.from_keras(layers.Dense(3))
        with pytest.raises(ValueError, match="Attention concat"):
            convert.from_keras(layers.Attention(score_mode="concat"))
        with pytest.raises(ValueError, match="built"):
            convert.from_keras(layers.AdditiveAttention())
        with pytest.raises(ValueError, match="use_scale=True"):
            convert.from_keras(layers.AdditiveAttention(use_scale=False))


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"linear_in.weight in the state dict; got linear_out.weight"):
        convert.from_opennmt({"linear_out.weight": torch.ones(4, 8)}, "general")
    with pytest.raises(ValueError, match="got nothing"):
        convert.from_tacotron2({"v.weight": torch.ones(1, 4)}, prefix="elsewhere.")


def test_what_cannot_be_taken_over_is_refused():
    covered = {"linear_out.weight": torch.ones(4, 8), "linear_cover.weight": torch.ones(4, 1)}
    with pytest.raises(ValueError, match="no coverage"):
        convert.from_opennmt(covered, "dot")
    with pytest.raises(ValueError, match="attn_type"):
        convert.from_opennmt({}, "concat")
    with pytest.raises(ValueError, match="of to be query or keys"):
        convert.from_linear(nn.Linear(2, 2), of="values")
    with pytest.raises(ValueError, match=r"query_dim in \(0, 8\); got 8"):
        convert.from_concat(nn.Linear(8, 2), torch.ones(2), query_dim=8)


def test_the_weights_are_a_copy_in_their_dtype():
    old = elsewhere.ConcatTutorial(ENC, DEC).half()
    new = convert.from_concat(old.attn, old.v, query_dim=DEC)
    assert {p.dtype for p in new.parameters()} == {torch.float16}
    assert all(p.requires_grad for p in new.parameters())
    before = new.v.clone()
    with torch.no_grad():
        old.v.weight.zero_()
    assert torch.equal(new.v, before)
