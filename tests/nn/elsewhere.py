"""Attention layers as other libraries and tutorials have them: same parameter names, same formulas, plain PyTorch.

None of them calls s2sfast. Written from their public documentation; masks are filled with -inf before the softmax.
"""

import torch
import torch.nn.functional as F
from torch import nn


def hide(scores, lengths):
    """-inf from `lengths` on."""
    if lengths is None:
        return scores
    padding = torch.arange(scores.shape[-1]) >= lengths[:, None]
    return scores.masked_fill(padding if scores.dim() == 2 else padding[:, None], -torch.inf)


class ConcatTutorial(nn.Module):
    """The seq2seq tutorials on torchtext: one layer over the repeated state beside the encoder's outputs."""

    def __init__(self, enc, dec, state_first=True):
        super().__init__()
        self.attn = nn.Linear(enc + dec, dec)
        self.v = nn.Linear(dec, 1, bias=False)
        self.state_first = state_first

    def forward(self, hidden, encoder_outputs, lengths=None):
        repeated = hidden.unsqueeze(1).repeat(1, encoder_outputs.shape[1], 1)
        pair = (repeated, encoder_outputs) if self.state_first else (encoder_outputs, repeated)
        energy = torch.tanh(self.attn(torch.cat(pair, dim=2)))
        weights = F.softmax(hide(self.v(energy).squeeze(2), lengths), dim=1)
        return torch.bmm(weights.unsqueeze(1), encoder_outputs).squeeze(1), weights


class TranslationTutorial(nn.Module):
    """PyTorch's own translation tutorial: three layers, all with biases; query (B, 1, H)."""

    def __init__(self, hidden):
        super().__init__()
        self.Wa = nn.Linear(hidden, hidden)
        self.Ua = nn.Linear(hidden, hidden)
        self.Va = nn.Linear(hidden, 1)

    def forward(self, query, keys):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys))).squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class ChatbotTutorial(nn.Module):
    """PyTorch's chatbot tutorial, method "general": a layer with bias over the encoder's outputs."""

    def __init__(self, hidden, enc):
        super().__init__()
        self.attn = nn.Linear(enc, hidden)

    def forward(self, hidden, encoder_outputs):
        return F.softmax((hidden[:, None] * self.attn(encoder_outputs)).sum(2), dim=1)


class OpenNMT(nn.Module):
    """OpenNMT-py's GlobalAttention without coverage; returns (attn_h, weights)."""

    def __init__(self, dim, attn_type):
        super().__init__()
        self.attn_type = attn_type
        if attn_type == "general":
            self.linear_in = nn.Linear(dim, dim, bias=False)
        elif attn_type == "mlp":
            self.linear_context = nn.Linear(dim, dim, bias=False)
            self.linear_query = nn.Linear(dim, dim, bias=True)
            self.v = nn.Linear(dim, 1, bias=False)
        self.linear_out = nn.Linear(2 * dim, dim, bias=attn_type == "mlp")

    def forward(self, source, memory_bank, src_len=None):
        if self.attn_type == "mlp":
            pairs = self.linear_query(source)[:, :, None] + self.linear_context(memory_bank)[:, None]
            align = self.v(torch.tanh(pairs)).squeeze(-1)
        else:
            query = self.linear_in(source) if self.attn_type == "general" else source
            align = torch.einsum("bqd,btd->bqt", query, memory_bank)
        weights = F.softmax(hide(align, src_len), -1)
        attn_h = self.linear_out(torch.cat((weights @ memory_bank, source), 2))
        return attn_h if self.attn_type == "mlp" else torch.tanh(attn_h), weights


class ESPnetLocation(nn.Module):
    """ESPnet's AttLoc; att_prev None is uniform over the utterance."""

    def __init__(self, eprojs, dunits, att_dim, aconv_chans, aconv_filts):
        super().__init__()
        self.mlp_enc = nn.Linear(eprojs, att_dim)
        self.mlp_dec = nn.Linear(dunits, att_dim, bias=False)
        self.mlp_att = nn.Linear(aconv_chans, att_dim, bias=False)
        self.loc_conv = nn.Conv2d(1, aconv_chans, (1, 2 * aconv_filts + 1), padding=(0, aconv_filts), bias=False)
        self.gvec = nn.Linear(att_dim, 1)

    def forward(self, enc, lengths, dec, att_prev=None, scaling=2.0):
        batch, time, _ = enc.shape
        if att_prev is None:
            att_prev = (torch.arange(time) < lengths[:, None]).to(enc.dtype) / lengths[:, None]
        located = self.loc_conv(att_prev.view(batch, 1, 1, time)).squeeze(2).transpose(1, 2)
        energy = self.gvec(torch.tanh(self.mlp_att(located) + self.mlp_enc(enc) + self.mlp_dec(dec)[:, None])).squeeze(
            2
        )
        weights = F.softmax(scaling * hide(energy, lengths), dim=1)
        return (enc * weights[..., None]).sum(1), weights


class _Wrapped(nn.Module):
    """NVIDIA's LinearNorm and ConvNorm: a layer in a layer."""

    def __init__(self, name, layer):
        super().__init__()
        self.add_module(name, layer)

    def forward(self, x):
        return next(self.children())(x)


class Tacotron2(nn.Module):
    """The location-sensitive attention of NVIDIA's Tacotron 2."""

    def __init__(self, query, memory, dim, filters, kernel, wrapped=True):
        super().__init__()

        def wrap(name, layer):
            return _Wrapped(name, layer) if wrapped else layer

        self.query_layer = wrap("linear_layer", nn.Linear(query, dim, bias=False))
        self.memory_layer = wrap("linear_layer", nn.Linear(memory, dim, bias=False))
        self.v = wrap("linear_layer", nn.Linear(dim, 1, bias=False))
        self.location_layer = nn.Module()
        conv = nn.Conv1d(2, filters, kernel, padding=(kernel - 1) // 2, bias=False)
        self.location_layer.location_conv = wrap("conv", conv)
        self.location_layer.location_dense = wrap("linear_layer", nn.Linear(filters, dim, bias=False))

    def forward(self, query, memory, weights_cat, lengths):
        located = self.location_layer.location_dense(self.location_layer.location_conv(weights_cat).transpose(1, 2))
        energy = self.v(torch.tanh(self.query_layer(query[:, None]) + located + self.memory_layer(memory))).squeeze(-1)
        weights = F.softmax(hide(energy, lengths), dim=1)
        return torch.bmm(weights[:, None], memory).squeeze(1), weights
