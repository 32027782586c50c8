"""Takes over the weights of attention layers written elsewhere; each function returns a module with a copy of them.

=============================================== ==================================================================
layer                                           function
=============================================== ==================================================================
``Linear(cat(state, encoded))``, then ``v``     :func:`from_concat`
``Wa(query) + Ua(keys)``, then ``Va``           :func:`from_linears`
one ``Linear`` on one side, then a dot product  :func:`from_linear`
OpenNMT-py ``GlobalAttention``                  :func:`from_opennmt`
ESPnet ``AttLoc``                               :func:`from_espnet`
NVIDIA Tacotron 2 ``Attention``                 :func:`from_tacotron2`
Keras ``AdditiveAttention``, ``Attention``      :func:`from_keras`
=============================================== ==================================================================

A bias beside v adds the same number to every score. A softmax does not change with it, and its gradient is 0, so it is
left out: weights, contexts and all other gradients stay what they were.

The modules differ from those layers in one thing: a row in which everything is masked has zero weights, where most of
the others give NaN, and Keras an ordinary softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from s2sfast.nn.additive import AdditiveAttention
from s2sfast.nn.attentional import AttentionalState
from s2sfast.nn.bilinear import BilinearAttention
from s2sfast.nn.dot import DotAttention
from s2sfast.nn.location import LocationAwareAttention

Weights = Mapping[str, Tensor]


def from_concat(
    attn: nn.Linear, v: nn.Linear | Tensor, *, query_dim: int, query_first: bool = True
) -> AdditiveAttention:
    r"""From v . tanh(attn([q; k])), where one linear layer sees query and key side by side.

    The columns of its weight that meet the query become W, the others U, so that U k is computed once per source.

    Args:
        attn:        ``nn.Linear(query_dim + key_dim, D)``, with or without bias.
        v:           ``nn.Linear(D, 1)`` or a tensor of D numbers.
        query_dim:   how many of its inputs are the query's.
        query_first: whether they are the first ones, as in ``torch.cat((hidden, encoder_outputs), dim=2)``.

    >>> import torch, s2sfast
    >>> attn, v = torch.nn.Linear(8 + 16, 10), torch.nn.Linear(10, 1, bias=False)
    >>> attention = s2sfast.nn.convert.from_concat(attn, v, query_dim=8)
    >>> attention(torch.randn(2, 8), torch.randn(2, 7, 16)).context.shape
    torch.Size([2, 16])
    """
    if not 0 < query_dim < attn.in_features:
        raise ValueError(f"from_concat: expected query_dim in (0, {attn.in_features}); got {query_dim}")
    halves = [query_dim, attn.in_features - query_dim]
    first, second = attn.weight.split(halves if query_first else halves[::-1], 1)
    query, keys = (first, second) if query_first else (second, first)
    return _additive(query, keys, v.weight if isinstance(v, nn.Linear) else v, attn.bias)


def from_linears(query: nn.Linear, keys: nn.Linear, v: nn.Linear | Tensor) -> AdditiveAttention:
    """From v . tanh(query(q) + keys(k)): ``from_linears(old.Wa, old.Ua, old.Va)`` for PyTorch's translation tutorial.

    Biases of the two layers are added up into one.

    >>> import torch, s2sfast
    >>> Wa, Ua, Va = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 1)
    >>> s2sfast.nn.convert.from_linears(Wa, Ua, Va)(torch.randn(2, 8), torch.randn(2, 7, 8)).weights.shape
    torch.Size([2, 7])
    """
    return _additive(query.weight, keys.weight, v.weight if isinstance(v, nn.Linear) else v, query.bias, keys.bias)


def from_linear(linear: nn.Linear, *, of: str) -> BilinearAttention:
    """From a dot product after a linear layer of one side, Luong's "general".

    Args:
        linear: a bias of the keys' layer adds q . b to all scores of a query, which no softmax notices: it is left out.
                One of the queries' adds b . k, is no part of q W k, and is an error.
        of:     "query" or "keys": which side it sees.

    >>> import torch, s2sfast
    >>> s2sfast.nn.convert.from_linear(torch.nn.Linear(16, 8), of="keys")
    BilinearAttention(query_dim=8, key_dim=16)
    """
    if of not in ("query", "keys"):
        raise ValueError(f"from_linear: expected of to be query or keys; got {of!r}")
    if of == "query" and linear.bias is not None:
        raise ValueError(
            "from_linear: expected a layer of the query without bias; got one with: give its output to a DotAttention"
        )
    weight = linear.weight.T if of == "query" else linear.weight
    return _filled(BilinearAttention(*weight.shape), {"weight": weight})


class OpenNMTAttention(NamedTuple):
    """The two halves of a ``GlobalAttention``; ``output`` is called with the query and the context."""

    attention: DotAttention | BilinearAttention | AdditiveAttention
    output: AttentionalState


def from_opennmt(state_dict: Weights, attn_type: str, *, prefix: str = "") -> OpenNMTAttention:
    """From OpenNMT-py's ``GlobalAttention``, without coverage and with softmax.

    Args:
        state_dict: of the layer, or of a model that has it under ``prefix``, for example ``"decoder.attn."``.
        attn_type:  "dot", "general" or "mlp".

    Its output layer has a tanh behind "dot" and "general", and a bias and no tanh behind "mlp"; so has ours.

    >>> import torch, s2sfast
    >>> weights = {"linear_in.weight": torch.randn(4, 4), "linear_out.weight": torch.randn(4, 8)}
    >>> attention, output = s2sfast.nn.convert.from_opennmt(weights, "general")
    >>> query = torch.randn(2, 3, 4)
    >>> output(query, attention(query, torch.randn(2, 5, 4)).context).shape
    torch.Size([2, 3, 4])
    """
    if attn_type not in ("dot", "general", "mlp"):
        raise ValueError(f"from_opennmt: expected attn_type dot, general or mlp; got {attn_type!r}")
    given = _under(state_dict, prefix)
    if "linear_cover.weight" in given:
        raise ValueError(
            "from_opennmt: expected no coverage, which changes the encoder's output in place; got linear_cover.weight"
        )
    attention: DotAttention | BilinearAttention | AdditiveAttention
    if attn_type == "dot":
        attention = DotAttention()
    elif attn_type == "general":
        weight = _get(given, "linear_in.weight").T
        attention = _filled(BilinearAttention(*weight.shape), {"weight": weight})
    else:
        attention = _additive(
            _get(given, "linear_query.weight"),
            _get(given, "linear_context.weight"),
            _get(given, "v.weight"),
            given.get("linear_query.bias"),
        )
    weight, bias = _get(given, "linear_out.weight"), given.get("linear_out.bias")
    dim = weight.shape[0]
    output = AttentionalState(dim, weight.shape[1] - dim, dim, bias=bias is not None, tanh=attn_type != "mlp")
    return OpenNMTAttention(attention, _filled(output, {"linear.weight": weight, "linear.bias": bias}))


def from_espnet(state_dict: Weights, *, prefix: str = "", scaling: float = 2.0) -> LocationAwareAttention:
    """From ESPnet's ``AttLoc``.

    Args:
        state_dict: of the layer, or of a model that has it under ``prefix``, for example ``"dec.att.0."``.
        scaling:    what its ``forward`` multiplies the scores by before the softmax; it becomes part of v.

    It begins with weights of ``1 / lengths`` at every position: give them as ``previous`` at the first step.
    """
    given = _under(state_dict, prefix)
    return _location(
        query=_get(given, "mlp_dec.weight"),
        keys=_get(given, "mlp_enc.weight"),
        v=scaling * _get(given, "gvec.weight"),
        bias=given.get("mlp_enc.bias"),
        filters=_get(given, "loc_conv.weight").squeeze(2),  # a 2-D convolution over one row
        spread=_get(given, "mlp_att.weight"),
    )


def from_tacotron2(state_dict: Weights, *, prefix: str = "") -> LocationAwareAttention:
    """From the ``Attention`` of NVIDIA's Tacotron 2 and of what descends from it.

    Args:
        state_dict: of the layer, or of a model that has it under ``prefix``, as ``"decoder.attention_layer."``; its
                    linear layers with or without the wrapper ``linear_layer``.

    Its weights in the concatenation come in the order previous, accumulated; both begin as zeros.
    """
    given = {
        name.replace(".linear_layer.", ".").replace(".conv.", "."): weight
        for name, weight in _under(state_dict, prefix).items()
    }
    return _location(
        query=_get(given, "query_layer.weight"),
        keys=_get(given, "memory_layer.weight"),
        v=_get(given, "v.weight"),
        bias=None,
        filters=_get(given, "location_layer.location_conv.weight"),
        spread=_get(given, "location_layer.location_dense.weight"),
    )


def from_keras(layer: Any) -> AdditiveAttention | DotAttention:
    """From a built ``keras.layers.AdditiveAttention``, or an ``Attention`` with ``score_mode="dot"``, of any backend.

    These have no projections, only a scale, so queries and keys come to ours projected too. Keras calls its layer with
    ``[query, value, key]``; ours is called with (query, key, value). Its dropout of the weights is not taken over.

    Raises:
        ValueError: another layer or score mode, or one that has not been built.
    """
    kind, settings = type(layer).__name__, layer.get_config()
    if kind not in ("AdditiveAttention", "Attention") or settings.get("score_mode", "dot") != "dot":
        raise ValueError(
            "from_keras: expected AdditiveAttention, or Attention with score_mode='dot'; "
            f"got {kind} {settings.get('score_mode', '')}".rstrip()
        )
    if settings["use_scale"] and not layer.get_weights():
        raise ValueError("from_keras: expected a built layer; got one without weights")
    scale = torch.as_tensor(layer.get_weights()[0]) if settings["use_scale"] else torch.ones(())
    if kind == "Attention":
        return DotAttention(scale.item(), learn=settings["use_scale"])
    if not scale.dim():
        raise ValueError(
            "from_keras: expected AdditiveAttention with use_scale=True, whose scale is v; got one without"
        )
    return _filled(AdditiveAttention(None, None, len(scale)), {"v": scale})


def _additive(query: Tensor, keys: Tensor, v: Tensor, *biases: Tensor | None) -> AdditiveAttention:
    bias = _sum(biases)
    attention = AdditiveAttention(query.shape[1], keys.shape[1], v.numel(), bias=bias is not None)
    return _filled(attention, _parts(query, keys, v, bias))


def _location(
    *, query: Tensor, keys: Tensor, v: Tensor, bias: Tensor | None, filters: Tensor, spread: Tensor
) -> LocationAwareAttention:
    channels, inputs, kernel = filters.shape
    attention = LocationAwareAttention(
        query.shape[1],
        keys.shape[1],
        v.numel(),
        channels=channels,
        kernel=kernel,
        cumulative=inputs == 2,
        bias=bias is not None,
    )
    return _filled(attention, {**_parts(query, keys, v, bias), "location.weight": filters, "feature_weight": spread.T})


def _parts(query: Tensor, keys: Tensor, v: Tensor, bias: Tensor | None) -> dict[str, Tensor | None]:
    return {
        "query_projection.weight": query,
        "key_projection.weight": keys,
        "key_projection.bias": bias,
        "v": v.flatten(),
    }


def _sum(biases: tuple[Tensor | None, ...]) -> Tensor | None:
    given = [bias for bias in biases if bias is not None]
    return torch.stack(given).sum(0) if given else None


def _filled(module: Any, weights: Mapping[str, Tensor | None]) -> Any:
    """The module, on the device and in the dtype of these weights, with a copy of them."""
    given = {name: weight.detach() for name, weight in weights.items() if weight is not None}
    first = next(iter(given.values()))
    module = module.to(first)
    module.load_state_dict(given)
    return module


def _under(state_dict: Weights, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in state_dict.items() if name.startswith(prefix)}


def _get(given: Weights, name: str) -> Tensor:
    if name not in given:
        raise ValueError(f"convert: expected {name} in the state dict; got {', '.join(sorted(given)) or 'nothing'}")
    return given[name]
